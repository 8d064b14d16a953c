//! Wishes become transactions.

use super::*;
use crate::own::Lifetime;

#[test]
fn of_a_name_only_the_newest_wish_counts_and_one_write_is_under_way() {
    let mut world = World::new(&config());
    world.put("a", "0");
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, first) = world.sync.poll_request(world.now).unwrap();
    for value in ["2", "3"] {
        world.sync.command(world.now, Command::Put { name: name("a"), value: value.into() });
        assert_eq!(world.sync.poll_request(world.now), None, "one is under way");
    }
    let answer = world.perform(first);
    world.sync.answer(world.now, id, answer);
    world.run();
    let values: Vec<_> = world.batches().iter().map(|batch| batch[0].action.clone()).collect();
    assert_eq!(values.len(), 2, "0 and then 3 at once: {values:?}");
    assert_eq!(world.value("a").as_deref(), Some("3"));
}

#[test]
fn ten_thousand_keys_take_a_transaction_for_every_128_of_a_lease() {
    let mut world = World::new(&config());
    for n in 0..10_000 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    world.run();
    // 1000 keys a lease are 8 transactions.
    assert_eq!((world.batches().len(), world.sync.stats().leases), (80, 10));
    assert_eq!(world.count(|request| !is_write(request)), 10, "a grant for each lease");
    assert_eq!(world.sync.stats().pending, 0);
    world.sent.clear();
    world.delete("5000", 1);
    assert_eq!(world.batches().iter().map(|batch| batch.len()).sum::<usize>(), 1);
}

#[test]
fn three_bad_keys_of_a_hundred_are_found_told_and_left_out() {
    let mut world = World::new(&config());
    let large = "x".repeat(2 << 20);
    for n in 0..100 {
        let value = if n % 40 == 7 { large.as_str() } else { "v" };
        world.sync.command(
            world.now,
            Command::Put { name: name(&format!("{n}")), value: Bytes::copy_from_slice(value.as_bytes()) },
        );
    }
    world.run();
    let aside: Vec<_> = world.sync.stats().set_aside.into_iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(aside, ["47", "7", "87"]);
    assert!(world.sync.stats().set_aside.iter().all(|(_, cause)| cause.contains("too large")));
    assert_eq!((0..100).filter(|n| world.value(&n.to_string()).is_some()).count(), 97);
    world.sent.clear();
    world.pass(secs(3600));
    assert_eq!(world.count(is_write), 0, "it is not tried again as it is");
    world.put("7", "small");
    assert_eq!((world.value("7").as_deref(), world.sync.stats().set_aside.len()), (Some("small"), 2));
}

#[test]
fn a_write_that_was_applied_although_its_answer_was_lost_counts() {
    let mut world = World::new(&config());
    world.put("other", "1");
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Answer::Written(Ok(WriteOutcome::Committed { revision })) = world.perform(request) else { panic!() };
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("connection lost"))));
    // Neither its event nor another answer has come: the retry is refused, and so it is known.
    world.seen = world.kv.header().revision;
    world.pass(secs(10));
    assert_eq!(world.done(1), Some(&Ok(revision)));
    assert_eq!(world.get("a").unwrap().mod_revision, revision, "it was not written twice");
}

#[test]
fn a_write_applied_late_changes_nothing() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.sync.command(world.now, Command::Put { name: name("a"), value: "2".into() });
    let (id, late) = world.sync.poll_request(world.now).unwrap();
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("timed out"))));
    world.put("a", "3");
    world.pass(secs(10));
    let Answer::Written(Ok(outcome)) = world.perform(late) else { panic!() };
    assert!(matches!(outcome, WriteOutcome::Refused { .. }));
    assert_eq!(world.value("a").as_deref(), Some("3"));
}

