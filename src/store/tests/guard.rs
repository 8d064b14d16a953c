//! Deletions that are held back: many at once, and all that another history makes.

use super::*;
use crate::config::DeletionGuard;
use crate::watch::PageKeys;

const HOLD: u64 = 30;

/// A store with four keys that holds back the deletions of more than half of at least four.
fn guarded() -> (Bench, ObserverId) {
    with_hold(Duration::from_secs(HOLD))
}

fn with_hold(hold: Duration) -> (Bench, ObserverId) {
    let rule = DeletionGuard { percent: 50, min_keys: 4, hold };
    let mut bench = Bench::with(|config| config.deletion_guard(rule));
    bench.list(&[kv("a", "1", 2), kv("b", "2", 2), kv("c", "3", 2), kv("d", "4", 2)], 5);
    let id = bench.observer();
    bench.told(id);
    (bench, id)
}

fn held(bench: &Bench) -> usize {
    bench.store.status().held_back
}

/// A list of this kvstore, whose history is another than that of the cache.
fn other(bench: &mut Bench, cluster: u64, keys: &[KeyValue], revision: u64) {
    let (revision, cluster, keys) = (Revision(revision), ClusterId(cluster), PageKeys::Full(keys.to_vec()));
    bench.deliver(Delivery::Page(Page { first: true, last: true, revision, cluster, same_history: false, keys }));
}

#[test]
fn the_deletions_of_a_list_without_most_keys_are_told_after_the_hold_and_all_else_at_once() {
    let (mut bench, id) = guarded();
    bench.list(&[kv("a", "9", 7), kv("new", "5", 8)], 9);
    assert_eq!((bench.told(id), held(&bench)), (vec!["a:1->9 @7".to_owned(), "+new=5 @8".into()], 3));
    bench.passes(HOLD - 1);
    assert_eq!((bench.told(id), bench.shown().len()), (vec![], 5));
    bench.passes(1);
    assert_eq!((bench.told(id), held(&bench)), (vec!["-b @9".to_owned(), "-c @9".into(), "-d @9".into()], 0));
}

#[test]
fn deletions_of_most_keys_that_the_watch_sees_are_told_after_the_hold() {
    let (mut bench, id) = guarded();
    bench.events([delete("a", 6), delete("b", 6), delete("c", 6), put("d", "9", 6)]);
    assert_eq!((bench.told(id), held(&bench)), (vec!["d:4->9 @6".to_owned()], 3));
    bench.events([put("a", "1", 7), put("b", "7", 8)]);
    bench.passes(HOLD);
    assert_eq!(bench.told(id), ["b:2->7 @8", "-c @8"], "what came back was never deleted");
}

#[test]
fn keys_that_are_put_again_in_the_same_batch_count_for_no_mass_deletion() {
    let (mut bench, id) = guarded();
    let pairs = ["a", "b", "c"].into_iter().flat_map(|key| [delete(key, 6), put(key, "9", 7)]);
    bench.events(pairs.chain([delete("d", 8)]).collect::<Vec<_>>());
    assert_eq!(held(&bench), 0);
    assert_eq!(bench.told(id).last().map(String::as_str), Some("-d @8"));
}

#[test]
fn a_relist_that_still_lacks_a_key_does_not_extend_its_hold() {
    let (mut bench, id) = guarded();
    bench.list(&[kv("a", "1", 2)], 8);
    bench.passes(HOLD - 1);
    bench.list(&[kv("a", "1", 2)], 9);
    bench.passes(1);
    assert_eq!(bench.told(id).len(), 3);
}

/// Ten leases end one after the other, as etcd ends those of a partitioned site.
#[test]
fn a_mass_deletion_that_comes_lease_by_lease_is_held_back_after_half_of_the_keys() {
    let mut bench = Bench::with(|config| config.deletion_guard(DeletionGuard::default()));
    let keys: Vec<_> = (0..10_000).map(|n| kv(&format!("{n:05}"), "1", 2)).collect();
    bench.list(&keys, 5);
    for lease in 0..9 {
        bench.events((0..1000).map(|n| delete(&format!("{:05}", lease * 1000 + n), 6 + lease)).collect::<Vec<_>>());
        bench.passes(2);
    }
    assert_eq!((bench.reader.len(), held(&bench)), (5000, 4000));
}

