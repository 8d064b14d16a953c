//! Writes the log of changes of one store.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::json;
use shared_store::{Change, Notice, Parcel, ParcelStream, Reader, State};

use super::log::{ChangeLog, Held};
use crate::document::Document;
use crate::entry::hex;
use crate::output::policy_name;
use crate::value::Form;

/// Writes what happens to the store, until it has left.
pub(crate) async fn follow<V: Form>(
    log: Arc<ChangeLog<V>>,
    mut parcels: ParcelStream<Document<V>>,
    reader: Reader<Document<V>>,
) {
    let mut state = reader.state();
    log.notice("status", None, &state);
    loop {
        tokio::select! {
            parcel = parcels.next() => match parcel {
                Some(Parcel::Changes(changes)) => {
                    // What came before is whole, or its last revision goes on here.
                    log.show_all();
                    changes.iter().for_each(|change| write(&log, change, &reader));
                }
                Some(Parcel::Notice(notice)) => note(&log, notice),
                None => break,
            },
            changed = reader.state_changed(&state) => {
                state = changed;
                log.notice("status", None, &state);
                if matches!(state, State::Closed { .. }) {
                    break;
                }
            }
        }
    }
    log.show_all();
}

fn write<V: Form>(log: &ChangeLog<V>, change: &Change<Document<V>>, reader: &Reader<Document<V>>) {
    let Change { name, old, new, revision, origin, reason, initial, .. } = change;
    match (new, old) {
        (Some(document), old) => {
            // The cache may be ahead. Then another change of this key follows, with its own lease.
            let entry = reader.entry(name).filter(|entry| entry.revision == *revision);
            let held = Held {
                document: Arc::clone(document),
                revision: *revision,
                create_revision: entry.as_ref().map(|entry| entry.create_revision),
                origin: *origin,
                lease: entry.and_then(|entry| hex(entry.lease)),
                at: SystemTime::now(),
            };
            log.update(name, held, old.as_deref(), reason.name(), *initial);
        }
        (None, Some(last)) => log.delete(name, last, *revision, *origin, reason.name()),
        (None, None) => {}
    }
}

fn note<V: Form>(log: &ChangeLog<V>, notice: Notice) {
    match notice {
        Notice::Progress { revision } => log.mark(revision),
        Notice::Synced { revision, entries } => {
            log.synced(revision, &json!({"revision": revision, "entries": entries}));
        }
        Notice::Resynced { from, to } => {
            if to < from {
                log.went_back();
            }
            log.notice("resynced", None, &json!({"from": from, "to": to, "all": false}));
        }
        Notice::Undecodable { name, revision, cause } => {
            let data = json!({"name": name.as_str(), "revision": revision, "cause": cause.to_string()});
            log.notice("undecodable", Some(&name), &data);
        }
        Notice::Healed { name, revision } => {
            log.notice("healed", Some(&name), &json!({"name": name.as_str(), "revision": revision}));
        }
        Notice::Conflict { name, revision, lease, policy } => {
            let (lease, policy) = (hex(lease), policy_name(policy));
            let data = json!({"name": name.as_str(), "revision": revision, "lease": lease, "policy": policy});
            log.notice("conflict", Some(&name), &data);
        }
        Notice::Repaired { name, damage, revision } => {
            let data = json!({"name": name.as_str(), "revision": revision, "damage": damage.to_string()});
            log.notice("repaired", Some(&name), &data);
        }
        Notice::SetAside { name, cause } => {
            log.notice("set_aside", Some(&name), &json!({"name": name.as_str(), "cause": cause.as_deref()}));
        }
        _ => {}
    }
}