#[test]
fn an_outage_backs_off_to_five_seconds_and_ends_at_once_when_the_watch_is_live_again() {
    let mut world = World::new(&config());
    world.down = true;
    world.put("a", "1");
    world.pass(secs(600));
    let attempts = world.count(|request| matches!(request, Request::Grant { .. }));
    assert!((120..600).contains(&attempts), "{attempts}");
    world.down = false;
    world.sync.backend_up();
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

#[test]
fn a_synchronous_write_that_is_not_confirmed_in_time_owns_nothing_and_deletes_nothing() {
    let mut world = World::new(&config().write_timeout(secs(30)));
    world.stranger("a", "of a previous run", LeaseId::NONE);
    world.down = true;
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value: "new".into() });
    world.pass(secs(29));
    assert_eq!(world.done(1), None);
    world.pass(secs(1));
    let Some(Err(WriteError::TimedOut { cause: Some(cause), .. })) = world.done(1) else { panic!() };
    assert_eq!(&**cause, "down");
    world.down = false;
    world.pass(secs(3600));
    assert_eq!((world.value("a").as_deref(), world.sync.stats().names), (Some("of a previous run"), 0));
}

#[test]
fn a_synchronous_write_that_fails_leaves_the_wish_of_before() {
    let mut world = World::new(&config());
    world.put("a", "old");
    let value = "x".repeat(2 << 20).into();
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value });
    assert!(matches!(world.done(1), Some(Err(WriteError::Rejected { .. }))));
    world.strange_delete("a");
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("old"));
}

#[test]
fn a_synchronous_write_owns_the_key_once_it_is_in() {
    let mut world = World::new(&config());
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    assert_eq!(world.done(1), Some(&Ok(world.get("a").unwrap().mod_revision)));
    world.strange_delete("a");
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

#[test]
fn a_key_put_once_is_under_a_lease_and_nobody_repairs_it() {
    let mut world = World::new(&config());
    world.give(Command::PutOnce { ticket: Ticket(1), name: name("a"), value: "1".into(), lifetime: Lifetime::Store });
    assert!(matches!(world.done(1), Some(Ok(_))));
    assert_ne!(world.get("a").unwrap().lease, LeaseId::NONE);
    world.strange_delete("a");
    world.pass(secs(3600));
    assert_eq!((world.value("a"), world.sync.stats().names), (None, 0));
    // It can be deleted all the same, being ours.
    world.give(Command::PutOnce { ticket: Ticket(2), name: name("b"), value: "1".into(), lifetime: Lifetime::Store });
    world.delete("b", 3);
    assert_eq!((world.value("b"), world.done(3).is_some_and(Result::is_ok)), (None, true));
}

#[test]
fn a_newer_command_ends_the_older_one() {
    let mut world = World::new(&config());
    world.down = true;
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    world.give(Command::PutSync { ticket: Ticket(2), name: name("a"), value: "2".into() });
    world.delete("a", 3);
    world.put("a", "4");
    for ticket in [1, 2, 3] {
        assert_eq!(world.done(ticket), Some(&Err(WriteError::Superseded)), "{ticket}");
    }
    world.down = false;
    world.pass(secs(10));
    assert_eq!(world.value("a").as_deref(), Some("4"));
}

#[test]
fn requests_are_spaced_by_qps_and_by_bootstrap_qps_before() {
    let put_all = |world: &mut World, value: &str| {
        for n in 0..640 {
            let value = Bytes::copy_from_slice(value.as_bytes());
            world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value });
        }
        world.run();
    };
    let mut world = World::new(&config().qps(1).bootstrap_qps(10));
    put_all(&mut world, "1");
    world.pass(Duration::from_millis(399));
    assert_eq!(world.count(is_write), 4);
    world.pass(secs(1));
    assert_eq!((world.count(is_write), world.sync.stats().pending), (5, 0));
    put_all(&mut world, "2");
    world.pass(secs(5));
    assert_eq!((world.count(is_write), world.sync.stats().pending), (10, 0));
    world.sent.clear();
    put_all(&mut world, "3");
    world.pass(secs(2));
    assert_eq!(world.count(is_write), 3, "one a second");
}

