//! One observer's outbox to the letter.

mod batches;
mod first;
mod notices;
mod position;

use super::*;

/// A step of a key's number; 0 is none.
fn step(of: &str, from: u32, to: u32, revision: u64) -> Change<u32> {
    let value = |value: u32| (value != 0).then(|| (Arc::new(value), u128::from(value)));
    let (old, new, name) = (value(from), value(to), KeyName::new(of).unwrap());
    let old = old.as_ref().map(|(key, hash)| (key, *hash));
    let new = new.as_ref().map(|(key, hash)| (key, *hash));
    change(&name, old, new, Revision(revision), Origin::Remote, Reason::Event)
}

struct Bench {
    outbox: Outbox<u32>,
    batches: Batches,
    now: Instant,
}

impl Bench {
    fn with(filter: Filter<u32>, mode: DeliveryMode) -> Self {
        let now = Instant::now();
        let mut outbox = Outbox::new(filter, mode);
        outbox.begin(now, &Arc::from([]), Revision(1));
        let mut bench = Self { outbox, batches: Batches::default(), now };
        assert_eq!(bench.told(), ["synced 0 @1"]);
        bench
    }

    fn latest() -> Self {
        Self::with(Filter::new(), DeliveryMode::LatestPerKey)
    }

    fn every(capacity: usize) -> Self {
        Self::with(Filter::new(), DeliveryMode::every_event(capacity))
    }

    fn push<const N: usize>(&mut self, steps: [Change<u32>; N]) {
        self.share(&Arc::from(steps));
    }

    fn share(&mut self, changes: &Arc<[Change<u32>]>) {
        let batch = self.batches.next(changes);
        self.outbox.push(self.now, changes, batch);
    }

    fn next(&mut self) -> Vec<String> {
        match self.outbox.poll() {
            None => Vec::new(),
            Some(Parcel::Changes(changes)) => changes.iter().map(words).collect(),
            Some(Parcel::Notice(Notice::Synced { revision, entries })) => vec![format!("synced {entries} @{revision}")],
            Some(Parcel::Notice(Notice::Resynced { from, to })) => vec![format!("resynced {from} to {to}")],
            Some(Parcel::Notice(Notice::Undecodable { name, revision, .. })) => vec![format!("bad {name} @{revision}")],
            Some(Parcel::Notice(Notice::Progress { revision })) => vec![format!("progress @{revision}")],
            Some(Parcel::Notice(Notice::Conflict { name, .. })) => vec![format!("conflict {name}")],
            Some(Parcel::Notice(Notice::Healed { name, revision })) => vec![format!("healed {name} @{revision}")],
            Some(Parcel::Notice(Notice::Repaired { name, revision, .. })) => {
                vec![format!("repaired {name} @{revision}")]
            }
            Some(Parcel::Notice(Notice::SetAside { name, cause })) => vec![format!("set aside {name}: {cause:?}")],
        }
    }

    fn told(&mut self) -> Vec<String> {
        self.outbox.delivered();
        let mut told = Vec::new();
        loop {
            let next = self.next();
            if next.is_empty() {
                return told;
            }
            told.extend(next);
            self.outbox.delivered();
        }
    }

    fn pending(&self) -> usize {
        self.outbox.lag().pending
    }
}

fn words(change: &Change<u32>) -> String {
    let value = |value: &Option<Arc<u32>>| value.as_ref().map_or(0, |value| **value);
    format!("{}:{}->{} @{}", change.name, value(&change.old), value(&change.new), change.revision)
}

const NONE: [&str; 0] = [];

#[test]
fn one_parcel_is_under_way_at_a_time() {
    let mut bench = Bench::latest();
    bench.push([step("a", 0, 1, 2)]);
    assert_eq!(bench.next(), ["a:0->1 @2"]);
    bench.push([step("b", 0, 1, 3)]);
    assert_eq!(bench.next(), NONE);
    bench.outbox.delivered();
    assert_eq!(bench.next(), ["b:0->1 @3"]);
}

#[test]
fn steps_that_wait_merge_into_one_at_the_place_of_the_first() {
    let mut bench = Bench::latest();
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 0, 1, 3), step("b", 5, 6, 4)]);
    bench.push([step("a", 1, 2, 5), step("c", 3, 0, 6), step("b", 6, 7, 7)]);
    assert_eq!(bench.told(), ["a:0->2 @5", "b:5->7 @7", "c:3->0 @6"]);
}

