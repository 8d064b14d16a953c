//! How a store is.

mod json;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::key::KeyName;
use crate::kv::Revision;
use crate::outbox::{Lag, ObserverId};

/// How far a store's cache can be trusted.
///
/// serde writes it as `{"state":"stale","cause":"...","seen":null,"stale_seconds":1.5}`: `seen` of [`Listing`](Self::Listing),
/// and for how long it has been [`Stale`](Self::Stale). What does not apply is `null`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Nothing has been read from the kvstore yet.
    Connecting {
        /// Why the last attempt failed.
        cause: Option<Arc<str>>,
    },
    /// The initial list is under way.
    Listing {
        /// How many keys have come so far.
        seen: usize,
        /// Why the last attempt failed; `None` if none did.
        cause: Option<Arc<str>>,
    },
    /// The cache shows the kvstore, and the watch is proven alive.
    Synced,
    /// The cache was correct once. The connection is lost, or the watch has still to catch up, or the cache is from
    /// before a restart.
    Stale {
        /// Since when.
        since: Instant,
        /// Why.
        cause: Arc<str>,
    },
    /// The store has left.
    Closed {
        /// Why.
        cause: Arc<str>,
    },
}

impl State {
    /// The names of all states.
    #[cfg(feature = "metrics")]
    pub(crate) const NAMES: [&str; 5] = ["connecting", "listing", "synced", "stale", "closed"];

    /// The state's name: `connecting`, `listing`, `synced`, `stale` or `closed`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting { .. } => "connecting",
            Self::Listing { .. } => "listing",
            Self::Synced => "synced",
            Self::Stale { .. } => "stale",
            Self::Closed { .. } => "closed",
        }
    }

    /// The cache may be outdated from now on.
    pub(crate) fn out_of_date(&mut self, now: Instant, cause: Arc<str>) {
        *self = match std::mem::replace(self, Self::Synced) {
            Self::Connecting { .. } => Self::Connecting { cause: Some(cause) },
            Self::Listing { seen, .. } => Self::Listing { seen, cause: Some(cause) },
            Self::Synced => Self::Stale { since: now, cause },
            Self::Stale { since, .. } => Self::Stale { since, cause },
            closed @ Self::Closed { .. } => closed,
        };
    }

    /// Why it is not synced, if something went wrong.
    #[must_use]
    pub fn cause(&self) -> Option<&Arc<str>> {
        match self {
            Self::Connecting { cause } | Self::Listing { cause, .. } => cause.as_ref(),
            Self::Synced => None,
            Self::Stale { cause, .. } | Self::Closed { cause } => Some(cause),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Self::Listing { seen, .. } = self {
            let keys = if *seen == 1 { "key" } else { "keys" };
            write!(f, ", {seen} {keys} so far")?;
        }
        self.cause().map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

/// How a store is, in full.
///
/// serde writes one flat object: the fields of [`State`], then those here by their names, with these differences.
///
/// | field | JSON |
/// | --- | --- |
/// | `set_aside` | a list of `{"name":..,"cause":..}` |
/// | `ignored` | `ignored` (count), `ignored_example` |
/// | `relists` | `relists` (without the first list), `other_histories` |
/// | `audits` | `audit_rounds`, `audited_keys`, `audit_differences` |
/// | `observers` | a list of `{"id":..,"name":..,"pending":..,"behind_seconds":..,"panics":..}` |
///
/// These names do not change; new ones may come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How far the cache can be trusted.
    pub state: State,
    /// The revision the cache shows.
    pub revision: Revision,
    /// How many keys are in the cache.
    pub entries: usize,
    /// How many keys this store owns.
    pub own: usize,
    /// How many own keys are not in the kvstore as they should be, yet.
    pub pending_writes: usize,
    /// Why the last request for own keys failed, while keys are pending.
    pub pending_cause: Option<Arc<str>>,
    /// Own keys the kvstore refuses, and why.
    pub set_aside: Vec<(KeyName, Arc<str>)>,
    /// How often an own key that somebody else had deleted or overwritten was put back.
    pub repairs: u64,
    /// How many leases it holds for own keys.
    pub leases: usize,
    /// Keys that are shown although the kvstore does not have them: their deletions are held back, for
    /// [`Config::delete_delay`](crate::Config::delete_delay) or by the [`DeletionGuard`](crate::DeletionGuard).
    pub held_back: usize,
    /// Keys whose values are not of this store's type.
    pub undecodable: usize,
    /// Keys below the prefix that are ignored: their names are empty or not UTF-8.
    pub ignored: IgnoredKeys,
    /// How often a key ceased to be undecodable: it got a value of this store's type, or was deleted.
    pub healed: u64,
    /// How often the kvstore was listed, and what for.
    pub relists: Relists,
    /// What comparing the cache with the kvstore has found.
    pub audits: AuditStats,
    /// How often code of the user (codec, filter, index) panicked in the store.
    pub panics: u64,
    /// The revision of the snapshot in the state directory, once this store has written one.
    pub saved: Option<Revision>,
    /// Why the last snapshot could not be used or written.
    pub state_error: Option<Arc<str>>,
    /// How far each observer is behind.
    pub observers: Vec<(ObserverId, Lag)>,
}

/// Keys below the prefix that are in the kvstore now and ignored, because a [`KeyName`] is UTF-8 and not empty. They are
/// not in the cache, no observer is told of them, and an audit does not compare them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoredKeys {
    /// How many there are.
    pub count: usize,
    /// The first of their paths, prefix included; what is not printable ASCII is escaped, as in `nodes/\xff`.
    pub example: Option<Arc<str>>,
}

/// How often the whole kvstore was listed, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relists {
    /// Lists taken in. The first one is joining; each other one is a relist.
    pub lists: u64,
    /// Those of another history: the kvstore went back, or another cluster answers.
    pub other_histories: u64,
}

/// What comparing the cache with the kvstore has found since the store was joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AuditStats {
    /// How often the whole cache has been compared.
    pub rounds: u64,
    /// How many keys have been compared.
    pub keys: u64,
    /// Keys that differed without an explanation: an event was lost, and a relist has repaired it.
    pub differences: u64,
}
