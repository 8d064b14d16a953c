//! Leases: granted, kept, lost, and never kept dead.

use super::*;

fn lost(world: &World) -> Vec<String> {
    let cause = |event: &OwnEvent| {
        let OwnEvent::LeaseLost { cause, .. } = event else { return None };
        Some(cause.to_string())
    };
    world.events.iter().filter_map(cause).collect()
}

#[test]
fn nothing_is_granted_before_it_is_needed() {
    let mut world = World::new(&config());
    world.pass(secs(3600));
    assert!(world.sent.is_empty());
    world.put("a", "1");
    assert_eq!(world.sent.len(), 2);
}

#[test]
fn a_lease_is_kept_alive_every_third_of_its_ttl_whatever_else_waits() {
    let mut world = World::new(&config().lease_ttl(secs(30)).qps(1).bootstrap_qps(1).max_inflight(1));
    for n in 0..5000 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    world.run();
    world.pass(secs(300));
    assert!(lost(&world).is_empty(), "{:?}", lost(&world));
    let keep_alives = world.count(|request| matches!(request, Request::KeepAlive(_)));
    assert!(keep_alives >= 5 * 20, "{keep_alives}");
}

#[test]
fn a_lease_that_is_gone_is_noticed_by_its_keep_alive_and_its_keys_are_put_again() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.put("a", "1");
    let dead = world.get("a").unwrap().lease;
    world.kv.revoke(dead);
    // The watch is silent, so only the keep-alive can tell.
    world.seen = world.kv.header().revision;
    world.pass(secs(11));
    assert_eq!(lost(&world), ["the kvstore does not know it any more"]);
    assert_ne!(world.get("a").unwrap().lease, dead);
}

#[test]
fn a_lease_that_is_gone_is_noticed_by_a_put() {
    let mut world = World::new(&config());
    world.put("a", "1");
    let dead = world.get("a").unwrap().lease;
    world.kv.revoke(dead);
    world.seen = world.kv.header().revision;
    world.put("b", "1");
    assert_eq!((world.value("a").as_deref(), world.value("b").as_deref()), (Some("1"), Some("1")));
    assert_eq!(lost(&world).len(), 1);
}

#[test]
fn silence_beyond_the_ttl_is_a_lost_lease() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.put("a", "1");
    world.down = true;
    world.pass(secs(31));
    assert_eq!(lost(&world), ["not confirmed for its TTL of 30 s"]);
    world.down = false;
    world.sync.backend_up();
    world.pass(secs(6));
    assert_eq!((world.value("a").as_deref(), world.sync.stats().leases), (Some("1"), 1));
}

#[test]
fn a_process_that_stood_still_beyond_the_ttl_has_its_keys_back_at_once() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    for n in 0..300 {
        world.put(&format!("{n}"), "v");
    }
    world.sent.clear();
    world.suspend(secs(60));
    assert_eq!((0..300).filter(|n| world.value(&n.to_string()).is_some()).count(), 300);
    assert!(world.count(is_write) <= 7, "each transaction is refused once, and some with others");
}

#[test]
fn a_grant_that_took_longer_than_its_ttl_is_not_used() {
    let mut world = World::new(&config().lease_ttl(secs(5)));
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, request) = world.sync.poll_request(world.now).unwrap();
    let answer = world.perform(request);
    world.now += secs(6);
    world.kv.expire(world.now);
    world.sync.answer(world.now, id, answer);
    world.run();
    assert_eq!((world.value("a").as_deref(), lost(&world).len()), (Some("1"), 1));
}

#[test]
fn no_lease_has_more_than_a_thousand_keys_and_free_places_are_used() {
    let mut world = World::new(&config());
    for n in 0..2500 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n}")), value: "v".into() });
    }
    world.run();
    assert_eq!(world.sync.stats().leases, 3);
    let mut keys = std::collections::HashMap::new();
    for n in 0..2500 {
        *keys.entry(world.get(&n.to_string()).unwrap().lease).or_insert(0) += 1;
    }
    assert!(keys.values().all(|keys| *keys <= 1000), "{keys:?}");
    for n in 0..1000 {
        world.delete(&n.to_string(), n);
    }
    for n in 0..1400 {
        world.put(&format!("new {n}"), "v");
    }
    assert_eq!(world.sync.stats().leases, 3, "the places of deleted keys are used again");
}

#[test]
fn the_ttl_of_a_lease_counts_from_the_grants_request_and_not_from_its_answer() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, grant) = world.sync.poll_request(world.now).unwrap();
    let granted = world.perform(grant);
    world.now += secs(5);
    world.sync.answer(world.now, id, granted);
    world.down = true;
    world.pass(secs(26));
    assert_eq!(lost(&world), ["not confirmed for its TTL of 30 s"]);
}