#[test]
fn a_value_that_came_back_to_what_was_told_is_silence() {
    let mut bench = Bench::latest();
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 1, 2, 3), step("a", 2, 0, 4), step("b", 0, 1, 5), step("a", 0, 1, 6), step("b", 1, 0, 7)]);
    assert_eq!(bench.told(), NONE);
    let mut bench = Bench::every(1);
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 1, 2, 3), step("a", 2, 1, 4)]);
    assert_eq!(bench.told(), ["resynced 2 to 4"]);
}

#[test]
fn a_deletion_is_never_lost_however_much_is_merged() {
    for mut bench in [Bench::latest(), Bench::every(1), Bench::every(3)] {
        bench.push([step("a", 0, 1, 2)]);
        bench.next();
        for n in 0..10 {
            bench.push([step("a", 1, 0, 3 + 2 * n), step("a", 0, 1, 4 + 2 * n)]);
        }
        bench.push([step("a", 1, 0, 30)]);
        let told = bench.told();
        assert!(told.last().unwrap().ends_with("->0 @30"), "{told:?}");
    }
}

#[test]
fn every_event_tells_every_step_in_order() {
    let mut bench = Bench::every(10);
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 1, 2, 3), step("b", 0, 1, 3)]);
    bench.push([step("a", 2, 0, 4), step("a", 0, 1, 5)]);
    assert_eq!(bench.told(), ["a:1->2 @3", "b:0->1 @3", "a:2->0 @4", "a:0->1 @5"]);
}

#[test]
fn an_overrun_is_told_and_then_the_difference_and_then_every_step_again() {
    let mut bench = Bench::every(2);
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 1, 2, 3), step("b", 0, 1, 4)]);
    bench.push([step("a", 2, 3, 5)]);
    bench.push([step("a", 3, 4, 6), step("a", 4, 5, 7)]);
    assert_eq!(bench.told(), ["resynced 2 to 5", "a:1->3 @5", "b:0->1 @4", "a:3->4 @6", "a:4->5 @7"]);
    bench.push([step("b", 1, 2, 8)]);
    assert_eq!(bench.told(), ["b:1->2 @8"]);
}

#[test]
fn one_notice_stands_for_many_overruns() {
    let mut bench = Bench::every(1);
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    for n in 1..10 {
        bench.push([step("a", n, n + 1, 2 + u64::from(n))]);
    }
    let told = bench.told();
    assert_eq!(
        (told.len(), &told[0][..], told.last().unwrap().split("->").last()),
        (3, "resynced 2 to 10", Some("10 @11"))
    );
}

#[test]
fn resynced_starts_from_the_last_revision_told() {
    let mut bench = Bench::every(1);
    let names: Vec<_> = (0..300).map(|n| format!("n{n}")).collect();
    let steps: Vec<_> = names.iter().zip(2..).map(|(name, revision)| step(name, 0, 1, revision)).collect();
    bench.share(&Arc::from(steps));
    assert_eq!(bench.next().len(), PARCEL);
    bench.push([step("a", 0, 1, 400), step("a", 1, 2, 401)]);
    let told = bench.told();
    assert_eq!(told[300 - PARCEL], "resynced 301 to 401");
}

#[test]
fn history_that_went_back_is_told_with_one_difference_in_either_mode() {
    for mut bench in [Bench::latest(), Bench::every(9)] {
        bench.push([step("a", 0, 1, 8)]);
        bench.next();
        bench.push([step("a", 1, 2, 9), step("b", 0, 1, 10), step("c", 0, 1, 11)]);
        let back = Arc::from([step("a", 2, 7, 3), step("c", 1, 0, 4)]);
        bench.outbox.history_changed(bench.now, Revision(4), &back);
        bench.push([step("b", 1, 2, 5)]);
        let told = bench.told();
        assert_eq!(told[..2], ["resynced 8 to 4", "a:1->7 @3"]);
        assert!(told[2..] == ["b:0->2 @5"] || told[2..] == ["b:0->1 @4", "b:1->2 @5"], "{told:?}");
    }
}