#[test]
fn deletions_longer_apart_than_the_hold_do_not_count_together() {
    let mut bench = Bench::with(|config| config.deletion_guard(DeletionGuard { min_keys: 4, ..Default::default() }));
    let keys: Vec<_> = (0..10).map(|n| kv(&n.to_string(), "1", 2)).collect();
    bench.list(&keys, 5);
    bench.events((0..5).map(|n| delete(&n.to_string(), 6)).collect::<Vec<_>>());
    bench.passes(30);
    bench.events([delete("5", 7), delete("6", 7)]);
    assert_eq!((bench.shown().len(), held(&bench)), (3, 0));
}

/// Agents of a site that restart one after the other: each key is gone for a moment.
#[test]
fn keys_that_have_come_back_are_no_mass_deletion() {
    let mut bench = Bench::with(|config| config.deletion_guard(DeletionGuard::default()));
    bench.list(&(0..100).map(|n| kv(&n.to_string(), "1", 2)).collect::<Vec<_>>(), 5);
    for (of, revision) in (0..100).chain(0..100).zip((6..).step_by(2)) {
        bench.events([delete(&of.to_string(), revision)]);
        assert_eq!(held(&bench), 0, "{of}");
        bench.events([put(&of.to_string(), "1", revision + 1)]);
    }
    bench.events((0..51).map(|n| delete(&n.to_string(), 1000)).collect::<Vec<_>>());
    assert_eq!(held(&bench), 51);
}

#[test]
fn one_key_that_comes_and_goes_does_not_make_few_keys_many() {
    let (mut bench, _) = guarded();
    bench.events([delete("a", 6), delete("b", 6)]);
    for revision in (7..40).step_by(2) {
        bench.events([put("a", "1", revision), delete("a", revision + 1)]);
    }
    bench.passes(HOLD);
    bench.events([delete("c", 50)]);
    assert_eq!((bench.shown().len(), held(&bench)), (1, 0));
}

/// What is delayed is shown, and counts once.
#[test]
fn deletions_that_the_store_delays_are_a_mass_deletion_as_soon_as_others() {
    let delay = Duration::from_secs(1);
    let rule = DeletionGuard { min_keys: 4, ..Default::default() };
    let mut bench = Bench::with(|config| config.deletion_guard(rule).delete_delay(delay));
    bench.list(&(0..10).map(|n| kv(&n.to_string(), "1", 2)).collect::<Vec<_>>(), 5);
    for n in 0..6 {
        bench.events([delete(&n.to_string(), 6 + n)]);
    }
    bench.passes(1);
    assert_eq!((bench.shown().len(), held(&bench)), (5, 1), "five of ten are told, the sixth is held back");
}

#[test]
fn few_deletions_and_few_keys_are_told_at_once() {
    let (mut bench, id) = guarded();
    bench.events([delete("a", 6), delete("b", 6)]);
    assert_eq!(bench.told(id), ["-a @6", "-b @6"]);
    bench.passes(HOLD);
    bench.events([delete("c", 7), delete("d", 7)]);
    assert_eq!(bench.told(id), ["-c @7", "-d @7"], "fewer than four keys");
}

#[test]
fn own_keys_that_we_delete_are_no_mass_deletion() {
    let (mut bench, id) = guarded();
    let all = ["e", "f", "g", "h", "i", "j"];
    for (of, revision) in all.into_iter().zip(6..) {
        bench.own(of, 1, revision);
    }
    bench.told(id);
    all.into_iter().for_each(|of| bench.give_up(of));
    bench.commit(12);
    let ours = all.map(|of| delete(of, 12));
    bench.events([&ours[..], &[delete("a", 13)]].concat());
    assert_eq!((bench.told(id).len(), held(&bench)), (7, 0), "only one of ten keys is deleted by others");
}

#[test]
fn the_hold_and_the_delay_of_the_store_do_not_add_up() {
    let rule = DeletionGuard { percent: 50, min_keys: 2, hold: Duration::from_secs(HOLD) };
    for delay in [10, 60] {
        let mut bench = Bench::with(|config| config.deletion_guard(rule).delete_delay(Duration::from_secs(delay)));
        bench.list(&[kv("a", "1", 2), kv("b", "2", 2)], 5);
        bench.events([delete("a", 6), delete("b", 6)]);
        bench.passes(delay.max(HOLD) - 1);
        assert_eq!(held(&bench), 2);
        bench.passes(1);
        assert_eq!((held(&bench), bench.shown()), (0, vec![]));
    }
}

