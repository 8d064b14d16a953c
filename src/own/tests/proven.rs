//! Faults that reviews have proven, each with what must be true instead.

use super::*;
use crate::own::{Lifetime, NamesPart};

fn put(key: &str, value: &str) -> Command {
    Command::Put { name: name(key), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// The new value is good; the one whose write was refused was the old one.
#[test]
fn a_good_value_given_while_a_bad_one_is_refused_is_written() {
    let mut world = World::new(&config());
    world.put("other", "1");
    let large = "x".repeat(2 << 20);
    world.sync.command(world.now, put("a", &large));
    let (id, bad) = world.sync.poll_request(world.now).unwrap();
    // The owner corrects itself while the bad write is under way.
    world.sync.command(world.now, put("a", "good"));
    let answer = world.perform(bad);
    world.sync.answer(world.now, id, answer);
    world.run();
    world.pass(secs(3600));
    assert_eq!(world.value("a").as_deref(), Some("good"), "set aside: {:?}", world.sync.stats().set_aside);
}

#[test]
fn a_synchronous_write_is_not_refused_for_the_value_before_it() {
    let mut world = World::new(&config());
    world.put("other", "1");
    let large = "x".repeat(2 << 20);
    world.sync.command(world.now, put("a", &large));
    let (id, bad) = world.sync.poll_request(world.now).unwrap();
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: "good".into() });
    let answer = world.perform(bad);
    world.sync.answer(world.now, id, answer);
    world.run();
    world.pass(secs(3600));
    assert!(matches!(world.done(1), Some(Ok(_))), "{:?}", world.done(1));
}

/// How many times the shell would ask in vain within a second if its timer fires at once when a deadline has passed.
fn is_not_spinning(sync: &mut OwnKeys, now: Instant) {
    assert_eq!(sync.poll_request(now), None, "nothing to send");
    let deadline = sync.deadline();
    assert!(
        deadline.is_none_or(|at| at > now),
        "deadline {:?} ago, and there is nothing to do",
        now - deadline.unwrap()
    );
}

#[test]
fn waiting_for_a_grant_after_a_failure_is_no_busy_loop() {
    let mut world = World::new(&config());
    world.down = true;
    world.put("a", "1");
    // The back-off has passed; the next grant hangs (a black hole: the call has its 10 s).
    world.now += secs(10);
    let (_, request) = world.sync.poll_request(world.now).unwrap();
    assert!(matches!(request, Request::Grant { .. }));
    world.now += secs(1);
    is_not_spinning(&mut world.sync, world.now);
}

#[test]
fn waiting_for_a_grant_under_a_rate_limit_is_no_busy_loop() {
    let mut world = World::new(&config().qps(10).bootstrap_qps(10).lease_ttl(secs(900)));
    for n in 0..1000 {
        world.sync.command(world.now, put(&format!("{n:04}"), "1"));
    }
    world.run();
    world.pass(secs(60));
    assert_eq!(world.sync.stats().pending, 0);
    // The first lease is full: the next key needs another one, and the grant hangs.
    world.sync.command(world.now, put("new", "1"));
    let (_, request) = world.sync.poll_request(world.now).unwrap();
    assert!(matches!(request, Request::Grant { .. }), "{request:?}");
    world.now += secs(1);
    is_not_spinning(&mut world.sync, world.now);
}

#[test]
fn one_key_written_once_again_and_again_needs_one_lease() {
    let mut world = World::new(&config());
    for n in 0..5000 {
        world.give(Command::PutOnce {
            ticket: Ticket(n),
            name: name("a"),
            value: n.to_string().into(),
            lifetime: Lifetime::Store,
        });
        if let Some(kv) = world.get("a") {
            // As the store does with every command: what the cache shows.
            let observation = Observation { name: name("a"), revision: kv.mod_revision, state: Some(seen(&kv)) };
            world.sync.observe(world.now, observation);
        }
    }
    assert_eq!(world.sync.stats().leases, 1, "one key");
}

/// etcd refuses a whole transaction if one of its keys is not permitted.
#[test]
fn one_key_that_is_not_permitted_holds_up_no_other() {
    let mut world = World::new(&config());
    for key in ["a", "b", "forbidden", "z"] {
        world.sync.command(world.now, put(key, "1"));
    }
    for _ in 0..1000 {
        while let Some((id, request)) = world.sync.poll_request(world.now) {
            let forbidden = matches!(&request, Request::Write(writes) if writes.iter().any(|write| write.path.ends_with(b"forbidden")));
            let answer = if forbidden {
                Answer::Written(Err(BackendError::forbidden("etcdserver: permission denied")))
            } else {
                world.perform(request)
            };
            world.sync.answer(world.now, id, answer);
        }
        world.watch();
        world.now += secs(1);
    }
    let there: Vec<_> = ["a", "b", "z"].into_iter().filter(|key| world.value(key).is_some()).collect();
    assert_eq!(there, ["a", "b", "z"], "after 1000 s");
}

