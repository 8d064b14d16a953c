//! What is kept over a restart, and what is told when the kvstore answers.

use super::*;
use crate::config::{DeletionGuard, OnUndecodable};
use crate::status::State;
use crate::warm::SnapshotError;
use crate::watch::{PageKeys, Resume};

/// A store that keeps snapshots, with these keys.
fn kept(keys: &[KeyValue], revision: u64) -> Bench {
    let mut bench = Bench::with(|config| config.state_dir("unused"));
    bench.list(keys, revision);
    bench
}

/// What a store that saw these keys leaves behind.
fn file(keys: &[KeyValue], revision: u64) -> Bytes {
    saved(&kept(keys, revision))
}

fn saved(bench: &Bench) -> Bytes {
    bench.store.capture().expect("it has listed").encode().into()
}

/// A store that starts with it.
fn warm(file: &Bytes) -> (Bench, Resume) {
    warm_with(file, |config| config)
}

fn warm_with(file: &Bytes, config: impl FnOnce(Config) -> Config) -> (Bench, Resume) {
    let mut bench = Bench::with(|defaults| config(defaults.state_dir("unused")));
    let resume = bench.store.load(bench.now, file).unwrap();
    (bench, resume)
}

impl Bench {
    /// The list of a resumed watch: all names, and what was written since.
    fn resumed_list(&mut self, changed: &[KeyValue], names: &[KeyValue], revision: u64) -> Result<(), Refused> {
        self.store.deliver(self.now, Self::page(bench::Part::First, revision, PageKeys::Names(names.to_vec())))?;
        self.store.deliver(self.now, Self::page(bench::Part::Last, revision, PageKeys::Full(changed.to_vec())))
    }
}

#[test]
fn a_snapshot_is_shown_at_once_and_says_that_it_is_stale() {
    let (bench, resume) = warm(&file(&[kv("a", "11", 2), kv("b", "25", 3)], 5));
    assert_eq!(resume, Resume { cluster: ClusterId(1), revision: Revision(5), since: Some(Revision(1)) });
    assert_eq!((bench.shown(), bench.reader.revision()), (vec!["a=11".to_owned(), "b=25".into()], Revision(5)));
    assert_eq!(bench.reader.lookup("tens", "2").unwrap().entries.len(), 1);
    let State::Stale { cause, .. } = bench.reader.state() else { panic!("{:?}", bench.reader.state()) };
    assert_eq!(&*cause, "from a snapshot of revision 5, not verified yet");
    assert!(bench.store.has_state());
}

#[test]
fn observers_are_told_the_snapshot_then_the_true_difference_then_synced() {
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4)], 5));
    let early = bench.observer();
    assert_eq!(bench.told(early), ["+a=1 @2", "+b=2 @3", "+c=3 @4"]);
    let late = bench.observer();
    let names = [kv("b", "", 7), kv("c", "", 4), kv("d", "", 6)];
    bench.resumed_list(&[kv("b", "9", 7), kv("c", "3", 4), kv("d", "4", 6)], &names, 8).unwrap();
    assert_eq!(bench.told(early), ["+d=4 @6", "b:2->9 @7", "-a @8", "synced 3 @8"]);
    assert_eq!(bench.told(late), ["+b=9 @7", "+c=3 @4", "+d=4 @6", "synced 3 @8"]);
    assert!(matches!(bench.reader.state(), State::Stale { .. }), "until the watch is live");
    bench.deliver(Delivery::Live);
    assert_eq!(bench.reader.state(), State::Synced);
    bench.events([put("c", "5", 9)]);
    assert_eq!(bench.told(early), ["c:3->5 @9"]);
}

#[test]
fn nothing_is_decoded_again_when_nothing_has_changed() {
    let keys = [kv("a", "1", 2), kv("b", "2", 3)];
    let (mut bench, _) = warm(&file(&keys, 5));
    let (id, before) = (bench.observer(), Bench::decoded());
    bench.told(id);
    bench.resumed_list(&keys, &keys, 8).unwrap();
    assert_eq!((bench.told(id), Bench::decoded()), (vec!["synced 2 @8".to_owned()], before));
}