#[test]
fn an_overrun_does_not_hide_that_history_went_back() {
    let mut bench = Bench::every(1);
    bench.push([step("a", 0, 1, 8)]);
    bench.next();
    bench.outbox.history_changed(bench.now, Revision(4), &Arc::from([]));
    bench.push([step("a", 1, 2, 9), step("a", 2, 3, 10)]);
    assert_eq!(bench.told(), ["resynced 8 to 4", "resynced 4 to 10", "a:1->3 @10"]);
}

#[test]
fn going_back_is_told_to_one_who_waits_for_nothing() {
    let mut bench = Bench::latest();
    bench.outbox.history_changed(bench.now, Revision(4), &Arc::from([step("a", 0, 1, 4)]));
    assert_eq!(bench.told(), ["resynced 1 to 4", "a:0->1 @4"]);
}

#[test]
fn a_batch_behind_the_parcel_under_way_is_shared_until_more_comes() {
    let mut bench = Bench::latest();
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    let batch: Arc<[_]> = Arc::from([step("a", 0, 1, 3), step("b", 0, 1, 4)]);
    bench.share(&batch);
    bench.outbox.delivered();
    let Some(Parcel::Changes(told)) = bench.outbox.poll() else { panic!("nothing is told") };
    assert!(std::ptr::eq(&*told, &*batch));
    bench.push([step("a", 1, 2, 5), step("b", 1, 2, 6)]);
    bench.push([step("a", 2, 3, 7), step("b", 2, 1, 8)]);
    assert_eq!(bench.told(), ["a:1->3 @7"], "of each key what is left of its changes");
    // A notice keeps its place behind the changes before it.
    bench.push([step("x", 1, 2, 9)]);
    bench.next();
    bench.push([step("a", 3, 4, 10)]);
    let name = KeyName::new("a").unwrap();
    bench.outbox.notify(bench.now, Notice::Healed { name, revision: Revision(11) });
    bench.push([step("a", 4, 5, 12)]);
    assert_eq!(bench.told(), ["a:3->5 @12", "healed a @11"]);
}

#[test]
fn a_batch_for_one_who_waits_for_nothing_is_shared_and_not_copied() {
    let mut bench = Bench::latest();
    let batch: Arc<[_]> = Arc::from([step("a", 0, 1, 2), step("b", 0, 1, 3)]);
    bench.share(&batch);
    let Some(Parcel::Changes(told)) = bench.outbox.poll() else { panic!("nothing is told") };
    assert!(std::ptr::eq(&*told, &*batch));
    assert_eq!(Arc::strong_count(&batch), 2);
}

#[test]
fn the_first_state_is_shared_comes_in_parcels_and_ends_with_synced() {
    let names: Vec<_> = (0..600).map(|n| format!("n{n}")).collect();
    let snapshot: Arc<[_]> = names.iter().map(|name| step(name, 0, 1, 2)).collect();
    let mut outbox = Outbox::new(Filter::new(), DeliveryMode::LatestPerKey);
    outbox.begin(Instant::now(), &snapshot, Revision(5));
    let mut sizes = Vec::new();
    while let Some(Parcel::Changes(changes)) = outbox.poll() {
        assert!(std::ptr::eq(&changes[0], &snapshot[sizes.iter().sum::<usize>()]));
        sizes.push(changes.len());
        outbox.delivered();
        if sizes.len() == 3 {
            break;
        }
    }
    assert_eq!(sizes, [PARCEL, PARCEL, 600 - 2 * PARCEL]);
    let Some(Parcel::Notice(synced)) = outbox.poll() else { panic!("not synced") };
    assert_eq!(synced, Notice::Synced { revision: Revision(5), entries: 600 });
}

#[test]
fn what_changes_before_the_first_state_is_told_comes_after_it() {
    let mut outbox = Outbox::new(Filter::new(), DeliveryMode::LatestPerKey);
    let now = Instant::now();
    outbox.begin(now, &Arc::from([step("a", 0, 1, 2)]), Revision(2));
    let mut bench = Bench { outbox, batches: Batches::default(), now };
    bench.push([step("a", 1, 2, 3)]);
    assert_eq!(bench.told(), ["a:0->1 @2", "synced 1 @2", "a:1->2 @3"]);
}