#[test]
fn giving_up_a_key_whose_name_is_too_long_ends_and_holds_up_no_other() {
    let mut world = World::new(&config().close_timeout(secs(10)));
    let long = "n".repeat(2 << 20);
    world.put(&long, "1");
    assert_eq!(world.sync.stats().set_aside.len(), 1);
    world.delete(&long, 1);
    world.pass(secs(600));
    assert!(world.done(1).is_some(), "the deletion of what cannot exist never ends");
}

#[test]
fn a_tick_that_is_never_due_is_no_panic() {
    let mut world = World::new(&config().sync_interval(Duration::MAX));
    world.put("a", "1");
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

#[test]
fn a_write_that_may_take_for_ever_is_no_panic() {
    let mut world = World::new(&config().write_timeout(Duration::MAX));
    world.put("a", "1");
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

/// The kvstore was wiped and filled again; the deletion comes before the watch has noticed.
#[test]
fn a_deletion_that_reaches_another_history_deletes_nobody_elses_key() {
    let mut world = World::new(&config());
    world.put("a", "ours");
    let revision = world.get("a").unwrap().mod_revision;
    let now = world.now;
    world.kv.restore(&Mvcc::new(), now);
    let theirs = world.foreign_lease();
    world.stranger("a", "theirs", theirs);
    assert_eq!(world.get("a").unwrap().mod_revision, revision, "the same number in another history");
    world.sync.command(world.now, Command::Delete { name: name("a"), ticket: Some(Ticket(1)) });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.sync.answer(world.now, id, answer);
    assert_eq!(world.value("a").as_deref(), Some("theirs"), "another live owner's key was deleted");
}

/// Somebody keeps overwriting our key, under no lease. We are closing, and say that all is deleted.
#[test]
fn close_deletes_an_own_key_that_somebody_wrote_without_a_lease() {
    let mut world = World::new(&config());
    world.put("a", "ours");
    for _ in 0..5 {
        world.stranger("a", "theirs", LeaseId::NONE);
        world.run();
    }
    assert_eq!(world.value("a").as_deref(), Some("theirs"), "the repair waits for its back-off step");
    world.give(Command::Close { ticket: Ticket(1) });
    world.pass(secs(60));
    let Some(OwnEvent::Closed { left, .. }) =
        world.events.iter().find(|event| matches!(event, OwnEvent::Closed { .. }))
    else {
        panic!()
    };
    assert!(world.value("a").is_none() || !left.is_empty(), "the key is there for ever, and close says nothing of it");
}

/// What `Sync` did itself is newer than what a watch that is behind still has to show. (Seed 50016711 of the simulation.)
#[test]
fn a_deletion_is_not_taken_for_done_because_of_an_older_one() {
    let mut world = World::new(&config());
    world.give(Command::PutOnce { ticket: Ticket(1), name: name("e"), value: "1".into(), lifetime: Lifetime::Store });
    world.delete("e", 2);
    world.sync.reached(world.now, Revision::ZERO);
    // From here on the watch is behind: it has not shown the next write.
    let (id, put) = {
        world.sync.command(
            world.now,
            Command::PutOnce { ticket: Ticket(3), name: name("e"), value: "2".into(), lifetime: Lifetime::Store },
        );
        world.sync.poll_request(world.now).unwrap()
    };
    let answer = world.perform(put);
    world.sync.answer(world.now, id, answer);
    let mut behind = Vec::new();
    behind.extend(world.kv.events_since(&prefix().range(), Revision(2), usize::MAX).unwrap().0);
    assert_eq!(behind.len(), 3, "put, deletion, put");
    // The owner deletes it; what the watch shows meanwhile is old.
    world.sync.command(world.now, Command::Delete { name: name("e"), ticket: Some(Ticket(4)) });
    for event in &behind {
        world.sync.observe(world.now, observation(event));
    }
    world.run();
    world.pass(secs(3600));
    assert!(matches!(world.done(4), Some(Ok(_))), "{:?}", world.done(4));
    assert_eq!(world.value("e"), None, "deleted, says {:?}", world.done(4));
}

/// Names that come and go, as those of pods do. Now and then an answer is lost; the put itself never arrives.
#[test]
fn names_that_were_given_up_are_dropped() {
    let mut world = World::new(&config());
    world.put("stays", "1");
    for round in 0..100 {
        let of = format!("pod-{round}");
        world.sync.command(world.now, put(&of, "1"));
        let (id, _) = world.sync.poll_request(world.now).unwrap();
        world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("answer lost"))));
        world.delete(&of, round);
        world.pass(secs(60));
        assert!(matches!(world.done(round), Some(Ok(_))));
    }
    world.pass(secs(24 * 3600));
    assert_eq!(world.sync.stats().names, 1, "a day later names are taken care of that were given up");
}