#[test]
fn everything_told_before_synced_is_of_the_first_state() {
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2)], 5));
    bench.observe(Filter::new().origin(Origin::Local), DeliveryMode::LatestPerKey);
    bench.want("a", 1);
    bench.commit(6);
    let Event::Put(own) = bench.put_by_us("a", "1", 6) else { unreachable!() };
    bench.resumed_list(&[own.clone(), kv("b", "9", 7)], &[own, kv("b", "", 7)], 8).unwrap();
    bench.events([bench.put_by_us("a", "3", 9)]);
    let mut told = Vec::new();
    while let Some((id, parcel)) = bench.store.poll_parcel() {
        match parcel {
            Parcel::Changes(changes) => told.extend(changes.iter().map(|change| change.initial)),
            Parcel::Notice(notice) => assert_eq!(notice, Notice::Synced { revision: Revision(8), entries: 1 }),
        }
        bench.store.delivered(id);
    }
    assert_eq!(told, [true, false]);
}

#[test]
fn a_snapshot_of_another_history_is_told_to_have_gone_back() {
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2), kv("b", "2", 5)], 5));
    let id = bench.observer();
    bench.told(id);
    bench.foreign_list(&[kv("b", "3", 2)], 3);
    assert_eq!(bench.told(id), ["resynced 5 to 3", "b:2->3 @2", "synced 2 @3"]);
    bench.passes(30);
    assert_eq!(bench.told(id), ["-a @3"], "deletions of another history are held back");
}

/// Otherwise its first list would be one of the same history, whatever its revision, and be refused for ever.
#[test]
fn a_watch_that_takes_over_before_the_first_list_knows_the_history_of_the_snapshot() {
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2), kv("b", "2", 5)], 5));
    bench.store.watch_ended(bench.now);
    let resume = bench.store.resume();
    assert_eq!(resume, Some(Resume { cluster: ClusterId(1), revision: Revision(5), since: None }));
    bench.resumed_list(&[kv("a", "3", 7)], &[kv("a", "", 7), kv("b", "", 5)], 8).unwrap();
    assert_eq!(bench.store.resume().unwrap().since, Some(Revision(8)));
}

/// An etcd that lost its data and was filled again keeps its cluster id.
#[test]
fn a_kvstore_that_was_filled_again_to_the_same_revisions_is_not_believed() {
    let (mut bench, resume) = warm(&file(&[kv("a", "1", 2), kv("b", "2", 3)], 5));
    assert!(resume.since < Some(Revision(3)), "the newest keys are read again");
    let page = Bench::page(bench::Part::First, 8, PageKeys::Full(vec![kv("b", "7", 3)]));
    assert_eq!(bench.store.deliver(bench.now, page), Err(Refused::Inconsistent));
    bench.foreign_list(&[kv("a", "6", 2), kv("b", "7", 3)], 8);
    assert_eq!(bench.shown(), ["a=6", "b=7"]);
}

#[test]
fn a_key_at_the_same_revision_under_another_lease_is_another() {
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2)], 5));
    let other = KeyValue { lease: LeaseId(9), ..kv("a", "", 2) };
    assert_eq!(bench.resumed_list(&[], &[other], 8), Err(Refused::Inconsistent));
}

#[test]
fn only_a_few_of_the_newest_keys_are_read_again() {
    let keys: Vec<_> = (0..1000).map(|n| kv(&format!("{n:04}"), "1", n + 1)).collect();
    assert_eq!(warm(&file(&keys, 1000)).1.since, Some(Revision(900)));
    let large = "0".repeat(200 << 10);
    let keys: Vec<_> = (0..9).map(|n| kv(&n.to_string(), &large, n + 1)).collect();
    assert_eq!(warm(&file(&keys, 9)).1.since, Some(Revision(8)));
}

