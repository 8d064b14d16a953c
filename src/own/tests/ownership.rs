//! Own keys against the rest of the world.

use super::*;

fn conflicts(world: &World) -> usize {
    world.events.iter().filter(|event| matches!(event, OwnEvent::Conflict { .. })).count()
}

#[test]
fn damage_is_repaired_at_once() {
    let mut world = World::new(&config());
    world.put("a", "mine");
    world.strange_delete("a");
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("mine"));
    let mut world = World::new(&config());
    world.put("a", "mine");
    world.stranger("a", "theirs", LeaseId::NONE);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("mine"));
    world.stranger("a", "mine", LeaseId::NONE);
    world.pass(secs(1));
    assert_ne!(world.get("a").unwrap().lease, LeaseId::NONE, "the right value without our lease would outlive us");
}

#[test]
fn who_damages_in_a_loop_is_answered_once_a_back_off_step() {
    let mut world = World::new(&config());
    world.put("a", "mine");
    world.sent.clear();
    // 600 s of damage every 10 ms, in a world that looks only when something happens.
    for _ in 0..60_000 {
        if world.value("a").is_some() {
            world.strange_delete("a");
        }
        world.pass(Duration::from_millis(10));
    }
    // At once twice, then 100 ms doubling to 30 s: about 9 steps to the cap, then two a minute.
    assert!((20..40).contains(&world.count(is_write)), "{}", world.count(is_write));
    world.pass(secs(31));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
    world.pass(secs(61));
    world.sent.clear();
    for repairs in 1..3 {
        world.strange_delete("a");
        world.run();
        assert_eq!(world.count(is_write), repairs, "after a quiet minute it is at once again");
    }
}

#[test]
fn with_overwrite_the_other_owner_is_told_and_overwritten() {
    let mut world = World::new(&config());
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.run();
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("mine"), 1));
    world.stranger("a", "theirs", lease);
    world.run();
    world.stranger("a", "theirs again", lease);
    world.run();
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("theirs again"), 3), "waits out the step");
    world.pass(secs(1));
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("mine"), 3), "one conflict is told once");
}

#[test]
fn with_yield_the_name_is_left_to_the_other_and_taken_back_when_it_is_free() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.pass(secs(3600));
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("theirs"), 1));
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value: "new".into() });
    assert_eq!(world.done(1), Some(&Err(WriteError::Conflict { lease })));
    world.kv.revoke(lease);
    world.pass(secs(1));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
}

#[test]
fn with_yield_a_name_that_others_make_right_is_put_and_reported_again() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    let (one, another) = (world.foreign_lease(), world.foreign_lease());
    world.stranger("a", "theirs", one);
    world.run();
    world.events.clear();
    world.stranger("a", "mine", another);
    world.pass(secs(3600));
    let lease = world.get("a").unwrap().lease;
    assert!(world.sync.leases().contains(&lease), "it is under a lease of ours");
    let stored = world.events.iter().filter(|event| matches!(event, OwnEvent::Stored { .. })).count();
    assert_eq!((stored, conflicts(&world)), (1, 0));
}

#[test]
fn with_fail_the_name_is_lost() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Fail));
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.run();
    assert!(world.events.contains(&OwnEvent::Lost { name: name("a") }));
    world.kv.revoke(lease);
    world.pass(secs(3600));
    assert_eq!((world.value("a"), world.sync.stats().names), (None, 0));
}

#[test]
fn the_key_of_our_own_past_is_taken_over_in_one_write() {
    for policy in [ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail] {
        let mut world = World::new(&config().conflict(policy));
        let past = world.foreign_lease();
        world.stranger("a", "mine", past);
        let before = world.get("a").unwrap();
        // What the cache knows comes with the wish.
        world.sync.command(world.now, Command::Put { name: name("a"), value: "mine".into() });
        let revision = world.kv.header().revision;
        world.sync.observe(world.now, Observation { name: name("a"), revision, state: Some(seen(&before)) });
        world.run();
        let after = world.get("a").unwrap();
        assert_eq!((after.create_revision, world.count(is_write), conflicts(&world)), (before.create_revision, 1, 0));
        assert_ne!(after.lease, past, "{policy:?}");
    }
}