// Faults that the simulation has found.

/// The value that was refused was that of a synchronous write, which has timed out since.
#[test]
fn the_refusal_of_a_write_that_has_timed_out_does_not_set_the_wish_before_it_aside() {
    let mut world = World::new(&config().write_timeout(secs(5)));
    world.put("a", "good");
    let large = Bytes::from("x".repeat(2 << 20));
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: large });
    let (id, bad) = world.sync.poll_request(world.now).unwrap();
    world.now += secs(6);
    assert_eq!(world.sync.poll_request(world.now), None);
    let answer = world.perform(bad);
    world.sync.answer(world.now, id, answer);
    world.run();
    assert!(matches!(world.done(1), Some(Err(WriteError::TimedOut { .. }))));
    assert_eq!((world.sync.stats().set_aside, world.value("a").as_deref()), (vec![], Some("good")));
}

/// The kvstore was set back while the question whether the value is there was on its way.
#[test]
fn an_answer_of_another_history_acknowledges_nothing() {
    let mut world = World::new(&config());
    let backup = world.kv.clone();
    world.put("other", "1");
    world.put("a", "1");
    world.watch();
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    let (id, question) = world.sync.poll_request(world.now).unwrap();
    let now = world.now;
    world.kv.restore(&backup, now);
    world.stranger("a", "theirs", LeaseId::NONE);
    let answer = world.perform(question);
    assert!(matches!(answer, Answer::Written(Ok(WriteOutcome::Refused { .. }))));
    world.sync.answer(world.now, id, answer);
    world.events.extend(std::iter::from_fn(|| world.sync.poll_event()));
    assert_eq!(world.done(1), None);
    assert!(world.events.contains(&OwnEvent::HistoryChanged));
}

/// The kvstore was set back to between what the watch has shown and what it has answered, and went on.
#[test]
fn what_was_answered_and_is_never_shown_is_put_again() {
    let mut world = World::new(&config());
    world.put("other", "1");
    let backup = world.kv.clone();
    world.sync.command(world.now, put("a", "1"));
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.sync.answer(world.now, id, answer);
    let now = world.now;
    world.kv.restore(&backup, now);
    assert_eq!(world.value("a"), None);
    // Somebody else uses the revision up.
    world.stranger("b", "theirs", LeaseId::NONE);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
    assert!(world.events.contains(&OwnEvent::HistoryChanged));
}

#[test]
fn a_deletion_that_is_forbidden_is_answered_at_once_and_done_when_roles_change() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.sync.command(world.now, Command::Delete { name: name("a"), ticket: Some(Ticket(1)) });
    let (id, _) = world.sync.poll_request(world.now).unwrap();
    let answer = Answer::Written(Err(BackendError::forbidden("etcdserver: permission denied")));
    world.sync.answer(world.now, id, answer);
    world.run();
    assert!(matches!(world.done(1), Some(Err(WriteError::Rejected { .. }))));
    assert_eq!(world.sync.stats().set_aside, [(name("a"), "etcdserver: permission denied".into())]);
    world.pass(secs(301));
    assert_eq!((world.value("a"), world.sync.stats().set_aside), (None, vec![]));
}

#[test]
fn a_key_forbidden_at_first_is_written_when_roles_change() {
    let mut world = World::new(&config());
    world.put("other", "1");
    world.sync.command(world.now, put("a", "1"));
    let (id, _) = world.sync.poll_request(world.now).unwrap();
    let answer = Answer::Written(Err(BackendError::forbidden("etcdserver: permission denied")));
    world.sync.answer(world.now, id, answer);
    world.run();
    assert_eq!(world.value("a"), None);
    world.pass(secs(301));
    assert_eq!((world.value("a").as_deref(), world.sync.stats().set_aside), (Some("1"), vec![]));
}

