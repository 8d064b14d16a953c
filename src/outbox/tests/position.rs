//! How far an observer knows everything, and what waited at some time.

use super::*;

fn progressing(mode: DeliveryMode) -> Bench {
    let mut bench = Bench::with(Filter::new().prefix("a"), mode);
    bench.outbox.want_progress();
    bench
}

#[test]
fn progress_is_told_when_nothing_is_left_and_only_what_is_news() {
    for mode in [DeliveryMode::LatestPerKey, DeliveryMode::every_event(1)] {
        let mut bench = progressing(mode);
        assert_eq!(bench.told(), NONE);
        bench.push([step("b", 0, 1, 2)]);
        bench.outbox.reached(Revision(2));
        assert_eq!(bench.told(), ["progress @2"], "what the filter does not pass");
        bench.outbox.reached(Revision(2));
        assert_eq!(bench.told(), NONE);
        bench.push([step("a", 0, 1, 3)]);
        bench.outbox.reached(Revision(3));
        assert_eq!(bench.told(), ["a:0->1 @3", "progress @3"]);
        // A deletion that was held back: the cache's revision stays.
        bench.push([step("a2", 1, 0, 3)]);
        assert_eq!(bench.told(), ["a2:1->0 @3", "progress @3"]);
        assert_eq!(bench.told(), NONE);
        bench.push([step("a", 1, 2, 4)]);
        assert_eq!(bench.next(), ["a:1->2 @4"]);
        bench.outbox.reached(Revision(5));
        bench.push([step("a", 2, 3, 6)]);
        bench.outbox.reached(Revision(7));
        assert_eq!(bench.told(), ["a:2->3 @6", "progress @7"], "changes come first, and the newest is enough");
    }
}

#[test]
fn progress_waits_for_the_first_state_to_be_complete() {
    let mut bench = Bench::latest();
    bench.outbox = Outbox::new(Filter::new(), DeliveryMode::LatestPerKey);
    bench.outbox.want_progress();
    bench.outbox.begin_unverified(bench.now, &Arc::from([step("a", 0, 1, 3)]), Revision(5));
    assert_eq!(bench.told(), ["a:0->1 @3"], "what was known before a restart may be outdated");
    let first = First { revision: Revision(7), same_history: true, names: &[] };
    bench.outbox.verified(bench.now, &Arc::from([step("a", 1, 2, 6)]), &first);
    assert_eq!(bench.told(), ["a:1->2 @6", "synced 0 @7"]);
}

#[test]
fn who_does_not_want_progress_is_told_none() {
    let mut bench = Bench::latest();
    bench.outbox.reached(Revision(9));
    assert_eq!(bench.told(), NONE);
}

#[test]
fn progress_of_a_history_that_is_over_is_not_told() {
    let mut bench = progressing(DeliveryMode::LatestPerKey);
    bench.push([step("a", 0, 1, 7)]);
    bench.next();
    bench.outbox.reached(Revision(9));
    bench.outbox.history_changed(bench.now, Revision(4), &Arc::from([step("a", 1, 2, 3)]));
    assert_eq!(bench.told(), ["resynced 7 to 4", "a:1->2 @3", "progress @4"]);
    bench.outbox.reached(Revision(5));
    assert_eq!(bench.told(), ["progress @5"]);
}

/// Whether the mark is passed before each parcel and after the last one.
fn passed(bench: &mut Bench, mark: u64) -> Vec<bool> {
    let mut passed = vec![bench.outbox.has_passed(mark)];
    while {
        bench.outbox.delivered();
        passed.push(bench.outbox.has_passed(mark));
        !bench.next().is_empty()
    } {}
    passed
}

#[test]
fn a_mark_is_passed_when_all_that_waited_is_handled_though_more_has_come() {
    let mut bench = Bench::latest();
    assert!(bench.outbox.has_passed(bench.outbox.mark()), "nothing waits");
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 0, 1, 3), step("b", 0, 1, 4)]);
    let mark = bench.outbox.mark();
    bench.push([step("b", 1, 2, 5)]);
    for n in 0..PARCEL {
        bench.push([step(&format!("c{n:03}"), 0, 1, 6)]);
    }
    // The parcel under way, then a, b and most of the others, then the rest.
    assert_eq!(passed(&mut bench, mark), [false, false, true, true]);
}

#[test]
fn a_mark_is_passed_late_rather_than_early_when_what_waits_is_merged() {
    let mut bench = Bench::every(2);
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 0, 1, 3), step("a", 1, 2, 4)]);
    let mark = bench.outbox.mark();
    // An overrun, which makes one change of these three.
    bench.push([step("a", 2, 3, 5)]);
    // After the parcel under way, Resynced and the change: nothing is left.
    assert_eq!(passed(&mut bench, mark), [false, false, false, true]);
    bench.push([step("a", 3, 4, 6)]);
    bench.next();
    bench.push([step("b", 0, 1, 7), step("b", 1, 0, 8)]);
    let mark = bench.outbox.mark();
    assert_eq!(passed(&mut bench, mark), [false, false, true], "two changes, one after the other");
    let mut bench = Bench::latest();
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("b", 0, 1, 3), step("b", 1, 0, 4)]);
    let mark = bench.outbox.mark();
    assert!(bench.next().is_empty() && !bench.outbox.has_passed(mark));
    bench.outbox.delivered();
    assert!(bench.next().is_empty() && bench.outbox.has_passed(mark), "they cancel out, and nothing is told");
}
