//! What only etcd's own API tells.

use bytes::Bytes;

use super::{Mvcc, Stored};
use crate::backend::BackendError;
use crate::kv::{Event, LeaseId, Revision};

impl Mvcc {
    /// A key as it is now.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Stored> {
        self.keys.get(path)
    }

    /// The first revision that is not compacted; 0 if none ever was.
    pub(crate) fn oldest(&self) -> Revision {
        self.history.oldest()
    }

    /// The newest revision; inside [`commit`](Self::commit) that of its changes once there are some.
    pub(crate) fn newest(&self) -> Revision {
        self.revision.max(self.history.last())
    }

    /// What etcd's watches tell of these events, which are in order, besides the events themselves: the key's version
    /// after each, and what the key was at the revision before, if that is not compacted.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] if the first of them is no longer in the history.
    pub(crate) fn details(&self, events: &[Event]) -> Result<Vec<(u64, Option<&Stored>)>, BackendError> {
        self.history.details(events)
    }

    pub(crate) fn has_lease(&self, lease: LeaseId) -> bool {
        self.leases.contains(lease)
    }

    /// The keys under a lease, in path order.
    pub(crate) fn lease_keys(&self, lease: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.leases.keys(lease)
    }

    /// All leases, the one that ends first before the others.
    pub(crate) fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.leases.all()
    }
}
