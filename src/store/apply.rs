//! Taking a batch into the cache, and what changes by it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::incoming::{Arrived, Decoded, Incoming};
use super::staging::{Listed, Staging};
use super::{Contents, Quarantined, Store};
use crate::cache::{Cache, Entry, Written};
use crate::change::{Change, Notice, Origin};
use crate::config::OnUndecodable;
use crate::key::{Key, KeyName};
use crate::kv::{Event, Revision};
use crate::outbox::{First, change};
use crate::own::Observation;
use crate::reason::Reason;

/// Why a batch changes the cache, and how long deletions by others in it are held back, at least for the delay of the
/// store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cause {
    reason: Reason,
    hold: Option<Duration>,
}

impl Cause {
    /// Nothing is held back but for the delay of the store.
    pub(super) fn told(reason: Reason) -> Self {
        Self { reason, hold: None }
    }
}

impl<K: Key> Store<K> {
    /// Takes in a whole list.
    pub(super) fn commit(&mut self, now: Instant, staging: Staging<K>) {
        let (header, same_history) = (staging.header, staging.same_history);
        let revision = header.revision;
        let told = self.is_told();
        let Listed { mut incoming, present, ignored } = if told { staging.finish() } else { staging.finish_first() };
        self.ignored.listed(ignored);
        let absent = |name: &KeyName| present.binary_search(name).is_err();
        let (deleted, entries): (Vec<_>, _) = {
            let cache = self.shared.read();
            let unseen = self.quarantine.keys().filter(|name| cache.get(name.as_str()).is_none() && absent(name));
            // A key that is known to be deleted keeps the revision known for its deletion.
            let deleted = difference(cache.names(), &present).chain(unseen);
            (deleted.filter(|name| !self.tombstones.contains(name.as_str())).cloned().collect(), cache.len())
        };
        let reattached = std::mem::take(&mut self.reattached);
        let reason = match (reattached, same_history) {
            (true, _) => Reason::Attached,
            (false, true) => Reason::Listed,
            (false, false) => Reason::OtherHistory,
        };
        let hold = match (reattached, same_history) {
            // The change is intended.
            (true, _) => None,
            (false, true) => self.hold(now, self.removed(deleted.iter())),
            (false, false) => {
                self.hold_longer(now, absent);
                self.guard.other_history()
            }
        };
        if let (Some(hold), 1..) = (hold, self.removed(deleted.iter()).len()) {
            let (keys, seconds) = (deleted.len(), hold.as_secs_f64());
            tracing::warn!(keys, entries, "a list lacks many keys: their deletions are held back for {seconds} s");
        }
        incoming.push(deleted.into_iter().map(|name| Incoming { name, revision, arrived: None }).collect());
        if !same_history {
            self.own.new_history(now);
        }
        let mut changes = self.apply(now, incoming, revision, Cause { reason, hold });
        let own: Vec<_> = self.own.names().map(|name| (name.clone(), self.seen(name))).collect();
        for (name, state) in own {
            self.own.observe(now, Observation { name, revision, state });
        }
        self.own.reached(now, revision);
        if !same_history {
            self.shared.write().history_changed(revision);
        }
        self.cluster = header.cluster;
        self.relists.lists += 1;
        self.relists.other_histories += u64::from(!same_history);
        match (std::mem::replace(&mut self.shows, Contents::List), same_history) {
            (Contents::List, true) => self.observers.push_difference(now, changes),
            (Contents::List, false) => self.observers.history_changed(now, revision, changes),
            (Contents::Snapshot, _) => {
                changes.iter_mut().for_each(|change| change.initial = true);
                let names: Vec<_> = self.shared.read().names().cloned().collect();
                let first = First { revision, same_history, names: &names };
                self.observers.verified(now, changes, &first, &self.notices());
            }
            (Contents::Nothing, _) => {
                if self.observers.has_waiting() {
                    self.observers.begin_waiting(now, &self.snapshot(), revision, &self.notices());
                }
            }
        }
        self.own_events(now);
    }

