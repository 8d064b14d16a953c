//! A key as it arrives from the kvstore, decoded and ready for the cache.

use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::cache::{Cache, IndexValues};
use crate::filter::{Panicked, contained};
use crate::hash::value_hash;
use crate::index::Index;
use crate::key::{Codec, CodecError, Key, KeyName};
use crate::kv::{KeyValue, LeaseId, Revision};
use crate::own::{Observation, Seen};

/// A key that was put, or deleted.
#[derive(Debug)]
pub(super) struct Incoming<K> {
    pub(super) name: KeyName,
    pub(super) revision: Revision,
    /// `None` for a deletion.
    pub(super) arrived: Option<Arrived<K>>,
}

/// A value that was put.
#[derive(Debug)]
pub(super) struct Arrived<K> {
    pub(super) hash: u128,
    pub(super) lease: LeaseId,
    pub(super) raw: Bytes,
    pub(super) value: Result<(Arc<K>, IndexValues), CodecError>,
}

impl<K> Incoming<K> {
    pub(super) fn observation(&self) -> Observation {
        let seen =
            |arrived: &Arrived<K>| Seen { hash: arrived.hash, mod_revision: self.revision, lease: arrived.lease };
        Observation { name: self.name.clone(), revision: self.revision, state: self.arrived.as_ref().map(seen) }
    }
}

impl<K: Key> Store<K> {
    /// Decodes a value, unless it is the one in the cache; `None` for a path that is not a key of ours.
    pub(super) fn incoming(&self, cache: &Cache<K>, kv: &KeyValue) -> Option<Incoming<K>> {
        let name = self.prefix.strip_str(&kv.path)?;
        let hash = value_hash(&kv.value);
        let known = cache.get_key_value(name);
        let name = known.map_or_else(|| KeyName::new(name).ok(), |(name, _)| Some(name.clone()))?;
        let key = match known {
            Some((_, entry)) if entry.hash == hash => Ok(Arc::clone(&entry.key)),
            Some(_) | None => self.decode(&name, &kv.value).map(Arc::new),
        };
        let value = key.map(|key| {
            let values = self.index_values(&name, &key);
            (key, values)
        });
        let arrived = Arrived { hash, lease: kv.lease, raw: kv.value.clone(), value };
        Some(Incoming { name, revision: kv.mod_revision, arrived: Some(arrived) })
    }

    pub(super) fn index_values(&self, name: &KeyName, key: &K) -> IndexValues {
        let values = |index: &Index<K>| {
            index.values(name, key).unwrap_or_else(|_| {
                self.panicked();
                Vec::new()
            })
        };
        self.indexes.iter().map(values).collect()
    }

    pub(super) fn decode(&self, name: &KeyName, value: &Bytes) -> Result<K, CodecError> {
        contained(|| K::Codec::decode(name, value)).unwrap_or_else(|Panicked(panic)| {
            self.panicked();
            tracing::error!(key = %name, %panic, "decoding panicked");
            Err(CodecError::new(format_args!("decoding panicked: {panic}")))
        })
    }
}
