//! A kvstore in memory, for tests, examples and single processes.

mod history;
mod lease;
mod mvcc;
mod stream;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;

pub use mvcc::Mvcc;
#[cfg(all(feature = "etcd", any(feature = "etcd-server", feature = "test-kit")))]
pub(super) use mvcc::{MAX_REQUEST_BYTES, MAX_WRITES, Stored};

use self::stream::MemoryWatch;
use super::{
    Backend, BackendError, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome,
};
use crate::kv::{Header, LeaseId, Revision};

/// A kvstore in memory. A clone is another collaborator on the same kvstore.
///
/// Time is tokio's, so it obeys a paused clock. Leases expire without any task: every call and every waiting watch first
/// ends what is due. How much history it keeps is the [`Mvcc`]'s to say.
#[derive(Clone)]
pub struct MemoryBackend {
    shared: Arc<Shared>,
    progress_interval: Duration,
}

impl MemoryBackend {
    /// An empty kvstore. The ids of its leases begin at a random number, as etcd's do: if a process that serves a
    /// kvstore starts again, an id from before must not be another owner's lease now, which its old owner would keep
    /// alive or revoke.
    #[must_use]
    pub fn new() -> Self {
        let somewhere = RandomState::new().hash_one(()) >> 16;
        Mvcc::new().leases_after(LeaseId(i64::try_from(somewhere).unwrap_or_default())).into()
    }

    /// Sets after how long without a change the watches of this collaborator say that they are alive (10 minutes, as
    /// etcd).
    #[must_use]
    pub fn progress_interval(mut self, interval: Duration) -> Self {
        self.progress_interval = interval;
        self
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.header().revision
    }

    /// Does something with the kvstore itself at the current time.
    #[cfg(all(feature = "etcd", any(feature = "etcd-server", feature = "test-kit")))]
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Mvcc, Instant) -> T) -> T {
        self.shared.with(action)
    }

    pub(super) fn header(&self) -> Header {
        self.shared.with(|mvcc, _| mvcc.header())
    }

    /// Forgets the history before `revision`, as an operator would.
    ///
    /// # Errors
    /// As [`Mvcc::compact`].
    pub fn compact(&self, revision: Revision) -> Result<(), BackendError> {
        self.shared.with(|mvcc, _| mvcc.compact(revision))
    }

    /// A backup of the whole kvstore.
    #[must_use]
    pub fn backup(&self) -> Mvcc {
        self.shared.with(|mvcc, _| mvcc.clone())
    }

    /// Goes back to a backup. Watches that have seen more stay silent until the revisions are there again, as in etcd.
    pub fn restore(&self, backup: &Mvcc) {
        self.shared.with(|mvcc, now| mvcc.restore(backup, now));
        self.shared.changed.send_replace(()); // Another history can be at the same revision.
    }
}

impl From<Mvcc> for MemoryBackend {
    fn from(mvcc: Mvcc) -> Self {
        let shared = Shared { mvcc: Mutex::new(mvcc), changed: watch::Sender::new(()) };
        Self { shared: Arc::new(shared), progress_interval: Duration::from_secs(600) }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBackend").field(&*self.shared.lock()).finish()
    }
}

/// What all collaborators share.
struct Shared {
    mvcc: Mutex<Mvcc>,
    /// Wakes the waiting watches: there is another revision. A key that can expire has one of its own, too.
    changed: watch::Sender<()>,
}

impl Shared {
    /// The kvstore. No call of it panics half-way, so a panic elsewhere that held the lock has left it whole.
    fn lock(&self) -> MutexGuard<'_, Mvcc> {
        self.mvcc.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something at the current time, after what is due, and wakes whom it concerns.
    fn with<T>(&self, action: impl FnOnce(&mut Mvcc, Instant) -> T) -> T {
        let now = tokio::time::Instant::now().into_std();
        let mut mvcc = self.lock();
        let revision = mvcc.header().revision;
        mvcc.expire(now);
        let answer = action(&mut mvcc, now);
        let wake = mvcc.header().revision != revision;
        drop(mvcc);
        if wake {
            self.changed.send_replace(());
        }
        answer
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        self.shared.with(|mvcc, _| mvcc.list(&request))
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        self.shared.with(|mvcc, _| mvcc.can_watch(request.start))?;
        Ok(Box::new(MemoryWatch::new(self.shared.clone(), request, self.progress_interval)))
    }

    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        self.shared.with(|mvcc, _| mvcc.write(writes))
    }

    fn max_writes(&self) -> usize {
        mvcc::MAX_WRITES
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        self.shared.with(|mvcc, now| mvcc.grant(lease, ttl, now))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        self.shared.with(|mvcc, now| mvcc.keep_alive(lease, now))
    }

    async fn lease_time(&self, lease: LeaseId) -> Result<LeaseTime, BackendError> {
        self.shared.with(|mvcc, now| mvcc.lease_time(lease, now))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        self.shared.with(|mvcc, _| mvcc.revoke(lease));
        Ok(())
    }
}