#[test]
fn a_key_that_leaves_the_filter_is_a_deletion_and_one_that_enters_it_a_create() {
    let mut bench = Bench::with(Filter::new().keys(|_, value| value % 2 == 0), DeliveryMode::LatestPerKey);
    bench.push([step("a", 0, 2, 2), step("b", 0, 3, 3)]);
    assert_eq!(bench.told(), ["a:0->2 @2"]);
    bench.push([step("a", 2, 5, 4)]);
    assert_eq!(bench.told(), ["a:2->0 @4"]);
    bench.push([step("a", 5, 7, 5), step("b", 3, 4, 6)]);
    assert_eq!(bench.told(), ["b:0->4 @6"]);
    bench.push([step("a", 7, 8, 7), step("b", 4, 0, 8)]);
    assert_eq!(bench.told(), ["a:0->8 @7", "b:4->0 @8"]);
}

#[test]
fn leaving_and_entering_merge_like_any_steps() {
    let mut bench = Bench::with(Filter::new().keys(|_, value| value % 2 == 0), DeliveryMode::LatestPerKey);
    bench.push([step("a", 0, 2, 2), step("b", 0, 4, 2)]);
    bench.next();
    bench.push([step("a", 2, 5, 3), step("b", 4, 1, 3)]);
    bench.push([step("a", 5, 2, 4), step("b", 1, 6, 4)]);
    assert_eq!(bench.told(), ["b:4->6 @4"]);
}

#[test]
fn a_predicate_that_panics_says_no_and_is_counted() {
    let panics = |_: &KeyName, value: &u32| match value {
        7 => std::panic::resume_unwind(Box::new("seven")),
        _ => true,
    };
    let mut bench = Bench::with(Filter::new().keys(panics), DeliveryMode::LatestPerKey);
    bench.push([step("a", 0, 1, 2)]);
    assert_eq!(bench.told(), ["a:0->1 @2"]);
    bench.push([step("a", 1, 7, 3), step("b", 0, 7, 4)]);
    assert_eq!(bench.told(), ["a:1->0 @3"]);
    let lag = bench.outbox.lag();
    assert_eq!(lag.panics, 2);
}

#[test]
fn memory_is_one_change_a_key_one_parcel_and_the_capacity() {
    let names: Vec<_> = (0..10).map(|n| format!("n{n}")).collect();
    for (mut bench, capacity) in [(Bench::latest(), 0), (Bench::every(7), 7)] {
        bench.push([step("x", 0, 1, 2)]);
        bench.next();
        for n in 0..1000_u32 {
            bench.push([step(&names[n as usize % 10], n, n + 1, 3 + u64::from(n))]);
            assert!(bench.pending() <= 1 + 10 + capacity, "{}", bench.pending());
        }
    }
}

#[test]
fn the_lag_says_since_when_and_is_nothing_when_all_is_told() {
    let mut bench = Bench::latest();
    let lag = bench.outbox.lag();
    assert_eq!((lag.pending, lag.behind_since), (0, None));
    let since = bench.now;
    bench.push([step("a", 0, 1, 2)]);
    bench.now += std::time::Duration::from_secs(5);
    bench.push([step("a", 1, 2, 3), step("b", 0, 1, 3)]);
    assert_eq!((bench.pending(), bench.outbox.lag().behind_since), (3, Some(since)));
    bench.next();
    assert_eq!((bench.pending(), bench.outbox.lag().behind_since), (3, Some(since)));
    bench.told();
    let lag = bench.outbox.lag();
    assert_eq!((lag.pending, lag.behind_since), (0, None));
}

#[test]
fn a_change_of_origin_alone_is_told_only_to_those_who_filter_by_it() {
    let mut hands = step("a", 1, 1, 3);
    hands.origin = Origin::Local;
    let mut all = Bench::latest();
    all.push([step("a", 0, 1, 2), hands.clone(), step("b", 0, 1, 3)]);
    assert_eq!(all.told(), ["a:0->1 @2", "b:0->1 @3"]);
    let mut local = Bench::with(Filter::new().origin(Origin::Local), DeliveryMode::LatestPerKey);
    local.push([step("a", 0, 1, 2), hands.clone()]);
    assert_eq!(local.told(), ["a:0->1 @3"]);
    let mut remote = Bench::with(Filter::new().origin(Origin::Remote), DeliveryMode::LatestPerKey);
    remote.push([step("a", 0, 1, 2), hands]);
    assert_eq!(remote.told(), ["a:0->1 @2", "a:1->0 @3"]);
}
