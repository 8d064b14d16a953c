//! Own keys in the cache: how they are repaired, their origin, and who is told what when ownership changes.

use super::*;
use crate::backend::BackendError;
use crate::config::ConflictPolicy;
use crate::own::{Lifetime, WriteError};

fn origins(bench: &mut Bench) -> [ObserverId; 2] {
    [Origin::Local, Origin::Remote]
        .map(|origin| bench.observe(Filter::new().origin(origin), DeliveryMode::LatestPerKey))
}

/// A store that owns `a` and leaves conflicts to this policy, and an observer of everything.
fn owner(policy: ConflictPolicy) -> (Bench, ObserverId) {
    let mut bench = Bench::with(|config| config.conflict(policy));
    bench.list(&[], 5);
    bench.own("a", 1, 6);
    let id = bench.observer();
    bench.told(id);
    (bench, id)
}

#[test]
fn an_own_key_that_somebody_deletes_is_put_again_and_that_is_all_that_is_told() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.events([delete("a", 7)]);
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned()]));
    assert_eq!(bench.commit(8), ["put a=1 over absent"]);
    bench.events([bench.put_by_us("a", "1", 8)]);
    assert_eq!((bench.told(id), bench.commit(9)), (vec!["repaired a @8: deleted".to_owned()], vec![]));
    assert_eq!(bench.store.status().repairs, 1);
    assert_eq!(bench.reader.get_with_revision("a").unwrap().1, Revision(8));
}

#[test]
fn an_own_key_given_up_after_somebody_deleted_it_is_told_deleted_once() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.events([delete("a", 7), put("b", "1", 9)]);
    assert_eq!(bench.told(id), ["+b=1 @9"]);
    bench.give_up("a");
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @9 own".to_owned()], vec!["b=1".to_owned()]));
    assert_eq!(bench.commit(10), NONE, "there is nothing to delete");
    bench.events([delete("a", 10)]);
    assert_eq!(bench.told(id), NONE);
}

/// Somebody deletes it before the cache has shown it.
#[test]
fn an_own_key_that_a_list_lacks_is_put_again_and_proves_no_other_history() {
    let mut bench = Bench::listed(&[], 5);
    bench.want("a", 1);
    bench.commit(6);
    bench.list(&[], 7);
    assert!(!bench.happened().contains(&OwnEvent::HistoryChanged));
    assert_eq!(bench.commit(8), ["put a=1 over absent"]);
}

/// Its repair is under way, and a write that takes the deletion back may fail.
#[test]
fn an_own_key_given_up_while_it_is_put_again_is_told_deleted_at_once() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.events([delete("a", 7)]);
    let _repair = bench.next_write().unwrap();
    bench.give_up("a");
    bench.want_sync(1, "a", 2);
    bench.passes(3600);
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @7 own".to_owned()], vec![]));
}

/// The kvstore was set back: the deletion has the revision at which the name was known to be another owner's.
#[test]
fn the_deletion_of_a_name_that_was_given_up_is_told_at_once_though_it_contradicts_what_was_known() {
    let delay = Duration::from_secs(100);
    let mut bench = Bench::with(|config| config.conflict(ConflictPolicy::Yield).delete_delay(delay));
    bench.list(&[], 6);
    let id = bench.observer();
    bench.want("a", 1);
    bench.answer_next(refused(8, Some(kv("a", "9", 7))));
    bench.events([put("a", "9", 7)]);
    bench.give_up("a");
    bench.told(id);
    bench.events([delete("a", 8)]);
    assert_eq!((bench.told(id), bench.shown()), (vec!["-a @8".to_owned()], vec![]));
}

#[test]
fn so_is_the_deletion_when_an_event_of_the_same_batch_contradicts_what_was_known() {
    let delay = Duration::from_secs(100);
    let mut bench = Bench::with(|config| config.conflict(ConflictPolicy::Yield).delete_delay(delay));
    bench.list(&[], 6);
    let id = bench.observer();
    bench.want("a", 1);
    bench.answer_next(refused(8, Some(kv("a", "9", 7))));
    bench.events([put("a", "9", 7)]);
    bench.give_up("a");
    bench.told(id);
    bench.events([put("a", "5", 8), delete("a", 9)]);
    assert_eq!((bench.told(id), bench.shown()), (vec!["a:9->5 @8".to_owned(), "-a @9".into()], vec![]));
}

