//! Answers that would remove most keys.

use super::*;
use crate::config::DeletionGuard;
use crate::watch::PageKeys;

const HOLD: Duration = Duration::from_secs(30);

/// A store with four keys that doubts more than half of at least four.
fn guarded() -> (Bench, ObserverId) {
    let rule = DeletionGuard { percent: 50, min_keys: 4, hold: HOLD };
    let mut bench = Bench::with(|config| config.deletion_guard(rule));
    bench.list(&four(), 5);
    let id = bench.observer();
    bench.told(id);
    (bench, id)
}

fn four() -> [KeyValue; 4] {
    [kv("a", "1", 2), kv("b", "2", 2), kv("c", "3", 2), kv("d", "4", 2)]
}

fn wait(result: Result<(), Refused>) -> Duration {
    match result {
        Err(Refused::Doubtful { wait, removed: 3 | 4, entries: 4 }) => wait,
        other => panic!("{other:?}"),
    }
}

fn list(bench: &mut Bench, keys: &[KeyValue], revision: u64) -> Result<(), Refused> {
    let page = Bench::page(true, true, revision, PageKeys::Full(keys.to_vec()));
    bench.store.deliver(bench.now, page)
}

fn foreign(bench: &mut Bench, keys: &[KeyValue], revision: u64) -> Result<(), Refused> {
    bench.store.deliver(bench.now, Bench::foreign_page(keys, revision))
}

#[test]
fn a_list_without_most_keys_is_believed_only_the_second_time() {
    let (mut bench, id) = guarded();
    assert_eq!(wait(list(&mut bench, &[kv("a", "1", 2)], 8)), Duration::ZERO);
    assert_eq!((bench.told(id), bench.shown().len()), (vec![], 4));
    let state = bench.reader.state();
    assert_eq!(state.cause().unwrap().to_string(), "a list says that 3 of 4 keys are gone: asking again");
    list(&mut bench, &[kv("a", "1", 2)], 9).unwrap();
    assert_eq!(bench.told(id), ["-b @9", "-c @9", "-d @9"]);
    assert_eq!(bench.store.status(&OwnStats::default()).relists.doubts, 1);
}

#[test]
fn a_second_list_that_has_the_keys_is_all_that_is_told() {
    let (mut bench, id) = guarded();
    wait(list(&mut bench, &[], 8));
    list(&mut bench, &[kv("a", "9", 7), kv("b", "2", 2), kv("c", "3", 2), kv("e", "5", 8)], 9).unwrap();
    assert_eq!(bench.told(id), ["a:1->9 @7", "+e=5 @8", "-d @9"]);
    wait(list(&mut bench, &[], 10));
}

#[test]
fn changes_that_remove_most_keys_are_left_to_a_list() {
    let (mut bench, id) = guarded();
    let deletions = Delivery::Events(vec![delete("a", 6), delete("b", 6), delete("c", 6)]);
    assert_eq!(wait(bench.store.deliver(bench.now, deletions)), Duration::ZERO);
    assert_eq!((bench.told(id), bench.reader.revision()), (vec![], Revision(5)));
    list(&mut bench, &[kv("d", "4", 2)], 6).unwrap();
    assert_eq!(bench.told(id), ["-a @6", "-b @6", "-c @6"]);
}

#[test]
fn few_deletions_few_keys_keys_that_come_back_and_own_ones_are_no_doubt() {
    let (mut bench, id) = guarded();
    bench.events([delete("a", 6), delete("b", 6)]);
    assert_eq!(bench.told(id), ["-a @6", "-b @6"]);
    bench.events([delete("c", 7), delete("d", 7)]);
    assert_eq!(bench.told(id), ["-c @7", "-d @7"], "fewer than four keys");
    let (mut bench, id) = guarded();
    let gone = [delete("a", 6), delete("b", 6), delete("c", 6), delete("d", 6)];
    bench.events([&gone[..], &[put("a", "1", 7), put("b", "2", 7)]].concat());
    assert_eq!((bench.told(id).len(), bench.shown().len()), (6, 2), "only two stay away");
    let (mut bench, id) = guarded();
    for of in ["a", "b", "c"] {
        bench.store.delete_local(None, &name(of));
    }
    bench.told(id);
    bench.events([delete("a", 6), delete("b", 6), delete("c", 6)]);
    assert_eq!(bench.told(id).len(), 3, "we wanted that");
}

#[test]
fn another_kvstore_has_to_stay_empty_for_a_while_and_owners_put_their_keys_meanwhile() {
    let (mut bench, id) = guarded();
    bench.own("own", 5, 6);
    bench.told(id);
    bench.inputs();
    let doubt = |bench: &mut Bench, revision| match foreign(bench, &[], revision) {
        Err(Refused::Doubtful { wait, removed: 4, entries: 5 }) => wait,
        other => panic!("{other:?}"),
    };
    assert!(doubt(&mut bench, 1) > Duration::ZERO);
    assert_eq!(bench.inputs(), ["forget"], "own keys belong into the new kvstore at once");
    bench.store.put_local(&note("own", 7)).unwrap();
    assert_eq!(bench.inputs(), ["put own"], "what the cache shows says nothing of the new kvstore");
    doubt(&mut bench, 2);
    assert_eq!((bench.inputs(), bench.told(id)), (vec![], vec![]));
    bench.passes(30);
    foreign(&mut bench, &[kv("own", "7", 2)], 3).unwrap();
    assert_eq!(bench.told(id), ["resynced 6 to 3", "own:5->7 @2 own", "-a @3", "-b @3", "-c @3", "-d @3"]);
    assert_eq!(bench.inputs(), ["own is of 2 at 2"], "and it is not forgotten again");
}

#[test]
fn another_kvstore_that_fills_up_in_time_deletes_nothing() {
    let (mut bench, id) = guarded();
    foreign(&mut bench, &[], 1).unwrap_err();
    bench.passes(10);
    foreign(&mut bench, &[kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4), kv("d", "4", 5)], 5).unwrap();
    assert_eq!(bench.told(id), ["resynced 5 to 5"]);
}

#[test]
fn a_third_kvstore_is_told_to_the_sync_again() {
    let (mut bench, _) = guarded();
    bench.inputs();
    for (revision, inputs) in [(4, vec!["forget".to_owned()]), (4, vec![]), (3, vec!["forget".to_owned()])] {
        foreign(&mut bench, &[], revision).unwrap_err();
        assert_eq!(bench.inputs(), inputs);
    }
}
