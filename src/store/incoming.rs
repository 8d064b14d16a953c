//! Keys as they arrive from the kvstore, decoded and ready for the cache.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::cache::{IndexValues, Raw, Shared};
use crate::config::{Config, NameCheck};
use crate::hash::value_hash;
use crate::index::Index;
use crate::key::{Codec, CodecError, Key, KeyName};
use crate::kv::{Event, KeyValue, LeaseId, Revision};
use crate::own::{KeyState, Observation};
use crate::prefix::Prefix;
use crate::user_code::{Panicked, contained};
use crate::watch::{Delivery, Page, PageKeys};

/// A key that was put, or deleted.
#[derive(Debug)]
pub(super) struct Incoming<K> {
    pub(super) name: KeyName,
    pub(super) revision: Revision,
    /// `None` for a deletion.
    pub(super) arrived: Option<Arrived<K>>,
}

/// A good value, with its bytes if the store keeps them; or why it is none, and its bytes.
type Value<K> = Result<(Arc<K>, IndexValues, Raw), Box<(CodecError, Bytes)>>;

/// A value that was put.
#[derive(Debug)]
pub(super) struct Arrived<K> {
    /// Without the alignment of a number, which would cost 8 bytes.
    hash: [u8; 16],
    pub(super) create_revision: Revision,
    pub(super) lease: LeaseId,
    pub(super) value: Value<K>,
}

impl<K> Arrived<K> {
    /// Fingerprint of the value's bytes.
    pub(super) fn hash(&self) -> u128 {
        u128::from_ne_bytes(self.hash)
    }
}

impl<K> Incoming<K> {
    pub(super) fn observation(&self) -> Observation {
        let seen =
            |arrived: &Arrived<K>| KeyState { hash: arrived.hash(), mod_revision: self.revision, lease: arrived.lease };
        Observation { name: self.name.clone(), revision: self.revision, state: self.arrived.as_ref().map(seen) }
    }
}

/// How many keys are looked up under one lock, so that neither writer nor readers wait for long.
const LOOKUPS: usize = 256;

/// A key as the cache has it, with its name as it is stored there, so that each name is in memory once.
struct Known<K> {
    name: KeyName,
    /// The fingerprint of its value, and the value.
    value: Option<(u128, Arc<K>)>,
}

/// Decodes the values of a [`Delivery`], on any thread and beside the store. Values whose bytes the cache has are not
/// decoded again.
#[derive(Debug)]
pub struct Decoder<K> {
    pub(super) prefix: Prefix,
    pub(super) shared: Arc<Shared<K>>,
    indexes: Arc<[Index<K>]>,
    name_check: NameCheck,
    keeps_raw: bool,
    /// How often code of the user panicked.
    panics: Arc<AtomicU64>,
}

impl<K> Clone for Decoder<K> {
    fn clone(&self) -> Self {
        let (prefix, shared) = (self.prefix.clone(), Arc::clone(&self.shared));
        let (indexes, panics) = (Arc::clone(&self.indexes), Arc::clone(&self.panics));
        let Self { name_check, keeps_raw, .. } = *self;
        Self { prefix, shared, indexes, name_check, keeps_raw, panics }
    }
}

/// The decoded values of a [`Delivery`]: one for each of its values and events, `None` for a path that is not a key of
/// this store.
#[derive(Debug)]
pub struct Decoded<K>(pub(super) Vec<Option<Incoming<K>>>);

impl<K> Default for Decoded<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Extend<Self> for Decoded<K> {
    /// Adds what was decoded of the values that follow.
    fn extend<I: IntoIterator<Item = Self>>(&mut self, parts: I) {
        self.0.extend(parts.into_iter().flat_map(|part| part.0));
    }
}

impl<K: Key> Decoder<K> {
    pub(super) fn new(config: &Config, shared: Arc<Shared<K>>, indexes: Vec<Index<K>>) -> Self {
        let (prefix, name_check, keeps_raw) = (config.prefix.clone(), config.name_check, config.state_dir.is_some());
        Self { prefix, shared, indexes: indexes.into(), name_check, keeps_raw, panics: Arc::default() }
    }

