//! What observers are told, and that they cannot harm anybody.

use super::*;

#[test]
fn a_late_observer_is_told_the_cache_then_synced_then_every_change() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "2", 3)], 5);
    bench.events([put("c", "3", 6)]);
    let id = bench.observer();
    bench.events([put("a", "9", 7)]);
    assert_eq!(bench.told(id), ["+a=1 @2", "+b=2 @3", "+c=3 @6", "synced 3 @6", "a:1->9 @7"]);
}

#[test]
fn an_early_observer_is_told_nothing_before_the_first_list() {
    let mut bench = Bench::new();
    let id = bench.observer();
    assert_eq!(bench.told(id), NONE);
    bench.list(&[kv("a", "1", 2)], 5);
    assert_eq!(bench.told(id), ["+a=1 @2", "synced 1 @5"]);
    bench.list(&[kv("a", "1", 2)], 8);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn only_the_first_state_is_marked_as_such() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let id = bench.observer();
    bench.events([put("b", "1", 6)]);
    let mut initial = Vec::new();
    while let Some((_, parcel)) = bench.store.poll_parcel() {
        if let Parcel::Changes(changes) = parcel {
            initial.extend(changes.iter().map(|change| change.initial));
        }
        bench.store.delivered(id);
    }
    assert_eq!(initial, [true, false]);
}

#[test]
fn a_deleted_and_recreated_key_is_a_deletion_and_a_create_or_one_step() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let every = bench.observe(Filter::new(), DeliveryMode::every_event(9));
    let latest = bench.observer();
    bench.told(every);
    bench.told(latest);
    bench.events([put("x", "1", 6)]);
    bench.hold(latest);
    bench.events([delete("a", 7), put("a", "2", 8)]);
    assert_eq!(bench.told(every), ["+x=1 @6", "-a @7", "+a=2 @8"]);
    assert_eq!(bench.told(latest), ["+x=1 @6", "a:1->2 @8"]);
}

#[test]
fn a_deletion_of_an_unknown_key_is_silence() {
    let mut bench = Bench::listed(&[], 5);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 6)]);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn an_unchanged_value_is_silence_and_is_not_decoded_again() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let id = bench.observer();
    bench.told(id);
    let (before, was) = (Bench::decoded(), bench.reader.get("a").unwrap());
    bench.events([put("a", "1", 6)]);
    assert_eq!((bench.told(id), Bench::decoded()), (vec![], before));
    let (is, revision) = bench.reader.get_with_revision("a").unwrap();
    assert!(Arc::ptr_eq(&was, &is));
    assert_eq!(revision, Revision(6));
}

#[test]
fn nobody_is_told_after_leaving() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let (gone, stays) = (bench.observer(), bench.observer());
    bench.hold(gone);
    bench.store.unsubscribe(gone);
    bench.store.delivered(gone);
    bench.events([put("a", "2", 6)]);
    assert_eq!(bench.told(stays), ["+a=1 @2", "synced 1 @5", "a:1->2 @6"]);
    bench.store.delivered(gone);
    assert!(bench.store.poll_parcel().is_none());
    assert_eq!(bench.store.status().observers.len(), 1);
    let early = Bench::new();
    let mut bench = early;
    let id = bench.observer();
    bench.store.unsubscribe(id);
    bench.list(&[kv("a", "1", 2)], 5);
    assert!(bench.store.poll_parcel().is_none());
}

#[test]
fn an_observer_that_handles_nothing_delays_nobody_and_ends_with_the_truth() {
    let mut bench = Bench::listed(&[kv("gone", "1", 2)], 5);
    let (asleep, awake) = (bench.observer(), bench.observer());
    bench.told(awake);
    bench.hold(asleep);
    bench.events([delete("gone", 6)]);
    for revision in 7..2000 {
        bench.events([put("a", &revision.to_string(), revision)]);
        assert_eq!(bench.told(awake).len(), if revision == 7 { 2 } else { 1 });
    }
    let lags = bench.store.status().observers;
    assert!(lags.iter().all(|(_, lag)| lag.pending <= 3), "{lags:?}");
    assert_eq!(bench.told(asleep), ["+gone=1 @2", "synced 1 @5", "-gone @6", "+a=1999 @1999"]);
}

