//! Lists, relists, and where the cache stands.

use super::*;
use crate::backend::BackendError;
use crate::watch::PageKeys;

#[test]
fn a_relist_tells_exactly_the_difference_deletions_included() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4)], 5);
    let id = bench.observer();
    bench.told(id);
    bench.list(&[kv("b", "9", 7), kv("c", "3", 4), kv("d", "4", 6)], 8);
    assert_eq!(bench.told(id), ["+d=4 @6", "b:2->9 @7", "-a @8"]);
    assert_eq!(bench.shown(), ["b=9", "c=3", "d=4"]);
}

#[test]
fn a_relist_of_names_and_changes_tells_the_same_difference() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4)], 5);
    let id = bench.observer();
    bench.told(id);
    let changed = vec![kv("b", "9", 7), kv("d", "4", 6)];
    let names = vec![kv("b", "", 7), kv("c", "", 4), kv("d", "", 6)];
    bench.deliver(Bench::page(bench::Part::First, 8, PageKeys::Names(names)));
    bench.deliver(Bench::page(bench::Part::Last, 8, PageKeys::Full(changed)));
    assert_eq!(bench.told(id), ["+d=4 @6", "b:2->9 @7", "-a @8"]);
    assert_eq!(bench.shown(), ["b=9", "c=3", "d=4"]);
}

#[test]
fn a_relist_without_changes_tells_nothing_and_decodes_nothing() {
    let keys = [kv("a", "1", 2), kv("b", "2", 3)];
    let mut bench = Bench::listed(&keys, 5);
    let id = bench.observer();
    bench.told(id);
    let before = Bench::decoded();
    bench.list(&keys, 8);
    bench.deliver(Bench::page(bench::Part::Whole, 9, PageKeys::Names(keys.to_vec())));
    bench.foreign_list(&keys, 4);
    assert_eq!(bench.told(id), ["resynced 5 to 4"]);
    assert_eq!(Bench::decoded(), before);
    assert_eq!(bench.reader.revision(), Revision(4));
}

#[test]
fn a_list_in_two_pages_is_in_the_cache_whole_or_not_at_all() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    bench.deliver(Bench::page(bench::Part::First, 8, PageKeys::Full(vec![kv("b", "2", 6)])));
    let before = bench.reader.snapshot();
    assert_eq!((before.revision, before.entries.len(), bench.shown()), (Revision(5), 1, vec!["a=1".to_owned()]));
    bench.deliver(Bench::page(bench::Part::Last, 8, PageKeys::Full(vec![kv("c", "3", 7)])));
    let after = bench.reader.snapshot();
    assert_eq!((after.revision, bench.shown()), (Revision(8), vec!["b=2".to_owned(), "c=3".into()]));
}

#[test]
fn a_list_that_begins_anew_forgets_the_pages_before() {
    let mut bench = Bench::new();
    bench.deliver(Bench::page(bench::Part::First, 5, PageKeys::Full(vec![kv("a", "1", 2)])));
    bench.deliver(Bench::page(bench::Part::Whole, 8, PageKeys::Full(vec![kv("b", "2", 6)])));
    assert_eq!(bench.shown(), ["b=2"]);
}

#[test]
fn a_list_without_its_first_page_is_refused() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let page = Bench::page(bench::Part::Last, 8, PageKeys::Full(vec![]));
    assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
    assert_eq!((bench.shown(), bench.reader.revision()), (vec!["a=1".to_owned()], Revision(5)));
}

#[test]
fn a_list_that_names_a_value_nobody_has_is_refused_and_a_full_one_mends_it() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let id = bench.observer();
    bench.told(id);
    let page = Bench::page(bench::Part::Whole, 8, PageKeys::Names(vec![kv("a", "", 7)]));
    assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
    assert_eq!((bench.told(id), bench.shown()), (vec![], vec!["a=1".to_owned()]));
    bench.list(&[kv("a", "3", 7)], 9);
    assert_eq!(bench.told(id), ["a:1->3 @7"]);
}

