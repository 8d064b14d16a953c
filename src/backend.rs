//! What the store asks of a kvstore, and the contract every backend keeps.

#[cfg(feature = "test-kit")]
pub mod conformance;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(any(feature = "etcd-server", feature = "test-kit"))]
pub mod faulty;
pub mod memory;
pub(crate) mod shared;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::kv::{Event, Header, KeyRange, KeyValue, LeaseId, Revision};
use crate::thread::Thread;

/// A kvstore with etcd's semantics.
///
/// # Contract
/// Every backend passes the cases of `backend::conformance` (feature `test-kit`), each its own test.
///
/// 1. **Revisions.** Each committed [`write`](Self::write) that changes something has one revision, one more than the
///    last. All its changes carry it. A lease that expires or is revoked deletes all its keys at one revision.
/// 2. **Lists** are linearizable: they show every write answered before they began. A list at a pinned revision shows
///    exactly that revision, in path order, or fails with [`BackendError::Compacted`]; a revision the kvstore has not
///    reached yet is [`BackendError::FutureRevision`].
/// 3. **Watches** give every change of their range at or after their start revision: ordered, once, none missing. A
///    response may end inside a revision only if it says so ([`Events::complete`]). A catch-up may be cut into
///    responses whose header is far ahead of their events: resume after the last *event*.
/// 4. **Writes** are transactions: all changes or none.
/// 5. **Errors** are typed by what the caller can do. Every call ends: backends bound it in time.
/// 6. **Cancellation.** Dropping any future is safe; whether a dropped write was applied is unknown.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// A page of the keys in a range.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] or [`BackendError::FutureRevision`] for a pinned revision that is gone or not
    /// there yet, otherwise [`BackendError::Unavailable`] or [`BackendError::Rejected`].
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError>;

    /// Watches a range. Answers when the kvstore has accepted the watch, or with the error that says why not.
    ///
    /// # Errors
    /// As the stream's own: see [`WatchStream::next`].
    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError>;

    /// Applies all writes in one transaction if every expectation holds, else none of them.
    ///
    /// At most [`max_writes`](Self::max_writes) writes by the [`cost`](Expect::cost) of what they expect, no path twice.
    ///
    /// # Errors
    /// [`BackendError::LeaseNotFound`] if a put names a lease that is gone (nothing was applied),
    /// [`BackendError::Rejected`] if it can never succeed (too large), otherwise [`BackendError::Unavailable`],
    /// which says whether it may have been applied.
    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError>;

    /// The thread of its watches, if it has one: stores that use the backend run there unless they are told otherwise, so
    /// that an event wakes no other thread on its way to the cache.
    fn thread(&self) -> Option<Thread> {
        None
    }

    /// How many writes one transaction can hold (etcd's default: 128).
    fn max_writes(&self) -> usize {
        128
    }

    /// Grants a lease with this id, or with one that the kvstore chooses for [`LeaseId::NONE`]. The kvstore may raise a
    /// TTL below its minimum.
    ///
    /// # Errors
    /// [`BackendError::LeaseExists`] if the id is taken (nothing changes then), otherwise
    /// [`BackendError::Unavailable`] or [`BackendError::Rejected`].
    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError>;

    /// Sends one keep-alive and answers with the time the lease lives from now.
    ///
    /// # Errors
    /// [`BackendError::LeaseNotFound`] once the lease has expired or was revoked.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError>;

    /// How long a lease lives if nothing keeps it alive. Does not keep it alive itself.
    ///
    /// # Errors
    /// [`BackendError::LeaseNotFound`] once the lease has expired or was revoked, [`BackendError::Rejected`] by a backend
    /// that does not know, as the default does not.
    async fn lease_time(&self, lease: LeaseId) -> Result<LeaseTime, BackendError> {
        Err(BackendError::rejected(format_args!("the kvstore does not tell how long lease {lease} has left")))
    }

    /// Revokes a lease: its keys are deleted at one revision. A lease that is gone already is no error.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] or [`BackendError::Rejected`].
    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError>;
}

/// Events of one watch, in order. Dropping it ends the watch.
#[async_trait]
pub trait WatchStream: fmt::Debug + Send {
    /// The kvstore's header when it accepted the watch: events between the watch's start and this revision are still
    /// to come.
    fn header(&self) -> Header;

    /// The next response. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] if the history the watch needs is gone, [`BackendError::Unavailable`] if the
    /// stream broke or ended. After an error the stream is dead.
    async fn next(&mut self) -> Result<WatchResponse, BackendError>;

    /// Asks for a [`WatchResponse::Progress`] as soon as the watch has given all events up to the kvstore's revision of now.
    /// A watch that is behind may leave it out. Answers whether that can be asked for; by default it cannot. A backend says
    /// yes only if no event of an earlier revision can come after the progress.
    fn request_progress(&mut self) -> bool {
        false
    }
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// The paths to list.
    pub range: KeyRange,
    /// At which revision; `None` for the newest.
    pub revision: Option<Revision>,
    /// Only keys written at or after this revision.
    pub min_mod_revision: Option<Revision>,
    /// At most so many keys; 0 for all.
    pub limit: usize,
    /// Leave the values out.
    pub keys_only: bool,
}

impl ListRequest {
    /// Everything in `range`, newest revision, values included.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self { range, revision: None, min_mod_revision: None, limit: 0, keys_only: false }
    }
}