#[test]
fn two_owners_who_want_the_same_do_not_fight_over_the_lease() {
    let mut world = World::new(&config());
    world.put("a", "same");
    let theirs = world.foreign_lease();
    world.stranger("a", "same", theirs);
    world.sent.clear();
    world.pass(secs(3600));
    assert_eq!((world.count(is_write), conflicts(&world)), (0, 0));
    world.kv.revoke(theirs);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("same"), "when the other goes, ours comes");
}

/// A lease of another live process with the same owner.
fn rival_lease(world: &mut World) -> LeaseId {
    world.kv.grant(world.sync.lease_of_owner(), secs(1_000_000), world.now).unwrap().lease
}

#[test]
fn a_second_live_process_with_the_same_owner_is_another_owner() {
    let mut world = World::new(&config());
    world.put("a", "mine");
    let rival = rival_lease(&mut world);
    world.stranger("a", "theirs", rival);
    world.run();
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("mine"), 1));

    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    world.put("b", "mine");
    let rival = rival_lease(&mut world);
    world.stranger("a", "theirs", rival);
    world.pass(secs(3600));
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("theirs"), 1));
    world.stranger("a", "theirs again", rival);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("theirs again"));
    // The lease is known now: a key that was never ours is not deleted either.
    world.stranger("c", "theirs", rival);
    world.run();
    world.delete("c", 1);
    world.delete("a", 2);
    assert_eq!(world.done(1), Some(&Err(WriteError::NotOwned { lease: rival })));
    assert_eq!(world.done(2), Some(&Err(WriteError::NotOwned { lease: rival })));
    world.put("a", "mine");
    assert_eq!(world.value("a").as_deref(), Some("theirs again"));
    world.kv.revoke(rival);
    world.pass(secs(1));
    assert_eq!(world.value("a").as_deref(), Some("mine"));

    let mut world = World::new(&config().conflict(ConflictPolicy::Fail));
    world.put("a", "mine");
    let rival = rival_lease(&mut world);
    world.stranger("a", "theirs", rival);
    world.run();
    assert!(world.events.contains(&OwnEvent::Lost { name: name("a") }));
    assert_eq!(world.value("a").as_deref(), Some("theirs"));
}

/// The write of the other was not seen yet: the refusal of ours shows it.
#[test]
fn a_key_of_a_second_live_process_is_not_deleted_when_the_refusal_shows_it() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    world.put("b", "mine");
    let rival = rival_lease(&mut world);
    world.stranger("a", "theirs", rival);
    world.stranger("b", "theirs", rival);
    world.sync.command(world.now, Command::Delete { name: name("a"), ticket: Some(Ticket(1)) });
    world.sync.command(world.now, Command::Put { name: name("b"), value: "new".into() });
    world.pass(secs(60));
    assert_eq!(world.done(1), Some(&Err(WriteError::NotOwned { lease: rival })));
    assert_eq!((world.value("a").as_deref(), world.value("b").as_deref()), (Some("theirs"), Some("theirs")));
    assert_eq!(conflicts(&world), 1);
}

/// With one seed the two choose the same ids.
#[test]
fn a_lease_that_another_process_took_first_is_not_taken_for_ones_own() {
    let config = config().owner("node").conflict(ConflictPolicy::Yield);
    let mut first = World::new(&config);
    first.put("a", "1");
    let theirs = first.get("a").unwrap().lease;
    let mut world = World::new(&config);
    world.kv.grant(theirs, secs(1_000_000), world.now).unwrap();
    world.put("a", "mine");
    assert_ne!(world.get("a").unwrap().lease, theirs);
    world.stranger("a", "theirs", theirs);
    world.run();
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("theirs"), 1));
}

#[test]
fn two_processes_with_the_same_owner_that_want_the_same_do_not_fight_over_the_lease() {
    let mut world = World::new(&config());
    world.put("a", "same");
    let rival = rival_lease(&mut world);
    world.stranger("a", "same", rival);
    world.sent.clear();
    world.pass(secs(3600));
    assert_eq!((world.count(is_write), conflicts(&world)), (0, 0));
}

