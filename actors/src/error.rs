//! What can go wrong, by what the caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use actix::MailboxError;
use shared_store_core::own::WriteError;
use shared_store_core::{BackendError, ConfigError, KeyError, KeyName, Reader, Revision, State};

/// A store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The key itself cannot be put.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The kvstore did not take the write.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The write is done, and this store does not show it yet, or has not told its observers
    /// ([`Until`](crate::Until)).
    #[error("written at revision {written}, but {cause}")]
    NotYet {
        /// The revision of the write.
        written: Revision,
        /// What is missing.
        cause: Arc<str>,
    },
    /// The store has not taken the command: its thread or its mailbox was busy until the timeout of the call. Nothing has
    /// changed, and nothing will.
    #[error("store was busy for {} s and has not taken the command", .after.as_secs_f64())]
    Busy {
        /// The timeout of the call.
        after: Duration,
    },
    /// Only a store that owns nothing, and writes nothing, can be detached.
    #[error("store owns keys")]
    Owner,
    /// The store was detached once: it owns no keys any more.
    #[error("store is read-only since it was detached")]
    ReadOnly,
    /// The store is watching: it must be detached first.
    #[error("store is attached")]
    Attached,
    /// The store has left or is leaving.
    #[error("store is closed")]
    Closed,
}

impl From<MailboxError> for StoreError {
    /// The actor is gone.
    fn from(_: MailboxError) -> Self {
        Self::Closed
    }
}

/// A store could not be joined. Nothing of it is left behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The configuration cannot work.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The initial list was not complete in time.
    #[error("initial list was not complete after {} s: {cause}", .after.as_secs_f64())]
    ListTimeout {
        /// The list timeout.
        after: Duration,
        /// The last error of the backend, or how far the list got.
        cause: Arc<str>,
    },
    /// The system has no thread for the store, or not the files a thread needs.
    #[error("cannot start a thread for the store: {0}")]
    Thread(Arc<str>),
    /// The store ended before it was joined.
    #[error("store ended while joining: {0}")]
    Ended(Arc<str>),
}

/// A store has left, but not all that was promised was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct CloseError {
    /// The keys that could not be deleted (Close) or written (Release), and why. Keys that were not deleted go with
    /// their lease.
    pub left: Vec<(KeyName, Arc<str>)>,
    /// Why the store ended before it could leave, if it did. Its own keys stay until their lease expires.
    pub ended: Option<Arc<str>>,
}

impl CloseError {
    pub(crate) fn ended(cause: impl Into<Arc<str>>) -> Self {
        Self { left: Vec::new(), ended: Some(cause.into()) }
    }

    fn text(&self) -> String {
        match (&self.ended, self.left.first()) {
            (Some(cause), _) => format!("store ended before it could leave: {cause}"),
            (None, Some((name, cause))) => {
                format!("keys could not be deleted or written ({}), first {name}: {cause}", self.left.len())
            }
            (None, None) => "keys could not be deleted or written".to_owned(),
        }
    }
}

/// The cache could not be compared with the kvstore.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Not in the time given.
    #[error("audit was not complete after {} s: {cause}", .after.as_secs_f64())]
    TimedOut {
        /// The timeout.
        after: Duration,
        /// Why the cache is not in step with the kvstore, or that it did not answer.
        cause: Arc<str>,
    },
    /// The store has left or is leaving.
    #[error("store is closed")]
    Closed,
}

/// The cache is not known to show all that the kvstore has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatchUpError {
    /// Not in the time given: the kvstore did not tell its newest revision, or the watch did not reach it.
    #[error("cache was not seen to be up to date within {} s: it is at revision {reached} ({state})", .after.as_secs_f64())]
    TimedOut {
        /// The timeout.
        after: Duration,
        /// The revision the cache shows.
        reached: Revision,
        /// How the store is.
        state: State,
    },
    /// The kvstore refuses to tell its newest revision: the user may not read the prefix, for example.
    #[error("newest revision cannot be asked for: {0}")]
    Refused(#[source] BackendError),
    /// The store has left or is leaving.
    #[error("store is closed")]
    Closed,
}

impl CatchUpError {
    pub(crate) fn timed_out<K>(after: Duration, reader: &Reader<K>) -> Self {
        Self::TimedOut { after, reached: reader.revision(), state: reader.state() }
    }
}