/// The cache has still to show the deletion when the late put is shown.
#[test]
fn a_late_put_of_a_name_that_is_still_known_is_deleted() {
    let mut world = World::new(&config());
    world.put("other", "1");
    world.sync.command(world.now, put("a", "1"));
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Request::Write(late) = request else { panic!("{request:?}") };
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("no answer"))));
    world.now += secs(10);
    world.sync.command(world.now, Command::Delete { name: name("a"), ticket: Some(Ticket(1)) });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    // Others write, so the deletion is answered at a revision that the watch has not shown.
    world.stranger("b", "theirs", LeaseId::NONE);
    let answer = world.perform(request);
    world.sync.answer(world.now, id, answer);
    assert!(matches!(world.kv.write(late), Ok(WriteOutcome::Committed { .. })));
    world.run();
    assert!(matches!(world.done(1), Some(Ok(_))));
    assert_eq!((world.value("a"), world.sync.stats().names), (None, 1));
}

/// A refusal has told of another owner's key, and the kvstore was set back to before that key.
#[test]
fn what_a_refusal_told_and_the_watch_does_not_show_is_of_another_history() {
    for policy in [ConflictPolicy::Yield, ConflictPolicy::Fail] {
        let mut world = World::new(&config().conflict(policy));
        world.put("other", "1");
        let (backup, lease) = (world.kv.clone(), world.foreign_lease());
        world.stranger("a", "theirs", lease);
        world.sync.command(world.now, put("a", "1"));
        let (id, request) = world.sync.poll_request(world.now).unwrap();
        let refused = world.perform(request);
        world.sync.answer(world.now, id, refused);
        world.kv.restore(&backup, world.now);
        for _ in 0..10 {
            world.stranger("b", "theirs", LeaseId::NONE);
        }
        world.run();
        assert!(world.events.contains(&OwnEvent::HistoryChanged), "{:?}", world.events);
        assert_eq!(world.value("a").as_deref(), Some("1"));
    }
}

/// The kvstore was set back to before an own write, and a stranger's write in the new history has the same revision.
#[test]
fn another_state_at_the_revision_of_an_own_write_is_of_another_history() {
    let mut world = World::new(&config());
    world.put("other", "1");
    let backup = world.kv.clone();
    world.sync.command(world.now, put("a", "1"));
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.sync.answer(world.now, id, answer);
    assert_eq!(world.value("a").as_deref(), Some("1"));
    world.kv.restore(&backup, world.now);
    world.stranger("a", "theirs", LeaseId::NONE);
    world.run();
    assert!(world.events.contains(&OwnEvent::HistoryChanged), "{:?}", world.events);
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

/// What a snapshot says of a name can be far ahead of a kvstore that was replaced, whatever that has answered since.
#[test]
fn an_answer_older_than_what_is_known_of_its_name_confirms_nothing() {
    let mut world = World::new(&config());
    let revision = Revision(465);
    let state = Some(KeyState { hash: value_hash(b"1"), mod_revision: revision, lease: LeaseId::NONE });
    world.stranger("a", "theirs", LeaseId::NONE);
    let (name, lifetime, ticket) = (name("a"), Lifetime::Unlimited, Ticket(1));
    world.sync.command(world.now, Command::PutOnce { ticket, name: name.clone(), value: "1".into(), lifetime });
    world.sync.observe(world.now, Observation { name, revision, state });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.sync.answer(world.now, id, answer);
    world.events.extend(std::iter::from_fn(|| world.sync.poll_event()));
    assert_eq!(world.events, [OwnEvent::HistoryChanged]);
}

/// A publisher's own key was taken, the kvstore was set back to before that, and a list of names shows an older write.
#[test]
fn a_list_of_names_that_does_not_fit_an_answer_is_of_another_history() {
    for (written, fits) in [(Some(Revision(5)), false), (None, false), (Some(Revision(3)), true)] {
        let mut world = World::new(&config().conflict(ConflictPolicy::Fail));
        world.put("other", "1");
        let lease = world.foreign_lease();
        world.stranger("a", "theirs", lease);
        world.sync.command(world.now, put("a", "1"));
        let (id, request) = world.sync.poll_request(world.now).unwrap();
        for _ in 0..2 {
            world.stranger("b", "theirs", LeaseId::NONE);
        }
        let refused = world.perform(request);
        world.sync.answer(world.now, id, refused);
        let revision = world.kv.header().revision;
        let keys: Vec<_> = written.map(|written| ("a", written)).into_iter().collect();
        world.sync.listed(world.now, NamesPart { revision, after: None, keys: &keys, last: true });
        world.events.extend(std::iter::from_fn(|| world.sync.poll_event()));
        assert_eq!(world.events.contains(&OwnEvent::HistoryChanged), !fits, "{written:?}: {:?}", world.events);
    }
}
