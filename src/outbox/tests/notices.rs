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