#[test]
fn every_deletion_that_another_history_makes_is_held_back_however_few() {
    let keys: Vec<_> = (0..1000).map(|n| kv(&format!("{n:04}"), "1", 2)).collect();
    let mut bench = Bench::listed(&keys, 5);
    let id = bench.observer();
    bench.told(id);
    other(&mut bench, 2, &keys[1..], 9);
    assert_eq!((bench.told(id), held(&bench)), (vec!["resynced 5 to 9".to_owned()], 1));
    bench.passes(HOLD);
    assert_eq!(bench.told(id), ["-0000 @9"]);
    let mut few = Bench::listed(&keys[..1], 5);
    other(&mut few, 2, &[], 9);
    assert_eq!(held(&few), 1);
}

#[test]
fn another_kvstore_that_fills_up_within_the_hold_deletes_nothing() {
    let (mut bench, id) = guarded();
    other(&mut bench, 2, &[], 1);
    bench.passes(10);
    bench.events([put("a", "1", 2), put("b", "2", 3), put("c", "3", 4), put("d", "5", 5)]);
    bench.passes(HOLD);
    assert_eq!(bench.told(id), ["resynced 5 to 1", "d:4->5 @5"]);
}

#[test]
fn own_keys_are_put_into_another_kvstore_at_once() {
    let (mut bench, id) = guarded();
    bench.own("own", 5, 6);
    bench.told(id);
    let lease = bench.lease;
    other(&mut bench, 2, &[], 1);
    assert!(bench.happened().iter().any(|event| matches!(event, OwnEvent::LeaseLost { .. })));
    assert_eq!(bench.commit(2), ["put own=5 over absent"]);
    assert_ne!(bench.lease, lease, "leases of another kvstore mean nothing");
    bench.events([bench.put_by_us("own", "5", 2)]);
    bench.passes(HOLD);
    assert_eq!(bench.told(id), ["resynced 6 to 1", "-a @2", "-b @2", "-c @2", "-d @2"]);
}

/// Most keys are deleted; the kvstore goes down, and half a minute later an empty one answers.
#[test]
fn another_kvstore_has_the_whole_hold_whatever_was_held_back_before() {
    let (mut bench, id) = guarded();
    bench.events([delete("a", 6), delete("b", 6), delete("c", 6)]);
    bench.deliver(Delivery::Broken(crate::backend::BackendError::unavailable("down")));
    bench.now += Duration::from_secs(HOLD - 1);
    other(&mut bench, 2, &[], 1);
    bench.passes(HOLD - 1);
    assert_eq!((bench.told(id), held(&bench)), (vec!["resynced 5 to 1".to_owned()], 4));
    bench.passes(1);
    assert_eq!(bench.told(id).len(), 4);
}

#[test]
fn each_other_kvstore_has_the_whole_hold() {
    let (mut bench, id) = guarded();
    for cluster in 2..5 {
        other(&mut bench, cluster, &[], 1);
        bench.passes(HOLD - 1);
    }
    assert_eq!((held(&bench), bench.shown().len()), (4, 4));
    bench.passes(1);
    let told = bench.told(id);
    assert_eq!(told[told.len() - 4..], ["-a @1", "-b @1", "-c @1", "-d @1"]);
}

#[test]
fn a_change_of_the_kvstore_that_is_meant_holds_nothing_back() {
    let (mut bench, id) = guarded();
    bench.store.detach(bench.now);
    bench.store.attach(Prefix::new("p").unwrap());
    bench.list(&[], 9);
    assert_eq!((bench.told(id).len(), held(&bench)), (5, 0));
}

#[test]
fn a_guard_that_is_off_holds_nothing_back() {
    let off = [
        DeletionGuard::OFF,
        DeletionGuard { hold: Duration::ZERO, ..Default::default() },
        DeletionGuard { percent: 100, min_keys: 1, ..Default::default() },
    ];
    for rule in off {
        let mut bench = Bench::with(|config| config.deletion_guard(rule));
        bench.list(&(0..200).map(|n| kv(&n.to_string(), "1", 2)).collect::<Vec<_>>(), 5);
        other(&mut bench, 2, &[], 1);
        assert_eq!((bench.shown(), held(&bench)), (vec![], 0), "{rule:?}");
    }
}

#[test]
fn a_hold_beyond_the_clock_is_as_good_as_for_ever() {
    let (mut bench, id) = with_hold(Duration::MAX);
    other(&mut bench, 2, &[], 1);
    bench.passes(10 * 365 * 86_400);
    other(&mut bench, 3, &[], 1);
    assert_eq!((bench.told(id), held(&bench)), (vec!["resynced 5 to 1".to_owned()], 4));
}
