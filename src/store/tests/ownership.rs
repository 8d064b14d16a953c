//! Own keys in the cache: their ghosts, their origin, and who is told what when ownership changes.

use std::time::Duration;

use super::*;
use crate::own::WriteError;

fn origins(bench: &mut Bench) -> [ObserverId; 2] {
    [Origin::Local, Origin::Remote].map(|origin| bench.observe(Filter::new().origin(origin), Mode::LatestPerKey))
}

#[test]
fn an_own_key_that_somebody_deletes_stays_and_nobody_is_told() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let id = bench.observer();
    bench.told(id);
    bench.inputs();
    bench.events([delete("a", 7)]);
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned()]));
    assert_eq!(bench.inputs(), ["a is gone at 7"]);
    bench.events([put("a", "1", 8)]);
    assert_eq!((bench.told(id), bench.inputs()), (vec![], vec!["a is of 8 at 8".to_owned()]));
    assert_eq!(bench.reader.get_with_revision("a").unwrap().1, Revision(8));
}

#[test]
fn an_own_key_given_up_after_somebody_deleted_it_is_told_deleted_once() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 7), put("b", "1", 9)]);
    bench.store.delete_local(None, &name("a"));
    assert_eq!(bench.told(id), ["+b=1 @9"]);
    bench.deleted("a", 8);
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @9 own".to_owned()], vec!["b=1".to_owned()]));
    bench.events([delete("a", 10)]);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn an_own_key_lost_to_another_while_it_is_gone_is_told_deleted() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 7)]);
    bench.sync(&OwnEvent::Lost { name: name("a") });
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @7 own".to_owned()], vec![]));
}

#[test]
fn a_ghost_goes_when_the_write_that_took_its_deletion_back_fails() {
    let mut bench = Bench::listed(&[], 5);
    for sync in [true, false] {
        bench.own("a", 1, bench.reader.revision().0 + 1);
        let id = bench.observer();
        bench.told(id);
        let revision = bench.reader.revision().0 + 1;
        bench.events([delete("a", revision)]);
        bench.store.delete_local(None, &name("a"));
        if sync {
            bench.store.put_local_sync(Ticket(1), &note("a", 2)).unwrap();
        } else {
            bench.store.put_once(Ticket(1), &note("a", 2)).unwrap();
        }
        assert_eq!(bench.told(id), NONE);
        bench.done(1, Err(WriteError::Closed));
        assert_eq!((bench.told(id), bench.shown()), (vec![format!("-a @{revision} own")], vec![]));
    }
}

#[test]
fn a_write_begun_before_the_name_was_given_up_does_not_decide_about_it() {
    let mut bench = Bench::listed(&[], 5);
    bench.store.put_local_sync(Ticket(1), &note("a", 1)).unwrap();
    bench.store.delete_local(None, &name("a"));
    bench.store.put_local_sync(Ticket(2), &note("a", 2)).unwrap();
    bench.done(1, Err(WriteError::Superseded));
    bench.events([put("a", "2", 6)]);
    bench.done(2, Ok(6));
    assert_eq!(bench.store.status(&OwnStats::default()).own, 1);
    bench.events([delete("a", 7)]);
    assert_eq!(bench.shown(), ["a=2"]);
}

#[test]
fn a_synchronous_write_makes_the_name_ours_only_when_it_succeeds() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    let own = |bench: &Bench| bench.store.status(&OwnStats::default()).own;
    bench.store.put_local_sync(Ticket(1), &note("a", 1)).unwrap();
    bench.store.put_local_sync(Ticket(2), &note("a", 2)).unwrap();
    bench.done(1, Err(WriteError::Superseded));
    assert_eq!(own(&bench), 0);
    bench.done(2, Ok(6));
    assert_eq!(own(&bench), 1);
    bench.store.put_once(Ticket(3), &note("b", 1)).unwrap();
    bench.done(3, Ok(7));
    assert_eq!(own(&bench), 1);
    let failed = Err(WriteError::Closed);
    bench.store.put_local_sync(Ticket(4), &note("c", 1)).unwrap();
    bench.done(4, failed);
    bench.events([put("c", "1", 8), delete("c", 9)]);
    assert_eq!(bench.shown(), ["a=1"]);
}

