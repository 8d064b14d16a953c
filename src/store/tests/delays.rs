//! Deletions that are held back.

use super::*;

fn delayed(seconds: u64) -> Bench {
    let mut bench = Bench::with(|config| config.delete_delay(Duration::from_secs(seconds)));
    bench.list(&[kv("a", "1", 3), kv("b", "2", 4)], 5);
    bench
}

#[test]
fn a_deletion_is_told_once_when_its_delay_has_passed() {
    let mut bench = delayed(30);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 6)]);
    assert_eq!(bench.store.deadline(), Some(bench.now + Duration::from_secs(30)));
    bench.passes(29);
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned(), "b=2".into()]));
    bench.passes(1);
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @6".to_owned()], vec!["b=2".into()]));
    bench.passes(100);
    assert_eq!(bench.told(id), NONE);
    assert_eq!(bench.store.deadline(), None);
}

#[test]
fn a_key_that_comes_back_in_time_was_never_deleted() {
    let mut bench = delayed(30);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 6), delete("b", 6)]);
    bench.passes(10);
    bench.events([put("a", "1", 7), put("b", "9", 8)]);
    bench.passes(100);
    assert_eq!(bench.told(id), ["b:2->9 @8"]);
    assert_eq!(bench.store.deadline(), None);
}

#[test]
fn the_delay_of_a_key_deleted_again_begins_again() {
    let mut bench = delayed(30);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 6)]);
    bench.passes(20);
    bench.events([put("a", "1", 7), delete("a", 8)]);
    bench.passes(20);
    assert_eq!(bench.told(id), NONE);
    bench.passes(10);
    assert_eq!(bench.told(id), ["-a @8"]);
}

#[test]
fn the_delay_begins_again_even_if_history_repeats_the_revision() {
    let mut bench = delayed(30);
    bench.events([delete("a", 6)]);
    bench.passes(20);
    bench.foreign_list(&[kv("a", "1", 3)], 5);
    bench.events([delete("a", 6)]);
    bench.passes(10);
    assert!(bench.shown().contains(&"a=1".to_owned()));
}

#[test]
fn a_deletion_held_back_is_told_as_of_now_and_not_before_what_was_told() {
    let mut bench = delayed(30);
    let id = bench.observe(Filter::new(), DeliveryMode::EveryEvent { capacity: std::num::NonZeroUsize::MAX });
    bench.told(id);
    bench.events([delete("a", 6)]);
    bench.events([put("b", "3", 7)]);
    bench.passes(30);
    assert_eq!(bench.told(id), ["b:2->3 @7", "-a @7"]);
}

#[test]
fn many_deletions_of_one_key_are_held_back_as_one() {
    let mut bench = delayed(30);
    for revision in 3..500 {
        bench.events([delete("a", 2 * revision), put("a", "1", 2 * revision + 1)]);
    }
    bench.events([delete("a", 2000)]);
    assert_eq!(bench.store.tombstones.held(), 1);
}

#[test]
fn a_delay_beyond_the_clock_is_as_good_as_for_ever() {
    let mut bench = Bench::with(|config| config.delete_delay(Duration::MAX));
    bench.list(&[kv("a", "1", 3)], 5);
    bench.events([delete("a", 6)]);
    bench.passes(10 * 365 * 86_400);
    assert_eq!(bench.shown(), ["a=1"]);
}

#[test]
fn a_key_whose_deletion_is_held_back_says_so_until_it_is_back() {
    let held_back = |bench: &Bench| -> Vec<_> { bench.reader.entries().map(|entry| entry.held_back()).collect() };
    let mut bench = delayed(30);
    bench.own("c", 3, 6);
    assert_eq!(held_back(&bench), [false, false, false]);
    bench.events([delete("a", 7), delete("b", 7), delete("c", 7)]);
    assert_eq!(held_back(&bench), [true, true, true]);
    // The same value, one that cannot be decoded, and the repair of an own key.
    bench.commit(10);
    bench.events([put("a", "1", 8), put("b", "x", 9), bench.put_by_us("c", "3", 10)]);
    assert_eq!((held_back(&bench), bench.shown().len()), (vec![false, false, false], 3));
}
