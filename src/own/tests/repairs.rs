//! Which repairs are told, and which are none.

use super::*;
use crate::own::Lifetime;

/// What was told of repairs, in words.
fn repairs(world: &World) -> Vec<String> {
    let words = |event: &OwnEvent| {
        let OwnEvent::Repaired { name, damage, revision } = event else { return None };
        assert_eq!(world.get(name.as_str()).unwrap().mod_revision, *revision, "the revision that put it back");
        Some(format!("{name} was {damage}"))
    };
    let told: Vec<_> = world.events.iter().filter_map(words).collect();
    assert_eq!(world.sync.stats().repairs, told.len() as u64);
    told
}

/// What somebody else does.
type Meddle = fn(&mut World);

/// An owner of `a`.
fn owner() -> World {
    let mut world = World::new(&config());
    world.put("a", "mine");
    world
}

#[test]
fn a_key_that_somebody_deletes_or_overwrites_is_told_when_it_is_back() {
    let damages: [(&str, Meddle); 4] = [
        ("a was deleted", |world| world.strange_delete("a")),
        ("a was overwritten", |world| world.stranger("a", "theirs", LeaseId::NONE)),
        ("a was overwritten", |world| world.stranger("a", "mine", LeaseId::NONE)),
        ("a was overwritten", |world| {
            let lease = world.foreign_lease();
            world.stranger("a", "theirs", lease);
        }),
    ];
    for (told, damage) in damages {
        let mut world = owner();
        assert!(repairs(&world).is_empty(), "the first write is none");
        damage(&mut world);
        world.run();
        assert_eq!(repairs(&world), [told]);
        world.pass(secs(3600));
        assert_eq!(repairs(&world), [told], "once");
    }
}

#[test]
fn of_more_damage_before_the_repair_the_first_is_told_and_the_repair_once() {
    let mut world = owner();
    world.strange_delete("a");
    world.watch();
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    world.stranger("a", "theirs", LeaseId::NONE);
    let refused = world.perform(request);
    world.sync.answer(world.now, id, refused);
    world.pass(secs(60));
    assert_eq!((world.value("a").as_deref(), repairs(&world)), (Some("mine"), vec!["a was deleted".to_owned()]));
}

#[test]
fn a_repair_whose_answer_is_lost_is_told_all_the_same() {
    let mut world = owner();
    world.strange_delete("a");
    world.watch();
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    world.perform(request);
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("no answer"))));
    world.pass(secs(60));
    assert_eq!(repairs(&world), ["a was deleted"]);
}

#[test]
fn a_key_that_goes_with_its_lease_is_no_repair_whether_the_watch_or_the_lease_shows_it_first() {
    for watch_first in [true, false] {
        let mut world = World::new(&config().lease_ttl(secs(30)));
        world.put("a", "mine");
        world.kv.revoke(world.get("a").unwrap().lease);
        if watch_first {
            world.watch();
        } else {
            world.seen = world.kv.header().revision;
        }
        world.pass(secs(60));
        assert_eq!((world.value("a").as_deref(), repairs(&world)), (Some("mine"), vec![]), "{watch_first}");
        assert!(world.events.iter().any(|event| matches!(event, OwnEvent::LeaseLost { .. })));
    }
}

#[test]
fn a_key_that_was_overwritten_before_its_lease_went_is_a_repair() {
    let mut world = owner();
    let lease = world.get("a").unwrap().lease;
    world.stranger("a", "theirs", LeaseId::NONE);
    world.kv.revoke(lease);
    world.run();
    assert_eq!((world.value("a").as_deref(), repairs(&world)), (Some("mine"), vec!["a was overwritten".to_owned()]));
}

#[test]
fn keys_that_the_kvstore_lost_with_its_history_are_no_repairs() {
    let mut world = owner();
    let now = world.now;
    world.strange_delete("a");
    world.watch();
    world.kv.restore(&Mvcc::new(), now);
    world.seen = world.kv.header().revision;
    world.sync.new_history(now);
    world.run();
    assert_eq!((world.value("a").as_deref(), repairs(&world)), (Some("mine"), vec![]));
}

#[test]
fn a_new_value_and_a_deletion_by_the_owner_end_what_somebody_else_did() {
    let mut world = owner();
    world.put("b", "mine");
    world.strange_delete("a");
    world.strange_delete("b");
    world.watch();
    world.sync.command(world.now, Command::Put { name: name("a"), value: "new".into() });
    world.sync.command(world.now, Command::Delete { name: name("b"), ticket: None });
    world.run();
    assert_eq!((world.value("a").as_deref(), world.value("b"), repairs(&world)), (Some("new"), None, vec![]));
}

