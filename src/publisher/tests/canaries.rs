//! When the canary is written, and when it is not.

use super::*;

fn synced(world: &World) -> Vec<u64> {
    let synced = |event: &PublishEvent| if let PublishEvent::Synced { ticket } = event { Some(ticket.0) } else { None };
    world.events.iter().filter_map(synced).collect()
}

#[test]
fn the_canary_comes_after_all_keys_given_before_and_once() {
    let mut world = World::new(&config());
    for n in 0..10 {
        world.put(&format!("k{n}"), "1");
    }
    world.run();
    assert_eq!((world.canary(), world.publisher.status().canary), (None, Some(CanaryState::Unasked)));
    world.down = true;
    for n in 10..20 {
        world.put(&format!("k{n}"), "1");
    }
    world.publisher.synced(world.now, Ticket(1));
    world.publisher.synced(world.now, Ticket(2));
    world.run();
    assert_eq!(world.publisher.status().canary, Some(CanaryState::Waiting { keys: 10 }));
    assert!(synced(&world).is_empty());
    world.down = false;
    world.pass(secs(20));
    let canary = world.canary().unwrap();
    assert!(world.all(&prefix()).iter().all(|kv| kv.mod_revision < canary.mod_revision));
    assert_eq!((world.all(&prefix()).len(), canary.value.as_ref()), (20, &b"time 1"[..]));
    assert_eq!(synced(&world), [1, 2]);
    // Later keys and questions change nothing.
    world.put("later", "1");
    world.publisher.synced(world.now, Ticket(3));
    world.pass(secs(3600));
    assert_eq!((world.canary(), synced(&world)), (Some(canary), vec![1, 2, 3]));
}

#[test]
fn without_keys_the_canary_is_written_at_once() {
    let mut world = World::new(&config());
    world.publisher.synced(world.now, Ticket(1));
    assert!(!world.publisher.canary_is_due(), "nothing is known of the kvstore");
    world.run();
    assert!(world.canary().is_some());
}

/// With the lease the key that is tried again is waited for once more.
#[test]
fn a_forbidden_key_that_is_tried_again_while_a_lease_is_lost_does_not_hold_the_canary_up() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.put("forbidden", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    let (written, lease) = (world.canary().unwrap(), world.get("a").unwrap().lease);
    world.now += secs(301);
    let retry = loop {
        let (id, request) = world.publisher.poll_request(world.now).expect("it is tried again");
        let is_write = matches!(request, Request::Write(_));
        let answer = world.perform(request);
        if is_write {
            break (id, answer);
        }
        world.publisher.answer(world.now, id, answer);
    };
    world.kv.revoke(lease);
    world.run();
    world.pass(secs(300));
    assert_eq!(world.publisher.status().canary, Some(CanaryState::Waiting { keys: 1 }));
    world.publisher.answer(world.now, retry.0, retry.1);
    world.run();
    assert!(world.canary().unwrap().mod_revision > written.mod_revision);
}

#[test]
fn a_key_that_is_refused_for_good_does_not_hold_the_canary_up() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    let lease = world.foreign_lease();
    world.overwrite("theirs", "theirs", lease);
    for (key, value) in [("a", "1"), ("b", "bad"), ("c", "1"), ("theirs", "1")] {
        world.put(key, value);
    }
    world.publisher.synced(world.now, Ticket(1));
    world.pass(secs(60));
    assert!(world.canary().is_some());
    let refused: Vec<_> = world.publisher.status().refused.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!((refused, synced(&world)), (vec!["b".to_owned(), "theirs".to_owned()], vec![1]));
    world.put("b", "good");
    world.pass(secs(60));
    assert_eq!(world.publisher.status().refused.len(), 1);
}

#[test]
fn a_key_left_to_another_holds_nothing_up_when_it_is_given_again_or_history_goes_back() {
    let mut world = World::new(&config().conflict(ConflictPolicy::Yield));
    let lease = world.foreign_lease();
    world.overwrite("theirs", "theirs", lease);
    world.put("theirs", "1");
    world.pass(secs(60));
    world.put("theirs", "2");
    world.publisher.synced(world.now, Ticket(1));
    world.pass(secs(60));
    assert_eq!((synced(&world), world.publisher.status().refused.len()), (vec![1], 1));
    // An older backup has the other's key as it was.
    world.publisher.new_history(world.now);
    world.pass(secs(60));
    assert!(world.canary().is_some(), "{:?}", world.publisher.status());
}

#[test]
fn a_key_that_changes_all_the_time_does_not_hold_the_canary_up() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.put("a", "2");
    world.put("b", "1");
    world.run();
    assert_eq!((world.value("a").as_deref(), synced(&world)), (Some("2"), vec![1]));
}