#[test]
fn the_ttl_of_a_lease_counts_from_the_keep_alives_request_and_not_from_its_answer() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.put("a", "1");
    world.now += secs(10);
    let (id, keep_alive) = world.sync.poll_request(world.now).unwrap();
    assert!(matches!(keep_alive, Request::KeepAlive(_)));
    let kept = world.perform(keep_alive);
    world.now += secs(5);
    world.sync.answer(world.now, id, kept);
    world.down = true;
    world.pass(secs(26));
    assert_eq!(lost(&world), ["not confirmed for its TTL of 30 s"]);
}

#[test]
fn a_lease_id_that_is_taken_is_no_failure_and_another_one_is_tried_at_once() {
    let mut world = World::new(&config());
    world.sync.command(world.now, Command::Put { name: name("a"), value: "1".into() });
    let (id, grant) = world.sync.poll_request(world.now).unwrap();
    let Request::Grant { lease, ttl } = grant else { panic!("{grant:?}") };
    world.kv.grant(lease, ttl, world.now).unwrap();
    let taken = world.perform(grant);
    world.sync.answer(world.now, id, taken);
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
}

#[test]
fn a_keep_alive_without_an_answer_does_not_hide_that_the_lease_ends() {
    let mut world = World::new(&config().lease_ttl(secs(30)));
    world.put("a", "1");
    let end = world.now + secs(30);
    world.now += secs(10);
    let (_, keep_alive) = world.sync.poll_request(world.now).unwrap();
    assert!(matches!(keep_alive, Request::KeepAlive(_)));
    assert_eq!(world.sync.poll_request(world.now), None);
    assert_eq!(world.sync.deadline(), Some(end));
}

#[test]
fn a_lost_lease_is_revoked_at_the_end_only_while_it_may_exist() {
    for (quiet, revoked) in [(1, 2), (61, 1)] {
        let mut world = World::new(&config().lease_ttl(secs(30)));
        world.put("a", "1");
        world.down = true;
        world.pass(secs(31));
        world.down = false;
        world.sync.backend_up();
        world.pass(secs(quiet));
        world.sync.command(world.now, Command::Close { ticket: Ticket(1) });
        world.run();
        assert_eq!(world.count(|request| matches!(request, Request::Revoke(_))), revoked);
    }
}

#[test]
fn the_next_lease_is_asked_for_while_the_last_one_is_filled() {
    let mut world = World::new(&config().max_inflight(1));
    for n in 0..1500 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n:04}")), value: "v".into() });
    }
    let mut asked = Vec::new();
    while let Some((id, request)) = world.sync.poll_request(world.now) {
        asked.push(match &request {
            Request::Grant { .. } => "grant".to_owned(),
            Request::Write(writes) => writes.len().to_string(),
            Request::KeepAlive(_) | Request::Revoke(_) => panic!("{request:?}"),
        });
        let answer = world.perform(request);
        world.sync.answer(world.now, id, answer);
    }
    assert_eq!(asked[..3], ["grant", "grant", "128"], "{asked:?}");
    assert_eq!(world.sync.stats().leases, 2, "and none that is not needed");
}

/// Every lease is asked for before it is needed: the first failure costs nothing, and when it is needed it is asked for again.
#[test]
fn writes_go_on_while_the_present_lease_has_room_though_the_grant_of_the_next_one_has_failed() {
    let mut world = World::new(&config().max_inflight(1));
    for n in 0..1500 {
        world.sync.command(world.now, Command::Put { name: name(&format!("{n:04}")), value: "v".into() });
    }
    let (mut grants, mut written) = (0, Vec::new());
    while let Some((id, request)) = world.sync.poll_request(world.now) {
        grants += usize::from(matches!(request, Request::Grant { .. }));
        let answer = match request {
            Request::Grant { .. } if grants == 2 => Answer::Granted(Err(BackendError::unavailable("overloaded"))),
            Request::Write(ref writes) => {
                written.push((grants, writes.len()));
                world.perform(request)
            }
            Request::Grant { .. } | Request::KeepAlive(_) | Request::Revoke(_) => world.perform(request),
        };
        world.sync.answer(world.now, id, answer);
    }
    let under =
        |asked: usize| written.iter().filter(|(grants, _)| *grants == asked).map(|(_, keys)| keys).sum::<usize>();
    assert_eq!((under(2), under(3), grants), (1000, 500, 3), "{written:?}");
}
