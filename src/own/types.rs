//! What goes into [`OwnKeys`](super::OwnKeys) and what comes out.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{BackendError, LeaseGrant, Write, WriteOutcome};
use crate::config::ConflictPolicy;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};

/// Identifies a command whose end is reported. The caller chooses it, and uses each ticket once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names a request, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

/// A wish of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Own the key: put it, and put it again whenever it is damaged.
    Put {
        /// The key's name.
        name: KeyName,
        /// Its value.
        value: Bytes,
    },
    /// Own the key once it is in the kvstore. If that fails, nothing has changed.
    PutSync {
        /// Comes back in [`OwnEvent::Done`].
        ticket: Ticket,
        /// The key's name.
        name: KeyName,
        /// Its value.
        value: Bytes,
    },
    /// Put the key once, without owning it: a name that is not owned.
    PutOnce {
        /// Comes back in [`OwnEvent::Done`].
        ticket: Ticket,
        /// The key's name.
        name: KeyName,
        /// Its value.
        value: Bytes,
        /// How long it is to live.
        lifetime: Lifetime,
    },
    /// Own the key no longer, and delete it, unless it is another owner's.
    Delete {
        /// The key's name.
        name: KeyName,
        /// Comes back in [`OwnEvent::Done`].
        ticket: Option<Ticket>,
    },
    /// Delete all own keys and stop, by revoking the leases.
    Close {
        /// Comes back in [`OwnEvent::Closed`].
        ticket: Ticket,
    },
    /// Finish what is pending and stop; the keys stay until their leases end.
    Release {
        /// Comes back in [`OwnEvent::Closed`].
        ticket: Ticket,
    },
}

/// How long a key lives that is written once, without being owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifetime {
    /// As long as the store that wrote it (Cilium's `lease = true`): it is under a lease that the store keeps alive. Close
    /// revokes the lease, and the key goes with it; after Release, or when the process dies, the key stays until the lease
    /// expires.
    #[default]
    Store,
    /// Until somebody deletes it (Cilium's `lease = false`): it is under no lease. Neither Close nor Release touches it, and
    /// no store owns it, so it is not deleted by `DeleteLocalKey` either.
    Unlimited,
}

/// What the watch saw of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The key's name.
    pub name: KeyName,
    /// The revision at which it was so.
    pub revision: Revision,
    /// The key then; `None` if it did not exist.
    pub state: Option<KeyState>,
}

/// A key as it was seen, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyState {
    /// [`value_hash`](crate::value_hash) of its value.
    pub hash: u128,
    /// The revision that wrote it.
    pub mod_revision: Revision,
    /// Its lease.
    pub lease: LeaseId,
}

/// What the shell is to ask of the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// [`Backend::grant`](crate::Backend::grant).
    Grant {
        /// The id it is to have.
        lease: LeaseId,
        /// How long the lease lives without a keep-alive.
        ttl: Duration,
    },
    /// [`Backend::keep_alive`](crate::Backend::keep_alive).
    KeepAlive(LeaseId),
    /// [`Backend::revoke`](crate::Backend::revoke).
    Revoke(LeaseId),
    /// [`Backend::write`](crate::Backend::write).
    Write(Vec<Write>),
}