#[test]
fn when_all_leases_end_the_keys_come_back_before_the_canary() {
    let mut world = World::new(&config().lease_ttl(secs(10)));
    for n in 0..10 {
        world.put(&format!("k{n}"), "1");
    }
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    // The process stands still; the kvstore does not.
    world.now += secs(30);
    world.kv.expire(world.now);
    assert_eq!((world.all(&prefix()).len(), world.canary()), (0, None));
    world.pass(secs(10));
    let canary = world.canary().unwrap();
    assert_eq!((world.all(&prefix()).len(), canary.value.as_ref()), (10, &b"time 2"[..]));
    assert!(world.all(&prefix()).iter().all(|kv| kv.mod_revision < canary.mod_revision));
}

#[test]
fn when_one_lease_is_revoked_the_canary_goes_until_its_keys_are_back() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.put("b", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    let before = world.canary().unwrap();
    world.kv.revoke(world.get("a").unwrap().lease);
    world.pass(secs(10));
    let after = world.canary().unwrap();
    assert!(after.create_revision > before.create_revision, "it was taken back");
    assert!(world.all(&prefix()).iter().all(|kv| kv.mod_revision < after.mod_revision));
    assert_eq!((world.all(&prefix()).len(), world.canaries), (2, 2));
    // The canary's own lease: nothing else is written.
    world.kv.revoke(after.lease);
    world.pass(secs(600));
    assert_eq!((world.canary().unwrap().value.as_ref(), world.canaries), (&b"time 3"[..], 3));
}

/// Else one would keep the lease of the other alive, and never notice that its own has ended.
#[test]
fn keys_and_canary_choose_different_ids_for_their_leases() {
    let mut world = World::new(&config().owner("me"));
    world.put("a", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    let ids = |sent: &Request| if let Request::Grant { lease, .. } = sent { Some(*lease) } else { None };
    let ids: Vec<_> = world.sent.iter().filter_map(ids).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[test]
fn waiting_for_all_keys_includes_keys_that_were_deleted_with_a_lease() {
    for canaries in [None, Some(Prefix::canaries("c1").unwrap())] {
        let mut world = World::new(&config());
        world.publisher =
            Publisher::new(&config(), 3, canaries.clone().map(|canaries| config().prefix.canary(canaries)));
        for n in 0..10 {
            world.put(&format!("k{n}"), "1");
        }
        world.run();
        world.down = true;
        world.put("a", "1");
        world.publisher.synced(world.now, Ticket(1));
        world.run();
        world.kv.revoke(world.get("k0").unwrap().lease);
        // The put of the last key tells that the lease is gone, not the watch.
        (world.down, world.blind) = (false, true);
        world.now += secs(10);
        world.run();
        let keys = world.all(&prefix());
        assert_eq!((keys.len(), synced(&world)), (11, vec![1]));
        assert_eq!(world.events.last(), Some(&PublishEvent::Synced { ticket: Ticket(1) }));
        if canaries.is_some() {
            let canary = world.canary().unwrap();
            assert!(keys.iter().all(|kv| kv.mod_revision < canary.mod_revision), "{canary:?}");
        }
    }
}

#[test]
fn in_another_history_the_canary_comes_after_the_keys() {
    let mut world = World::new(&config());
    for _ in 0..100 {
        world.overwrite("theirs", "1", LeaseId::NONE);
    }
    world.put("a", "1");
    world.put("b", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    world.kv.restore(&Mvcc::new(), world.now);
    world.cut();
    world.pass(secs(20));
    let canary = world.canary().unwrap();
    assert_eq!((world.all(&prefix()).len(), world.canaries), (2, 2), "revisions of the old one mean nothing");
    assert!(world.all(&prefix()).iter().all(|kv| kv.mod_revision < canary.mod_revision));
}

#[test]
fn close_takes_the_canary_back_before_the_keys_and_release_leaves_both() {
    for close in [true, false] {
        let mut world = World::new(&config());
        world.put("a", "1");
        world.publisher.synced(world.now, Ticket(1));
        world.run();
        let canary = world.canary().unwrap().lease;
        world.sent.clear();
        if close {
            world.publisher.close(world.now);
        } else {
            world.publisher.release(world.now);
        }
        world.run();
        assert_eq!(world.events.last(), Some(&PublishEvent::Closed { left: Vec::new() }));
        assert_eq!((world.canary().is_none(), world.value("a").is_none()), (close, close));
        assert_eq!(world.sent.first() == Some(&Request::Revoke(canary)), close);
        assert_eq!(world.publisher.deadline(), None);
    }
}

#[test]
fn the_keys_stay_until_the_canary_has_left() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    let canary = world.canary().unwrap().lease;
    world.publisher.close(world.now);
    let (_, first) = world.publisher.poll_request(world.now).unwrap();
    assert_eq!(first, Request::Revoke(canary));
    assert_eq!(world.publisher.poll_request(world.now), None, "the revocation of the canary's lease is not answered");
}
