//! What comparing the cache with the kvstore finds.

use std::collections::HashSet;

use super::*;
use crate::status::AuditStats;
use crate::store::DifferenceKind as D;
use crate::watch::{AuditKind, AuditPart};

fn part(kind: AuditKind, keys: &[KeyValue], revision: u64) -> AuditPart {
    let (range, keys) = (Prefix::new("p").unwrap().range(), keys.to_vec());
    AuditPart { kind, first: true, last: true, range, revision: Revision(revision), keys, changed: HashSet::new() }
}

/// What an audit that was asked for says.
fn asked(bench: &mut Bench, keys: &[KeyValue], revision: u64) -> (Vec<(String, D)>, bool) {
    let relist = bench.store.deliver(bench.now, Delivery::Audited(part(AuditKind::Asked, keys, revision))).is_err();
    let report = bench.store.poll_audit().expect("the round is over");
    (report.differences.iter().map(|found| (found.name.to_string(), found.kind)).collect(), relist)
}

#[test]
fn a_cache_that_is_right_differs_in_nothing() {
    let keys = [kv("a", "1", 2), kv("b", "2", 3)];
    let mut bench = Bench::listed(&keys, 5);
    assert_eq!(asked(&mut bench, &keys, 5), (vec![], false));
    let stats = bench.store.status().audits;
    assert_eq!(stats, AuditStats { rounds: 1, keys: 2, differences: 0 });
}

#[test]
fn what_was_lost_is_named_counted_and_asks_for_a_relist() {
    let keys = [kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4), kv("e", "5", 4)];
    for kind in [AuditKind::Asked, AuditKind::Rolling] {
        let mut bench = Bench::listed(&keys, 5);
        let truth = [kv("a", "9", 2), kv("c", "4", 5), kv("d", "4", 5), kv("e", "5", 4)];
        let (one, cache, kvstore) = (Revision(2), Revision(4), Revision(5));
        let lost = [
            ("b", D::Extra { cache: Revision(3) }),
            ("c", D::Outdated { cache, kvstore }),
            ("d", D::Missing { kvstore }),
        ];
        if kind == AuditKind::Asked {
            let mut lost: Vec<_> = lost.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
            lost.insert(0, ("a".to_owned(), D::Altered { revision: one }));
            assert_eq!(asked(&mut bench, &truth, 5), (lost, true));
        } else {
            let refused = bench.store.deliver(bench.now, Delivery::Audited(part(kind, &truth, 5)));
            assert_eq!((refused, bench.store.poll_audit()), (Err(Refused::Inconsistent), None));
        }
        let found = bench.store.status().audits.differences;
        assert_eq!(found, if kind == AuditKind::Asked { 4 } else { 3 }, "a rolling round has no values");
        bench.foreign_list(&truth, 6);
        bench.passes(30);
        assert_eq!(bench.shown(), ["a=9", "c=4", "d=4", "e=5"], "the relist mends it, and the altered value too");
    }
}

#[test]
fn what_changed_meanwhile_or_lies_outside_the_part_is_not_judged() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "2", 3)], 5);
    bench.events([put("c", "3", 6), delete("b", 7)]);
    let mut audit = part(AuditKind::Rolling, &[kv("a", "1", 2), kv("b", "2", 3)], 5);
    audit.changed = ["p/b", "p/c"].map(Bytes::from).into();
    assert_eq!(bench.store.deliver(bench.now, Delivery::Audited(audit)), Ok(()));
    let mut audit = part(AuditKind::Rolling, &[], 7);
    audit.range.start = "p/b".into();
    audit.range.end = "p/b0".into();
    assert_eq!(bench.store.deliver(bench.now, Delivery::Audited(audit)), Ok(()));
}

#[test]
fn what_is_as_it_should_be_is_explained_and_asks_for_nothing() {
    let mut bench = Bench::with(|config| config.delete_delay(Duration::from_secs(30)));
    bench.list(&[kv("held", "1", 2), kv("bad", "x", 3)], 5);
    bench.own("own", 1, 6);
    bench.events([delete("own", 7), delete("held", 8)]);
    let explained =
        [("bad", D::Undecodable { kvstore: Revision(3) }), ("held", D::HeldBack), ("own", D::BeingRepaired)];
    let explained: Vec<_> = explained.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect();
    assert_eq!(asked(&mut bench, &[kv("bad", "x", 3)], 8), (explained, false));
}

#[test]
fn a_round_in_parts_is_one_report_and_mends_at_its_end() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "2", 3)], 5);
    let mut first = part(AuditKind::Asked, &[], 5);
    (first.last, first.range.end) = (false, "p/a\0".into());
    assert_eq!(bench.store.deliver(bench.now, Delivery::Audited(first)), Ok(()));
    assert_eq!(bench.store.poll_audit(), None);
    let mut last = part(AuditKind::Asked, &[kv("b", "2", 3)], 6);
    (last.first, last.range.start) = (false, "p/a\0".into());
    bench.deliver(Delivery::Progress(Revision(6)));
    assert_eq!(bench.store.deliver(bench.now, Delivery::Audited(last)), Err(Refused::Inconsistent));
    let report = bench.store.poll_audit().unwrap();
    assert_eq!((report.revision, report.keys, report.unexplained().count()), (Revision(6), 1, 1));
}

#[test]
fn a_cache_that_an_audit_found_wrong_is_stale_until_a_list_has_mended_it() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    bench.deliver(Delivery::Live);
    let wrong = Delivery::Audited(part(AuditKind::Rolling, &[], 5));
    assert_eq!(bench.store.deliver(bench.now, wrong), Err(Refused::Inconsistent));
    assert_eq!(
        bench.reader.state(),
        State::Stale { since: bench.now, cause: "an audit found differences (1): listing again".into() }
    );
    bench.foreign_list(&[], 6);
    bench.deliver(Delivery::Live);
    assert_eq!(bench.reader.state(), State::Synced);
}