#[test]
fn an_own_key_lost_to_another_while_it_is_gone_is_told_deleted_and_then_theirs() {
    let (mut bench, id) = owner(ConflictPolicy::Fail);
    bench.events([delete("a", 7)]);
    let theirs = kv("a", "9", 8);
    assert_eq!(bench.answer_next(refused(8, Some(theirs.clone()))), ["put a=1 over absent"]);
    assert_eq!((bench.told(id), bench.shown()), (vec!["conflict a @8".to_owned(), "-a @7 own".into()], vec![]));
    bench.events([Event::Put(theirs)]);
    assert_eq!((bench.told(id), bench.owns()), (vec!["+a=9 @8".to_owned()], 0));
}

#[test]
fn a_synchronous_write_that_fails_leaves_an_own_key_as_it_was_even_if_it_is_gone() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.events([delete("a", 7)]);
    bench.want_sync(1, "a", 2);
    assert_eq!(bench.answer_next(Err(BackendError::rejected("too large"))), ["put a=2 over absent"]);
    assert_eq!(bench.done(1), Some(Err(WriteError::Rejected { cause: "too large".into() })));
    assert_eq!(bench.commit(8), ["put a=1 over absent"]);
    bench.events([bench.put_by_us("a", "1", 8)]);
    assert_eq!((bench.told(id), bench.shown(), bench.owns()), (vec![], vec!["a=1".to_owned()], 1));
}

#[test]
fn a_write_begun_before_the_name_was_given_up_does_not_decide_about_it() {
    let mut bench = Bench::listed(&[], 5);
    bench.want_sync(1, "a", 1);
    bench.give_up("a");
    bench.want_sync(2, "a", 2);
    assert_eq!(bench.done(1), Some(Err(WriteError::Superseded)));
    assert_eq!(bench.commit(6), ["put a=2 over absent"]);
    bench.events([bench.put_by_us("a", "2", 6)]);
    assert_eq!((bench.done(2), bench.owns()), (Some(Ok(6)), 1));
    bench.events([delete("a", 7)]);
    assert_eq!(bench.shown(), ["a=2"]);
}

#[test]
fn a_synchronous_write_makes_the_name_ours_only_when_it_succeeds() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    bench.want_sync(1, "a", 1);
    bench.want_sync(2, "a", 2);
    assert_eq!((bench.done(1), bench.owns()), (Some(Err(WriteError::Superseded)), 0));
    bench.commit(6);
    assert_eq!((bench.done(2), bench.owns()), (Some(Ok(6)), 1));
    bench.store.put_once(bench.now, Ticket(3), &note("b", 1), Lifetime::Store).unwrap();
    bench.commit(7);
    assert_eq!((bench.done(3), bench.owns()), (Some(Ok(7)), 1));
    bench.want_sync(4, "c", 1);
    bench.answer_next(Err(BackendError::rejected("no")));
    assert_eq!(bench.owns(), 1);
    bench.events([put("c", "1", 8), delete("c", 9)]);
    assert!(!bench.shown().contains(&"c=1".to_owned()));
}

#[test]
fn the_deletion_of_an_own_key_is_not_delayed_whichever_comes_first() {
    for answer_first in [true, false] {
        let mut bench = Bench::with(|config| config.delete_delay(Duration::from_secs(30)));
        bench.list(&[], 5);
        bench.own("a", 1, 6);
        let id = bench.observer();
        bench.told(id);
        bench.give_up("a");
        let (request, _) = bench.next_write().unwrap();
        if answer_first {
            bench.answer(request, committed(7));
        }
        bench.events([delete("a", 7)]);
        if !answer_first {
            bench.answer(request, committed(7));
        }
        assert_eq!(bench.told(id), ["-a @7 own"]);
        bench.events([put("a", "2", 8), delete("a", 9)]);
        assert_eq!((bench.told(id), bench.shown()), (vec!["+a=2 @8".to_owned()], vec!["a=2".to_owned()]));
    }
}

#[test]
fn what_another_puts_after_our_deletion_is_theirs() {
    let (mut bench, _) = owner(ConflictPolicy::Overwrite);
    let [ours, theirs] = origins(&mut bench);
    bench.told(ours);
    bench.told(theirs);
    bench.give_up("a");
    assert_eq!(bench.commit(7), ["delete a if @6"]);
    bench.events([delete("a", 7), put("a", "1", 8)]);
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["-a @7 own".to_owned()], vec!["+a=1 @8".to_owned()]));
}

