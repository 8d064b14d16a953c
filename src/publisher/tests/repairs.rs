//! Own keys stay, and nothing else is touched.

use super::*;

#[test]
fn it_begins_with_one_small_list_and_writes_nothing_before() {
    let mut world = World::new(&config());
    world.overwrite("other", "1", LeaseId::NONE);
    world.put("a", "1");
    assert!(world.publisher.poll_request(world.now).is_none(), "nobody would see that it is damaged");
    world.run();
    assert_eq!(world.value("a").as_deref(), Some("1"));
    let lists: Vec<_> = world.lists.iter().map(|list| (list.limit, list.keys_only)).collect();
    assert_eq!((lists, world.publisher.state()), (vec![(1, true)], &State::Synced));
}

#[test]
fn a_damaged_key_is_put_right_at_once_and_others_are_left_alone() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.put("b", "1");
    world.run();
    world.stranger("a", WriteAction::Delete);
    world.overwrite("b", "theirs", LeaseId::NONE);
    world.overwrite("c", "theirs", LeaseId::NONE);
    world.run();
    assert_eq!(["a", "b", "c"].map(|key| world.value(key).unwrap()), ["1", "1", "theirs"]);
    assert_ne!(world.get("b").unwrap().lease, LeaseId::NONE);
    assert_eq!((world.publisher.status().own, world.conflicts()), (2, 0));
}

#[test]
fn keys_of_an_earlier_life_are_taken_over_by_two_transactions() {
    let mut first = World::new(&config());
    for key in ["a", "b", "c"] {
        first.put(key, "1");
    }
    first.run();
    let mut world = World::with(&config(), first.kv);
    let old = world.get("a").unwrap().lease;
    for key in ["a", "b", "c"] {
        world.put(key, if key == "b" { "2" } else { "1" });
    }
    world.run();
    assert_eq!(["a", "b", "c"].map(|key| world.value(key).unwrap()), ["1", "2", "1"]);
    assert!(["a", "b", "c"].iter().all(|key| world.get(key).unwrap().lease != old));
    assert_eq!((world.writes(), world.conflicts()), (2, 0), "one is refused and teaches, one takes over");
}

/// A world whose publisher owns `a` to `f`, and whose watch has missed what comes now.
fn away(config: &Config) -> World {
    let mut world = World::new(config);
    for key in ["a", "b", "c", "d", "e", "f"] {
        world.put(key, "1");
    }
    world.run();
    (world.blind, world.lists, world.sent) = (true, Vec::new(), Vec::new());
    world
}

/// What was missed cannot be read any more.
fn back(world: &mut World) {
    world.kv.compact(world.kv.header().revision).unwrap();
    world.blind = false;
    world.cut();
    world.pass(secs(10));
}

#[test]
fn after_a_gap_names_alone_tell_what_happened_to_own_keys() {
    let mut world = away(&config());
    world.stranger("a", WriteAction::Delete);
    world.overwrite("c", "theirs", LeaseId::NONE);
    world.overwrite("d0", "theirs", LeaseId::NONE);
    world.stranger("f", WriteAction::Delete);
    back(&mut world);
    assert!(world.lists.iter().all(|list| list.keys_only) && !world.lists.is_empty());
    for key in ["a", "b", "c", "d", "e", "f"] {
        let kv = world.get(key).unwrap();
        assert!(kv.value == "1" && kv.lease != LeaseId::NONE, "{kv:?}");
    }
    let touched = world.sent.iter().filter_map(|sent| if let Request::Write(all) = sent { Some(all) } else { None });
    let touched: std::collections::BTreeSet<_> = touched.flatten().map(|write| write.path.clone()).collect();
    assert_eq!(touched.into_iter().collect::<Vec<_>>(), ["p/a", "p/c", "p/f"], "nobody asks after the others");
    assert_eq!(world.conflicts(), 0, "no live owner wrote any of them");
    let damage = |event: &PublishEvent| {
        let PublishEvent::Keys(OwnEvent::Repaired { name, damage, .. }) = event else { return None };
        Some(format!("{name} {damage}"))
    };
    let mut repaired: Vec<_> = world.events.iter().filter_map(damage).collect();
    repaired.sort_unstable();
    assert_eq!(repaired, ["a deleted", "c overwritten", "f deleted"]);
    assert_eq!(world.publisher.status().repairs, 3);
}

