//! Batches that wait as they are.

use super::*;

/// A batch of creates.
fn creates(names: &[&str], revision: u64) -> Arc<[Change<u32>]> {
    names.iter().map(|name| step(name, 0, 1, revision)).collect()
}

/// So many changes of keys whose names begin with this.
fn many(of: &str, count: usize, revision: u64) -> Arc<[Change<u32>]> {
    (0..count).map(|n| step(&format!("{of}{n:03}"), 0, 1, revision)).collect()
}

/// One that has a parcel under way.
fn busy(mut bench: Bench) -> Bench {
    bench.push([step("x", 0, 1, 2)]);
    assert_eq!(bench.next(), ["x:0->1 @2"]);
    bench
}

#[test]
fn batches_of_different_keys_wait_as_they_are_and_are_not_copied() {
    let mut bench = busy(Bench::latest());
    let batches = [many("a", 100, 3), many("b", 100, 4), many("c", PARCEL + 1, 5)];
    for batch in &batches {
        bench.share(batch);
    }
    assert_eq!(bench.pending(), 1 + 100 + 100 + PARCEL + 1);
    let mut told = Vec::new();
    bench.outbox.delivered();
    while let Some(Parcel::Changes(changes)) = bench.outbox.poll() {
        told.push(changes);
        bench.outbox.delivered();
    }
    let sizes: Vec<_> = told.iter().map(|changes| changes.len()).collect();
    assert_eq!(sizes, [100, 100, PARCEL, 1]);
    for (told, batch) in told.iter().zip(&batches) {
        assert!(std::ptr::eq(&raw const told[0], &raw const batch[0]));
    }
}

#[test]
fn what_waits_is_merged_when_a_batch_names_one_of_its_keys() {
    let mut bench = busy(Bench::latest());
    bench.share(&creates(&["a", "b"], 3));
    bench.share(&creates(&["c"], 4));
    bench.push([step("b", 1, 2, 5), step("d", 0, 1, 5)]);
    bench.share(&creates(&["e"], 6));
    assert_eq!(bench.pending(), 1 + 5, "each key once");
    assert_eq!(bench.told(), ["a:0->1 @3", "b:0->2 @5", "c:0->1 @4", "d:0->1 @5", "e:0->1 @6"]);
    // A key of the parcel under way does not wait.
    bench.push([step("a", 1, 2, 7)]);
    bench.next();
    let again: Arc<[_]> = Arc::from([step("a", 2, 3, 8)]);
    bench.share(&again);
    assert_eq!(Arc::strong_count(&again), 2);
    assert_eq!(bench.told(), ["a:2->3 @8"]);
}

#[test]
fn a_batch_that_is_told_in_part_stays_and_what_names_its_keys_comes_after_it() {
    let mut bench = busy(Bench::latest());
    bench.share(&many("a", PARCEL + 1, 3));
    bench.share(&creates(&["b"], 4));
    bench.outbox.delivered();
    assert_eq!(bench.next().len(), PARCEL);
    bench.push([step("a256", 1, 2, 5), step("b", 1, 0, 5)]);
    assert_eq!(bench.told(), ["a256:0->1 @3", "a256:1->2 @5"]);
}

#[test]
fn small_batches_are_told_together() {
    let mut bench = busy(Bench::latest());
    for n in 0..300 {
        bench.push([step(&format!("n{n}"), 0, 1, 3 + n)]);
    }
    bench.share(&many("a", 100, 400));
    bench.outbox.delivered();
    let mut sizes = Vec::new();
    while let Some(Parcel::Changes(changes)) = bench.outbox.poll() {
        sizes.push(changes.len());
        bench.outbox.delivered();
    }
    assert_eq!(sizes, [PARCEL, 300 - PARCEL, 100]);
}

#[test]
fn every_event_waits_up_to_the_capacity_whatever_it_names() {
    let mut bench = busy(Bench::every(2));
    bench.share(&creates(&["a"], 3));
    bench.share(&creates(&["b"], 4));
    bench.share(&creates(&["c"], 5));
    assert_eq!(bench.told(), ["resynced 2 to 5", "a:0->1 @3", "b:0->1 @4", "c:0->1 @5"]);
}

#[test]
fn waiting_batches_are_merged_with_what_another_history_says() {
    let mut bench = busy(Bench::latest());
    bench.share(&creates(&["a"], 8));
    bench.share(&creates(&["b"], 9));
    bench.outbox.history_changed(bench.now, Revision(4), &Arc::from([step("b", 1, 0, 3)]));
    bench.share(&creates(&["c"], 5));
    assert_eq!(bench.told(), ["resynced 2 to 4", "a:0->1 @4", "c:0->1 @5"]);
}