    /// Decodes a range of the values of a delivery. Several ranges may be decoded at the same time.
    #[must_use]
    pub fn decode(&self, delivery: &Delivery, values: Range<usize>) -> Decoded<K> {
        let mut decoded = Vec::with_capacity(values.len());
        match delivery {
            Delivery::Page(Page { keys: PageKeys::Full(kvs), .. }) => {
                for kvs in kvs[values].chunks(LOOKUPS) {
                    let known = self.known(kvs.iter().map(|kv| &kv.path));
                    decoded.extend(known.into_iter().zip(kvs).map(|(known, kv)| Some(self.incoming(known?, kv))));
                }
            }
            Delivery::Events(events) => {
                for events in events[values].chunks(LOOKUPS) {
                    let known = self.known(events.iter().map(Event::path));
                    decoded.extend(known.into_iter().zip(events).map(|(known, event)| Some(self.event(known?, event))));
                }
            }
            Delivery::Page(Page { keys: PageKeys::Names(_), .. })
            | Delivery::Progress(_)
            | Delivery::Began { .. }
            | Delivery::Live
            | Delivery::Broken(_)
            | Delivery::Audited(_) => {}
        }
        Decoded(decoded)
    }

    /// What the cache has for these paths; `None` for a path that is not a key of this store. The lock is not held for
    /// longer.
    fn known<'a>(&self, paths: impl Iterator<Item = &'a Bytes>) -> Vec<Option<Known<K>>> {
        let cache = self.shared.read();
        let known = |path: &Bytes| {
            let name = self.prefix.strip_str(path)?;
            Some(match cache.get_key_value(name) {
                Some((name, entry)) => {
                    Known { name: name.clone(), value: Some((entry.hash(), Arc::clone(&entry.key))) }
                }
                None => Known { name: KeyName::new(name).ok()?, value: None },
            })
        };
        paths.map(known).collect()
    }

    fn event(&self, known: Known<K>, event: &Event) -> Incoming<K> {
        match event {
            Event::Put(kv) => self.incoming(known, kv),
            Event::Delete { revision, .. } => Incoming { name: known.name, revision: *revision, arrived: None },
        }
    }

    /// Decodes one value that does not come from a delivery; `None` if it is not a key of ours.
    pub(super) fn one(&self, kv: &KeyValue) -> Option<Incoming<K>> {
        let known = self.known(std::iter::once(&kv.path)).pop()??;
        Some(self.incoming(known, kv))
    }

    /// Decodes a value, unless it is the one in the cache.
    fn incoming(&self, Known { name, value }: Known<K>, kv: &KeyValue) -> Incoming<K> {
        let hash = value_hash(&kv.value);
        let key = match value {
            Some((known, key)) if known == hash => Ok(key),
            Some(_) | None => self.decode_value(&name, &kv.value).map(Arc::new),
        };
        let value = match key {
            Ok(key) => {
                let values = self.index_values(&name, &key);
                Ok((key, values, self.keeps_raw.then(|| Box::new(kv.value.clone()))))
            }
            Err(cause) => Err(Box::new((cause, kv.value.clone()))),
        };
        let arrived = Arrived { hash: hash.to_ne_bytes(), create_revision: kv.create_revision, lease: kv.lease, value };
        Incoming { name, revision: kv.mod_revision, arrived: Some(arrived) }
    }

    fn index_values(&self, name: &KeyName, key: &K) -> IndexValues {
        let values = |index: &Index<K>| {
            index.values(name, key).unwrap_or_else(|_| {
                self.panicked();
                Vec::new()
            })
        };
        self.indexes.iter().map(values).collect()
    }

    fn decode_value(&self, name: &KeyName, value: &Bytes) -> Result<K, CodecError> {
        let key = contained(|| K::Codec::decode(name, value)).unwrap_or_else(|Panicked| {
            self.panicked();
            let codec = std::any::type_name::<K::Codec>();
            tracing::error!(key = %name, codec, "decoding panicked");
            Err(CodecError::new(format_args!("codec {codec} panicked")))
        })?;
        if self.name_check == NameCheck::Ignore {
            return Ok(key);
        }
        match contained(|| key.name()) {
            Ok(own) if own == name.as_str() => Ok(key),
            Ok(own) if own.is_empty() => Err(CodecError::new("value has no name: a codec can give it the key's name")),
            Ok(_) => Err(CodecError::new("value has the name of another key")),
            Err(Panicked) => {
                self.panicked();
                let key = std::any::type_name::<K>();
                tracing::error!(key = %name, "name of {key} panicked");
                Err(CodecError::new(format_args!("name of {key} panicked")))
            }
        }
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}
