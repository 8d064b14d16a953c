//! The cache as a file, so that a restart begins with what was known.

mod format;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::filter::contained;
use crate::hash::value_hash;
use crate::key::{Codec, Key, KeyName};
use crate::kv::{ClusterId, LeaseId, Revision};
use crate::prefix::Prefix;

/// Why a file is no snapshot of this store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is something else.
    #[error("it is no snapshot of a store")]
    NotASnapshot,
    /// A newer program wrote it.
    #[error("its format {version} is newer than {}", format::VERSION)]
    Newer {
        /// The version of its format.
        version: u32,
    },
    /// It is cut short, or not as it was written.
    #[error("it is torn")]
    Torn,
    /// It is another store's: of another prefix, or of another codec.
    #[error("it is of the {what} {found:?}, not of {wanted:?}")]
    Foreign {
        /// What differs: `prefix` or `codec`.
        what: &'static str,
        /// What the file has.
        found: String,
        /// What this store has.
        wanted: String,
    },
}

/// The name of the file with the snapshot of the store at `prefix`: no two prefixes have one, and no slash is in it.
#[must_use]
pub fn file_name(prefix: &Prefix) -> String {
    const READABLE: usize = 40;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = prefix.as_str().chars().map(plain).take(READABLE).collect();
    // Writing to a String cannot fail.
    let _ = write!(name, "-{:032x}.snapshot", value_hash(prefix.as_str().as_bytes()));
    name
}

/// What a snapshot says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) cluster: ClusterId,
    pub(crate) revision: Revision,
    /// Whether every key is in it.
    pub(crate) complete: bool,
    /// In the order of their names; of two with one name the first is [`Kind::Shown`], the second [`Kind::Raw`].
    pub(crate) records: Vec<Record>,
}

/// One key of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: KeyName,
    pub(crate) kind: Kind,
    pub(crate) value: Bytes,
    /// Fingerprint of the value in the kvstore, which another program may have encoded differently.
    pub(crate) hash: u128,
    pub(crate) mod_revision: Revision,
    pub(crate) lease: LeaseId,
}

/// What the value of a [`Record`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What the cache shows, as our codec encodes it.
    Shown = 0,
    /// What the kvstore has and our codec could not decode.
    Raw = 1,
}

impl Image {
    /// What the bytes of a file say; they may be any.
    pub(crate) fn parse(file: &Bytes, prefix: &Prefix, codec: &str) -> Result<Self, SnapshotError> {
        format::parse(file, prefix.as_str(), codec)
    }
}

/// A point of the cache, taken to be written: cheap to take, since values are shared.
#[derive(Debug)]
pub struct Capture<K> {
    pub(crate) prefix: Prefix,
    pub(crate) cluster: ClusterId,
    pub(crate) revision: Revision,
    pub(crate) version: u64,
    pub(crate) shown: Vec<Shown<K>>,
    pub(crate) raw: Vec<Record>,
}

/// One key of a [`Capture`].
#[derive(Debug)]
pub(crate) struct Shown<K> {
    pub(crate) name: KeyName,
    pub(crate) key: Arc<K>,
    pub(crate) hash: u128,
    pub(crate) mod_revision: Revision,
    pub(crate) lease: LeaseId,
}

impl<K: Key> Capture<K> {
    /// The revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// As [`Store::version`](crate::Store::version) when it was taken.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The bytes of its file. Takes its time: every value is encoded. A key without an encoding is left out.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let Self { prefix, cluster, revision, shown, raw: mut records, .. } = self;
        let count = shown.len() + records.len();
        records.extend(shown.into_iter().filter_map(|Shown { name, key, hash, mod_revision, lease }| {
            let value = contained(|| K::Codec::encode(&key)).ok()?.ok()?;
            Some(Record { name, kind: Kind::Shown, value, hash, mod_revision, lease })
        }));
        records.sort_unstable_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        let complete = records.len() == count;
        format::write(&Image { cluster, revision, complete, records }, prefix.as_str(), K::Codec::TAG)
    }
}
