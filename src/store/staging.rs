//! A list on its way into the cache.

use std::collections::HashMap;

use super::incoming::Incoming;
use crate::key::KeyName;
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
    /// Their revisions by name, once a page without values asks for them.
    revisions: Option<HashMap<KeyName, Revision>>,
    /// Every key there is.
    names: Vec<KeyName>,
    /// Keys whose values neither the list nor the cache has.
    missing: usize,
}

impl<K> Staging<K> {
    pub(super) fn new(header: Header, same_history: bool) -> Self {
        Self { header, same_history, incoming: Vec::new(), revisions: None, names: Vec::new(), missing: 0 }
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
        mut known: impl FnMut(&KeyValue) -> Option<KeyName>,
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
                        self.incoming.push(incoming);
                    }
                }
            }
            PageKeys::Names(kvs) => {
                // These pages come after all that have values.
                let incoming = &self.incoming;
                let revisions = || incoming.iter().map(|came| (came.name.clone(), came.revision)).collect();
                let revisions = self.revisions.get_or_insert_with(revisions);
                for kv in kvs {
                    if let Some(name) = known(&kv) {
                        self.names.push(name);
                    } else if let Some(name) = name(&kv) {
                        self.missing += usize::from(revisions.get(&name) != Some(&kv.mod_revision));
                        self.names.push(name);
                    }
                }
            }
        }
    }

    /// What arrived, and the names of all keys in order.
    pub(super) fn finish(mut self) -> (Vec<Incoming<K>>, Vec<KeyName>) {
        // In name order already, but for keys that came twice: with their values, and by name.
        self.names.sort();
        self.names.dedup();
        self.incoming.sort_by_key(|incoming| incoming.revision);
        (self.incoming, self.names)
    }
}