#[test]
fn a_key_that_becomes_ours_moves_from_those_who_hear_of_others_to_those_who_hear_of_ours() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    let [ours, theirs] = origins(&mut bench);
    let all = bench.observer();
    assert_eq!(bench.told(theirs), ["+a=1 @3", "synced 1 @5"]);
    bench.told(ours);
    bench.told(all);
    // The same value, under a lease of ours.
    bench.own("a", 1, 6);
    assert_eq!((bench.told(ours), bench.told(theirs)), (vec!["+a=1 @6 own".to_owned()], vec!["-a @6 own".to_owned()]));
    assert_eq!(bench.told(all), NONE);
    let late = bench.observe(Filter::new().origin(Origin::Local), DeliveryMode::LatestPerKey);
    assert_eq!(bench.told(late), ["+a=1 @6 own", "synced 1 @6"]);
}

/// Under `Overwrite` it is repaired, but until then it is what the kvstore says.
#[test]
fn the_value_of_another_owner_is_theirs_at_once_whatever_the_policy() {
    for policy in [ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail] {
        let (mut bench, _) = owner(policy);
        let [ours, theirs] = origins(&mut bench);
        bench.told(ours);
        bench.told(theirs);
        bench.events([put("a", "7", 7)]);
        let conflict = "conflict a @7".to_owned();
        assert_eq!(bench.told(ours), ["-a @7", &conflict], "{policy:?}");
        assert_eq!(bench.told(theirs), ["+a=7 @7", &conflict], "{policy:?}");
    }
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
fn an_own_key_overwritten_with_nonsense_is_not_deleted_for_observers_while_it_is_kept() {
    let mut bench = Bench::with(|config| config.on_undecodable(OnUndecodable::Remove).conflict(ConflictPolicy::Fail));
    bench.list(&[], 5);
    bench.own("a", 1, 6);
    bench.own("b", 2, 7);
    let id = bench.observer();
    bench.told(id);
    // Written without a lease: nobody else owns it.
    bench.events([Event::Put(KeyValue { lease: LeaseId::NONE, ..kv("a", "x", 8) })]);
    assert_eq!(bench.told(id), ["undecodable a @8: no digits"]);
    assert_eq!(bench.commit(9), ["put a=1 over @8"]);
    bench.events([bench.put_by_us("a", "1", 9)]);
    assert_eq!(bench.told(id), ["repaired a @9: overwritten", "healed a @9"]);
    assert_eq!(bench.shown(), ["a=1", "b=2"]);
    // Another owner's: with this policy the name is lost.
    bench.events([put("b", "x", 10)]);
    assert_eq!(bench.told(id), ["-b @10 own", "undecodable b @10: no digits", "conflict b @10"]);
    assert_eq!(bench.shown(), ["a=1"]);
}

#[test]
fn own_echoes_are_told_once_and_as_ours() {
    let mut bench = Bench::listed(&[], 5);
    let id = bench.observer();
    bench.told(id);
    bench.own("a", 1, 6);
    assert_eq!(bench.told(id), ["+a=1 @6 own"]);
    bench.events([bench.put_by_us("a", "1", 7)]);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn a_wish_is_written_over_what_the_cache_knows_of_the_name() {
    let mut bench = Bench::listed(&[kv("a", "1", 3), kv("b", "x", 4)], 5);
    bench.want("a", 1);
    bench.want("new", 1);
    bench.want("b", 1);
    assert_eq!(bench.commit(6), ["put a=1 over @3", "put new=1 over absent", "put b=1 over @4"]);
    let mut bench = Bench::with(|config| config.conflict(ConflictPolicy::Yield));
    bench.list(&[kv("b", "x", 4)], 5);
    bench.want("b", 1);
    assert_eq!(bench.commit(6), NONE, "the owner of a value that cannot be decoded is known, too");
    assert!(matches!(bench.happened(), [OwnEvent::Conflict { lease: LeaseId(1), .. }]));
}

#[test]
fn closing_tells_one_deletion_of_each_own_key_and_none_of_others() {
    let mut bench = Bench::listed(&[kv("tried", "1", 3), kv("other", "1", 4)], 5);
    bench.own("a", 1, 6);
    bench.own("b", 1, 7);
    bench.want_sync(1, "tried", 2);
    let id = bench.observer();
    bench.told(id);
    bench.store.close_own(bench.now, Ticket(2));
    assert_eq!(bench.commit(8), NONE, "leases are revoked instead");
    assert_eq!(bench.done(1), Some(Err(WriteError::Closed)));
    assert!(bench.happened().contains(&OwnEvent::Closed { ticket: Ticket(2), left: vec![] }));
    assert_eq!(
        (bench.told(id), bench.shown()),
        (vec!["-a @7 own".to_owned(), "-b @7 own".into()], vec!["other=1".to_owned(), "tried=1".into()])
    );
    bench.store.close_own(bench.now, Ticket(3));
    bench.events([delete("a", 8), delete("b", 8)]);
    assert_eq!(bench.told(id), NONE);
}

#[test]
fn leaving_tells_no_deletion_of_a_key_that_another_owner_has() {
    let (mut bench, id) = owner(ConflictPolicy::Yield);
    bench.events([put("a", "7", 7)]);
    bench.told(id);
    bench.store.close_own(bench.now, Ticket(1));
    bench.commit(8);
    assert!(matches!(bench.happened().last(), Some(OwnEvent::Closed { .. })));
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=7".to_owned()]));
}

#[test]
fn leaving_tells_no_deletion_of_a_key_that_could_not_be_deleted() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.store.close_own(bench.now, Ticket(1));
    // The kvstore is silent until the time is over.
    assert!(matches!(bench.store.poll_request(bench.now), Some((_, crate::own::Request::Revoke(_)))));
    bench.now += Duration::from_secs(11);
    assert!(bench.store.poll_request(bench.now).is_none());
    let left = vec![(name("a"), "not confirmed in time".into())];
    assert!(bench.happened().contains(&OwnEvent::Closed { ticket: Ticket(1), left }));
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned()]));
}

