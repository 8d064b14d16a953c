//! What a gate lets through, and when.

use super::*;
use crate::backend::BackendError;
use crate::kv::{ClusterId, KeyValue, LeaseId, Revision};

fn prefix(prefix: &str) -> Prefix {
    Prefix::new(prefix).unwrap()
}

fn gate() -> Gate {
    Gate::new(Prefix::canaries("c1").unwrap())
}

fn canary(of: &str, revision: u64) -> KeyValue {
    KeyValue {
        path: format!("cilium/synced/c1/{of}").into(),
        value: "2026-01-01T00:00:00Z".into(),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        lease: LeaseId(1),
    }
}

fn list(kvs: Vec<KeyValue>) -> Delivery {
    let keys = PageKeys::Full(kvs);
    Delivery::Page(Page {
        first: true,
        last: true,
        revision: Revision(9),
        cluster: ClusterId(1),
        same_history: true,
        keys,
    })
}

fn started(gate: &mut Gate) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(id) = gate.poll_start() {
        all.push(gate.prefix(id).to_string());
    }
    all
}

#[test]
fn a_store_starts_once_when_its_canary_is_seen_in_whatever_order() {
    let (mut gate, now) = (gate(), Instant::now());
    for of in ["nodes/v1", "services/v1", "ip/v1"] {
        gate.register(now, GatedStore::new(prefix(of)));
    }
    // The canary of another prefix, and of one that only begins alike.
    gate.deliver(now, list(vec![canary("other", 1), canary("nodes/v10", 2), canary("services/v1", 3)])).unwrap();
    assert_eq!(started(&mut gate), ["services/v1"]);
    gate.deliver(now, Delivery::Events(vec![Event::Put(canary("nodes/v1", 10))])).unwrap();
    gate.deliver(now, Delivery::Events(vec![Event::Put(canary("nodes/v1", 11))])).unwrap();
    gate.deliver(now, list(vec![canary("nodes/v1", 11), canary("services/v1", 3)])).unwrap();
    assert_eq!(started(&mut gate), ["nodes/v1"]);
    // One that is written and deleted in one breath was seen.
    let gone = Event::Delete { path: canary("ip/v1", 12).path, revision: Revision(13) };
    gate.deliver(now, Delivery::Events(vec![Event::Put(canary("ip/v1", 12)), gone])).unwrap();
    assert_eq!(started(&mut gate), ["ip/v1"]);
}

#[test]
fn a_store_registered_later_starts_by_what_is_there_then() {
    let (mut gate, now) = (gate(), Instant::now());
    gate.deliver(now, list(vec![canary("a", 1), canary("b", 2)])).unwrap();
    let gone = Event::Delete { path: canary("b", 2).path, revision: Revision(10) };
    gate.deliver(now, Delivery::Events(vec![gone])).unwrap();
    gate.register(now, GatedStore::new(prefix("a")));
    gate.register(now, GatedStore::new(prefix("b")));
    assert_eq!(started(&mut gate), ["a"]);
    // What a list does not name is not there.
    gate.deliver(now, list(vec![])).unwrap();
    gate.register(now, GatedStore::new(prefix("a")));
    assert_eq!(started(&mut gate), Vec::<String>::new());
}

#[test]
fn a_canary_that_does_not_come_is_missed_and_the_policy_decides() {
    let (mut gate, now) = (gate(), Instant::now());
    let timeout = Duration::from_secs(10);
    gate.register(now, GatedStore::new(prefix("waits")).timeout(timeout));
    gate.register(now, GatedStore::new(prefix("starts")).timeout(timeout).on_timeout(OnTimeout::Start));
    gate.register(now, GatedStore::new(prefix("patient")).timeout(Duration::MAX));
    assert_eq!(gate.deadline(), Some(now + timeout));
    assert!(gate.timeout(now + timeout / 2).is_empty());
    assert_eq!(gate.timeout(now + timeout), [GateId(0), GateId(1)]);
    assert_eq!((started(&mut gate), gate.deadline()), (vec!["starts".to_owned()], None));
    let later = now + Duration::from_secs(25);
    let states: Vec<_> = gate.status(later).stores.iter().map(|(_, passage)| passage.to_string()).collect();
    let expected =
        ["canary not seen for 25 s", "started without its canary after 10 s", "waiting for its canary since 25 s"];
    assert_eq!(states, expected);
    // Late is not never.
    gate.deliver(later, list(vec![canary("waits", 1), canary("starts", 2)])).unwrap();
    assert_eq!(started(&mut gate), ["waits"]);
    assert_eq!(gate.status(later).stores[0].1, GateProgress::Started { waited: Duration::from_secs(25) });
}

#[test]
fn a_list_in_parts_counts_as_a_whole_and_its_state_is_told() {
    let (mut gate, now) = (gate(), Instant::now());
    gate.register(now, GatedStore::new(prefix("a")));
    let part = |kvs, first, last| {
        let Delivery::Page(page) = list(kvs) else { unreachable!("it is a list") };
        Delivery::Page(Page { first, last, ..page })
    };
    assert_eq!(gate.deliver(now, part(vec![], false, true)), Err(Refused::Inconsistent), "its first part is missing");
    gate.deliver(now, part(vec![canary("a", 1)], true, false)).unwrap();
    gate.deliver(now, part(vec![canary("b", 1)], false, true)).unwrap();
    assert_eq!(started(&mut gate), ["a"]);
    gate.deliver(now, Delivery::Live).unwrap();
    gate.deliver(now, Delivery::Broken(BackendError::unavailable("cut"))).unwrap();
    assert_eq!(gate.status(now).state, State::Stale { since: now, cause: "cut".into() });
}
