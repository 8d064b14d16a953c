//! [`State`] and [`Status`] as serde writes them: flat, with names that do not change.

mod publishing;

use std::time::Instant;

use serde::{Serialize, Serializer};

use super::{State, Status};
use crate::outbox::Lag;
use crate::outbox::ObserverId;

#[derive(Serialize)]
struct StateFields<'a> {
    state: &'static str,
    cause: Option<&'a str>,
    seen: Option<usize>,
    stale_seconds: Option<f64>,
}

impl<'a> StateFields<'a> {
    fn new(state: &'a State, now: Instant) -> Self {
        let (seen, stale_seconds) = match state {
            State::Listing { seen, .. } => (Some(*seen), None),
            State::Stale { since, .. } => (None, Some(seconds(now, *since))),
            State::Connecting { .. } | State::Synced | State::Closed { .. } => (None, None),
        };
        Self { state: state.name(), cause: state.cause().map(|cause| &**cause), seen, stale_seconds }
    }
}

#[derive(Serialize)]
struct StatusFields<'a> {
    #[serde(flatten)]
    state: StateFields<'a>,
    revision: u64,
    entries: usize,
    own: usize,
    pending_writes: usize,
    pending_cause: Option<&'a str>,
    set_aside: Vec<SetAsideFields<'a>>,
    repairs: u64,
    leases: usize,
    held_back: usize,
    undecodable: usize,
    healed: u64,
    ignored: usize,
    ignored_example: Option<&'a str>,
    relists: u64,
    other_histories: u64,
    audit_rounds: u64,
    audited_keys: u64,
    audit_differences: u64,
    panics: u64,
    saved: Option<u64>,
    state_error: Option<&'a str>,
    observers: Vec<ObserverFields<'a>>,
}

#[derive(Serialize)]
struct SetAsideFields<'a> {
    name: &'a str,
    cause: &'a str,
}

#[derive(Serialize)]
struct ObserverFields<'a> {
    id: ObserverId,
    name: Option<&'a str>,
    pending: usize,
    behind_seconds: Option<f64>,
    panics: u64,
}

impl<'a> ObserverFields<'a> {
    fn new((id, lag): &'a (ObserverId, Lag), now: Instant) -> Self {
        let behind_seconds = lag.behind_since.map(|since| seconds(now, since));
        Self { id: *id, name: lag.name.as_deref(), pending: lag.pending, behind_seconds, panics: lag.panics }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StateFields::new(self, now()).serialize(serializer)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let now = now();
        let set_aside = self.set_aside.iter().map(|(name, cause)| SetAsideFields { name: name.as_str(), cause });
        StatusFields {
            state: StateFields::new(&self.state, now),
            revision: self.revision.0,
            entries: self.entries,
            own: self.own,
            pending_writes: self.pending_writes,
            pending_cause: self.pending_cause.as_deref(),
            set_aside: set_aside.collect(),
            repairs: self.repairs,
            leases: self.leases,
            held_back: self.held_back,
            undecodable: self.undecodable,
            healed: self.healed,
            ignored: self.ignored.count,
            ignored_example: self.ignored.example.as_deref(),
            // The first list is joining.
            relists: self.relists.lists.saturating_sub(1),
            other_histories: self.relists.other_histories,
            audit_rounds: self.audits.rounds,
            audited_keys: self.audits.keys,
            audit_differences: self.audits.differences,
            panics: self.panics,
            saved: self.saved.map(|revision| revision.0),
            state_error: self.state_error.as_deref(),
            observers: self.observers.iter().map(|observer| ObserverFields::new(observer, now)).collect(),
        }
        .serialize(serializer)
    }
}

/// A status has points in time, and is read as durations. The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn seconds(now: Instant, since: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::status::{AuditStats, IgnoredKeys, Relists};
    use crate::{KeyName, Revision};

    #[tokio::test(start_paused = true)]
    async fn a_state_has_its_name_its_cause_and_what_only_it_has() {
        let since = now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        let text = |state: &State| serde_json::to_string(state).unwrap();
        assert_eq!(text(&State::Synced), r#"{"state":"synced","cause":null,"seen":null,"stale_seconds":null}"#);
        assert_eq!(
            text(&State::Stale { since, cause: "no \"etcd\"".into() }),
            r#"{"state":"stale","cause":"no \"etcd\"","seen":null,"stale_seconds":1.5}"#
        );
        assert_eq!(
            text(&State::Listing { seen: 7, cause: None }),
            r#"{"state":"listing","cause":null,"seen":7,"stale_seconds":null}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_flat_and_has_each_fact_under_its_documented_name() {
        let since = now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let lag = Lag { name: Some("routes".into()), pending: 3, behind_since: Some(since), panics: 1 };
        let id = ObserverId(7);
        let status = Status {
            state: State::Closed { cause: "left".into() },
            revision: Revision(12),
            entries: 4,
            own: 2,
            pending_writes: 1,
            pending_cause: Some("no quorum".into()),
            set_aside: vec![(KeyName::new("a").unwrap(), "too large".into())],
            repairs: 5,
            leases: 1,
            held_back: 6,
            undecodable: 7,
            ignored: IgnoredKeys { count: 1, example: Some("p/\\xff".into()) },
            healed: 8,
            relists: Relists { lists: 3, other_histories: 1 },
            audits: AuditStats { rounds: 1, keys: 9, differences: 2 },
            panics: 10,
            saved: None,
            state_error: None,
            observers: vec![(id, lag)],
        };
        let expected = json!({
            "state": "closed", "cause": "left", "seen": null, "stale_seconds": null, "revision": 12, "entries": 4, "own": 2,
            "pending_writes": 1, "pending_cause": "no quorum", "set_aside": [{"name": "a", "cause": "too large"}],
            "repairs": 5, "leases": 1, "held_back": 6, "undecodable": 7, "healed": 8, "ignored": 1,
            "ignored_example": "p/\\xff", "relists": 2, "other_histories": 1, "audit_rounds": 1, "audited_keys": 9,
            "audit_differences": 2, "panics": 10, "saved": null, "state_error": null,
            "observers": [{"id": 7, "name": "routes", "pending": 3, "behind_seconds": 2.0, "panics": 1}],
        });
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
    }
}
