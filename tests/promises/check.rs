//! The promises, one assertion each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;

use bytes::Bytes;
use shared_store_core::watch::{Delivery, Page, PageKeys};
use shared_store_core::{Event, KeyName, KeyRange, KeyValue, Revision};

use super::collaborator::{Record, Told};
use super::history::History;
use super::prefix;
use crate::actors::Node;

/// How much there was to check.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) without_relist: usize,
    pub(super) relists: usize,
    pub(super) events: usize,
    pub(super) bookmarks: usize,
    /// Events that shared their revision with the one before.
    pub(super) together: usize,
    pub(super) told: usize,
}

impl AddAssign for KeyState {
    fn add_assign(&mut self, other: Self) {
        self.without_relist += other.without_relist;
        self.relists += other.relists;
        self.events += other.events;
        self.bookmarks += other.bookmarks;
        self.together += other.together;
        self.told += other.told;
    }
}

/// Checks everything that was seen against everything that happened.
pub(super) fn record(history: &History, record: &Record) -> KeyState {
    let mut delivered = Delivered::new(history);
    record.deliveries.iter().for_each(|delivery| delivered.check(delivery));
    told(history, &record.told);
    let mut all = record.told.clone();
    all.sort();
    delivered.expected.sort();
    assert_eq!(all, delivered.expected, "reliable: an observer is told every change, and only those");
    let relists = delivered.lists - 1;
    KeyState { without_relist: usize::from(relists == 0), relists, told: all.len(), ..delivered.seen }
}

/// What a watch delivers.
struct Delivered<'a> {
    history: &'a History,
    range: KeyRange,
    /// Everything up to here was delivered.
    position: Revision,
    full: Vec<KeyValue>,
    names: Option<Vec<KeyValue>>,
    lists: usize,
    /// What an observer must have been told.
    expected: Vec<Told>,
    seen: KeyState,
}

impl<'a> Delivered<'a> {
    fn new(history: &'a History) -> Self {
        Self {
            history,
            range: prefix().range(),
            position: Revision::ZERO,
            full: Vec::new(),
            names: None,
            lists: 0,
            expected: Vec::new(),
            seen: KeyState::default(),
        }
    }

    fn check(&mut self, delivery: &Delivery) {
        match delivery {
            Delivery::Page(page) => self.page(page),
            Delivery::Events(events) => self.events(events),
            Delivery::Progress(revision) => {
                let missed = self.history.between(&self.range, self.position, *revision);
                assert_eq!(missed, [], "bookmarkable: nothing up to it is still to come");
                assert!(*revision >= self.position, "bookmarkable: it does not go back");
                self.position = *revision;
                self.seen.bookmarks += 1;
            }
            Delivery::Began { .. } => unreachable!("the watch lists values"),
            Delivery::Live | Delivery::Broken(_) | Delivery::Audited(_) => {}
        }
    }

    fn events(&mut self, events: &[Event]) {
        let (first, last) = (events[0].revision(), events[events.len() - 1].revision());
        assert!(events.iter().all(|event| self.range.contains(event.path())), "filtered: {events:?}");
        assert!(events.is_sorted_by_key(Event::revision), "ordered: {events:?}");
        assert!(first > self.position, "ordered and unique across deliveries: {:?} then {events:?}", self.position);
        let keys: BTreeSet<_> = events.iter().map(|event| (event.revision(), event.path())).collect();
        assert_eq!(keys.len(), events.len(), "unique: {events:?}");
        let missed = self.history.between(&self.range, self.position, Revision(first.0 - 1));
        assert_eq!(missed, [], "resumable: it goes on where it was");
        let whole = self.history.between(&self.range, Revision(last.0 - 1), last).len();
        let told = events.iter().filter(|event| event.revision() == last).count();
        assert_eq!(told, whole, "atomic: a revision comes whole: {events:?}");
        assert_eq!(events, self.history.between(&self.range, self.position, last), "reliable: none is missing");
        for event in events {
            let old = self.history.before(event.path(), event.revision());
            self.expect(event.path(), event.revision(), old, self.history.at(event.path(), event.revision()));
        }
        self.position = last;
        self.seen.events += events.len();
        self.seen.together += events.windows(2).filter(|pair| pair[0].revision() == pair[1].revision()).count();
    }

    fn page(&mut self, page: &Page) {
        assert!(page.same_history && page.revision >= self.position, "a list does not go back");
        if page.first {
            (self.full, self.names) = (Vec::new(), None);
        }
        match &page.keys {
            PageKeys::Full(kvs) => self.full.extend_from_slice(kvs),
            PageKeys::Names(kvs) => self.names.get_or_insert_default().extend_from_slice(kvs),
        }
        if page.last {
            self.listed(page.revision);
        }
    }

    fn listed(&mut self, revision: Revision) {
        let (before, after) =
            (self.history.state(&self.range, self.position), self.history.state(&self.range, revision));
        match self.names.take() {
            None => assert_eq!(self.full, after, "a list is the state at its revision"),
            Some(names) => {
                let named = after.iter().map(|kv| KeyValue { value: Bytes::new(), ..kv.clone() }).collect::<Vec<_>>();
                assert_eq!(names, named, "the names are those at the list's revision");
                let written = after.iter().filter(|kv| kv.mod_revision > self.position).cloned().collect::<Vec<_>>();
                assert_eq!(self.full, written, "the values are those written since");
            }
        }
        for kv in &after {
            let old = self.history.at(&kv.path, self.position);
            self.expect(&kv.path, kv.mod_revision, old, Some(kv));
        }
        for kv in &before {
            if !after.iter().any(|left| left.path == kv.path) {
                self.expect(&kv.path, revision, Some(kv), None);
            }
        }
        self.position = revision;
        self.lists += 1;
    }

    /// An observer must be told of this, unless the value is the same.
    fn expect(&mut self, path: &Bytes, revision: Revision, old: Option<&KeyValue>, new: Option<&KeyValue>) {
        let Some(name) = prefix().strip(path) else { return };
        let (old, new) = (old.map(value), new.map(value));
        if old != new {
            self.expected.push(Told { revision, name: name.to_string(), old, new, initial: self.lists == 0 });
        }
    }
}

/// What holds for an observer whatever its store missed.
pub(super) fn told(history: &History, told: &[Told]) {
    let mut shadow = BTreeMap::new();
    let mut unique = BTreeSet::new();
    let initial = told.iter().take_while(|told| told.initial).count();
    assert!(told[initial..].is_sorted_by_key(|told| (told.initial, told.revision)), "ordered: {told:?}");
    for one in told {
        let Told { revision, name, old, new, .. } = one;
        assert!(unique.insert((revision, name)), "unique: {one:?}");
        let path = prefix().path(&KeyName::new(name.as_str()).unwrap());
        assert_eq!(history.at(&path, *revision).map(value), *new, "it was so then: {one:?}");
        assert_eq!(shadow.get(name), old.as_ref(), "the previous value, none for a create: {one:?}");
        match new {
            Some(new) => drop(shadow.insert(name.clone(), new.clone())),
            None => drop(shadow.remove(name)),
        }
    }
}

fn value(kv: &KeyValue) -> String {
    serde_json::from_slice::<Node>(&kv.value).unwrap().ip
}