#[test]
fn a_key_without_an_encoding_changes_nothing() {
    let mut bench = Bench::listed(&[], 5);
    assert!(matches!(bench.store.put_local(bench.now, &note("", 1)), Err(KeyError::Name(_))));
    let panicked = KeyError::Panicked(std::any::type_name::<bench::Note>());
    assert_eq!(bench.store.put_local(bench.now, &note("a", 666)), Err(panicked.clone()));
    assert_eq!(bench.store.put_local_all(bench.now, &[note("a", 1), note("b", 666)]), Err(panicked));
    assert_eq!((bench.commit(6), bench.owns(), bench.store.status().panics), (vec![], 0, 2));
}

#[test]
fn a_name_that_was_lost_can_be_asked_for_again() {
    let (mut bench, _) = owner(ConflictPolicy::Fail);
    bench.events([put("a", "9", 7)]);
    assert!(bench.happened().contains(&OwnEvent::Lost { name: name("a") }));
    assert_eq!(bench.owns(), 0);
    bench.events([delete("a", 8)]);
    bench.want_sync(1, "a", 2);
    bench.commit(9);
    bench.events([bench.put_by_us("a", "2", 9), delete("a", 10)]);
    assert_eq!((bench.done(1), bench.owns()), (Some(Ok(9)), 1));
    assert_eq!(bench.commit(11), ["put a=2 over absent"]);
}

#[test]
fn a_name_whose_write_succeeded_is_ours_though_a_later_write_fails() {
    let mut bench = Bench::listed(&[], 5);
    bench.want_sync(5, "a", 2);
    bench.commit(6);
    bench.want_sync(6, "a", 3);
    // The second write is refused before the watch shows the first.
    assert_eq!(bench.answer_next(Err(BackendError::rejected("too large"))), ["put a=3 over @6"]);
    bench.events([bench.put_by_us("a", "2", 6), delete("a", 7)]);
    assert_eq!((bench.done(5), bench.owns()), (Some(Ok(6)), 1));
    assert_eq!(bench.commit(8), ["put a=2 over absent"]);
}

#[test]
fn answers_to_older_wishes_do_not_make_a_name_ours_that_was_given_up_since() {
    let (mut bench, id) = owner(ConflictPolicy::Overwrite);
    bench.give_up("a");
    let (deletion, _) = bench.next_write().unwrap();
    bench.want("a", 2);
    bench.give_up("a");
    bench.answer(deletion, committed(7));
    assert_eq!(bench.commit(8), NONE);
    bench.events([delete("a", 7), put("a", "3", 9), delete("a", 10)]);
    assert_eq!(bench.told(id), ["-a @7 own", "+a=3 @9", "-a @10"]);
    assert_eq!((bench.owns(), bench.shown()), (0, vec![]));
}

#[test]
fn a_deletion_of_a_key_of_another_owner_says_whose_it_is_and_changes_nothing() {
    let mut bench = Bench::listed(&[kv("a", "1", 3)], 5);
    let id = bench.observer();
    bench.told(id);
    bench.store.delete_local(bench.now, Some(Ticket(1)), &name("a"));
    assert_eq!(bench.commit(6), NONE);
    assert_eq!(bench.done(1), Some(Err(WriteError::NotOwned { lease: LeaseId(1) })));
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned()]));
}
