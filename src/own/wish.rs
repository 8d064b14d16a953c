//! What the owner wants of one name.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Lifetime, Ticket};

/// What is wanted of a name until the next command.
#[derive(Debug, Default)]
pub(super) enum Wish {
    /// Nothing: the key is left as it is.
    #[default]
    Nothing,
    /// The key has this value under a lease of ours.
    Keep { value: Bytes, hash: u128 },
    /// The key is deleted if it is one of these.
    Delete(Deletable),
    /// As `Delete`, and `Released` or `Lost` was emitted. Until the name is dropped, a delayed put of it is deleted.
    Released(Deletable),
}

impl Wish {
    /// Whether the name is given up: its key is deleted, or has been.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self, Self::Delete(_) | Self::Released(_))
    }
}

/// Which key of a name is ours to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletable {
    /// One under a lease of ours.
    OnOwnLease,
    /// One under a lease of ours or under none: the key was owned.
    OnOwnOrNoLease,
}

/// A synchronous write.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) ticket: Ticket,
    pub(super) value: Bytes,
    pub(super) hash: u128,
    pub(super) kind: OnceKind,
    /// From the command to the deadline.
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Once {
    pub(super) fn lifetime(&self) -> Lifetime {
        match self.kind {
            OnceKind::Adopt => Lifetime::Store,
            OnceKind::Unowned(lifetime) => lifetime,
        }
    }
}

/// What a key is once a synchronous write has put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnceKind {
    /// An own key.
    Adopt,
    /// A key that nobody owns.
    Unowned(Lifetime),
}
