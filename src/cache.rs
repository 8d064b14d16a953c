//! The shared keys as they are now.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::watch;

use crate::change::Origin;
use crate::index::{Index, Table};
use crate::key::{KeyName, NameMap};
use crate::kv::{LeaseId, Revision};
use crate::status::State;

/// One shared key.
#[derive(Debug)]
pub(crate) struct Entry<K> {
    pub(crate) key: Arc<K>,
    /// Fingerprint of the value's bytes, without the alignment of a number, which would cost 8 bytes an entry.
    hash: [u8; 16],
    pub(crate) raw: Raw,
    pub(crate) mod_revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) lease: LeaseId,
    /// As observers were told it.
    pub(crate) origin: Origin,
    /// The kvstore no longer has the key.
    pub(crate) held_back: bool,
}

impl<K> Entry<K> {
    /// Fingerprint of the value's bytes.
    pub(crate) fn hash(&self) -> u128 {
        u128::from_ne_bytes(self.hash)
    }

    /// The same value was put again.
    pub(crate) fn written(&mut self, written: Written) {
        let Written { mod_revision, create_revision, lease } = written;
        (self.mod_revision, self.create_revision, self.lease) = (mod_revision, create_revision, lease);
    }

    /// The key with its value, as it was put.
    pub(crate) fn new(key: Arc<K>, hash: u128, raw: Raw, written: Written, origin: Origin) -> Self {
        let Written { mod_revision, create_revision, lease } = written;
        Self { key, hash: hash.to_ne_bytes(), raw, mod_revision, create_revision, lease, origin, held_back: false }
    }
}

/// What the kvstore says of a put, besides the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) mod_revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) lease: LeaseId,
}

/// The shared keys by name, in name order, and by index.
#[derive(Debug)]
pub(crate) struct Cache<K> {
    entries: NameMap<Entry<K>>,
    names: BTreeSet<KeyName>,
    indexes: Vec<Table>,
    pub(crate) revision: Revision,
}

/// The values of one key in every index, in the order of the indexes.
pub(crate) type IndexValues = Box<[Vec<Arc<str>>]>;

/// A value's bytes as the kvstore has them. Only a store that writes snapshots keeps them, so they are boxed: without the box
/// they would take 24 bytes more in each entry of every store.
pub(crate) type Raw = Option<Box<Bytes>>;

impl<K> Cache<K> {
    pub(crate) fn new(indexes: &[Index<K>]) -> Self {
        Self {
            entries: NameMap::default(),
            names: BTreeSet::new(),
            indexes: indexes.iter().map(|index| Table::new(index.name())).collect(),
            revision: Revision::ZERO,
        }
    }

    /// Makes room for so many more keys.
    pub(crate) fn reserve(&mut self, keys: usize) {
        self.entries.reserve(keys);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry<K>> {
        self.entries.get(name)
    }

    /// The entry with the name as it is stored, so that each name is in memory once.
    pub(crate) fn get_key_value(&self, name: &str) -> Option<(&KeyName, &Entry<K>)> {
        self.entries.get_key_value(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Entry<K>> {
        self.entries.get_mut(name)
    }

    /// Limits the revisions of keys that are still shown of an earlier history to this revision of the present one.
    pub(crate) fn history_changed(&mut self, to: Revision) {
        for entry in self.entries.values_mut() {
            entry.mod_revision = entry.mod_revision.min(to);
            entry.create_revision = entry.create_revision.min(to);
        }
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&KeyName, &Entry<K>)> {
        self.entries.iter()
    }

    /// In name order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.names.iter()
    }

    /// The keys whose names start with `prefix`, in name order.
    pub(crate) fn scan(&self, prefix: &str) -> impl Iterator<Item = (&KeyName, &Entry<K>)> {
        self.scan_from(prefix).take_while(move |(name, _)| name.as_str().starts_with(prefix))
    }

    /// The keys whose names start with `prefix` and come after `after`, in name order.
    pub(crate) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a KeyName, &'a Entry<K>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        self.range(start).take_while(move |(name, _)| name.as_str().starts_with(prefix))
    }

    /// The keys from `start` on, in name order.
    pub(crate) fn scan_from(&self, start: &str) -> impl Iterator<Item = (&KeyName, &Entry<K>)> {
        self.range(Bound::Included(start))
    }

    /// The keys after `name`, in name order; all for `None`.
    pub(crate) fn after(&self, name: Option<&KeyName>) -> impl Iterator<Item = (&KeyName, &Entry<K>)> {
        self.range(name.map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_str())))
    }

    fn range(&self, start: Bound<&str>) -> impl Iterator<Item = (&KeyName, &Entry<K>)> {
        let names = self.names.range::<str, _>((start, Bound::Unbounded));
        names.filter_map(|name| self.entries.get_key_value(name))
    }

    /// The names with this value in an index, in name order; `None` if there is no such index.
    pub(crate) fn lookup(&self, index: &str, value: &str) -> Option<impl Iterator<Item = (&KeyName, &Entry<K>)>> {
        let table = self.indexes.iter().find(|table| table.name() == index)?;
        Some(table.names(value).filter_map(|name| self.entries.get_key_value(name)))
    }

    pub(crate) fn insert(&mut self, name: &KeyName, entry: Entry<K>, values: IndexValues) {
        if self.entries.insert(name.clone(), entry).is_none() {
            self.names.insert(name.clone());
        }
        for (table, values) in self.indexes.iter_mut().zip(values) {
            table.set(name, values);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<(KeyName, Entry<K>)> {
        let (name, entry) = self.entries.remove_entry(name)?;
        self.names.remove(&name);
        for table in &mut self.indexes {
            table.set(&name, Vec::new());
        }
        Some((name, entry))
    }
}

/// The cache as its one writer and its many readers share it.
#[derive(Debug)]
pub(crate) struct Shared<K> {
    cache: RwLock<Cache<K>>,
    pub(crate) point: watch::Sender<Point>,
}

/// Where the cache stands. Announced after the cache shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) revision: Revision,
    /// Grows with every batch that changed the cache.
    pub(crate) version: u64,
    pub(crate) state: State,
}

impl<K> Shared<K> {
    pub(crate) fn new(indexes: &[Index<K>]) -> Self {
        let point = Point { revision: Revision::ZERO, version: 0, state: State::Connecting { cause: None } };
        Self { cache: RwLock::new(Cache::new(indexes)), point: watch::Sender::new(point) }
    }

    /// No code of the user runs under the lock, so it cannot be poisoned halfway through a change.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Cache<K>> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Cache<K>> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_and_its_name_take_80_bytes_in_the_map() {
        assert_eq!(size_of::<(KeyName, Entry<()>)>(), 80);
    }
}
