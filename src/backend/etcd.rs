//! etcd 3.4 or newer as the kvstore, over gRPC.

mod addresses;
mod certificates;
mod cluster;
mod config;
mod connection;
mod convert;
mod diagnosis;
mod endpoint;
mod endpoints;
mod error;
mod failure;
mod pings;
#[cfg(any(feature = "etcd-server", feature = "test-kit"))]
pub mod served;
mod version;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp};

use self::cluster::Cluster;
pub use self::config::EtcdConfig;
use self::connection::{Connection, Link, Role};
pub use self::error::{EndpointProblem, EtcdConfigError};
use self::watch::EtcdWatch;
use super::{
    Backend, BackendError, Expect, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchStream, Write,
    WriteAction, WriteOutcome,
};
use crate::kv::{LeaseId, Revision};
use crate::thread::Thread;

/// etcd's default for `--max-txn-ops`.
const MAX_WRITES: usize = 128;
/// How many times longer than a write a page of a list may take: it may be large and the connection slow.
const LIST_PATIENCE: u32 = 3;

/// etcd as a [`Backend`].
///
/// Nothing connects before the first call. Each connection has a thread of its own, so a call may come from any runtime, and no
/// connection dies with one. Stores that use the backend run on the thread of the watches, unless they are told otherwise: an
/// event goes from the connection to the cache without waking another thread, and a large list is taken apart elsewhere. Lists and writes go over one connection, watches and
/// leases over another: a large list does not hold up a keep-alive. Each connection goes to one endpoint, and to the
/// next when that fails. Cheap to clone.
///
/// # What it looks after
/// - A request that was never sent is made again at once on the next endpoint, until each has been tried.
/// - A host name with several addresses is as good as the best of them: when nobody answers behind the first, the others
///   are tried. The name is resolved again for each new connection.
/// - A login that has run out is renewed, for watches too. A watch that is open stays open: etcd checks it once.
/// - While etcd has authentication off, calls go on without a login, which is logged once. When etcd asks for a login
///   again, they log in.
/// - A connection that nothing was heard over for a keep-alive interval is asked whether it is alive before a request is
///   sent over it. If it is not, the request goes over a new one. Without a stream it is not pinged: etcd refuses that.
/// - When etcd closes connections because they are pinged too often, the keep-alive interval doubles.
/// - Certificates are taken into use when their files have changed, over a new connection. Watches that are open go on
///   over the one they have, which etcd has let in. Files that cannot be used, and certificates with which no
///   connection is made, do not end a connection that works.
/// - A request that etcd does not permit is [`BackendError::Forbidden`]. What somebody has to mend for all requests is
///   [`BackendError::Misconfigured`]. Both say in words what is wrong. Once it is mended, calls work again.
#[derive(Debug, Clone)]
pub struct EtcdBackend {
    cluster: Arc<Cluster>,
    bulk: Arc<Connection>,
    live: Arc<Connection>,
    call_timeout: Duration,
}

impl EtcdBackend {
    /// A backend for this configuration. Reads the certificates, and connects to nothing yet.
    ///
    /// # Errors
    /// [`EtcdConfigError`] names what cannot work.
    pub fn new(config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        // Before the threads: what is wrong with the configuration needs none.
        let (call_timeout, cluster) = (config.call_timeout, Cluster::new(config)?);
        Ok(Self::on(cluster, call_timeout, Thread::start("shared-store-bulk")?, Thread::start("shared-store-live")?))
    }

    /// A backend for another cluster, on the threads of this one: any number of clusters need no more threads than one. They
    /// share the time of those threads, too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn beside(&self, config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        let (call_timeout, cluster) = (config.call_timeout, Cluster::new(config)?);
        Ok(Self::on(cluster, call_timeout, self.bulk.thread.clone(), self.live.thread.clone()))
    }

    fn on(cluster: Cluster, call_timeout: Duration, bulk: Thread, live: Thread) -> Self {
        let cluster = Arc::new(cluster);
        let bulk = Connection::new(Role::Bulk, Arc::clone(&cluster), bulk).into();
        let live = Connection::new(Role::Live, Arc::clone(&cluster), live).into();
        Self { cluster, bulk, live, call_timeout }
    }

    /// Replaces the endpoints, for all clones. Calls under way go on where they are; a watch on an endpoint that is no
    /// longer listed ends, to be resumed on one that is.
    ///
    /// # Errors
    /// As [`new`](Self::new), and then nothing has changed.
    pub fn set_endpoints(&self, endpoints: impl IntoIterator<Item = impl Into<String>>) -> Result<(), EtcdConfigError> {
        self.cluster.endpoints.set(endpoints.into_iter().map(Into::into))
    }

    /// Compacts the history up to `revision`: for operators and tests.
    ///
    /// # Errors
    /// As [`Backend::list`].
    pub async fn compact(&self, revision: Revision) -> Result<(), BackendError> {
        let revision = convert::to_i64(revision);
        let call = move |link: Link| async move {
            let options = etcd_client::CompactionOptions::new().with_physical();
            link.kv().compact(revision, Some(options)).await?;
            Ok(())
        };
        self.bulk.call(self.call_timeout * LIST_PATIENCE, call).await
    }
}

#[cfg(feature = "test-kit")]
impl EtcdBackend {
    /// How many tasks run on the connections' threads: for tests that check that none is left.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.bulk.thread.tasks() + self.live.thread.tasks()
    }
}

