//! Values that cannot be decoded.

use super::*;
use crate::config::NameCheck;
use crate::watch::PageKeys;

fn keeping(policy: OnUndecodable) -> (Bench, ObserverId) {
    let mut bench = Bench::with(|config| config.on_undecodable(policy));
    bench.list(&[kv("a", "1", 2)], 5);
    let id = bench.observer();
    bench.told(id);
    (bench, id)
}

fn undecodable(bench: &Bench) -> usize {
    bench.store.status().undecodable
}

#[test]
fn the_last_good_value_stays_until_the_key_heals() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6), put("new", "y", 7)]);
    assert_eq!(bench.told(id), ["undecodable a @6: no digits", "undecodable new @7: no digits"]);
    assert_eq!((bench.shown(), undecodable(&bench)), (vec!["a=1".to_owned()], 2));
    assert_eq!(bench.store.quarantined("a"), Some(&Bytes::from("x")));
    bench.events([put("a", "2", 8), put("new", "3", 9)]);
    assert_eq!(bench.told(id), ["a:1->2 @8", "+new=3 @9", "healed a @8", "healed new @9"]);
    assert_eq!((undecodable(&bench), bench.store.quarantined("a")), (0, None));
    assert_eq!(bench.store.status().healed, 2);
}

#[test]
fn healing_to_the_last_good_value_is_told_and_is_no_change() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6), put("a", "1", 7)]);
    assert_eq!(bench.told(id), ["undecodable a @6: no digits", "healed a @7"]);
    assert_eq!((undecodable(&bench), bench.reader.get_with_revision("a").unwrap().1), (0, Revision(7)));
}

#[test]
fn an_undecodable_key_goes_if_that_is_the_policy_and_comes_back_when_it_heals() {
    let (mut bench, id) = keeping(OnUndecodable::Remove);
    bench.events([put("a", "x", 6)]);
    assert_eq!(
        (bench.told(id), bench.shown()),
        (vec!["-a @6".to_owned(), "undecodable a @6: no digits".into()], vec![])
    );
    bench.events([put("a", "1", 7)]);
    assert_eq!(bench.told(id), ["+a=1 @7", "healed a @7"]);
}

#[test]
fn deleting_an_undecodable_key_heals_it_and_is_a_deletion_if_the_key_was_shown() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6), put("new", "y", 7), delete("a", 8), delete("new", 9)]);
    let told = bench.told(id);
    let notices = ["undecodable a @6: no digits", "healed a @8", "undecodable new @7: no digits", "healed new @9"];
    assert_eq!(told, [&["-a @8"], &notices[..]].concat());
    assert_eq!(undecodable(&bench), 0);
    let (mut bench, id) = keeping(OnUndecodable::Remove);
    bench.events([put("a", "x", 6)]);
    bench.told(id);
    bench.events([delete("a", 7)]);
    assert_eq!((bench.told(id), undecodable(&bench)), (vec!["healed a @7".to_owned()], 0));
}

#[test]
fn a_relist_knows_an_undecodable_value_again_and_notices_that_it_is_gone() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6), put("new", "y", 7)]);
    bench.told(id);
    bench.list(&[kv("a", "x", 6), kv("new", "y", 7)], 8);
    assert_eq!((bench.told(id), undecodable(&bench)), (vec![], 2));
    bench.list(&[kv("a", "x", 6)], 9);
    assert_eq!((bench.told(id), undecodable(&bench)), (vec!["healed new @9".to_owned()], 1));
    bench.list(&[], 10);
    assert_eq!((bench.told(id), undecodable(&bench)), (vec!["-a @10".to_owned(), "healed a @10".into()], 0));
}

#[test]
fn what_was_undecodable_is_so_no_longer_when_the_store_is_drained() {
    let (mut bench, id) = keeping(OnUndecodable::Remove);
    bench.events([put("a", "x", 6)]);
    bench.told(id);
    bench.store.detach(bench.now);
    bench.store.drain(bench.now);
    assert_eq!((bench.told(id), undecodable(&bench)), (vec!["healed a @6".to_owned()], 0));
}

#[test]
fn the_same_nonsense_again_is_told_once_and_another_again() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6)]);
    bench.told(id);
    bench.events([put("a", "x", 7)]);
    assert_eq!(bench.told(id), NONE);
    bench.events([put("a", "y", 8)]);
    assert_eq!(bench.told(id), ["undecodable a @8: no digits"]);
}

#[test]
fn late_observers_hear_of_undecodable_values_too() {
    let (mut bench, _) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "x", 6), put("b", "x", 7)]);
    let late = bench.observe(Filter::new().prefix("a"), DeliveryMode::LatestPerKey);
    assert_eq!(bench.told(late), ["+a=1 @2", "synced 1 @7", "undecodable a @6: no digits"]);
}