    /// The deleted keys that are shown and that others have deleted.
    fn removed<'a>(&self, deleted: impl Iterator<Item = &'a KeyName>) -> HashSet<KeyName> {
        let cache = self.shared.read();
        let theirs = |name: &&KeyName| cache.get(name.as_str()).is_some() && !self.own.contains(name.as_str());
        deleted.filter(theirs).cloned().collect()
    }

    /// How long the guard holds these deletions back.
    fn hold(&mut self, now: Instant, removed: HashSet<KeyName>) -> Option<Duration> {
        let cache = self.shared.read();
        self.guard.deletions(now, removed, cache.len(), |name| cache.get(name.as_str()).is_some())
    }

    /// Another kvstore answers: deletions that are held back already get the whole time again.
    fn hold_longer(&mut self, now: Instant, absent: impl Fn(&KeyName) -> bool) {
        let Some(hold) = self.guard.other_history() else { return };
        let held: Vec<_> = self.tombstones.held_names().filter(|name| absent(name)).cloned().collect();
        held.iter().for_each(|name| self.tombstones.hold(now + hold, name));
    }

    /// Takes in what the watch saw.
    pub(super) fn events(&mut self, now: Instant, events: &[Event], decoded: Decoded<K>) {
        let Some(revision) = events.last().map(Event::revision) else { return };
        let mut incoming = Vec::with_capacity(events.len());
        for (event, decoded) in events.iter().zip(decoded.0) {
            match decoded {
                Some(decoded) => incoming.push(decoded),
                None => self.ignored.event(event),
            }
        }
        // A key that is put again later in the batch is not removed.
        let mut deleted = HashSet::new();
        for Incoming { name, arrived, .. } in &incoming {
            match arrived {
                None => drop(deleted.insert(name)),
                Some(_) if deleted.is_empty() => {}
                Some(_) => drop(deleted.remove(name)),
            }
        }
        let removed = self.removed(deleted.into_iter());
        let keys = removed.len();
        let hold = self.hold(now, removed);
        if let Some(hold) = hold {
            let seconds = hold.as_secs_f64();
            tracing::warn!(keys, "most keys are deleted: deletions are held back for {seconds} s");
        }
        let changes = self.apply(now, vec![incoming], revision, Cause { reason: Reason::Event, hold });
        self.own.reached(now, revision);
        self.observers.push(now, changes);
        self.own_events(now);
    }

    /// Whether anybody is told changes. Nobody is told the steps that lead to the first state.
    fn is_told(&self) -> bool {
        self.shows != Contents::Nothing || tracing::enabled!(tracing::Level::DEBUG)
    }

    /// Puts a batch into the cache, all at once for readers, and answers with the changes. Each part of the batch is freed
    /// when the cache has it.
    pub(super) fn apply(
        &mut self,
        now: Instant,
        incoming: Vec<Vec<Incoming<K>>>,
        revision: Revision,
        cause: Cause,
    ) -> Vec<Change<K>> {
        let shared = Arc::clone(&self.shared);
        let (told, count) = (self.is_told(), incoming.iter().map(Vec::len).sum());
        let (mut changes, mut changed) = (Vec::new(), 0);
        changes.reserve(if told { count } else { 0 });
        let mut unused = Vec::new();
        let mut cache = shared.write();
        if cache.len() == 0 {
            cache.reserve(count);
        }
        // Before anything is observed: after that a name may be dropped.
        let is_own = |incoming: &Incoming<K>| self.own.contains(incoming.name.as_str());
        let own_before: Vec<_> = incoming.iter().flatten().map(is_own).collect();
        for (mut incoming, was_ours) in incoming.into_iter().flatten().zip(own_before) {
            let own = self.own.name(incoming.name.as_str()).cloned();
            let ours = was_ours || own.is_some();
            // As it is stored already, so that it is in memory once.
            incoming.name = own.unwrap_or(incoming.name);
            // Also of an unknown name, if its key is under a lease of ours.
            if ours || incoming.arrived.as_ref().is_some_and(|arrived| self.own.is_ours(arrived.lease)) {
                self.own.observe(now, incoming.observation());
            }
            let (name, at) = (&incoming.name, incoming.revision);
            let change = match incoming.arrived {
                Some(arrived) => self.put(&mut cache, name, at, arrived, cause.reason, &mut unused),
                None => {
                    let delay = if ours { None } else { self.tombstones.delay(cause.hold) };
                    self.delete(now, &mut cache, name, at, cause.reason, delay)
                }
            };
            changed += usize::from(change.as_ref().is_some_and(|change| !change.is_void()));
            // An old value is not dropped under the lock.
            changes.extend(change.filter(|change| told || change.old.is_some()));
        }
        self.revision = revision;
        cache.revision = revision;
        drop(cache);
        // Values are dropped without the lock: `Drop` is code of the user.
        drop(unused);
        trace(&changes);
        self.announce(changed);
        changes
    }

    fn put(
        &mut self,
        cache: &mut Cache<K>,
        name: &KeyName,
        mod_revision: Revision,
        arrived: Arrived<K>,
        reason: Reason,
        unused: &mut Vec<Arc<K>>,
    ) -> Option<Change<K>> {
        if self.tombstones.remove(name.as_str())
            && let Some(entry) = cache.get_mut(name.as_str())
        {
            entry.held_back = false;
        }
        self.guard.is_there(name);
        let hash = arrived.hash();
        let Arrived { create_revision, lease, value, .. } = arrived;
        let (key, index_values, raw) = match value {
            Ok(value) => value,
            Err(bad) => {
                let (cause, raw) = *bad;
                let known = self.quarantine.get(name).is_some_and(|quarantined| quarantined.hash == hash);
                let quarantined = Quarantined { hash, mod_revision, lease, raw, cause };
                if !known {
                    let cause = &quarantined.cause;
                    tracing::warn!(key = %name, revision = %mod_revision, %cause, "value cannot be decoded");
                    self.observers.notify_later(quarantined.notice(name));
                }
                self.quarantine.insert(name.clone(), quarantined);
                return match self.on_undecodable {
                    OnUndecodable::Remove if !self.own.is_kept(name.as_str()) => {
                        self.remove(cache, name.as_str(), mod_revision, Reason::Undecodable)
                    }
                    // The own key will be put again: observers see no deletion.
                    OnUndecodable::Remove | OnUndecodable::KeepLast => None,
                };
            }
        };
        self.healed(name, mod_revision, "a good value has replaced one that could not be decoded");
        let origin = if self.own.is_ours(lease) { Origin::Local } else { Origin::Remote };
        let written = Written { mod_revision, create_revision, lease };
        let Some(entry) = cache.get_mut(name.as_str()) else {
            let change = change(name, None, Some((&key, hash)), mod_revision, origin, reason);
            cache.insert(name, Entry::new(key, hash, raw, written, origin), index_values);
            return Some(change);
        };
        if entry.hash() == hash {
            entry.written(written);
            unused.push(key);
            return changed_hands(name, entry, mod_revision, origin, reason);
        }
        let old = Some((&entry.key, entry.hash()));
        let change = change(name, old, Some((&key, hash)), mod_revision, origin, reason);
        cache.insert(name, Entry::new(key, hash, raw, written, origin), index_values);
        Some(change)
    }

    fn delete(
        &mut self,
        now: Instant,
        cache: &mut Cache<K>,
        name: &KeyName,
        at: Revision,
        reason: Reason,
        delay: Option<Duration>,
    ) -> Option<Change<K>> {
        self.healed(name, at, "a key whose value could not be decoded was deleted");
        let entry = cache.get_mut(name.as_str())?;
        if self.own.is_kept(name.as_str()) {
            // It will be put again: observers see no deletion.
            self.tombstones.keep(name);
            entry.held_back = true;
            None
        } else if let Some(delay) = delay {
            self.tombstones.hold(now + delay, name);
            entry.held_back = true;
            None
        } else {
            let given_up = self.own.is_given_up(name.as_str());
            self.remove(cache, name.as_str(), at, if given_up { Reason::GivenUp } else { reason })
        }
    }

    /// Takes a key out of the quarantine, if it is there.
    pub(super) fn healed(&mut self, name: &KeyName, revision: Revision, how: &str) {
        if !self.quarantine.is_empty() && self.quarantine.remove(name).is_some() {
            self.healed += 1;
            tracing::info!(key = %name, %revision, "{how}");
            self.observers.notify_later(Notice::Healed { name: name.clone(), revision });
        }
    }

    fn remove(&mut self, cache: &mut Cache<K>, name: &str, revision: Revision, reason: Reason) -> Option<Change<K>> {
        self.tombstones.remove(name);
        let (name, entry) = cache.remove(name)?;
        Some(change(&name, Some((&entry.key, entry.hash())), None, revision, entry.origin, reason))
    }

    /// Tells readers and observers of changes made without the kvstore.
    pub(super) fn tell(&mut self, now: Instant, mut changes: Vec<Change<K>>) {
        changes.iter_mut().for_each(|change| change.initial = self.shows == Contents::Snapshot);
        self.announce(changes.iter().filter(|change| !change.is_void()).count());
        self.observers.push(now, changes);
    }

    /// Announces the revision and the state to readers, after the cache shows them.
    pub(super) fn announce(&self, changes: usize) {
        let changed = changes > 0;
        self.shared.point.send_if_modified(|point| {
            let same = !changed && point.revision == self.revision && point.state == self.state;
            point.revision = self.revision;
            point.version += u64::from(changed);
            if point.state != self.state {
                point.state = self.state.clone();
            }
            !same
        });
    }

    /// Removes keys from the cache that the kvstore no longer has. They were shown until now, so they are deleted at
    /// the present revision: changes are told in the order of their revisions.
    pub(super) fn give_up(&mut self, now: Instant, names: &[KeyName], reason: Reason) {
        let (shared, revision) = (Arc::clone(&self.shared), self.revision);
        let mut cache = shared.write();
        let changes: Vec<_> =
            names.iter().filter_map(|name| self.remove(&mut cache, name.as_str(), revision, reason)).collect();
        drop(cache);
        trace(&changes);
        self.tell(now, changes);
    }
}

/// Traces changes of the cache.
fn trace<K>(changes: &[Change<K>]) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for Change { name, old, new, revision, origin, reason, .. } in changes {
        let what = match (old, new) {
            (None, _) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        };
        tracing::debug!(key = %name, %revision, %origin, %reason, "{what}");
    }
}

/// The names that are not present; both in order.
fn difference<'a>(names: impl Iterator<Item = &'a KeyName>, present: &[KeyName]) -> impl Iterator<Item = &'a KeyName> {
    let mut present = present.iter().peekable();
    names.filter(move |name| {
        while present.next_if(|next| next < name).is_some() {}
        present.peek() != Some(name)
    })
}

/// The value is the same; the owner may have changed. Only observers whose filter checks the origin notice.
fn changed_hands<K>(
    name: &KeyName,
    entry: &mut Entry<K>,
    at: Revision,
    origin: Origin,
    reason: Reason,
) -> Option<Change<K>> {
    if std::mem::replace(&mut entry.origin, origin) == origin {
        return None;
    }
    let value = Some((&entry.key, entry.hash()));
    Some(change(name, value, value, at, origin, reason))
}