/// What the backend answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Grant`].
    Granted(Result<LeaseGrant, BackendError>),
    /// To [`Request::KeepAlive`].
    KeptAlive(Result<Duration, BackendError>),
    /// To [`Request::Revoke`].
    Revoked(Result<(), BackendError>),
    /// To [`Request::Write`].
    Written(Result<WriteOutcome, BackendError>),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// A command with a ticket has ended.
    Done {
        /// The command's ticket.
        ticket: Ticket,
        /// The revision that wrote the key, or at which it was gone.
        result: Result<Revision, WriteError>,
    },
    /// An own key is in the kvstore under a lease of ours, first or again.
    Stored {
        /// The key's name.
        name: KeyName,
        /// The revision that wrote it.
        revision: Revision,
    },
    /// An own key that somebody else had damaged is in the kvstore again; comes after [`Stored`](Self::Stored).
    /// Reports the first damage if there was more than one.
    ///
    /// A key that was deleted with its lease and put again is no repair: [`LeaseLost`](Self::LeaseLost) reports that,
    /// even if somebody else ended the lease. Neither is a key that is put again because the kvstore lost it with its history, or
    /// because it was given a new value.
    Repaired {
        /// The key's name.
        name: KeyName,
        /// What had been done to it.
        damage: Damage,
        /// The revision that put it back.
        revision: Revision,
    },
    /// A key we gave up is not in the kvstore, or is another owner's.
    Released {
        /// The key's name.
        name: KeyName,
        /// The revision at which that was so.
        revision: Revision,
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
    /// The name is not ours any more ([`ConflictPolicy::Fail`]).
    Lost {
        /// The key's name.
        name: KeyName,
    },
    /// The kvstore refuses this key: it is not written until it has a new value. A key that is only forbidden now is
    /// tried again at every sync interval, with [`StillSetAside`](Self::StillSetAside) if the cause is the same.
    SetAside {
        /// The key's name.
        name: KeyName,
        /// What the kvstore said.
        cause: Arc<str>,
    },
    /// A key that is set aside was tried again, and is refused for the same cause.
    StillSetAside {
        /// The key's name.
        name: KeyName,
    },
    /// A key is set aside no longer: the kvstore has accepted it, or its owner has given it up. It counts as no repair.
    NoLongerSetAside {
        /// The key's name.
        name: KeyName,
    },
    /// A lease ended; its keys are put again.
    LeaseLost {
        /// The lease.
        lease: LeaseId,
        /// How that was noticed.
        cause: Arc<str>,
    },
    /// A request failed and will be repeated.
    BackendFailed(BackendError),
    /// An answer contradicts what was known before it was asked for: the kvstore's history went back, or another kvstore
    /// answers ([`Watch::ended`](crate::watch::Watch::ended)). Emitted once until the watch is live again.
    HistoryChanged,
    /// It has stopped.
    Closed {
        /// The command's ticket.
        ticket: Ticket,
        /// What could not be deleted (Close) or written (Release), and why.
        left: Vec<(KeyName, Arc<str>)>,
    },
}

/// How somebody else has damaged an own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// The key was deleted.
    Deleted,
    /// The key was given another value, or put under another lease.
    Overwritten,
}

impl fmt::Display for Damage {
    /// `deleted` or `overwritten`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Overwritten => "overwritten",
        })
    }
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The write was not confirmed in time; it may have been applied all the same.
    #[error("write was not confirmed after {} s{}", .after.as_secs_f64(), .cause.as_ref().map_or(String::new(), |cause| format!(": {cause}")))]
    TimedOut {
        /// The time it had: the write timeout, or what the caller set.
        after: Duration,
        /// The last error of the backend, if there was one.
        cause: Option<Arc<str>>,
    },
    /// The kvstore refuses it for good.
    #[error("{cause}")]
    Rejected {
        /// What it said.
        cause: Arc<str>,
    },
    /// The name is another live owner's, and the policy leaves it to them.
    #[error("name is owned by another, under lease {lease}")]
    Conflict {
        /// The other's lease.
        lease: LeaseId,
    },
    /// The key is not ours: it was not deleted.
    #[error("key is not owned by this store but under lease {lease}")]
    NotOwned {
        /// The lease it is under.
        lease: LeaseId,
    },
    /// The name is owned: a value that is written once would be taken for damage, and the own value be put back.
    #[error("name is owned by this store: give it a new value as an own key (update_local_key), or give it up first")]
    Owned,
    /// A newer command for the name came first.
    #[error("a newer command for this name came first")]
    Superseded,
    /// The store is leaving.
    #[error("store is closed")]
    Closed,
}

/// Numbers of [`OwnKeys`](super::OwnKeys).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnStats {
    /// Names it takes care of.
    pub names: usize,
    /// Names that are not yet in the kvstore as they should be.
    pub pending: usize,
    /// Why the last request failed, while names are pending.
    pub pending_cause: Option<Arc<str>>,
    /// Keys the kvstore refuses, and why.
    pub set_aside: Vec<(KeyName, Arc<str>)>,
    /// How often a key that somebody else had damaged was put back.
    pub repairs: u64,
    /// Leases it holds.
    pub leases: usize,
    /// Requests made so far.
    pub requests: u64,
    /// Single writes in them.
    pub writes: u64,
}
