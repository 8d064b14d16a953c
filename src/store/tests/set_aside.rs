//! Own keys that the kvstore refuses.

use super::*;
use crate::backend::BackendError;

fn forbidden() -> bench::Outcome {
    Err(BackendError::forbidden("permission denied"))
}

/// A store that owns `a`, which the kvstore forbids, and an observer that was told so.
fn aside() -> (Bench, ObserverId) {
    let mut bench = Bench::listed(&[], 5);
    let id = bench.observer();
    bench.told(id);
    bench.want("a", 1);
    bench.answer_next(forbidden());
    assert_eq!(bench.told(id), ["set aside a: permission denied"]);
    (bench, id)
}

#[test]
fn a_key_that_is_set_aside_is_told_once_and_when_it_is_so_no_longer() {
    let (mut bench, id) = aside();
    for _ in 0..3 {
        bench.passes(300);
        bench.answer_next(forbidden());
        assert_eq!(bench.told(id), NONE, "it is told already");
    }
    bench.passes(300);
    assert_eq!(bench.commit(6), ["put a=1 over absent"]);
    assert_eq!(bench.told(id), ["set aside a: no longer"]);
    bench.events([bench.put_by_us("a", "1", 6)]);
    assert_eq!(bench.told(id), ["+a=1 @6 own"]);
    let status = bench.store.status();
    assert_eq!((status.set_aside, status.repairs), (vec![], 0), "it is no repair");
}

#[test]
fn a_key_that_is_tried_again_is_still_set_aside() {
    let (mut bench, _) = aside();
    bench.passes(300);
    let (id, _) = bench.next_write().unwrap();
    assert_eq!(bench.store.status().set_aside.len(), 1);
    bench.answer(id, Err(BackendError::forbidden("another cause")));
    assert_eq!(bench.store.status().set_aside, [(name("a"), "another cause".into())]);
}

#[test]
fn a_key_that_is_refused_for_another_cause_or_with_another_value_is_told_again() {
    let (mut bench, id) = aside();
    bench.passes(300);
    bench.answer_next(Err(BackendError::forbidden("another cause")));
    assert_eq!(bench.told(id), ["set aside a: another cause"]);
    bench.want("a", 2);
    bench.answer_next(Err(BackendError::forbidden("another cause")));
    assert_eq!(bench.told(id), ["set aside a: another cause"]);
}

#[test]
fn a_key_that_is_set_aside_and_given_up_is_set_aside_no_longer() {
    let (mut bench, id) = aside();
    bench.give_up("a");
    bench.commit(6);
    assert_eq!(bench.told(id), ["set aside a: no longer"]);
}

#[test]
fn a_key_that_is_set_aside_and_left_to_another_owner_is_set_aside_no_longer() {
    let tried_again: [fn(&mut Bench); 2] = [|bench| bench.passes(300), |bench| bench.want("a", 3)];
    for again in tried_again {
        let mut bench = Bench::with(|config| config.conflict(crate::config::ConflictPolicy::Yield));
        bench.list(&[], 5);
        let id = bench.observer();
        bench.told(id);
        bench.want("a", 1);
        bench.answer_next(forbidden());
        bench.events([put("a", "2", 6)]);
        bench.told(id);
        again(&mut bench);
        let written = bench.commit(7);
        let notices: Vec<_> = bench.told(id).into_iter().filter(|told| told.starts_with("set aside")).collect();
        assert_eq!((written, notices), (vec![], vec!["set aside a: no longer".to_owned()]));
        assert_eq!(bench.store.status().set_aside, []);
    }
}

#[test]
fn late_observers_hear_of_keys_that_are_set_aside() {
    let (mut bench, _) = aside();
    let late = bench.observer();
    assert_eq!(bench.told(late), ["synced 0 @5", "set aside a: permission denied"]);
}

/// It was ours once, and is not put back: what is told of it is that it is set aside.
#[test]
fn a_damaged_key_that_cannot_be_put_back_is_told_as_set_aside_and_as_no_repair() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("a", 1, 6);
    let id = bench.observer();
    bench.told(id);
    bench.events([delete("a", 7)]);
    bench.answer_next(forbidden());
    assert_eq!(bench.told(id), ["-a @7 own", "set aside a: permission denied"]);
    bench.passes(300);
    bench.commit(8);
    assert_eq!(bench.told(id), ["set aside a: no longer"]);
    assert_eq!(bench.store.status().repairs, 0);
}

#[test]
fn a_key_that_somebody_deletes_while_it_is_tried_again_is_told_deleted_if_it_is_still_refused() {
    let (mut bench, id) = aside();
    bench.events([Event::Put(KeyValue { lease: LeaseId::NONE, ..kv("a", "2", 6) })]);
    assert_eq!(bench.told(id), ["+a=2 @6"]);
    bench.passes(300);
    let (request, _) = bench.next_write().unwrap();
    bench.events([delete("a", 7)]);
    assert_eq!(bench.told(id), NONE, "it may be put at any moment");
    bench.answer(request, forbidden());
    assert_eq!(bench.told(id), ["-a @7"]);
}