#[test]
fn a_long_batch_of_one_key_does_not_wait_whole_behind_the_first_parcel() {
    let mut bench = Bench::listed(&[], 5);
    let latest = bench.observer();
    let every = bench.observe(Filter::new(), DeliveryMode::every_event(10));
    bench.told(latest);
    bench.told(every);
    let steps: Vec<_> = (6..1006).map(|revision| put("a", &revision.to_string(), revision)).collect();
    bench.events(steps);
    for (_, lag) in bench.store.status().observers {
        assert!(lag.pending <= 256 + 1 + 10, "{}", lag.pending);
    }
    let told = bench.told(latest);
    assert_eq!((told.len(), &told[256][..]), (257, "a:261->1005 @1005"));
    let told = bench.told(every);
    assert!(told[256].starts_with("resynced 261 to") && told.last().unwrap().ends_with("->1005 @1005"), "{told:?}");
}

#[test]
fn a_batch_is_shared_by_all_observers_without_a_filter() {
    let mut bench = Bench::listed(&[], 5);
    let (a, b) = (bench.observer(), bench.observer());
    bench.told(a);
    bench.told(b);
    bench.events([put("a", "1", 6), put("b", "1", 7)]);
    let parcels: Vec<_> = std::iter::from_fn(|| bench.store.poll_parcel()).collect();
    let [(_, Parcel::Changes(one)), (_, Parcel::Changes(other))] = &parcels[..] else { panic!("{parcels:?}") };
    assert!(std::ptr::eq(&**one, &**other));
}

#[test]
fn filters_by_name_and_by_origin() {
    let mut bench = Bench::listed(&[kv("a/1", "1", 2), kv("b/1", "1", 2)], 5);
    let prefix = bench.observe(Filter::new().prefix("a/"), DeliveryMode::LatestPerKey);
    let glob = bench.observe(Filter::new().glob("*/2"), DeliveryMode::LatestPerKey);
    let own = bench.observe(Filter::new().origin(Origin::Local), DeliveryMode::LatestPerKey);
    bench.own("a/2", 1, 6);
    bench.events([put("b/2", "1", 7), delete("b/1", 8)]);
    assert_eq!(bench.told(prefix), ["+a/1=1 @2", "synced 1 @5", "+a/2=1 @6 own"]);
    assert_eq!(bench.told(glob), ["synced 0 @5", "+a/2=1 @6 own", "+b/2=1 @7"]);
    assert_eq!(bench.told(own), ["synced 0 @5", "+a/2=1 @6 own"]);
}

#[test]
fn an_overrun_through_the_store_ends_with_the_truth() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "1", 3)], 5);
    let id = bench.observe(Filter::new(), DeliveryMode::every_event(2));
    bench.told(id);
    bench.events([put("x", "1", 6)]);
    bench.hold(id);
    bench.events([put("a", "2", 7)]);
    bench.events([put("a", "3", 8), delete("b", 9), put("c", "1", 10)]);
    assert_eq!(bench.told(id), ["+x=1 @6", "resynced 6 to 9", "a:1->3 @8", "-b @9", "+c=1 @10"]);
}

#[test]
fn a_conflict_is_told_to_those_who_hear_of_the_name() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let (all, others) = (bench.observer(), bench.observe(Filter::new().prefix("b"), DeliveryMode::LatestPerKey));
    bench.told(all);
    bench.told(others);
    bench.events([put("a", "2", 7)]);
    assert_eq!((bench.told(all), bench.told(others)), (vec!["a:1->2 @7".to_owned(), "conflict a @7".into()], vec![]));
}

#[test]
fn a_panic_in_a_filter_is_in_the_status_and_goes_no_further() {
    let mut bench = Bench::listed(&[], 5);
    let filter = Filter::new().keys(|_, note: &bench::Note| note.value != 3 || bench::quiet_panic());
    let panics = bench.observe(filter, DeliveryMode::LatestPerKey);
    let calm = bench.observer();
    bench.told(panics);
    bench.told(calm);
    bench.events([put("a", "1", 6), put("a", "3", 7), put("b", "2", 8)]);
    assert_eq!(bench.told(panics), ["+a=1 @6", "-a @7", "+b=2 @8"]);
    assert_eq!(bench.told(calm), ["+a=1 @6", "a:1->3 @7", "+b=2 @8"]);
    let status = bench.store.status();
    assert_eq!(status.observers[0].1.panics, 1);
}
