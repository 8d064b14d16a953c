//! The kvstore's own words: revisions, leases, key-value pairs, events.

use std::fmt;

use bytes::Bytes;

/// A point in the kvstore's history (etcd's revision). Grows by one with every committed transaction; 0 is before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first write.
    pub const ZERO: Self = Self(0);

    /// The revision right after this one; the last possible revision has itself.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease: keys attached to it vanish when nobody keeps it alive. [`LeaseId::NONE`] for a key without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseId(pub i64);

impl LeaseId {
    /// No lease: the key stays until somebody deletes it.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Which kvstore answered: a revision means something only within one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClusterId(pub u64);

impl ClusterId {
    /// Not told. A proxy between us and etcd answers some calls itself, without a cluster id; the revision in the
    /// header of these answers is not the kvstore's either.
    pub const NOT_TOLD: Self = Self(0);

    /// Whether these are two different clusters. A cluster that is not told may be any.
    #[must_use]
    pub fn differs(self, other: Self) -> bool {
        self != other && self != Self::NOT_TOLD && other != Self::NOT_TOLD
    }

    /// This one, or the other if this one is not told.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::NOT_TOLD { other } else { self }
    }
}

/// What every answer of the kvstore says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// The cluster that answered.
    pub cluster: ClusterId,
    /// Its newest revision when it answered.
    pub revision: Revision,
}

/// A half-open range of paths, `start <= path < end`, by bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// First path in the range.
    pub start: Bytes,
    /// First path after the range.
    pub end: Bytes,
}

impl KeyRange {
    /// The range that holds just `path`.
    #[must_use]
    pub fn one(path: &Bytes) -> Self {
        Self { start: path.clone(), end: [&path[..], &[0]].concat().into() }
    }

    /// Whether `path` lies in the range.
    #[must_use]
    pub fn contains(&self, path: &[u8]) -> bool {
        self.start <= path && path < &self.end[..]
    }
}

/// One key as it is in the kvstore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole path, prefix included.
    pub path: Bytes,
    /// The value's bytes; empty in a keys-only list.
    pub value: Bytes,
    /// The revision that created this incarnation of the key.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// The lease it is attached to, or [`LeaseId::NONE`].
    pub lease: LeaseId,
}

/// One change in the kvstore's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key was created or written.
    Put(KeyValue),
    /// A key was deleted, or its lease expired.
    Delete {
        /// The whole path, prefix included.
        path: Bytes,
        /// The revision of the deletion.
        revision: Revision,
    },
}

impl Event {
    /// The revision that made this change; several events can share it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }

    /// The path that changed.
    #[must_use]
    pub fn path(&self) -> &Bytes {
        match self {
            Self::Put(kv) => &kv.path,
            Self::Delete { path, .. } => path,
        }
    }
}
