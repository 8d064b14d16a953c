//! What observers are told.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::config::ConflictPolicy;
use crate::key::{CodecError, KeyName};
use crate::kv::{LeaseId, Revision};
use crate::own::Damage;
use crate::reason::Reason;

/// One key changed, as one observer is told it.
///
/// `old` and `new` say what happened: a create has no `old`, a deletion has no `new`.
#[derive(Debug)]
pub struct Change<K> {
    /// The key's name.
    pub name: KeyName,
    /// The value this observer was last told; `None` if it knew of none.
    pub old: Option<Arc<K>>,
    /// The value now; `None` if the key is gone, or has left the observer's filter.
    pub new: Option<Arc<K>>,
    /// The revision that made the change. A change that did not come from the kvstore just then (a deletion that was
    /// held back, a key that only changed hands) has the revision of the cache, so that no change of a key is older
    /// than the one told before.
    pub revision: Revision,
    /// Whose key it is.
    pub origin: Origin,
    /// Why this observer is told the change; if several changes were merged, the reason of the newest.
    pub reason: Reason,
    /// Whether it is part of the first state an observer is given, before its [`Notice::Synced`].
    pub initial: bool,
    /// Fingerprints of `old` and `new`, to tell a value that came back from one that changed.
    pub(crate) hashes: (u128, u128),
}

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// This store owns it.
    Local,
    /// Somebody else's.
    Remote,
}

impl fmt::Display for Origin {
    /// `local` or `remote`, as it is serialized.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::Remote => "remote",
        })
    }
}

impl<K> Change<K> {
    /// Whether nothing changed for an observer that was told `old`.
    pub(crate) fn is_void(&self) -> bool {
        match (&self.old, &self.new) {
            (None, None) => true,
            (Some(_), Some(_)) => self.hashes.0 == self.hashes.1,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), old: self.old.clone(), new: self.new.clone(), ..*self }
    }
}

/// A run of changes, shared by all observers that are told the same. Reads as a slice; cheap to clone.
#[derive(Debug)]
pub struct Changes<K> {
    all: Arc<[Change<K>]>,
    range: Range<usize>,
}

impl<K> Changes<K> {
    /// The changes of `all` that lie in `range`.
    ///
    /// # Panics
    /// If `range` does not lie in `all`.
    #[must_use]
    pub fn new(all: Arc<[Change<K>]>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= all.len(), "range lies in the changes");
        Self { all, range }
    }
}

impl<K> Deref for Changes<K> {
    type Target = [Change<K>];

    fn deref(&self) -> &[Change<K>] {
        &self.all[self.range.clone()]
    }
}

impl<K> Clone for Changes<K> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), range: self.range.clone() }
    }
}

impl<K> From<Vec<Change<K>>> for Changes<K> {
    fn from(changes: Vec<Change<K>>) -> Self {
        let range = 0..changes.len();
        Self { all: changes.into(), range }
    }
}

/// What an observer is told besides changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The first state is complete.
    Synced {
        /// The revision it shows.
        revision: Revision,
        /// How many of its keys this observer was told.
        entries: usize,
    },
    /// Changes between two revisions were left out; the difference between what this observer was told and the present
    /// state follows.
    /// If `to` is less than `from`, the kvstore itself went back (an older backup, or another cluster).
    Resynced {
        /// The last revision told before.
        from: Revision,
        /// The revision the difference leads to.
        to: Revision,
    },
    /// The observer was told everything up to this revision, which is the cache's. Comes after changes as soon as nothing
    /// more waits, and when the revision moves on without changes. Only for observers that ask for it.
    Progress {
        /// The revision.
        revision: Revision,
    },
    /// A key has a value that is not one of this type.
    Undecodable {
        /// The key's name.
        name: KeyName,
        /// The revision that wrote the value.
        revision: Revision,
        /// Why; never shows the value.
        cause: CodecError,
    },
    /// Another live owner, or another live process with the same [`Config::owner`](crate::Config::owner), writes one of our
    /// names.
    Conflict {
        /// The key's name.
        name: KeyName,
        /// The revision of the other's write.
        revision: Revision,
        /// The other's lease.
        lease: LeaseId,
        /// What is done about it.
        policy: ConflictPolicy,
    },
    /// A key is undecodable no longer: it has a value of this type again, or was deleted.
    Healed {
        /// The key's name.
        name: KeyName,
        /// The revision that made it so.
        revision: Revision,
    },
    /// An own key that somebody else had damaged was put back
    /// ([`OwnEvent::Repaired`](crate::own::OwnEvent::Repaired)).
    Repaired {
        /// The key's name.
        name: KeyName,
        /// What had been done to it.
        damage: Damage,
        /// The revision that put it back.
        revision: Revision,
    },
    /// The kvstore refuses an own key, or refuses it no longer ([`OwnEvent::SetAside`](crate::own::OwnEvent::SetAside),
    /// [`OwnEvent::NoLongerSetAside`](crate::own::OwnEvent::NoLongerSetAside)).
    SetAside {
        /// The key's name.
        name: KeyName,
        /// What the kvstore said; `None` if the key is set aside no longer.
        cause: Option<Arc<str>>,
    },
}

/// The next thing to deliver to one observer.
#[derive(Debug, Clone)]
pub enum Parcel<K> {
    /// Changes, in order, never empty.
    Changes(Changes<K>),
    /// Something else.
    Notice(Notice),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_shown_as_it_is_serialized() {
        for origin in [Origin::Local, Origin::Remote] {
            assert_eq!(serde_json::to_value(origin).unwrap(), origin.to_string());
        }
    }
}