#[test]
fn values_that_cannot_be_decoded_are_kept_as_they_are_beside_the_last_good_ones() {
    let mut bench = kept(&[kv("a", "1", 2), kv("b", "bad", 3)], 5);
    bench.events([put("a", "bad", 6)]);
    let file = saved(&bench);
    let names = [kv("a", "", 6), kv("b", "", 3)];
    for (policy, shown) in [(OnUndecodable::KeepLast, &["a=1"][..]), (OnUndecodable::Remove, &[])] {
        let (mut bench, _) = warm_with(&file, |config| config.on_undecodable(policy));
        assert_eq!(bench.shown(), shown);
        assert_eq!(bench.store.quarantined("a"), Some(&Bytes::from_static(b"bad")));
        let id = bench.observer();
        bench.told(id);
        bench.resumed_list(&[], &names, 8).unwrap();
        let mut told = bench.told(id);
        told.sort();
        let synced = format!("synced {} @8", shown.len());
        assert_eq!(told, [&synced, "undecodable a @6: no digits", "undecodable b @3: no digits"]);
    }
}

/// As after an update of the program whose codec has kept its tag.
#[test]
fn a_value_that_cannot_be_decoded_any_more_is_in_quarantine_and_one_that_now_can_is_shown() {
    let mut bench = kept(&[kv("a", "1", 2)], 5);
    bench.events([put("b", "7", 6)]);
    Digits::refuse(Some(7));
    let (mut warmed, _) = warm(&saved(&bench));
    assert_eq!((warmed.shown(), warmed.store.quarantined("b")), (vec!["a=1".to_owned()], Some(&Bytes::from("7"))));
    let id = warmed.observer();
    warmed.told(id);
    let keys = [kv("a", "", 2), kv("b", "", 6)];
    warmed.resumed_list(&[], &keys, 8).unwrap();
    assert_eq!(warmed.told(id), ["synced 1 @8", "undecodable b @6: no digits"]);
    let file = saved(&warmed);
    Digits::refuse(None);
    let (mut warmed, _) = warm(&file);
    warmed.resumed_list(&[], &keys, 9).unwrap();
    assert_eq!((warmed.shown(), warmed.store.status().undecodable), (vec!["a=1".to_owned(), "b=7".into()], 0));
}

// A codec that leaves something out when it encodes, as `#[serde(skip_serializing)]` does.

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct User {
    name: String,
    #[serde(default, skip_serializing)]
    password: String,
}