/// The kvstore was set back between the pages and has reached the same revision again.
#[test]
fn values_that_the_names_of_their_list_do_not_have_are_refused() {
    for value in [kv("a", "3", 6), kv("b", "3", 7)] {
        let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
        bench.deliver(Bench::page(bench::Part::First, 8, PageKeys::Names(vec![kv("a", "", 2)])));
        let page = Bench::page(bench::Part::Last, 8, PageKeys::Full(vec![value]));
        assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
        assert_eq!(bench.shown(), ["a=1"]);
    }
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    bench.deliver(Bench::page(bench::Part::First, 8, PageKeys::Names(vec![kv("a", "", 7)])));
    let page = Bench::page(bench::Part::Last, 8, PageKeys::Full(vec![kv("a", "3", 6)]));
    assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
}

#[test]
fn an_empty_list_is_a_first_state_too() {
    let mut bench = Bench::new();
    let id = bench.observer();
    assert_eq!(bench.told(id), NONE);
    bench.list(&[], 5);
    assert_eq!(bench.told(id), ["synced 0 @5"]);
}

#[test]
fn readers_are_told_of_the_first_list_though_nobody_observes() {
    let mut bench = Bench::new();
    let version = |bench: &Bench| bench.store.shared.point.borrow().version;
    bench.list(&[kv("a", "1", 3)], 5);
    assert_eq!((version(&bench), bench.shown()), (1, vec!["a=1".to_owned()]));
}

#[test]
fn keys_that_are_not_ours_are_not_there() {
    let mut strangers = vec![kv("", "1", 2), kv("a", "1", 2)];
    strangers.push(KeyValue { path: (&b"p/\xff"[..]).into(), ..kv("", "1", 3) });
    strangers.push(KeyValue { path: "p0/x".into(), ..kv("", "1", 3) });
    let mut bench = Bench::listed(&strangers, 5);
    assert_eq!(bench.shown(), ["a=1"]);
    bench.events([delete("", 6), put("", "2", 7)]);
    bench.deliver(Bench::page(bench::Part::Whole, 9, PageKeys::Names(strangers)));
    assert_eq!(bench.shown(), ["a=1"]);
}

/// The kvstore was set back and has passed our revision since, while the watch was broken.
#[test]
fn a_list_that_shows_a_key_older_than_it_was_is_refused() {
    let keys = [kv("a", "1", 3), kv("b", "2", 9)];
    let older = vec![kv("a", "1", 3), kv("b", "1", 4)];
    for keys_of_page in [PageKeys::Full(older.clone()), PageKeys::Names(older)] {
        let mut bench = Bench::listed(&keys, 9);
        let page = Bench::page(bench::Part::Whole, 20, keys_of_page);
        assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
        assert_eq!(bench.shown(), ["a=1", "b=2"]);
    }
}

#[test]
fn another_history_is_told_as_such_and_everything_known_of_writes_is_void() {
    let mut bench = Bench::listed(&[kv("a", "1", 8), kv("b", "2", 9)], 9);
    let id = bench.observer();
    bench.told(id);
    bench.own("o", 1, 10);
    bench.told(id);
    bench.foreign_list(&[kv("a", "7", 3), kv("b", "2", 2)], 4);
    assert_eq!(bench.told(id), ["resynced 10 to 4", "a:1->7 @3"]);
    assert_eq!(bench.shown(), ["a=7", "b=2", "o=1"]);
    assert_eq!(bench.commit(5), ["put o=1 over absent"]);
}

#[test]
fn every_own_key_that_a_relist_lacks_is_put_again() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("deleted", 1, 6);
    bench.own("there", 1, 7);
    // Committed, and deleted before the watch has shown it.
    bench.want("unseen", 1);
    bench.commit(8);
    bench.list(&[KeyValue { lease: bench.lease, ..kv("there", "1", 7) }], 9);
    assert_eq!(bench.commit(10), ["put deleted=1 over absent", "put unseen=1 over absent"]);
}

#[test]
fn progress_moves_the_revision_of_the_cache_and_of_what_is_read() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    bench.deliver(Delivery::Progress(Revision(9)));
    assert_eq!(bench.reader.revision(), Revision(9));
    assert_eq!(bench.reader.snapshot().revision, Revision(9));
    assert_eq!(bench.reader.lookup("tens", "0").unwrap().revision, Revision(9));
}