#[test]
fn a_name_that_was_left_to_another_owner_is_repaired_when_that_one_leaves() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.pass(secs(60));
    assert!(repairs(&world).is_empty());
    world.kv.revoke(lease);
    world.run();
    assert_eq!(repairs(&world), ["a was overwritten"]);
}

#[test]
fn a_name_that_is_lost_or_that_another_owner_makes_right_is_no_repair() {
    for policy in [ConflictPolicy::Fail, ConflictPolicy::Yield] {
        let mut world = World::new(&config().conflict(policy));
        world.put("a", "mine");
        let lease = world.foreign_lease();
        world.stranger("a", "theirs", lease);
        world.run();
        world.stranger("a", "mine", lease);
        world.pass(secs(60));
        assert!(repairs(&world).is_empty(), "{policy:?}");
    }
}

#[test]
fn an_owned_name_cannot_be_written_once() {
    let mut world = owner();
    world.give(Command::PutOnce {
        ticket: Ticket(1),
        name: name("a"),
        value: "once".into(),
        lifetime: Lifetime::Store,
    });
    assert_eq!(world.done(1), Some(&Err(WriteError::Owned)));
    world.pass(secs(60));
    assert_eq!((world.value("a").as_deref(), repairs(&world)), (Some("mine"), vec![]));
    world.delete("a", 2);
    world.give(Command::PutOnce {
        ticket: Ticket(3),
        name: name("a"),
        value: "once".into(),
        lifetime: Lifetime::Store,
    });
    assert!(matches!(world.done(3), Some(Ok(_))), "a name that was given up can be");
}

/// The watch of a publisher was away, and begins again at this revision without showing what happened before.
fn watch_begins_again(world: &mut World) {
    world.seen = world.kv.header().revision;
    world.sync.mark_unsure(world.now);
    world.sync.reached(world.now, world.seen);
}

/// The write of a name, under way: its answer has not come.
fn write_under_way(world: &mut World, key: &str) -> (RequestId, Answer) {
    world.sync.command(world.now, Command::Put { name: name(key), value: "mine".into() });
    loop {
        let (id, request) = world.sync.poll_request(world.now).expect("it is to be written");
        let write = is_write(&request);
        let answer = world.perform(request);
        if write {
            return (id, answer);
        }
        world.sync.answer(world.now, id, answer);
    }
}

/// A refusal has told another owner's key as it was in a history that is gone; in the one after it that owner leaves, at a
/// revision that the refusal had passed.
#[test]
fn a_change_between_two_states_that_an_answer_has_shown_to_be_the_same_is_of_another_history() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    let theirs = world.foreign_lease();
    world.stranger("a", "theirs", theirs);
    let backup = world.kv.clone();
    for _ in 0..2 {
        world.stranger("b", "theirs", LeaseId::NONE);
    }
    let (id, refused) = write_under_way(&mut world, "a");
    world.sync.answer(world.now, id, refused);
    world.kv.restore(&backup, world.now);
    world.kv.revoke(theirs);
    world.run();
    world.pass(secs(60));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
}

#[test]
fn an_answer_from_before_the_watch_began_again_does_not_say_how_the_key_is_now() {
    // Refused, because it is another owner's; meanwhile that one has left.
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    let theirs = world.foreign_lease();
    world.stranger("a", "theirs", theirs);
    let (id, answer) = write_under_way(&mut world, "a");
    world.kv.revoke(theirs);
    watch_begins_again(&mut world);
    world.sync.answer(world.now, id, answer);
    world.pass(secs(60));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
    // Committed; meanwhile somebody has overwritten it.
    let mut world = World::new(&config());
    let (id, answer) = write_under_way(&mut world, "a");
    world.stranger("a", "theirs", LeaseId::NONE);
    watch_begins_again(&mut world);
    world.sync.answer(world.now, id, answer);
    world.pass(secs(60));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
}

#[test]
fn a_key_that_was_as_it_should_be_all_the_time_is_no_repair_after_the_watch_was_away() {
    let mut world = owner();
    watch_begins_again(&mut world);
    world.run();
    assert!(repairs(&world).is_empty());
    world.stranger("a", "theirs", LeaseId::NONE);
    watch_begins_again(&mut world);
    world.pass(secs(60));
    assert_eq!((world.value("a").as_deref(), repairs(&world).len()), (Some("mine"), 1));
}