#[test]
fn a_codec_that_panics_is_an_undecodable_value_and_counted() {
    let (mut bench, id) = keeping(OnUndecodable::KeepLast);
    bench.events([put("a", "panic", 6), put("b", "2", 7)]);
    let told = bench.told(id);
    let codec = std::any::type_name::<Digits>();
    assert_eq!(told, ["+b=2 @7", &format!("undecodable a @6: codec {codec} panicked")]);
    assert_eq!(bench.store.status().panics, 1);
    assert_eq!(bench.shown(), ["a=1", "b=2"]);
}

#[test]
fn an_index_that_panics_leaves_the_key_out_of_it_and_is_counted() {
    let config = Config::new(Prefix::new("p").unwrap());
    let picky = |note: &bench::Note| if note.value == 3 { bench::quiet_panic() } else { vec!["all".to_owned()] };
    let mut store = Store::new(&config, vec![Index::new("picky", picky)]);
    let keys = vec![kv("a", "3", 2), kv("b", "4", 2)];
    store.deliver(Instant::now(), Bench::page(bench::Part::Whole, 5, crate::watch::PageKeys::Full(keys))).unwrap();
    let found = store.reader().lookup("picky", "all").unwrap().entries;
    assert_eq!(found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!((store.reader().len(), store.status().panics), (2, 1));
}

/// Decodes to the name in the value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named(String);

impl Key for Named {
    type Codec = Self;

    fn name(&self) -> String {
        if self.0 == "panic" { bench::quiet_panic() } else { self.0.clone() }
    }
}

impl Codec<Self> for Named {
    const TAG: &'static str = "named";

    fn encode(key: &Self) -> Result<Bytes, CodecError> {
        Ok(key.0.clone().into())
    }

    fn decode(_: &KeyName, value: &Bytes) -> Result<Self, CodecError> {
        Ok(Self(String::from_utf8_lossy(value).into_owned()))
    }
}

fn named(check: NameCheck) -> Store<Named> {
    let mut store = Store::new(&Config::new(Prefix::new("p").unwrap()).name_check(check), vec![]);
    let keys = [kv("a", "a", 2), kv("b", "s3cr3t", 3), kv("c", "panic", 4), kv("d", "", 4)];
    store.deliver(Instant::now(), Bench::page(bench::Part::Whole, 5, PageKeys::Full(keys.to_vec()))).unwrap();
    store
}

#[test]
fn a_value_with_the_name_of_another_key_cannot_be_decoded_and_its_name_is_not_shown() {
    let mut store = named(NameCheck::Refuse);
    let id = store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey);
    let mut told = Vec::new();
    while let Some((_, parcel)) = store.poll_parcel() {
        if let Parcel::Notice(notice @ Notice::Undecodable { .. }) = parcel {
            told.push(format!("{notice:?}"));
        }
        store.delivered(id);
    }
    told.sort();
    assert!(told.len() == 3 && told[0].contains("value has the name of another key"), "{told:?}");
    assert!(told[1].contains("Named panicked"), "{told:?}");
    assert!(told[2].contains("value has no name: a codec can give it the key's name"), "{told:?}");
    assert!(!format!("{told:?}").contains("s3cr3t"), "{told:?}");
    let status = store.status();
    assert_eq!((status.entries, status.undecodable, status.panics), (1, 3, 1));
    assert!(store.quarantined("b").is_some());
    store.deliver(Instant::now(), Delivery::Events(vec![put("b", "b", 6), put("a", "c", 7)])).unwrap();
    let shown = store.reader().scan("").into_iter().map(|(name, key)| format!("{name}={}", key.0)).collect::<Vec<_>>();
    assert_eq!(shown, ["a=a", "b=b"], "b has healed, and of a the last good value stays");
}

#[test]
fn names_are_not_compared_if_that_is_not_wanted() {
    let store = named(NameCheck::Ignore);
    assert_eq!((store.status().entries, store.status().undecodable), (4, 0));
    assert_eq!(store.reader().get("b"), Some(Arc::new(Named("s3cr3t".into()))));
}

#[test]
fn a_value_that_cannot_be_decoded_is_told_after_the_changes_that_came_before_it() {
    for mode in [DeliveryMode::LatestPerKey, DeliveryMode::every_event(9)] {
        let mut bench = Bench::listed(&[], 5);
        let id = bench.observe(Filter::new(), mode);
        bench.told(id);
        bench.events([put("a", "1", 6), put("b", "x", 7), put("c", "1", 8), put("b", "2", 9)]);
        let told = ["+a=1 @6", "+c=1 @8", "+b=2 @9", "undecodable b @7: no digits", "healed b @9"];
        assert_eq!(bench.told(id), told);
    }
}
