//! Tests of the engine: named situations, and a random comparison with a model too simple to be wrong.

use super::*;

mod model;

const TTL: Duration = Duration::from_secs(10);

fn put(path: &str, value: &str, lease: LeaseId) -> Write {
    let action = WriteAction::Put { value: Bytes::copy_from_slice(value.as_bytes()), lease };
    Write { path: Bytes::copy_from_slice(path.as_bytes()), expect: Expect::Any, action }
}

fn plain(mvcc: &mut Mvcc, path: &str) -> Revision {
    mvcc.write(vec![put(path, "", LeaseId::NONE)]).unwrap();
    mvcc.revision
}

fn all() -> KeyRange {
    KeyRange { start: Bytes::from_static(b"a"), end: Bytes::from_static(b"zz") }
}

fn told(mvcc: &Mvcc, start: u64, max: usize) -> (Vec<u64>, u64) {
    let (events, next) = mvcc.events_since(&all(), Revision(start), max).unwrap();
    (events.iter().map(|event| event.revision().0).collect(), next.0)
}

#[test]
fn a_new_kvstore_is_at_revision_one_and_empty() {
    let mvcc = Mvcc::new().cluster(ClusterId(7));
    assert_eq!(mvcc.header(), Header { cluster: ClusterId(7), revision: Revision(1) });
    assert_eq!(mvcc.list(&ListRequest::new(all())).unwrap().count, 0);
    assert_eq!(told(&mvcc, 0, 10), (vec![], 2));
}

#[test]
fn an_inverted_range_is_empty() {
    let mut mvcc = Mvcc::new();
    plain(&mut mvcc, "a");
    let range = KeyRange { start: Bytes::from_static(b"z"), end: Bytes::from_static(b"a") };
    assert_eq!(mvcc.list(&ListRequest::new(range)).unwrap().kvs, []);
}

#[test]
fn a_cut_catch_up_never_parts_a_revision_and_says_where_to_go_on() {
    let mut mvcc = Mvcc::new();
    mvcc.write(vec![put("a", "", LeaseId::NONE), put("b", "", LeaseId::NONE)]).unwrap();
    plain(&mut mvcc, "c");
    assert_eq!(told(&mvcc, 1, 1), (vec![2, 2], 3));
    assert_eq!(told(&mvcc, 3, 1), (vec![3], 4));
    assert_eq!(told(&mvcc, 1, 0), (vec![2, 2], 3), "nothing at all would never end");
    assert_eq!(told(&mvcc, 9, 1), (vec![], 9), "a future start stays");
}

#[test]
fn a_refusal_comes_before_a_missing_lease() {
    let mut mvcc = Mvcc::new();
    let writes = |expect| vec![Write { expect, ..put("a", "", LeaseId(9)) }];
    assert!(matches!(mvcc.write(writes(Expect::Revision(Revision(5)))), Ok(WriteOutcome::Refused { .. })));
    assert_eq!(mvcc.write(writes(Expect::Absent)), Err(BackendError::LeaseNotFound { lease: LeaseId(9) }));
}

#[test]
fn an_empty_transaction_and_an_empty_lease_take_no_revision() {
    let (mut mvcc, now) = (Mvcc::new(), Instant::now());
    assert_eq!(mvcc.write(vec![]), Ok(WriteOutcome::Committed { revision: Revision(1) }));
    let lease = mvcc.grant(LeaseId::NONE, TTL, now).unwrap().lease;
    mvcc.revoke(lease);
    assert_eq!(mvcc.header().revision, Revision(1));
}

#[test]
fn an_empty_path_is_rejected() {
    assert!(matches!(Mvcc::new().write(vec![put("", "", LeaseId::NONE)]), Err(BackendError::Rejected { .. })));
}

#[test]
fn leases_end_in_the_order_of_their_deadlines_each_at_one_revision() {
    let (mut mvcc, now) = (Mvcc::new(), Instant::now());
    let late = mvcc.grant(LeaseId::NONE, TTL * 2, now).unwrap().lease;
    let soon = mvcc.grant(LeaseId::NONE, TTL, now).unwrap().lease;
    mvcc.write(vec![put("a", "", late), put("b", "", soon), put("c", "", late)]).unwrap();
    assert_eq!(mvcc.next_expiry(), Some(now + TTL));
    mvcc.expire(now + TTL - Duration::from_nanos(1));
    assert_eq!(told(&mvcc, 3, 10).0, [] as [u64; 0]);
    mvcc.expire(now + TTL * 2);
    let (events, _) = mvcc.events_since(&all(), Revision(3), 10).unwrap();
    let gone = |path, revision| Event::Delete { path: Bytes::from_static(path), revision: Revision(revision) };
    assert_eq!(events, [gone(b"b", 3), gone(b"a", 4), gone(b"c", 4)]);
    assert_eq!(mvcc.next_expiry(), None);
}

