//! What is listed when the watch has missed something.

use super::*;

#[test]
fn a_compacted_watch_lists_the_names_of_all_and_then_what_changed() {
    let mut watch = reading(10);
    compacted(&mut watch);
    let names = listing(&watch);
    assert_eq!((&names.range, names.keys_only, names.min_mod_revision), (&range(), true, None));
    let kvs = vec![put("a", 10), put("b", 55)];
    let Some(Delivery::Page(named)) = watch.handle(page(60, kvs.clone(), false)) else { panic!("no page") };
    assert_eq!((named.first, named.last, named.keys), (true, false, PageKeys::Names(kvs)));
    let changes = listing(&watch);
    assert_eq!((changes.revision, changes.keys_only), (Some(Revision(60)), false));
    assert_eq!(changes.min_mod_revision, Some(Revision(11)));
    let Some(Delivery::Page(last)) = watch.handle(page(60, vec![put("b", 55)], false)) else { panic!("no page") };
    assert_eq!((last.last, last.keys), (true, PageKeys::Full(vec![put("b", 55)])));
    assert_eq!(start(&watch), 61);
}

#[test]
fn names_without_a_change_are_the_whole_list() {
    let mut watch = reading(10);
    compacted(&mut watch);
    let _ = watch.handle(page(60, vec![put("a", 9)], true));
    let Some(Delivery::Page(last)) = watch.handle(page(60, vec![put("b", 10)], false)) else { panic!("no page") };
    assert!(last.last);
    assert_eq!(start(&watch), 61);
}

#[test]
fn values_are_listed_only_from_the_first_key_that_changed_to_the_last_one() {
    let mut watch = reading(10);
    compacted(&mut watch);
    let _ = watch.handle(page(60, vec![put("a", 3), put("b", 11), put("c", 3)], true));
    let _ = watch.handle(page(60, vec![put("d", 3)], true));
    let _ = watch.handle(page(60, vec![put("e", 3), put("f", 60), put("g", 3)], false));
    assert_eq!(listing(&watch).range, KeyRange { start: "p/b".into(), end: "p/f\0".into() });
    let _ = watch.handle(page(60, vec![put("b", 11)], true));
    assert_eq!(listing(&watch).range, KeyRange { start: "p/b\0".into(), end: "p/f\0".into() });
    let Some(Delivery::Page(last)) = watch.handle(page(60, vec![put("f", 60)], false)) else { panic!("no page") };
    assert!(last.last);
}

#[test]
fn a_list_of_changes_on_another_history_becomes_a_full_one() {
    let mut watch = reading(10);
    compacted(&mut watch);
    assert_eq!(watch.handle(page(5, vec![], false)), None);
    assert_eq!((listing(&watch).min_mod_revision, listing(&watch).keys_only), (None, false));
}

#[test]
fn far_behind_it_relists_instead_of_replaying() {
    let mut watch = reading(10);
    breaks(&mut watch);
    assert_eq!(watch.handle(Outcome::Opened(header(10 + REPLAY_LIMIT + 1))), None);
    waits(&mut watch);
    assert_eq!(values_since(&mut watch), Some(Revision(10)));
}
