//! The cache as a file, so that a restart begins with what was known.

mod format;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use bytes::Bytes;

use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{ClusterId, LeaseId, Revision};
use crate::prefix::Prefix;

/// Why a file is no snapshot of this store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It is something else.
    #[error("not a snapshot of a store")]
    NotASnapshot,
    /// A newer program wrote it.
    #[error("snapshot format {version} is newer than {}", format::VERSION)]
    Newer {
        /// The version of its format.
        version: u32,
    },
    /// An older program wrote it.
    #[error("snapshot format {version} is older than {}", format::VERSION)]
    Older {
        /// The version of its format.
        version: u32,
    },
    /// It is truncated or damaged.
    #[error("file is truncated or damaged")]
    Torn,
    /// It is another store's: of another prefix, or of another codec.
    #[error("snapshot is of the {what} {found:?}, not of {wanted:?}")]
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
    /// In the order of their names; of two with one name the first is [`Kind::Shown`], the second [`Kind::Quarantined`].
    pub(crate) records: Vec<Record>,
}

/// One key of a snapshot, with the bytes that the kvstore had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: KeyName,
    pub(crate) kind: Kind,
    pub(crate) value: Bytes,
    pub(crate) mod_revision: Revision,
    pub(crate) create_revision: Revision,
    pub(crate) lease: LeaseId,
}

/// What the value of a [`Record`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What the cache shows.
    Shown = 0,
    /// What the kvstore has and the codec could not decode.
    Quarantined = 1,
}

impl Image {
    /// Reads the bytes of a file, which may be anything.
    pub(crate) fn parse(file: &Bytes, prefix: &Prefix, codec: &str) -> Result<Self, SnapshotError> {
        format::parse(file, prefix.as_str(), codec)
    }
}

/// The cache at one revision, to be written to a file. Cheap to take, since values are shared.
#[derive(Debug)]
pub struct Capture {
    pub(crate) prefix: Prefix,
    pub(crate) codec: &'static str,
    pub(crate) version: u64,
    /// Its records are in no order.
    pub(crate) image: Image,
}

impl Capture {
    /// The revision it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.image.revision
    }

    /// As [`Store::version`](crate::Store::version) when it was taken.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The bytes of the file. Slow with many keys.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let Self { prefix, codec, mut image, .. } = self;
        image.records.sort_unstable_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        format::write(&image, prefix.as_str(), codec)
    }
}