#[test]
fn a_lease_that_is_due_cannot_be_kept_alive_though_nobody_has_ended_it_yet() {
    let (mut mvcc, now) = (Mvcc::new(), Instant::now());
    let lease = mvcc.grant(LeaseId::NONE, TTL, now).unwrap().lease;
    assert_eq!(mvcc.keep_alive(lease, now + TTL / 2), Ok(TTL));
    assert_eq!(mvcc.next_expiry(), Some(now + TTL + TTL / 2));
    assert_eq!(mvcc.keep_alive(lease, now + TTL + TTL / 2), Err(BackendError::LeaseNotFound { lease }));
}

#[test]
fn a_ttl_is_at_least_a_second_and_one_beyond_the_clock_is_rejected() {
    let (mut mvcc, now) = (Mvcc::new(), Instant::now());
    assert_eq!(mvcc.grant(LeaseId::NONE, Duration::ZERO, now).unwrap().ttl, Duration::from_secs(1));
    assert!(matches!(mvcc.grant(LeaseId::NONE, Duration::MAX, now), Err(BackendError::Rejected { .. })));
}

#[test]
fn the_oldest_history_goes_as_new_comes_but_never_the_newest_revision() {
    let mut mvcc = Mvcc::new().history(3);
    for path in ["a", "b", "c", "d", "e"] {
        plain(&mut mvcc, path);
    }
    assert_eq!(told(&mvcc, 4, 10), (vec![4, 5, 6], 7));
    let oldest = Err(BackendError::Compacted { oldest: Revision(4) });
    assert_eq!(mvcc.events_since(&all(), Revision(3), 10), oldest);
    mvcc.write(["a", "b", "c", "d", "e"].map(|path| put(path, "", LeaseId::NONE)).into()).unwrap();
    assert_eq!(told(&mvcc, 7, 10), (vec![7; 5], 8));
    let pinned = ListRequest { revision: Some(Revision(7)), ..ListRequest::new(all()) };
    assert_eq!(mvcc.list(&pinned).unwrap().count, 5);
}

#[test]
fn the_history_is_bounded_in_bytes_too() {
    let mut mvcc = Mvcc::new();
    let value = "x".repeat(1 << 20);
    for _ in 0..300 {
        mvcc.write(vec![put("a", &value, LeaseId::NONE)]).unwrap();
    }
    let (kept, _) = mvcc
        .events_since(&all(), mvcc.history.reaches(Revision(0)).map_or_else(oldest, |()| Revision(0)), 1000)
        .unwrap();
    assert!((100..=256).contains(&kept.len()), "{}", kept.len());
}

#[allow(clippy::needless_pass_by_value, reason = "it maps an error")]
fn oldest(error: BackendError) -> Revision {
    let BackendError::Compacted { oldest } = error else { panic!("{error:?}") };
    oldest
}

#[test]
fn compaction_takes_only_a_revision_that_is_there() {
    let mut mvcc = Mvcc::new();
    plain(&mut mvcc, "a");
    assert_eq!(mvcc.compact(Revision(3)), Err(BackendError::FutureRevision));
    assert_eq!(mvcc.compact(Revision(2)), Ok(()));
    assert_eq!(mvcc.compact(Revision(1)), Err(BackendError::Compacted { oldest: Revision(2) }));
}

#[test]
fn a_restored_backup_goes_back_in_revisions_but_not_in_lease_ids() {
    let (mut mvcc, now) = (Mvcc::new(), Instant::now());
    let old = mvcc.grant(LeaseId::NONE, TTL, now).unwrap().lease;
    mvcc.write(vec![put("a", "old", old)]).unwrap();
    let backup = mvcc.clone();
    let lost = mvcc.grant(LeaseId::NONE, TTL, now).unwrap().lease;
    mvcc.write(vec![put("a", "new", lost)]).unwrap();
    let later = now + TTL * 5;
    mvcc.restore(&backup, later);
    assert_eq!(mvcc.header().revision, Revision(2));
    assert_eq!(mvcc.list(&ListRequest::new(all())).unwrap().kvs[0].value, "old");
    assert_eq!(mvcc.next_expiry(), Some(later + TTL), "a lease has its whole time again");
    assert_eq!(mvcc.keep_alive(lost, later), Err(BackendError::LeaseNotFound { lease: lost }));
    let new = mvcc.grant(LeaseId::NONE, TTL, later).unwrap().lease;
    assert!(![old, lost].contains(&new), "{new}");
}