#[test]
fn the_state_says_how_far_the_cache_can_be_trusted() {
    let mut bench = Bench::new();
    let states = |bench: &Bench| bench.reader.state().to_string();
    assert_eq!(states(&bench), "connecting");
    let broken = || Delivery::Broken(BackendError::unavailable("cut"));
    bench.deliver(broken());
    assert_eq!(states(&bench), "connecting: cut");
    bench.deliver(Bench::page(bench::Part::First, 5, PageKeys::Full(vec![kv("a", "1", 2)])));
    assert_eq!(states(&bench), "listing, 1 key so far");
    bench.deliver(broken());
    assert_eq!(states(&bench), "listing, 1 key so far: cut");
    bench.deliver(Bench::page(bench::Part::Whole, 5, PageKeys::Full(vec![kv("a", "1", 2)])));
    bench.deliver(broken());
    assert_eq!(states(&bench), "stale: cut", "the list was complete");
    bench.deliver(Delivery::Live);
    assert_eq!(states(&bench), "synced");
    let since = bench.now;
    bench.deliver(broken());
    bench.passes(10);
    bench.deliver(broken());
    assert_eq!(bench.reader.state(), State::Stale { since, cause: "cut".into() });
    bench.deliver(Delivery::Live);
    assert_eq!(states(&bench), "synced");
    bench.store.close("left");
    bench.deliver(Delivery::Live);
    bench.events([put("b", "1", 6)]);
    assert_eq!((states(&bench), bench.shown()), ("closed: left".to_owned(), vec!["a=1".to_owned()]));
}

#[test]
fn once_a_list_is_complete_the_state_is_synced_or_stale() {
    let mut bench = Bench::new();
    bench.deliver(Bench::page(bench::Part::Whole, 5, PageKeys::Full(vec![kv("a", "1", 2)])));
    let state = |bench: &Bench| bench.reader.state();
    bench.passes(10);
    let since = bench.now;
    bench.deliver(Delivery::Broken(BackendError::unavailable("down")));
    assert_eq!(state(&bench), State::Stale { since, cause: "down".into() });
    bench.deliver(Bench::page(bench::Part::First, 6, PageKeys::Full(vec![kv("a", "1", 2)])));
    assert_eq!(state(&bench), State::Stale { since, cause: "down".into() });
    bench.deliver(Bench::page(bench::Part::Last, 6, PageKeys::Full(vec![])));
    assert_eq!(state(&bench), State::Stale { since, cause: "down".into() });
    bench.deliver(Delivery::Live);
    bench.deliver(Bench::page(bench::Part::Whole, 7, PageKeys::Full(vec![kv("a", "1", 2)])));
    assert_eq!(state(&bench), State::Synced, "a list beside an open watch takes nothing back");
}

#[test]
fn a_deleted_key_leaves_nothing_behind() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), kv("b", "x", 3)], 5);
    bench.events([delete("a", 6), delete("b", 7)]);
    let cache = bench.store.shared.read();
    assert_eq!((cache.len(), cache.names().count(), cache.lookup("tens", "0").unwrap().count()), (0, 0, 0));
    assert!(bench.store.quarantine.is_empty());
}

#[test]
fn a_revision_of_another_history_says_nothing_about_the_value() {
    let mut bench = Bench::listed(&[kv("a", "1", 4)], 5);
    let id = bench.observer();
    bench.told(id);
    bench.foreign_list(&[kv("a", "2", 4)], 9);
    assert_eq!(bench.told(id), ["resynced 5 to 9", "a:1->2 @4"]);
}

#[test]
fn what_is_still_shown_of_a_lost_history_is_no_newer_than_the_new_one() {
    let mut bench = Bench::listed(&[], 5);
    bench.own("ghost", 1, 8);
    bench.events([put("bad", "1", 9), put("bad", "x", 10)]);
    bench.foreign_list(&[kv("bad", "x", 2)], 3);
    let late = bench.observer();
    assert_eq!(bench.told(late)[..3], ["+bad=1 @3", "+ghost=1 @3 own", "synced 2 @3"]);
}
