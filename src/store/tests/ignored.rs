//! Keys below the prefix whose names are empty or not UTF-8.

use super::*;
use crate::status::IgnoredKeys;
use crate::watch::PageKeys;
use crate::watch::{AuditKind, AuditPart};

fn odd(path: &'static [u8], revision: u64) -> KeyValue {
    KeyValue { path: Bytes::from_static(path), ..kv("a", "1", revision) }
}

fn ignored(bench: &Bench) -> (usize, Option<String>) {
    let IgnoredKeys { count, example } = bench.store.status().ignored;
    (count, example.map(|example| example.to_string()))
}

#[test]
fn a_name_that_is_empty_or_not_utf8_is_counted_with_an_example_while_it_is_there() {
    let mut bench = Bench::listed(&[kv("a", "1", 2), odd(b"p/", 3), odd(b"p/\xff\n", 4)], 5);
    let id = bench.observer();
    assert_eq!(bench.told(id), ["+a=1 @2", "synced 1 @5"]);
    assert_eq!((ignored(&bench), bench.shown()), ((2, Some("p/".to_owned())), vec!["a=1".to_owned()]));
    // The second write of one key is no second key.
    bench.events([Event::Put(odd(b"p/b\xfe", 6)), Event::Put(odd(b"p/b\xfe", 7))]);
    let gone = |path: &'static [u8], revision| Event::Delete { path: path.into(), revision: Revision(revision) };
    bench.events([gone(b"p/", 8)]);
    assert_eq!(ignored(&bench), (2, Some("p/b\\xfe".to_owned())));
    bench.events([gone(b"p/b\xfe", 9), gone(b"p/\xff\n", 10), gone(b"p/\xff\n", 11)]);
    assert_eq!((ignored(&bench), bench.told(id)), ((0, None), vec![]));
}

#[test]
fn a_list_replaces_what_was_known_of_ignored_keys() {
    let mut bench = Bench::listed(&[odd(b"p/", 3), odd(b"p/\xff", 4)], 5);
    // A list of changes has a key that changed twice: without its value and with it.
    let (changed, names) = (vec![odd(b"p/\xfe", 6)], vec![odd(b"p/\xfe", 6), odd(b"p/\xff", 4)]);
    bench.deliver(Bench::page(bench::Part::First, 6, PageKeys::Names(names)));
    assert_eq!(ignored(&bench), (2, Some("p/".to_owned())), "half a list says nothing");
    bench.deliver(Bench::page(bench::Part::Last, 6, PageKeys::Full(changed)));
    assert_eq!(ignored(&bench), (2, Some("p/\\xfe".to_owned())));
    bench.foreign_list(&[], 7);
    assert_eq!(ignored(&bench), (0, None));
}

#[test]
fn an_audit_counts_ignored_keys_and_finds_no_difference_in_them() {
    let keys = [kv("a", "1", 2), odd(b"p/", 3), odd(b"p/\xff", 4)];
    let mut bench = Bench::listed(&keys[..2], 5);
    for kind in [AuditKind::Rolling, AuditKind::Asked] {
        let (range, keys, changed) = (Prefix::new("p").unwrap().range(), keys.to_vec(), [].into());
        let part = AuditPart { kind, first: true, last: true, range, revision: Revision(5), keys, changed };
        bench.deliver(Delivery::Audited(part));
    }
    let report = bench.store.poll_audit().unwrap();
    assert_eq!((report.keys, report.ignored, report.differences), (1, 2, vec![]));
    assert_eq!(bench.store.status().audits.keys, 2, "one in each round");
}