/// The put of a process that has crashed is applied late, after somebody deleted the key.
#[test]
fn a_late_put_of_an_earlier_process_is_no_conflict() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Fail));
    world.put("a", "mine");
    let before = rival_lease(&mut world);
    world.strange_delete("a");
    world.stranger("a", "old", before);
    world.run();
    assert_eq!((world.value("a").as_deref(), conflicts(&world)), (Some("mine"), 0));
}

#[test]
fn stale_knowledge_is_mended_by_the_refusal_at_once() {
    let mut world = World::new(&config());
    world.stranger("a", "theirs", LeaseId::NONE);
    world.seen = world.kv.header().revision;
    world.put("a", "mine");
    assert_eq!((world.value("a").as_deref(), world.count(is_write)), (Some("mine"), 2));
}

#[test]
fn the_key_of_another_owner_is_not_deleted() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.run();
    world.delete("a", 1);
    assert!(matches!(world.done(1), Some(Err(WriteError::NotOwned { .. }))));
    assert_eq!((world.value("a").as_deref(), world.sync.stats().names), (Some("theirs"), 0));
    world.delete("never ours", 2);
    assert!(matches!(world.done(2), Some(Ok(_))));
}

#[test]
fn a_deletion_that_meets_another_owners_write_leaves_it() {
    let mut world = World::new(&config());
    world.put("a", "mine");
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    // Not observed yet.
    world.sync.command(world.now, Command::Delete { name: name("a"), ticket: Some(Ticket(1)) });
    world.run();
    assert_eq!((world.value("a").as_deref(), world.done(1).is_some()), (Some("theirs"), true));
}

#[test]
fn another_history_means_that_everything_is_put_again() {
    let mut world = World::new(&config());
    for n in 0..300 {
        world.put(&format!("{n}"), "v");
    }
    let now = world.now;
    world.kv.restore(&Mvcc::new(), now);
    world.seen = world.kv.header().revision;
    world.sync.new_history(world.now);
    world.run();
    assert_eq!((0..300).filter(|n| world.value(&n.to_string()).is_some()).count(), 300);
    assert_eq!(world.sync.stats().pending, 0);
}

/// The put whose answer was lost is applied when the key is another's, or after it was another's.
#[test]
fn a_late_put_of_a_name_that_was_lost_to_another_is_deleted() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Fail));
    world.put("a", "mine");
    world.strange_delete("a");
    world.watch();
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Request::Write(late) = request else { panic!("{request:?}") };
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("no answer"))));
    let lease = world.foreign_lease();
    world.stranger("a", "theirs", lease);
    world.run();
    assert!(world.events.contains(&OwnEvent::Lost { name: name("a") }));
    world.strange_delete("a");
    world.run();
    assert!(matches!(world.kv.write(late), Ok(WriteOutcome::Committed { .. })));
    world.pass(secs(1));
    assert_eq!((world.value("a"), world.sync.stats().pending), (None, 0));
    assert!(!world.events.iter().any(|event| matches!(event, OwnEvent::Released { .. })), "it was told already");
}

/// A synchronous write that fails deletes nothing, whenever it is applied.
#[test]
fn a_late_put_of_a_write_that_has_timed_out_does_not_delete_what_was_there() {
    let mut world = World::new(&config());
    world.put("other", "1");
    world.stranger("a", "theirs", LeaseId::NONE);
    world.run();
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: "mine".into() });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    // It has learned what is there.
    let refused = world.perform(request);
    world.sync.answer(world.now, id, refused);
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Request::Write(late) = request else { panic!("{request:?}") };
    world.down = true;
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("no answer"))));
    world.pass(secs(31));
    assert!(matches!(world.done(1), Some(Err(WriteError::TimedOut { .. }))));
    world.down = false;
    assert!(matches!(world.kv.write(late), Ok(WriteOutcome::Committed { .. })));
    world.pass(secs(60));
    assert_eq!(world.value("a").as_deref(), Some("mine"));
}