impl Key for User {
    type Codec = crate::key::Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[test]
fn values_are_those_of_the_kvstore_after_a_restart_whatever_the_codec_leaves_out() {
    let config = Config::new(Prefix::new("p").unwrap()).state_dir("unused");
    let (value, now) = (r#"{"name":"u","password":"secret"}"#, Instant::now());
    let mut store: Store<User> = Store::new(&config, Vec::new());
    store.deliver(now, Bench::page(bench::Part::Whole, 5, PageKeys::Full(vec![kv("u", value, 2)]))).unwrap();
    let file: Bytes = store.capture().unwrap().encode().into();
    let mut store: Store<User> = Store::new(&config, Vec::new());
    let resume = store.load(now, &file).unwrap();
    assert_eq!(store.reader().get("u").unwrap().password, "secret");
    assert_eq!(resume.since, Some(Revision(1)));
    // The kvstore has not changed.
    store.deliver(now, Bench::page(bench::Part::First, 6, PageKeys::Names(vec![kv("u", "", 2)]))).unwrap();
    store.deliver(now, Bench::page(bench::Part::Last, 6, PageKeys::Full(vec![kv("u", value, 2)]))).unwrap();
    store.deliver(now, Delivery::Live).unwrap();
    assert_eq!(store.reader().state(), State::Synced);
    assert_eq!(store.reader().get("u").unwrap().password, "secret");
}

#[test]
fn a_snapshot_of_a_warm_start_is_the_file_it_started_with() {
    let mut bench = kept(&[kv("a", "01", 2), kv("b", "bad", 3)], 5);
    bench.events([put("a", "worse", 6)]);
    let file = saved(&bench);
    let (mut bench, _) = warm(&file);
    bench.resumed_list(&[], &[kv("a", "", 6), kv("b", "", 3)], 6).unwrap();
    assert_eq!(saved(&bench), file);
}

#[test]
fn a_store_without_a_state_directory_keeps_no_bytes_of_values() {
    let bench = Bench::listed(&[kv("a", "1", 2)], 5);
    assert!(bench.store.shared.read().get("a").unwrap().raw.is_none());
    assert!(bench.store.capture().is_none());
}

#[test]
fn keys_that_are_gone_but_still_shown_are_not_kept() {
    let mut bench = Bench::with(|config| config.state_dir("unused").delete_delay(Duration::from_secs(30)));
    bench.list(&[kv("a", "1", 2), kv("b", "2", 3)], 5);
    bench.own("c", 3, 6);
    bench.events([delete("a", 7), delete("c", 8)]);
    assert_eq!(bench.shown(), ["a=1", "b=2", "c=3"]);
    assert_eq!(warm(&saved(&bench)).0.shown(), ["b=2"]);
}

#[test]
fn own_keys_are_in_the_snapshot_and_another_owners_after_the_restart() {
    let mut bench = kept(&[], 5);
    bench.own("a", 1, 6);
    let (mut bench, _) = warm(&saved(&bench));
    let id = bench.observer();
    assert_eq!(bench.told(id), ["+a=1 @6"]);
    assert_eq!(bench.owns(), 0);
}

#[test]
fn nothing_is_captured_before_the_first_list() {
    assert!(Bench::new().store.capture().is_none());
    let (mut bench, _) = warm(&file(&[kv("a", "1", 2)], 5));
    assert!(bench.store.capture().is_none(), "it is not verified");
    bench.list(&[kv("a", "1", 2)], 8);
    assert_eq!(bench.store.capture().unwrap().revision(), Revision(8));
}

/// The store writes bytes and not values.
#[test]
fn a_value_without_an_encoding_is_in_the_snapshot_as_it_is() {
    let (warmed, _) = warm(&file(&[kv("a", "666", 2)], 5));
    assert_eq!(warmed.shown(), ["a=666"]);
}

#[test]
fn a_refused_file_changes_nothing() {
    let whole = file(&[kv("a", "1", 2)], 5);
    let mut bench = Bench::new();
    assert_eq!(bench.store.load(bench.now, &whole.slice(1..)), Err(SnapshotError::NotASnapshot));
    assert_eq!(bench.store.load(bench.now, &whole.slice(..whole.len() - 1)), Err(SnapshotError::Torn));
    assert!(!bench.store.has_state());
    assert_eq!(bench.reader.state(), State::Connecting { cause: None });
    bench.list(&[kv("b", "1", 2)], 5);
    assert_eq!(bench.shown(), ["b=1"]);
}

#[test]
fn deletions_of_a_first_list_without_most_of_the_snapshot_are_held_back() {
    let guard = DeletionGuard { min_keys: 3, ..DeletionGuard::default() };
    let keys = [kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4)];
    let (mut bench, _) = warm_with(&file(&keys, 5), |config| config.deletion_guard(guard));
    let id = bench.observer();
    bench.told(id);
    bench.resumed_list(&[], &keys[..1], 8).unwrap();
    assert_eq!(bench.told(id), ["synced 3 @8"]);
    bench.passes(30);
    assert_eq!(bench.told(id), ["-b @8", "-c @8"]);
}

#[test]
fn the_snapshot_of_a_cache_that_holds_deletions_back_is_what_the_kvstore_has() {
    let mut bench = kept(&[kv("a", "1", 2), kv("b", "2", 3), kv("c", "3", 4)], 5);
    bench.foreign_list(&[kv("a", "1", 2)], 9);
    assert_eq!(bench.shown().len(), 3);
    let (warmed, resume) = warm(&saved(&bench));
    assert_eq!((warmed.shown(), resume.cluster), (vec!["a=1".to_owned()], ClusterId(2)));
}

#[test]
fn a_restored_key_knows_when_it_was_created() {
    let created = KeyValue { create_revision: Revision(2), ..kv("a", "1", 4) };
    let (bench, _) = warm(&file(&[created], 5));
    let entry = bench.reader.entry("a").unwrap();
    assert_eq!((entry.create_revision, entry.revision, entry.lease), (Revision(2), Revision(4), LeaseId(1)));
}
