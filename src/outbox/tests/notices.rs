//! Notices: in their place, and the newest of each key.

use super::first::names;
use super::*;
use crate::config::ConflictPolicy;
use crate::key::CodecError;
use crate::kv::LeaseId;
use crate::own::Damage;

fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn bad(of: &str, revision: u64) -> Notice {
    Notice::Undecodable { name: name(of), revision: Revision(revision), cause: CodecError::new("bad") }
}

fn healed(of: &str, revision: u64) -> Notice {
    Notice::Healed { name: name(of), revision: Revision(revision) }
}

fn repaired(of: &str, revision: u64) -> Notice {
    Notice::Repaired { name: name(of), damage: Damage::Deleted, revision: Revision(revision) }
}

fn aside(of: &str, cause: Option<&str>) -> Notice {
    Notice::SetAside { name: name(of), cause: cause.map(Arc::from) }
}

#[test]
fn notices_come_in_their_place_the_newest_of_each_key_and_only_of_names_that_pass() {
    let mut bench = Bench::with(Filter::new().prefix("a"), DeliveryMode::LatestPerKey);
    bench.push([step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("a1", 0, 1, 3)]);
    bench.outbox.notify(bench.now, bad("a2", 4));
    bench.outbox.notify(bench.now, bad("b", 4));
    let (name, lease, policy) = (name("a2"), LeaseId(1), ConflictPolicy::Yield);
    bench.outbox.notify(bench.now, Notice::Conflict { name, revision: Revision(5), lease, policy });
    bench.push([step("a3", 0, 1, 6)]);
    bench.outbox.notify(bench.now, bad("a2", 7));
    assert_eq!(bench.told(), ["a1:0->1 @3", "bad a2 @7", "conflict a2", "a3:0->1 @6"]);
}

#[test]
fn a_notice_that_waits_is_told_after_synced() {
    let mut bench = Bench::unverified(Filter::new(), DeliveryMode::LatestPerKey, [step("a", 0, 1, 2)]);
    bench.outbox.notify(bench.now, bad("b", 4));
    bench.verified([], 8, true, &names(["a"]));
    assert_eq!(bench.told(), ["a:0->1 @2", "synced 1 @8", "bad b @4"]);
}

#[test]
fn of_what_waits_about_a_key_the_newest_is_told_and_before_an_end_what_it_ends() {
    let mut bench = Bench::latest();
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    for notice in [bad("a", 3), bad("a", 4), healed("a", 5), healed("a", 6), bad("b", 7), healed("b", 8), bad("b", 9)] {
        bench.outbox.notify(bench.now, notice);
    }
    for notice in [aside("a", Some("forbidden")), aside("a", None), aside("b", Some("too large"))] {
        bench.outbox.notify(bench.now, notice);
    }
    let aside = ["set aside a: Some(\"forbidden\")", "set aside a: None", "set aside b: Some(\"too large\")"];
    assert_eq!(bench.told(), [&["bad a @4", "healed a @6", "bad b @9"][..], &aside].concat());
    // What was told already is over all the same.
    bench.outbox.notify(bench.now, bad("c", 10));
    bench.next();
    bench.outbox.notify(bench.now, healed("c", 11));
    assert_eq!(bench.told(), ["healed c @11"]);
}

#[test]
fn of_a_key_that_is_damaged_and_set_aside_again_and_again_no_more_waits_than_one_notice_of_each_subject() {
    let mut bench = Bench::latest();
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    for revision in 3..1000 {
        for notice in [bad("a", revision), repaired("a", revision), aside("a", Some("forbidden"))] {
            bench.outbox.notify(bench.now, notice);
        }
        assert!(bench.pending() <= 4, "{}", bench.pending());
    }
    assert_eq!(bench.told(), ["bad a @999", "repaired a @999", "set aside a: Some(\"forbidden\")"]);
}

#[test]
fn a_notice_is_told_after_the_changes_before_it_and_before_those_after_it() {
    for mut bench in [Bench::latest(), Bench::every(9)] {
        bench.push([step("x", 0, 1, 2)]);
        bench.next();
        bench.push([step("a", 0, 1, 3), step("b", 0, 1, 4)]);
        bench.outbox.notify(bench.now, bad("d", 5));
        bench.push([step("c", 0, 1, 6)]);
        bench.outbox.notify(bench.now, healed("d", 7));
        bench.outbox.notify(bench.now, repaired("e", 8));
        assert_eq!(bench.pending(), 6);
        let told = ["a:0->1 @3", "b:0->1 @4", "bad d @5", "healed d @7", "c:0->1 @6", "repaired e @8"];
        assert_eq!(bench.told(), told);
    }
}

#[test]
fn a_notice_among_the_changes_that_wait_takes_no_place_of_one_and_stays_where_it_is_when_they_are_merged() {
    let mut bench = Bench::every(2);
    bench.push([step("x", 0, 1, 2)]);
    bench.next();
    bench.push([step("a", 0, 1, 3)]);
    bench.outbox.notify(bench.now, bad("d", 4));
    bench.push([step("a", 1, 2, 5)]);
    assert_eq!(bench.told(), ["a:0->1 @3", "bad d @4", "a:1->2 @5"]);
    bench.push([step("x", 1, 2, 6)]);
    bench.next();
    bench.push([step("a", 2, 3, 7)]);
    bench.outbox.notify(bench.now, bad("d", 8));
    bench.push([step("b", 0, 1, 9), step("a", 3, 4, 10)]);
    assert_eq!(bench.told(), ["resynced 6 to 10", "a:2->4 @10", "bad d @8", "b:0->1 @9"]);
    bench.push([step("x", 2, 3, 11)]);
    bench.next();
    bench.push([step("a", 4, 5, 12)]);
    bench.outbox.notify(bench.now, bad("d", 13));
    bench.push([step("a", 5, 6, 14)]);
    bench.push([step("b", 1, 2, 15)]);
    assert_eq!(bench.told()[0], "resynced 11 to 15", "notices that were told take no place");
}

/// The first state is verified while changes and notices wait.
#[test]
fn a_notice_among_changes_that_the_first_state_takes_in_is_told_after_it() {
    let mut bench = Bench::unverified(Filter::new(), DeliveryMode::every_event(9), [step("a", 0, 1, 2)]);
    bench.next();
    bench.push([step("b", 0, 1, 3)]);
    bench.outbox.notify(bench.now, bad("d", 4));
    bench.push([step("c", 0, 1, 5)]);
    bench.verified([], 8, true, &names(["a", "b", "c"]));
    assert_eq!(bench.told(), ["b:0->1 @3", "c:0->1 @5", "synced 3 @8", "bad d @4"]);
}