#[test]
fn no_more_transactions_are_under_way_than_allowed() {
    let mut world = World::new(&config().max_inflight(2));
    world.put("first", "1");
    for n in 0..640 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    let under_way: Vec<_> = std::iter::from_fn(|| world.sync.poll_request(world.now)).collect();
    assert_eq!(under_way.len(), 2);
}

#[test]
fn what_fits_into_a_request_goes_into_it_and_not_more() {
    let mut world = World::new(&config());
    for n in 0..8 {
        let value = Bytes::from("x".repeat(300 << 10));
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value });
    }
    world.run();
    assert!(world.batches().iter().all(|batch| batch.len() <= 3));
    assert_eq!(world.batches().iter().map(|batch| batch.len()).sum::<usize>(), 8);
}

#[test]
fn a_clean_hour_with_ten_thousand_keys_sends_nothing_but_keep_alives() {
    let mut world = World::new(&config());
    for n in 0..10_000 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    world.run();
    world.sent.clear();
    world.pass(secs(3600));
    assert_eq!(world.count(|request| !matches!(request, Request::KeepAlive(_))), 0);
    // Ten leases, one keep-alive every five minutes or a little sooner.
    assert!((110..150).contains(&world.sent.len()), "{}", world.sent.len());
}

#[test]
fn a_kvstore_that_went_back_is_told_once_and_not_asked_without_a_pause() {
    let mut world = World::new(&config());
    let backup = world.kv.clone();
    world.put("a", "1");
    world.kv.restore(&backup, world.now);
    // The watch says nothing; the lease is found lost.
    world.pass(secs(600));
    let told = world.events.iter().filter(|event| **event == OwnEvent::HistoryChanged).count();
    assert_eq!(told, 1, "the watch is to look at it");
    assert!(world.count(is_write) < 40, "{} writes in ten minutes", world.count(is_write));
    world.sync.new_history(world.now);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

/// Of an absent key there is nothing a create could be compared with.
#[test]
fn a_create_that_is_applied_after_its_key_was_given_up_is_deleted_again() {
    let mut world = World::new(&config());
    world.put("other", "1");
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let Request::Write(late) = request else { panic!("{request:?}") };
    world.sync.answer(world.now, id, Answer::Written(Err(BackendError::unavailable("no answer"))));
    world.delete("a", 1);
    world.pass(secs(10));
    assert!(world.done(1).unwrap().is_ok());
    assert_eq!(world.sync.stats().names, 1, "a name that was given up is not kept");

    assert!(matches!(world.kv.write(late), Ok(WriteOutcome::Committed { .. })));
    world.run();
    assert_eq!((world.value("a"), world.value("other")), (None, Some("1".into())));
    world.sent.clear();
    world.pass(secs(600));
    assert_eq!((world.count(is_write), world.sync.stats().names), (0, 1), "and that is that");
}

#[test]
fn what_others_do_while_an_answer_is_on_its_way_is_no_other_history() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.strange_delete("a");
    world.watch();
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    world.stranger("a", "2", LeaseId::NONE);
    let refused = world.perform(request);
    assert!(matches!(refused, Answer::Written(Ok(WriteOutcome::Refused { .. }))));
    world.strange_delete("a");
    world.watch();
    world.sync.answer(world.now, id, refused);
    world.run();
    assert!(!world.events.contains(&OwnEvent::HistoryChanged));
    world.pass(secs(10));
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

/// The process was busy: the answer is there before anybody has noticed that the time is over.
#[test]
fn a_synchronous_write_whose_answer_is_taken_in_after_its_deadline_has_timed_out() {
    let mut world = World::new(&config().write_timeout(secs(30)));
    world.put("other", "1");
    world.sync.command(world.now, Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    world.sync.limit(&name("a"), secs(5), world.now + secs(5));
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.now += secs(5);
    world.sync.answer(world.now, id, answer);
    world.run();
    assert_eq!(world.done(1), Some(&Err(WriteError::TimedOut { after: secs(5), cause: None })));
    assert_eq!(world.sync.owned(), 1, "only the other one");
}