#[async_trait]
impl Backend for EtcdBackend {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        let call = move |link: Link| {
            let start = request.range.start.to_vec();
            let options = convert::get_options(&request);
            // All of it happens on the thread of the connection: a page may have many keys.
            async move { Ok(convert::page(link.kv().get(start, Some(options)).await?)) }
        };
        self.bulk.call(self.call_timeout * LIST_PATIENCE, call).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        Ok(Box::new(EtcdWatch::open(&self.live, request, self.call_timeout).await?))
    }

    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        check(&writes)?;
        let paths: Vec<_> = writes.iter().map(|write| write.path.clone()).collect();
        let call = move |link: Link| {
            let txn = transaction(&writes);
            async move { Ok(link.kv().txn(txn).await?) }
        };
        let response = self.bulk.call(self.call_timeout, call).await?;
        let revision = convert::header(response.header()).revision;
        if response.succeeded() {
            return Ok(WriteOutcome::Committed { revision });
        }
        let current = response.op_responses().into_iter().map(convert::first_key_value).collect::<Vec<_>>();
        if current.len() == paths.len() {
            Ok(WriteOutcome::Refused { revision, current })
        } else {
            Err(BackendError::unavailable("etcd answered a refused transaction incompletely"))
        }
    }

    fn max_writes(&self) -> usize {
        MAX_WRITES
    }

    fn thread(&self) -> Option<Thread> {
        Some(self.live.thread.clone())
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).max(1);
        let call = move |link: Link| async move {
            // etcd takes an id of 0 as a request to choose one.
            let options = LeaseGrantOptions::new().with_id(lease.0);
            Ok(link.lease().grant(seconds, Some(options)).await?)
        };
        match self.live.call(self.call_timeout, call).await {
            Ok(grant) => Ok(LeaseGrant { lease: LeaseId(grant.id()), ttl: convert::seconds(grant.ttl()) }),
            Err(BackendError::LeaseExists { .. }) => Err(BackendError::LeaseExists { lease }),
            Err(error) => Err(error),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        let call = move |link: Link| async move {
            // The client does not pass on the first answer; the second one holds the remaining time of the lease.
            let (mut keeper, mut answers) = link.lease().keep_alive(lease.0).await?;
            keeper.keep_alive().await?;
            Ok(answers.message().await?.map_or(0, |answer| answer.ttl()))
        };
        match self.live.call(self.call_timeout, call).await {
            Ok(ttl) if ttl > 0 => Ok(convert::seconds(ttl)),
            Ok(_) | Err(BackendError::LeaseNotFound { .. }) => Err(BackendError::LeaseNotFound { lease }),
            Err(error) => Err(error),
        }
    }

    async fn lease_time(&self, lease: LeaseId) -> Result<LeaseTime, BackendError> {
        let call = move |link: Link| async move { Ok(link.lease().time_to_live(lease.0, None).await?) };
        // A lease that is gone has less than no time left.
        match self.live.call(self.call_timeout, call).await {
            Ok(time) if time.ttl() >= 0 => {
                Ok(LeaseTime { left: convert::seconds(time.ttl()), ttl: convert::seconds(time.granted_ttl()) })
            }
            Ok(_) | Err(BackendError::LeaseNotFound { .. }) => Err(BackendError::LeaseNotFound { lease }),
            Err(error) => Err(error),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        let call = move |link: Link| async move { Ok(link.lease().revoke(lease.0).await.map(|_| ())?) };
        // A lease with many keys takes etcd a while.
        match self.live.call(self.call_timeout * LIST_PATIENCE, call).await {
            Err(BackendError::LeaseNotFound { .. }) => Ok(()),
            result => result,
        }
    }
}

/// Checks what etcd would refuse with a less clear message.
fn check(writes: &[Write]) -> Result<(), BackendError> {
    let cost: usize = writes.iter().map(|write| write.expect.cost()).sum();
    if cost > MAX_WRITES {
        let cause = format!("transaction has {cost} writes or comparisons, at most {MAX_WRITES} are allowed");
        return Err(BackendError::rejected(cause));
    }
    let mut paths = HashSet::new();
    match writes.iter().find(|write| !paths.insert(&write.path)) {
        Some(twice) => {
            let path = String::from_utf8_lossy(&twice.path);
            Err(BackendError::rejected(format_args!("transaction writes {path} twice")))
        }
        None => Ok(()),
    }
}

fn transaction(writes: &[Write]) -> Txn {
    let compare = |write: &Write| {
        let (revision, lease) = match write.expect {
            Expect::Any => (None, None),
            Expect::Absent => (Some(Revision::ZERO), None),
            Expect::Revision(revision) => (Some(revision), None),
            Expect::Is { revision, lease } => (Some(revision), Some(lease)),
        };
        let path = || write.path.to_vec();
        let revision =
            revision.map(|revision| Compare::mod_revision(path(), CompareOp::Equal, convert::to_i64(revision)));
        let lease = lease.map(|lease| Compare::lease(path(), CompareOp::Equal, lease.0));
        [revision, lease].into_iter().flatten()
    };
    let act = |write: &Write| match &write.action {
        WriteAction::Put { value, lease } => {
            TxnOp::put(write.path.to_vec(), value.to_vec(), Some(PutOptions::new().with_lease(lease.0)))
        }
        WriteAction::Delete => TxnOp::delete(write.path.to_vec(), None),
    };
    let read = |write: &Write| TxnOp::get(write.path.to_vec(), Some(GetOptions::new()));
    Txn::new()
        .when(writes.iter().flat_map(compare).collect::<Vec<_>>())
        .and_then(writes.iter().map(act).collect::<Vec<_>>())
        .or_else(writes.iter().map(read).collect::<Vec<_>>())
}