#[test]
fn the_deletion_of_an_own_key_is_not_delayed_whichever_comes_first() {
    for answer_first in [true, false] {
        let mut bench = Bench::with(|config| config.delete_delay(Duration::from_secs(30)));
        bench.list(&[], 5);
        bench.own("a", 1, 6);
        let id = bench.observer();
        bench.told(id);
        bench.store.delete_local(None, &name("a"));
        if answer_first {
            bench.deleted("a", 7);
        }
        bench.events([delete("a", 7)]);
        if !answer_first {
            bench.deleted("a", 7);
        }
        assert_eq!(bench.told(id), ["-a @7 own"]);
        bench.events([put("a", "2", 8), delete("a", 9)]);
        assert_eq!((bench.told(id), bench.shown()), (vec!["+a=2 @8".to_owned()], vec!["a=2".to_owned()]));
    }
}

#[test]
fn what_another_puts_after_our_deletion_is_theirs() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let [ours, theirs] = origins(&mut bench);
    bench.told(ours);
    bench.told(theirs);
    bench.store.delete_local(None, &name("a"));
    bench.deleted("a", 7);
    bench.events([delete("a", 7), put("a", "1", 8)]);
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["-a @7 own".to_owned()], vec!["+a=1 @8".to_owned()]));
}

#[test]
fn a_key_left_to_another_owner_changes_hands_when_the_cache_has_caught_up() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let [ours, theirs] = origins(&mut bench);
    bench.told(ours);
    bench.told(theirs);
    bench.store.delete_local(None, &name("a"));
    bench.deleted("a", 9);
    bench.events([put("a", "2", 8)]);
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["a:1->2 @8 own".to_owned()], vec![]));
    bench.deliver(Delivery::Progress(Revision(9)));
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["-a @9".to_owned()], vec!["+a=2 @9".to_owned()]));
}

#[test]
fn a_key_that_becomes_ours_moves_from_those_who_hear_of_others_to_those_who_hear_of_ours() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    let [ours, theirs] = origins(&mut bench);
    let all = bench.observer();
    assert_eq!(bench.told(theirs), ["+a=1 @3", "synced 1 @5"]);
    bench.told(ours);
    bench.told(all);
    // Our key of an earlier run: the same value, under a new lease.
    bench.own("a", 1, 6);
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["+a=1 @6 own".to_owned()], vec!["-a @6 own".to_owned()]));
    assert_eq!(bench.told(all), NONE);
    let late = bench.observe(Filter::new().origin(Origin::Local), Mode::LatestPerKey);
    assert_eq!(bench.told(late), ["+a=1 @6 own", "synced 1 @6"]);
}

#[test]
fn a_key_lost_to_another_owner_is_theirs_without_another_change() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let [ours, theirs] = origins(&mut bench);
    bench.told(ours);
    bench.told(theirs);
    bench.events([put("a", "2", 7)]);
    bench.told(ours);
    bench.sync(&OwnEvent::Lost { name: name("a") });
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["-a @7".to_owned()], vec!["+a=2 @7".to_owned()]));
}

#[test]
fn who_only_changes_hands_is_no_change_to_readers() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    let version = |bench: &Bench| bench.store.shared.point.borrow().version;
    let before = version(&bench);
    bench.own("a", 1, 6);
    assert_eq!(version(&bench), before);
}

#[test]
fn an_own_key_overwritten_with_nonsense_is_not_deleted_for_observers() {
    let mut bench = Bench::with(|config| config.on_undecodable(OnUndecodable::Remove));
    bench.list(&[], 5);
    bench.own("a", 1, 6);
    bench.own("b", 2, 7);
    let id = bench.observer();
    bench.told(id);
    bench.events([put("a", "x", 8), put("b", "x", 8)]);
    assert_eq!(bench.told(id), ["undecodable a @8: no digits", "undecodable b @8: no digits"]);
    bench.events([put("a", "1", 9)]);
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned(), "b=2".into()]));
    bench.sync(&OwnEvent::Lost { name: name("b") });
    assert_eq!((bench.told(id), bench.shown()), (vec!["-b @9 own".to_owned()], vec!["a=1".to_owned()]));
}

