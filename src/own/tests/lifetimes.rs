//! Keys that are written once and not owned: how long they live.

use super::*;
use crate::own::Lifetime;

fn once(ticket: u64, of: &str, value: &str, lifetime: Lifetime) -> Command {
    let (ticket, value) = (Ticket(ticket), Bytes::copy_from_slice(value.as_bytes()));
    Command::PutOnce { ticket, name: name(of), value, lifetime }
}

fn lease(world: &World, of: &str) -> LeaseId {
    world.get(of).unwrap().lease
}

fn is_written(world: &World, ticket: u64) -> bool {
    world.done(ticket).is_some_and(Result::is_ok)
}

#[test]
fn a_key_without_a_limit_is_under_no_lease_needs_none_and_is_not_looked_after() {
    let mut world = World::new(&config());
    world.give(once(1, "a", "1", Lifetime::Unlimited));
    assert!(is_written(&world, 1));
    assert_eq!((lease(&world, "a"), world.sync.stats().names), (LeaseId::NONE, 0));
    assert_eq!(world.count(|request| matches!(request, Request::Grant { .. })), 0);
    world.strange_delete("a");
    world.pass(secs(3600));
    assert_eq!(world.value("a"), None);
}

#[test]
fn close_and_release_leave_a_key_without_a_limit_and_close_takes_the_others_of_the_store() {
    for leave in [Command::Close { ticket: Ticket(9) }, Command::Release { ticket: Ticket(9) }] {
        let closes = matches!(leave, Command::Close { .. });
        let mut world = World::new(&config());
        world.give(once(1, "store", "1", Lifetime::Store));
        world.give(once(2, "unlimited", "1", Lifetime::Unlimited));
        world.put("own", "1");
        world.give(leave);
        let left = world.events.iter().filter_map(|event| {
            let OwnEvent::Closed { left, .. } = event else { return None };
            Some(left.len())
        });
        assert_eq!(left.collect::<Vec<_>>(), [0]);
        assert_eq!(world.value("unlimited").as_deref(), Some("1"));
        assert_eq!(world.value("store").is_none(), closes);
        world.pass(secs(3600));
        assert_eq!((world.value("store"), world.value("own")), (None, None), "their lease has expired");
        assert_eq!(world.value("unlimited").as_deref(), Some("1"));
    }
}

#[test]
fn the_newest_write_says_how_long_a_key_lives() {
    let mut world = World::new(&config());
    world.give(once(1, "a", "1", Lifetime::Store));
    let leased = lease(&world, "a");
    assert_ne!(leased, LeaseId::NONE);
    world.give(once(2, "a", "1", Lifetime::Unlimited));
    assert!(is_written(&world, 2));
    assert_eq!(lease(&world, "a"), LeaseId::NONE, "the same value");
    world.give(once(3, "a", "1", Lifetime::Store));
    assert!(is_written(&world, 3));
    assert_eq!(lease(&world, "a"), leased);
}

#[test]
fn a_write_that_changes_nothing_is_asked_all_the_same_and_makes_no_revision() {
    let mut world = World::new(&config());
    world.give(once(1, "a", "1", Lifetime::Unlimited));
    let (before, sent) = (world.get("a").unwrap(), world.count(is_write));
    world.give(once(2, "a", "1", Lifetime::Unlimited));
    assert_eq!(world.done(2), Some(&Ok(before.mod_revision)));
    // The name was forgotten meanwhile, so a write that expects no key asks.
    assert_eq!((world.get("a").unwrap(), world.count(is_write)), (before, sent + 1));
}

#[test]
fn a_key_without_a_limit_is_nobodys_and_is_not_deleted_by_the_store_that_wrote_it() {
    let mut world = World::new(&config());
    world.give(once(1, "a", "1", Lifetime::Unlimited));
    world.delete("a", 2);
    assert_eq!(world.done(2), Some(&Err(WriteError::NotOwned { lease: LeaseId::NONE })));
    assert_eq!((world.value("a").as_deref(), world.sync.stats().names), (Some("1"), 0));
}

#[test]
fn a_write_whose_answer_was_lost_is_asked_again_and_written_once() {
    let mut world = World::new(&config());
    world.sync.command(world.now, once(1, "a", "1", Lifetime::Unlimited));
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Answer::Written(Ok(WriteOutcome::Committed { revision })) = world.perform(request) else { panic!("written") };
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("lost"))));
    world.pass(secs(10));
    assert_eq!(world.done(1), Some(&Ok(revision)));
    assert_eq!(world.get("a").unwrap().mod_revision, revision);
}

#[test]
fn another_owners_key_is_left_to_them_as_the_policy_says() {
    for (policy, taken) in [(ConflictPolicy::Overwrite, true), (ConflictPolicy::Yield, false)] {
        let mut world = World::new(&config().conflict(policy));
        let theirs = world.foreign_lease();
        world.stranger("a", "0", theirs);
        world.run();
        world.give(once(1, "a", "1", Lifetime::Unlimited));
        assert_eq!((is_written(&world, 1), world.value("a").as_deref() == Some("1")), (taken, taken), "{policy:?}");
    }
}
