//! Why observers are told a change: a test for each row of the table of `Reason`.

use super::*;
use crate::config::DeletionGuard;
use crate::reason::Reason::{
    self, Attached, Closed, Drained, EnteredFilter, Event as KeyState, FirstState, GivenUp, HeldBack, LeftFilter,
    Listed, OtherHistory, Undecodable,
};

impl Bench {
    /// The names and reasons of all changes the observer has still to be told.
    fn reasons(&mut self, id: ObserverId) -> Vec<(String, Reason)> {
        let mut told = Vec::new();
        while let Some((to, parcel)) = self.store.poll_parcel() {
            if let Parcel::Changes(changes) = parcel
                && to == id
            {
                told.extend(changes.iter().map(|change| (change.name.to_string(), change.reason)));
            }
            self.store.delivered(to);
        }
        told
    }
}

fn is(name: &str, reason: Reason) -> (String, Reason) {
    (name.to_owned(), reason)
}

/// A store with the key `a` and an observer that was told so.
fn observed(config: impl FnOnce(Config) -> Config) -> (Bench, ObserverId) {
    let mut bench = Bench::with(|defaults| config(defaults.deletion_guard(DeletionGuard::OFF)));
    let id = bench.observer();
    bench.list(&[kv("a", "1", 2)], 5);
    assert_eq!(bench.reasons(id), [is("a", FirstState)]);
    (bench, id)
}

#[test]
fn events_of_the_watch_are_the_reason_of_creates_updates_and_deletions() {
    let (mut bench, id) = observed(|config| config);
    for event in [put("b", "1", 6), put("b", "2", 7), delete("b", 8)] {
        bench.events([event]);
        assert_eq!(bench.reasons(id), [is("b", KeyState)]);
    }
}

#[test]
fn a_list_that_differs_is_the_reason_and_says_whether_it_is_of_another_history_or_place() {
    let (mut bench, id) = observed(|config| config);
    bench.list(&[kv("b", "1", 7)], 8);
    assert_eq!(bench.reasons(id), [is("b", Listed), is("a", Listed)]);
    bench.foreign_list(&[kv("c", "1", 2)], 3);
    assert_eq!(bench.reasons(id), [is("c", OtherHistory), is("b", OtherHistory)]);
    bench.store.detach(bench.now);
    bench.store.attach(Prefix::new("p").unwrap());
    bench.list(&[kv("d", "1", 9)], 9);
    assert_eq!(bench.reasons(id), [is("d", Attached), is("c", Attached)]);
    bench.store.detach(bench.now);
    bench.store.drain(bench.now);
    assert_eq!(bench.reasons(id), [is("d", Drained)]);
}

#[test]
fn a_key_that_enters_or_leaves_a_filter_says_so_and_one_that_is_new_or_gone_does_not() {
    let (mut bench, _) = observed(|config| config);
    let id = bench.observe(Filter::new().keys(|_, note: &bench::Note| note.value > 5), DeliveryMode::LatestPerKey);
    assert_eq!(bench.reasons(id), []);
    for (event, reason) in [
        (put("a", "6", 6), EnteredFilter),
        (put("a", "7", 7), KeyState),
        (put("a", "1", 8), LeftFilter),
        (put("b", "9", 9), KeyState),
        (delete("b", 10), KeyState),
    ] {
        bench.events([event.clone()]);
        let name = event.path()[2..].to_vec();
        assert_eq!(bench.reasons(id), [is(&String::from_utf8(name).unwrap(), reason)], "{event:?}");
    }
}

#[test]
fn a_key_whose_value_cannot_be_decoded_is_removed_for_that_reason() {
    let (mut bench, id) = observed(|config| config.on_undecodable(OnUndecodable::Remove));
    bench.events([put("a", "x", 6)]);
    assert_eq!(bench.reasons(id), [is("a", Undecodable)]);
    bench.events([put("a", "2", 7)]);
    assert_eq!(bench.reasons(id), [is("a", KeyState)]);
}

#[test]
fn own_keys_go_because_they_are_given_up_or_because_the_store_closes() {
    let (mut bench, id) = observed(|config| config);
    bench.own("b", 1, 6);
    bench.own("c", 1, 7);
    bench.own("d", 1, 8);
    assert_eq!(bench.reasons(id), [is("b", KeyState), is("c", KeyState), is("d", KeyState)]);
    bench.give_up("b");
    bench.commit(9);
    bench.events([delete("b", 9)]);
    assert_eq!(bench.reasons(id), [is("b", GivenUp)], "by a command");
    bench.events([delete("c", 10)]);
    assert_eq!(bench.reasons(id), [], "it is put again");
    bench.give_up("c");
    assert_eq!(bench.reasons(id), [is("c", GivenUp)], "after somebody deleted it");
    bench.store.close_own(bench.now, Ticket(7));
    bench.commit(11);
    assert_eq!(bench.reasons(id), [is("d", Closed)]);
}

#[test]
fn a_deletion_that_was_held_back_says_so() {
    let (mut bench, id) = observed(|config| config.delete_delay(Duration::from_secs(30)));
    bench.events([delete("a", 6)]);
    assert_eq!(bench.reasons(id), []);
    bench.passes(30);
    assert_eq!(bench.reasons(id), [is("a", HeldBack)]);
}

#[test]
fn of_changes_told_as_one_the_newest_reason_counts() {
    let (mut bench, id) = observed(|config| config);
    bench.events([put("x", "1", 6)]);
    bench.hold(id);
    bench.events([put("a", "2", 7)]);
    bench.list(&[kv("a", "3", 8), kv("x", "1", 6)], 9);
    bench.handled(id);
    assert_eq!(bench.reasons(id), [is("a", Listed)]);
}
