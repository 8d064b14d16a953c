//! A list on its way into the cache.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::incoming::{Arrived, Decoded, Incoming};
use crate::key::{KeyName, NameMap};
use crate::kv::{Header, KeyValue, Revision};
use crate::watch::PageKeys;

/// The pages of one list so far. Nothing of it is in the cache before the last page.
#[derive(Debug)]
pub(super) struct Staging<K> {
    /// Who answered, and the revision the list shows.
    pub(super) header: Header,
    pub(super) same_history: bool,
    /// New or changed keys, each once, by page.
    incoming: Vec<Vec<Incoming<K>>>,
    /// The names of the keys that the cache has as they are.
    unchanged: Vec<KeyName>,
    /// The keys whose values neither the cache nor the list so far has, if the list began with names.
    wanted: Option<NameMap<Revision>>,
    /// Its names and its values do not fit together.
    contradicts: bool,
    /// The paths that are no keys of ours.
    ignored: BTreeSet<Bytes>,
}

/// A complete list.
#[derive(Debug)]
pub(super) struct Listed<K> {
    /// What arrived.
    pub(super) incoming: Vec<Vec<Incoming<K>>>,
    /// The names of all keys, in order.
    pub(super) present: Vec<KeyName>,
    /// The paths that are no keys of ours.
    pub(super) ignored: BTreeSet<Bytes>,
}

impl<K> Staging<K> {
    /// A list of the history that is known, unless the caller says otherwise.
    pub(super) fn new(header: Header) -> Self {
        Self {
            header,
            same_history: true,
            incoming: Vec::new(),
            unchanged: Vec::new(),
            wanted: None,
            contradicts: false,
            ignored: BTreeSet::new(),
        }
    }

    /// How many keys have come.
    pub(super) fn len(&self) -> usize {
        let wanted = self.wanted.as_ref().map_or(0, NameMap::len);
        self.unchanged.len() + wanted + self.incoming.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether each key's value is known.
    pub(super) fn is_complete(&self) -> bool {
        !self.contradicts && self.wanted.as_ref().is_none_or(NameMap::is_empty)
    }

    /// Adds a page and its decoded values. `known` returns the name if the cache has the key at exactly that revision,
    /// `name` the name of any key of this store. `known` is also given the fingerprint of the value, if the page has
    /// it.
    pub(super) fn add(
        &mut self,
        keys: &PageKeys,
        decoded: Decoded<K>,
        mut known: impl FnMut(&KeyValue, Option<u128>) -> Option<KeyName>,
        name: impl Fn(&KeyValue) -> Option<KeyName>,
    ) {
        match keys {
            PageKeys::Full(kvs) => {
                let unknown = |(incoming, kv): (Option<Incoming<K>>, &KeyValue)| {
                    let Some(incoming) = incoming else {
                        self.ignored.insert(kv.path.clone());
                        return None;
                    };
                    let hash = incoming.arrived.as_ref().map(Arrived::hash);
                    // Within one history, the same revision means the same value.
                    let known = known(kv, hash).filter(|_| self.same_history).is_some();
                    let named =
                        self.wanted.as_mut().map(|wanted| wanted.remove(&incoming.name) == Some(kv.mod_revision));
                    self.contradicts |= named == Some(false) && !known;
                    if known && named.is_none() {
                        self.unchanged.push(incoming.name);
                        return None;
                    }
                    (!known).then_some(incoming)
                };
                let page = decoded.0.into_iter().zip(kvs).filter_map(unknown).collect();
                self.incoming.push(page);
            }
            PageKeys::Names(kvs) => {
                let wanted = self.wanted.get_or_insert_default();
                for kv in kvs {
                    if let Some(name) = known(kv, None) {
                        self.unchanged.push(name);
                    } else if let Some(name) = name(kv) {
                        wanted.insert(name, kv.mod_revision);
                    } else {
                        self.ignored.insert(kv.path.clone());
                    }
                }
            }
        }
    }

    /// The list as a whole, by revision.
    pub(super) fn finish(self) -> Listed<K> {
        let mut incoming: Vec<_> = self.incoming.into_iter().flatten().collect();
        incoming.sort_by_key(|incoming| incoming.revision);
        let mut present = self.unchanged;
        present.extend(incoming.iter().map(|incoming| incoming.name.clone()));
        present.sort();
        // The kvstore may repeat a key.
        present.dedup();
        Listed { incoming: vec![incoming], present, ignored: self.ignored }
    }

    /// A first list as a whole, in no order: it changes nothing that anybody was told.
    pub(super) fn finish_first(self) -> Listed<K> {
        Listed { incoming: self.incoming, present: Vec::new(), ignored: self.ignored }
    }
}
