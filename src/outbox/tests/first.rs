//! The first state after a restart, and when it is made sure of.

use super::*;

pub(super) fn names<const N: usize>(names: [&str; N]) -> Vec<KeyName> {
    names.map(|name| KeyName::new(name).unwrap()).into()
}

impl Bench {
    /// With the state from before a restart, at revision 5, nothing of it taken.
    pub(super) fn unverified<const N: usize>(
        filter: Filter<u32>,
        mode: DeliveryMode,
        snapshot: [Change<u32>; N],
    ) -> Self {
        let now = Instant::now();
        let mut outbox = Outbox::new(filter, mode);
        outbox.begin_unverified(now, &Arc::from(snapshot), Revision(5));
        Self { outbox, batches: Batches::default(), now }
    }

    pub(super) fn verified<const N: usize>(
        &mut self,
        steps: [Change<u32>; N],
        revision: u64,
        same: bool,
        names: &[KeyName],
    ) {
        let first = First { revision: Revision(revision), same_history: same, names };
        self.outbox.verified(self.now, &Arc::from(steps), &first);
    }
}

const EITHER: [DeliveryMode; 2] = [DeliveryMode::LatestPerKey, DeliveryMode::every_event(1)];

#[test]
fn synced_comes_after_the_first_state_is_verified_and_then_every_change() {
    for mode in EITHER {
        let mut bench = Bench::unverified(Filter::new(), mode, [step("a", 0, 1, 2), step("b", 0, 1, 3)]);
        assert!(!bench.outbox.has_begun());
        assert_eq!(bench.told(), ["a:0->1 @2", "b:0->1 @3"]);
        assert!(bench.outbox.has_begun());
        bench.verified([step("a", 1, 2, 6), step("b", 1, 0, 8)], 8, true, &names(["a"]));
        bench.push([step("a", 2, 3, 9)]);
        assert_eq!(bench.told(), ["a:1->2 @6", "b:1->0 @8", "synced 1 @8", "a:2->3 @9"]);
    }
}

#[test]
fn the_first_state_is_handled_when_synced_is() {
    let mut bench = Bench {
        outbox: Outbox::new(Filter::new(), DeliveryMode::LatestPerKey),
        batches: Batches::default(),
        now: Instant::now(),
    };
    bench.outbox.begin(bench.now, &Arc::from([step("a", 0, 1, 2)]), Revision(5));
    for told in ["a:0->1 @2", "synced 1 @5"] {
        assert_eq!(bench.next(), [told]);
        assert!(!bench.outbox.has_begun());
        bench.outbox.delivered();
    }
    assert!(bench.outbox.has_begun());
}

#[test]
fn what_was_not_told_when_the_first_state_is_verified_is_told_as_it_is_now() {
    for mode in EITHER {
        let mut bench = Bench::unverified(Filter::new(), mode, [step("a", 0, 1, 2), step("b", 0, 1, 3)]);
        bench.verified([step("a", 1, 2, 6), step("b", 1, 0, 8), step("c", 0, 1, 7)], 8, true, &names(["a", "c"]));
        bench.push([step("a", 2, 3, 9)]);
        assert_eq!(bench.told(), ["a:0->2 @6", "c:0->1 @7", "synced 2 @8", "a:2->3 @9"]);
    }
}

#[test]
fn what_was_under_way_when_the_first_state_is_verified_was_told() {
    for mode in EITHER {
        let many: Vec<_> = (0..=PARCEL).map(|n| step(&format!("{n:03}"), 0, 1, 2)).collect();
        let all: Vec<_> = many.iter().map(|change| change.name.clone()).collect();
        let mut bench = Bench::unverified(Filter::new(), mode, []);
        assert!(bench.outbox.has_begun());
        bench.outbox.begin_unverified(bench.now, &many.into(), Revision(5));
        assert_eq!(bench.next().len(), PARCEL);
        // A step before the list, of one key that was told and one that was not.
        bench.push([step("000", 1, 2, 5), step("256", 1, 2, 5)]);
        bench.verified([step("000", 2, 1, 6), step("001", 1, 9, 7), step("256", 2, 9, 8)], 8, true, &all);
        assert_eq!(bench.told(), ["256:0->9 @8", "001:1->9 @7", "synced 257 @8"]);
    }
}

/// Nothing was known before the restart, and a notice is under way when the first list comes.
#[test]
fn a_first_state_stays_before_synced_whatever_comes_while_a_notice_is_under_way() {
    for mode in EITHER {
        let mut bench = Bench::unverified(Filter::new(), mode, []);
        let name = KeyName::new("z").unwrap();
        let notice = |revision| Notice::Healed { name: name.clone(), revision: Revision(revision) };
        bench.outbox.notify(bench.now, notice(3));
        assert_eq!(bench.next(), ["healed z @3"]);
        bench.verified([step("a", 0, 1, 6)], 8, true, &names(["a"]));
        bench.outbox.notify(bench.now, notice(9));
        bench.push([step("a", 1, 2, 9)]);
        assert_eq!(bench.told(), ["a:0->1 @6", "synced 1 @8", "healed z @9", "a:1->2 @9"]);
    }
}

#[test]
fn a_first_state_of_another_history_is_told_from_where_it_went_back() {
    for mode in EITHER {
        let snapshot = [step("a", 0, 1, 2), step("b", 0, 1, 5)];
        let mut bench = Bench::unverified(Filter::new(), mode, snapshot);
        assert_eq!(bench.told().len(), 2);
        bench.verified([step("a", 1, 0, 3)], 3, false, &names(["b"]));
        bench.push([step("b", 1, 2, 4)]);
        assert_eq!(bench.told(), ["resynced 5 to 3", "a:1->0 @3", "synced 1 @3", "b:1->2 @4"]);
        let mut bench = Bench::unverified(Filter::new(), mode, [step("a", 0, 1, 2), step("b", 0, 1, 5)]);
        bench.verified([step("a", 1, 0, 3)], 3, false, &names(["b"]));
        assert_eq!(bench.told(), ["resynced 5 to 3", "b:0->1 @3", "synced 1 @3"]);
    }
}

#[test]
fn a_filter_sees_the_verified_first_state_as_any_other_and_synced_counts_what_passes() {
    for filter in [Filter::new().prefix("a"), Filter::new().keys(|name, _| name.as_str().starts_with('a'))] {
        let snapshot = [step("a", 0, 1, 2), step("b", 0, 1, 3)];
        let mut bench = Bench::unverified(filter, DeliveryMode::LatestPerKey, snapshot);
        assert_eq!(bench.told(), ["a:0->1 @2"]);
        bench.verified([step("b", 1, 2, 6), step("a2", 0, 1, 7)], 8, true, &names(["a", "a2", "b"]));
        assert_eq!(bench.told(), ["a2:0->1 @7", "synced 2 @8"]);
    }
}