/// A page of keys in path order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// Who answered, and its newest revision then (not the pinned one).
    pub header: Header,
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// Whether the range holds more keys after the last one here.
    pub more: bool,
    /// How many keys the whole range holds from this request's start on, whatever the limit and `min_mod_revision`.
    pub count: u64,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// The paths to watch.
    pub range: KeyRange,
    /// The first revision to see.
    pub start: Revision,
}

/// One message of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchResponse {
    /// Changes, in order.
    Events(Events),
    /// Nothing in the range changed up to and including the header's revision: the watch is alive and caught up.
    Progress(Header),
}

/// Changes out of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Who answered, and its newest revision then, which can be far ahead of the events.
    pub header: Header,
    /// The changes, in order, never empty.
    pub events: Vec<Event>,
    /// Whether the last event's revision is complete; `false` for a fragment with more to come.
    pub complete: bool,
}

/// One change of a transaction, with what must hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The whole path, prefix included.
    pub path: Bytes,
    /// What must hold for the whole transaction to be applied.
    pub expect: Expect,
    /// What to do with the path.
    pub action: WriteAction,
}

/// What a write expects of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// That the key does not exist.
    Absent,
    /// That the key was last written at this revision; 0 for one that does not exist.
    Revision(Revision),
    /// That the key was last written at this revision and is under this lease. In another history a key of another owner
    /// can have the same revision, but not the lease. etcd counts this as two of the operations of a transaction.
    Is {
        /// The revision that wrote the key.
        revision: Revision,
        /// Its lease.
        lease: LeaseId,
    },
}

impl Expect {
    /// How many of a transaction's operations the comparison takes.
    #[must_use]
    pub fn cost(self) -> usize {
        if matches!(self, Self::Is { .. }) { 2 } else { 1 }
    }
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteAction {
    /// Creates or replaces the key.
    Put {
        /// The new value.
        value: Bytes,
        /// The lease to attach it to, or [`LeaseId::NONE`].
        lease: LeaseId,
    },
    /// Deletes the key; no change if it does not exist.
    Delete,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Every expectation held: all writes are applied.
    Committed {
        /// The kvstore's revision after it: of these writes, unless nothing changed (deletes of absent keys only).
        revision: Revision,
    },
    /// Some expectation did not hold: nothing was applied.
    Refused {
        /// The revision at which the writes were refused.
        revision: Revision,
        /// What each path held then, in the order of the writes.
        current: Vec<Option<KeyValue>>,
    },
}

/// A lease as it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Its id.
    pub lease: LeaseId,
    /// How long it lives without a keep-alive.
    pub ttl: Duration,
}

/// The time of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTime {
    /// How long it lives without a keep-alive from now.
    pub left: Duration,
    /// How long it lives after a keep-alive.
    pub ttl: Duration,
}

/// Why a kvstore did not do what it was asked, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The revision asked for is no longer in the kvstore's history: list again.
    #[error("revision is compacted, oldest kept is {oldest}")]
    Compacted {
        /// The oldest revision still there, or 0 if the kvstore did not say.
        oldest: Revision,
    },
    /// The revision asked for is not there yet: the kvstore's history went backwards, list again.
    #[error("revision is in the future")]
    FutureRevision,
    /// The lease is gone: grant a new one and put its keys again.
    #[error("lease {lease} does not exist")]
    LeaseNotFound {
        /// The lease, or [`LeaseId::NONE`] if several were named.
        lease: LeaseId,
    },
    /// A lease with this id exists already: an earlier request granted it, or another client did.
    #[error("lease {lease} already exists")]
    LeaseExists {
        /// The lease.
        lease: LeaseId,
    },
    /// The kvstore cannot be reached or cannot answer now: back off and try again.
    #[error("{cause}")]
    Unavailable {
        /// What happened, in words.
        cause: Arc<str>,
        /// Whether a write may have been applied all the same.
        applied: Applied,
    },
    /// The kvstore refuses this request and always will: report it, do not repeat it unchanged.
    #[error("{cause}")]
    Rejected {
        /// What it said.
        cause: Arc<str>,
    },
    /// This request is not permitted. Another user, role or key may be, and the same request may be permitted later when
    /// roles change: report it, back off and try again.
    #[error("{cause}")]
    Forbidden {
        /// What the kvstore said.
        cause: Arc<str>,
    },
    /// Credentials or certificates are wrong: retrying does not help, somebody has to correct them.
    #[error("{cause}")]
    Misconfigured {
        /// What is wrong, in words.
        cause: Arc<str>,
    },
}

/// Whether a failed write may have been applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It never reached the kvstore.
    No,
    /// It may have been applied, or may still be.
    Maybe,
}

impl BackendError {
    /// An outage during which a write may have been applied.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self::Unavailable { cause: cause.to_string().into(), applied: Applied::Maybe }
    }

    /// An outage in which the request never reached the kvstore.
    pub fn unreachable(cause: impl fmt::Display) -> Self {
        Self::Unavailable { cause: cause.to_string().into(), applied: Applied::No }
    }

    /// A refusal for good.
    pub fn rejected(cause: impl fmt::Display) -> Self {
        Self::Rejected { cause: cause.to_string().into() }
    }

    /// A request that is not permitted now.
    pub fn forbidden(cause: impl fmt::Display) -> Self {
        Self::Forbidden { cause: cause.to_string().into() }
    }

    /// Wrong credentials or certificates.
    pub fn misconfigured(cause: impl fmt::Display) -> Self {
        Self::Misconfigured { cause: cause.to_string().into() }
    }
}
