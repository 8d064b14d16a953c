//! A list on its way into the cache.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::incoming::{Decoded, Incoming};
use crate::key::{KeyName, NameMap};
use crate::kv::{Header, KeyValue, Revision};
use crate::watch::PageKeys;

/// The pages of one list so far. Nothing of it is in the cache before the last page.
#[derive(Debug)]
pub(super) struct Staging<K> {
    /// Who answered, and the revision the list shows.
    pub(super) header: Header,
    pub(super) same_history: bool,
    /// New or changed keys, each once.
    incoming: Vec<Incoming<K>>,
    /// The names of all keys.
    names: Vec<KeyName>,
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
    /// What arrived, by revision.
    pub(super) incoming: Vec<Incoming<K>>,
    /// The names of all keys, in order.
    pub(super) names: Vec<KeyName>,
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
            names: Vec::new(),
            wanted: None,
            contradicts: false,
            ignored: BTreeSet::new(),
        }
    }

    /// How many keys have come.
    pub(super) fn len(&self) -> usize {
        self.names.len()
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
                for (kv, incoming) in kvs.iter().zip(decoded.0) {
                    let Some(incoming) = incoming else {
                        self.ignored.insert(kv.path.clone());
                        continue;
                    };
                    let hash = incoming.arrived.as_ref().map(|arrived| arrived.hash);
                    // Within one history, the same revision means the same value.
                    let known = known(kv, hash).filter(|_| self.same_history).is_some();
                    match &mut self.wanted {
                        None => self.names.push(incoming.name.clone()),
                        Some(wanted) => {
                            let named = wanted.remove(&incoming.name) == Some(kv.mod_revision);
                            self.contradicts |= !named && !known;
                        }
                    }
                    if !known {
                        self.incoming.push(incoming);
                    }
                }
            }
            PageKeys::Names(kvs) => {
                let wanted = self.wanted.get_or_insert_default();
                for kv in kvs {
                    if let Some(name) = known(kv, None) {
                        self.names.push(name);
                    } else if let Some(name) = name(kv) {
                        wanted.insert(name.clone(), kv.mod_revision);
                        self.names.push(name);
                    } else {
                        self.ignored.insert(kv.path.clone());
                    }
                }
            }
        }
    }

    /// The list as a whole.
    pub(super) fn finish(mut self) -> Listed<K> {
        // They are in order already, unless the kvstore repeats a key.
        self.names.sort();
        self.names.dedup();
        self.incoming.sort_by_key(|incoming| incoming.revision);
        Listed { incoming: self.incoming, names: self.names, ignored: self.ignored }
    }
}
