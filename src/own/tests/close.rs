//! Leaving.

use super::*;
use crate::own::Lifetime;

fn closed(world: &World) -> Vec<(u64, usize)> {
    let closed = |event: &OwnEvent| {
        let OwnEvent::Closed { ticket, left } = event else { return None };
        Some((ticket.0, left.len()))
    };
    world.events.iter().filter_map(closed).collect()
}

#[test]
fn close_deletes_own_keys_with_one_request_a_lease_and_leaves_others() {
    let mut world = World::new(&config());
    for n in 0..2500 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    world.run();
    let lease = world.foreign_lease();
    world.stranger("7", "theirs", lease);
    world.sent.clear();
    world.sync.command(world.now, Command::Close { ticket: Ticket(1) });
    world.run();
    assert_eq!((world.sent.len(), closed(&world)), (3, vec![(1, 0)]));
    let left: Vec<_> = (0..2500).filter(|n| world.value(&n.to_string()).is_some()).collect();
    assert_eq!(left, [7]);
    world.sent.clear();
    world.pass(secs(3600));
    assert!(world.sent.is_empty(), "nothing is sent after it is closed");
}

#[test]
fn close_says_what_it_could_not_delete_when_its_time_is_over() {
    let mut world = World::new(&config().close_timeout(secs(10)));
    world.put("a", "1");
    world.put("b", "1");
    world.down = true;
    world.give(Command::Close { ticket: Ticket(1) });
    world.pass(secs(9));
    assert!(closed(&world).is_empty());
    world.give(Command::Close { ticket: Ticket(2) });
    world.pass(secs(1));
    assert_eq!(closed(&world), [(1, 2), (2, 2)]);
    let OwnEvent::Closed { left, .. } = world.events.last().unwrap() else { panic!() };
    assert_eq!(left[0], (name("a"), "down".into()));
    assert_eq!(world.sync.deadline(), None);
}

#[test]
fn close_names_a_key_of_which_nothing_is_known_since_the_history_changed() {
    let mut world = World::new(&config().close_timeout(secs(10)));
    world.put("a", "1");
    world.down = true;
    world.sync.new_history(world.now);
    world.give(Command::Close { ticket: Ticket(1) });
    world.pass(secs(10));
    assert_eq!((closed(&world), world.value("a").as_deref()), (vec![(1, 1)], Some("1")));
}

#[test]
fn a_close_that_fails_at_first_is_tried_again() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.down = true;
    world.give(Command::Close { ticket: Ticket(1) });
    world.pass(secs(1));
    world.down = false;
    world.pass(secs(6));
    assert_eq!((closed(&world), world.value("a")), (vec![(1, 0)], None));
}

#[test]
fn a_write_under_way_cannot_outlive_the_close() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.sync.command(world.now, Command::Put { name: name("b"), value: "1".into() });
    let (id, late) = world.sync.poll_request(world.now).unwrap();
    world.give(Command::Close { ticket: Ticket(1) });
    let answer = world.perform(late);
    assert!(matches!(answer, Answer::Written(Err(BackendError::LeaseNotFound { .. }))), "{answer:?}");
    world.sync.answer(world.now, id, answer);
    world.run();
    assert_eq!((closed(&world), world.value("b")), (vec![(1, 0)], None));
}

#[test]
fn a_lease_granted_while_leaving_is_revoked_too() {
    let mut world = World::new(&config());
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, grant) = world.sync.poll_request(world.now).unwrap();
    world.sync.command(world.now, Command::Close { ticket: Ticket(1) });
    let answer = world.perform(grant);
    world.sync.answer(world.now, id, answer);
    world.run();
    assert_eq!(world.count(|request| matches!(request, Request::Revoke(_))), 1);
    assert_eq!((closed(&world), world.value("a")), (vec![(1, 0)], None));
}

#[test]
fn release_flushes_what_is_pending_and_leaves_the_keys_to_their_lease() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.put("gone", "1");
    world.down = true;
    world.put("a", "1");
    world.delete("gone", 7);
    world.give(Command::Release { ticket: Ticket(1) });
    assert!(closed(&world).is_empty());
    world.down = false;
    world.pass(secs(6));
    assert_eq!((closed(&world), world.value("a").as_deref(), world.value("gone")), (vec![(1, 0)], Some("1"), None));
    world.sent.clear();
    world.pass(secs(40));
    assert_eq!((world.sent.len(), world.value("a")), (0, None), "the lease ends by itself");
}

#[test]
fn release_says_what_it_could_not_write() {
    let mut world = World::new(&config().close_timeout(secs(10)));
    world.put("fine", "1");
    world.down = true;
    world.put("a", "1");
    world.give(Command::Release { ticket: Ticket(1) });
    world.pass(secs(10));
    assert_eq!(closed(&world), [(1, 1)]);
}

#[test]
fn after_leaving_every_command_is_answered_closed() {
    let mut world = World::new(&config());
    world.down = true;
    world.give(Command::PutSync { ticket: Ticket(1), name: name("a"), value: "1".into() });
    world.down = false;
    world.give(Command::Close { ticket: Ticket(2) });
    world.give(Command::PutSync { ticket: Ticket(3), name: name("a"), value: "1".into() });
    world.give(Command::PutOnce { ticket: Ticket(4), name: name("b"), value: "1".into(), lifetime: Lifetime::Store });
    world.delete("a", 5);
    world.put("c", "1");
    for ticket in [1, 3, 4, 5] {
        assert_eq!(world.done(ticket), Some(&Err(WriteError::Closed)), "{ticket}");
    }
    world.pass(secs(60));
    assert_eq!((world.value("a"), world.value("b"), world.value("c")), (None, None, None));
}

/// It lasts longer than the lease.
#[test]
fn an_outage_during_close_does_not_make_it_succeed() {
    let mut world = World::new(&config().lease_ttl(secs(2)).close_timeout(secs(10)));
    world.put("a", "1");
    world.down = true;
    world.give(Command::Close { ticket: Ticket(1) });
    for _ in 0..10 {
        // The kvstore stands still, and its leases with it.
        world.now += secs(1);
        world.run();
    }
    assert_eq!(closed(&world), [(1, 1)]);
}

/// The new kvstore was written to before the watch found that it is another one.
#[test]
fn close_deletes_what_was_written_just_before_another_history_was_noticed() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.sync.new_history(world.now);
    world.sync.command(world.now, Command::Close { ticket: Ticket(1) });
    world.run();
    assert_eq!(world.value("a"), None);
}
