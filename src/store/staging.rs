//! A list on its way into the cache.

use std::collections::HashMap;

use super::incoming::Incoming;
use crate::key::KeyName;
use crate::kv::{KeyValue, Revision};
use crate::watch::PageKeys;

/// The pages of one list so far. Nothing of it is in the cache before the last page.
#[derive(Debug)]
pub(super) struct Staging<K> {
    pub(super) revision: Revision,
    pub(super) same_history: bool,
    /// New or changed keys.
    incoming: HashMap<KeyName, Incoming<K>>,
    /// Every key there is.
    names: Vec<KeyName>,
    /// Keys whose values neither the list nor the cache has.
    missing: usize,
}

impl<K> Staging<K> {
    pub(super) fn new(revision: Revision, same_history: bool) -> Self {
        Self { revision, same_history, incoming: HashMap::new(), names: Vec::new(), missing: 0 }
    }

    /// How many keys have come.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether each key's value is known.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Adds a page. `known` answers with the name of a key we have at just that revision, `decode` with what arrived;
    /// `None` for a path that is no key of ours.
    pub(super) fn add(
        &mut self,
        keys: PageKeys,
        known: impl Fn(&KeyValue) -> Option<KeyName>,
        decode: impl Fn(&KeyValue) -> Option<Incoming<K>>,
        name: impl Fn(&KeyValue) -> Option<KeyName>,
    ) {
        match keys {
            PageKeys::Full(kvs) => {
                for kv in kvs {
                    // Within one history the revision says whether this is the value we have.
                    if let Some(name) = known(&kv).filter(|_| self.same_history) {
                        self.names.push(name);
                    } else if let Some(incoming) = decode(&kv) {
                        self.names.push(incoming.name.clone());
                        self.incoming.insert(incoming.name.clone(), incoming);
                    }
                }
            }
            PageKeys::Names(kvs) => {
                for kv in kvs {
                    if let Some(name) = known(&kv) {
                        self.names.push(name);
                    } else if let Some(name) = name(&kv) {
                        let came = self.incoming.get(&name).is_some_and(|came| came.revision == kv.mod_revision);
                        self.missing += usize::from(!came);
                        self.names.push(name);
                    }
                }
            }
        }
    }

    /// What arrived, and the names of all keys in order.
    pub(super) fn finish(mut self) -> (Vec<Incoming<K>>, Vec<KeyName>) {
        self.names.sort_unstable();
        self.names.dedup();
        let mut incoming: Vec<_> = self.incoming.into_values().collect();
        incoming.sort_unstable_by(|a, b| (a.revision, &a.name).cmp(&(b.revision, &b.name)));
        (incoming, self.names)
    }
}