#[test]
fn after_each_gap_all_names_are_looked_at() {
    let mut world = away(&config());
    for key in ["a", "f", "a"] {
        world.blind = true;
        world.stranger(key, WriteAction::Delete);
        back(&mut world);
        assert!(world.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_late_put_of_a_name_given_up_is_deleted_though_only_a_list_of_names_shows_it() {
    let mut world = away(&config());
    let lease = world.get("a").unwrap().lease;
    world.overwrite("b/given up", "1", lease);
    back(&mut world);
    assert_eq!(world.get("b/given up"), None);
    assert_eq!(world.all(&prefix()).len(), 6);
}

#[test]
fn after_a_gap_another_live_owner_is_told_once_and_by_the_policy() {
    for policy in [ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail] {
        let mut world = away(&config().conflict(policy));
        let lease = world.foreign_lease();
        world.overwrite("c", "theirs", lease);
        back(&mut world);
        assert_eq!(world.conflicts(), 1);
        let mine = policy == ConflictPolicy::Overwrite;
        assert_eq!(world.value("c").unwrap(), if mine { "1" } else { "theirs" });
        assert_eq!(world.publisher.status().refused.len(), usize::from(!mine));
        // Another gap tells nothing new.
        world.blind = true;
        world.overwrite("zzz", "theirs", LeaseId::NONE);
        back(&mut world);
        assert_eq!(world.conflicts(), 1);
    }
}

#[test]
fn after_a_gap_an_own_write_that_nobody_saw_is_no_damage() {
    let mut world = away(&config());
    world.put("c", "2");
    world.run();
    assert_eq!(world.value("c").unwrap(), "2");
    world.sent.clear();
    back(&mut world);
    assert_eq!((world.writes(), world.conflicts()), (0, 0));
}

#[test]
fn a_key_deleted_in_a_gap_is_not_deleted_again_and_one_damaged_is() {
    let mut world = away(&config());
    world.stranger("a", WriteAction::Delete);
    world.overwrite("b", "theirs", LeaseId::NONE);
    world.down = true;
    for (ticket, key) in ["a", "b"].into_iter().enumerate() {
        world.publisher.delete(world.now, name(key), Some(Ticket(ticket as u64)));
    }
    world.run();
    world.down = false;
    back(&mut world);
    assert_eq!((world.value("a"), world.value("b")), (None, None));
    let done = |event: &&PublishEvent| matches!(event, PublishEvent::Keys(OwnEvent::Done { result: Ok(_), .. }));
    assert_eq!(world.events.iter().filter(done).count(), 2);
}

#[test]
fn an_answer_that_comes_after_the_list_does_not_hide_what_the_list_showed() {
    let mut world = away(&config());
    world.put("c", "2");
    let (id, request) = world.publisher.poll_request(world.now).unwrap();
    let late = world.perform(request);
    // The write is in; before anybody hears of it, somebody undoes it, and the gap swallows both.
    world.overwrite("c", "theirs", LeaseId::NONE);
    back(&mut world);
    world.publisher.answer(world.now, id, late);
    world.run();
    assert_eq!(world.value("c").unwrap(), "2");
}

#[test]
fn in_another_history_everything_is_put_again() {
    let mut world = away(&config());
    world.blind = false;
    world.kv.restore(&Mvcc::new(), world.now);
    world.cut();
    world.pass(secs(20));
    assert_eq!(world.all(&prefix()).len(), 6);
    assert!(world.lists.iter().all(|list| list.keys_only));
    assert_eq!((world.conflicts(), world.publisher.state()), (0, &State::Synced));
}

#[test]
fn a_history_that_ended_before_the_watch_had_seen_its_own_keys_is_noticed_by_a_write() {
    let mut world = World::new(&config().lease_ttl(secs(10)));
    world.run();
    world.blind = true;
    for key in ["a", "b", "c", "d"] {
        world.put(key, "1");
    }
    world.run();
    // To the watch, which has seen nothing of it, it is the same; the lease is found lost, and a write tells.
    world.kv.restore(&Mvcc::new(), world.now);
    world.blind = false;
    world.cut();
    world.pass(secs(20));
    assert_eq!(world.all(&prefix()).len(), 4);
    assert_eq!(world.publisher.state(), &State::Synced);
}

#[test]
fn what_is_damaged_while_one_watch_takes_the_place_of_another_is_repaired() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.put("b", "1");
    world.run();
    world.stranger("a", WriteAction::Delete);
    world.overwrite("b", "2", LeaseId::NONE);
    world.publisher.watch_ended(world.now);
    (world.watch, world.stream) = (Watch::from_now(prefix().range(), secs(1200), 2), None);
    world.pass(secs(10));
    assert_eq!((world.value("a").as_deref(), world.value("b").as_deref()), (Some("1"), Some("1")));
    assert_eq!(world.lists.len(), 2, "no list of names");
}

/// Nothing of the keys tells, and nobody watches the canary.
#[test]
fn a_canary_lost_with_the_newest_writes_of_a_kvstore_is_written_again() {
    let mut world = World::new(&config());
    world.put("a", "1");
    world.publisher.synced(world.now, Ticket(1));
    world.run();
    let lease = world.canary().unwrap().lease;
    world
        .kv
        .write(vec![Write { path: "cilium/synced/c1/p".into(), expect: Expect::Any, action: WriteAction::Delete }])
        .unwrap();
    world.cut();
    world.pass(secs(10));
    let canary = world.canary().expect("it is back");
    assert_eq!((canary.lease, canary.value.as_ref()), (lease, &b"time 1"[..]));
    // While it is there, only the question is sent.
    world.cut();
    world.pass(secs(10));
    assert_eq!(world.canary(), Some(canary));
}