#[test]
fn own_echoes_are_told_once_and_as_ours() {
    let mut bench = Bench::listed(&[], 5);
    let id = bench.observer();
    bench.told(id);
    bench.own("a", 1, 6);
    assert_eq!(bench.told(id), ["+a=1 @6 own"]);
    bench.events([put("a", "1", 7)]);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn the_sync_is_told_with_each_wish_what_is_known_of_the_name() {
    let mut bench = Bench::listed(&[kv("a", "1", 3), kv("b", "x", 4)], 5);
    bench.inputs();
    bench.store.put_local(&note("a", 1)).unwrap();
    bench.store.put_local(&note("new", 1)).unwrap();
    assert_eq!(bench.inputs(), ["put a", "a is of 3 at 5", "put new"]);
    bench.store.put_local(&note("b", 1)).unwrap();
    assert_eq!(bench.inputs(), ["put b", "b is of 4 at 5"]);
    bench.events([put("b", "y", 6)]);
    bench.inputs();
    bench.store.put_local(&note("b", 2)).unwrap();
    let inputs: Vec<_> = std::iter::from_fn(|| bench.store.poll_sync()).collect();
    assert!(matches!(&inputs[1], SyncInput::Observed(Observation { state: Some(Seen { lease: LeaseId(1), .. }), .. })));
}

#[test]
fn closing_retracts_own_keys_once_and_no_others() {
    let mut bench = Bench::listed(&[kv("tried", "1", 3), kv("other", "1", 4)], 5);
    bench.own("a", 1, 6);
    bench.own("left", 1, 7);
    bench.store.put_local_sync(Ticket(1), &note("tried", 2)).unwrap();
    let id = bench.observer();
    bench.told(id);
    bench.store.retract_local(bench.now, &[name("left")]);
    assert_eq!(bench.told(id), ["-a @7 own"]);
    bench.store.retract_local(bench.now, &[name("left")]);
    assert_eq!(bench.told(id), NONE);
    assert_eq!(bench.shown(), ["left=1", "other=1", "tried=1"]);
}

#[test]
fn a_key_without_an_encoding_changes_nothing() {
    let mut bench = Bench::listed(&[], 5);
    assert!(matches!(bench.store.put_local(&note("", 1)), Err(KeyError::Name(_))));
    assert_eq!(bench.store.put_local(&note("a", 666)), Err(KeyError::Panicked(bench::PANIC.into())));
    assert_eq!((bench.inputs(), bench.store.status(&OwnStats::default()).own), (vec![], 0));
    assert_eq!(bench.store.status(&OwnStats::default()).panics, 1);
}

#[test]
fn a_name_asked_for_again_just_as_it_was_lost_is_ours_when_it_is_stored() {
    let own = |bench: &Bench| bench.store.status(&OwnStats::default()).own;
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    bench.store.put_local(&note("a", 2)).unwrap();
    bench.sync(&OwnEvent::Lost { name: name("a") });
    assert_eq!(own(&bench), 0);
    bench.events([put("a", "2", 7), put("a", "9", 8)]);
    bench.inputs();
    bench.sync(&OwnEvent::Stored { name: name("a"), revision: Revision(7) });
    assert_eq!((own(&bench), bench.inputs()), (1, vec!["a is of 8 at 8".to_owned()]));
    bench.store.put_local_sync(Ticket(1), &note("a", 3)).unwrap();
    bench.sync(&OwnEvent::Lost { name: name("a") });
    bench.events([put("a", "3", 9), delete("a", 10)]);
    bench.inputs();
    bench.done(1, Ok(9));
    assert_eq!((own(&bench), bench.inputs()), (1, vec!["a is gone at 10".to_owned()]));
}

#[test]
fn answers_to_older_wishes_do_not_make_a_name_ours_that_was_given_up_since() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    bench.store.delete_local(None, &name("a"));
    bench.store.put_local(&note("a", 2)).unwrap();
    bench.store.delete_local(None, &name("a"));
    bench.deleted("a", 7);
    bench.sync(&OwnEvent::Stored { name: name("a"), revision: Revision(8) });
    bench.deleted("a", 9);
    bench.events([delete("a", 7), put("a", "2", 8), delete("a", 9), put("a", "3", 10)]);
    assert!(!bench.store.local.contains("a"));
    bench.events([delete("a", 11)]);
    assert_eq!(bench.shown(), NONE);
}

#[test]
fn a_name_given_up_while_it_was_lost_stays_given_up() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    bench.store.put_local_sync(Ticket(1), &note("a", 2)).unwrap();
    bench.store.delete_local(None, &name("a"));
    bench.store.put_once(Ticket(2), &note("a", 2)).unwrap();
    bench.sync(&OwnEvent::Lost { name: name("a") });
    bench.done(1, Ok(7));
    bench.done(2, Ok(7));
    assert!(!bench.store.local.contains("a"));
}
