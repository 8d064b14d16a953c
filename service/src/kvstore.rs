//! The kvstore itself, without a cache: for commands that ask a question and end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use shared_store::backend::{ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome};
use shared_store::{Backend, BackendError, Config, Header, KeyName, KeyRange, KeyValue, LeaseId, Prefix, Revision};
use tokio::time::{Instant, sleep};

use crate::cli::Common;
use crate::progress::Progress;
use crate::setup::{self, Alone, Failure};

/// Keys asked for at once.
const PAGE: usize = 1000;
/// Leases asked about at once.
const LEASES: usize = 32;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// What is below a prefix in a kvstore.
#[derive(Debug)]
pub(crate) struct Kvstore {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) prefix: Prefix,
    timeout: Duration,
}

/// How long a lease has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The key is under no lease.
    NoLease,
    /// So long, if nobody keeps it alive.
    For(Duration),
    /// The lease has ended since its key was read.
    Gone,
    /// The kvstore does not tell.
    Unknown,
}

impl Left {
    pub(crate) fn seconds(self) -> Option<u64> {
        match self {
            Self::For(left) => Some(left.as_secs()),
            Self::NoLease | Self::Gone | Self::Unknown => None,
        }
    }
}

/// For people.
impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLease => f.write_str("-"),
            Self::For(left) => write!(f, "{}", humantime::format_duration(Duration::from_secs(left.as_secs()))),
            Self::Gone => f.write_str("ended"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The keys of a range, all at one revision.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) revision: Revision,
    pub(crate) kvs: Vec<KeyValue>,
}

impl Kvstore {
    pub(crate) fn open(common: &Common) -> Result<Self, Failure> {
        setup::config(common, Alone::Refused).map(|config| Self::of(config, common))
    }

    /// Below this prefix instead of the common one.
    pub(crate) fn below(common: &Common, prefix: &str) -> Result<Self, Failure> {
        setup::config_below(common, prefix, Alone::Refused).map(|config| Self::of(config, common))
    }

    fn of(config: Config, common: &Common) -> Self {
        Self::new(config.backend, config.prefix, common.list_timeout)
    }

    /// `timeout`: how long a kvstore that does not answer is asked again.
    pub(crate) fn new(backend: Arc<dyn Backend>, prefix: Prefix, timeout: Duration) -> Self {
        Self { backend, prefix, timeout }
    }

    /// Asks until the kvstore answers, at most for the list timeout, and tells on stderr why that takes so long.
    async fn ask<T, C: Future<Output = Result<T, BackendError>>>(
        &self,
        call: impl Fn() -> C,
    ) -> Result<T, BackendError> {
        let deadline = Instant::now() + self.timeout;
        let mut told = None;
        loop {
            match call().await {
                Err(error @ BackendError::Unavailable { .. }) if Instant::now() + PAUSE < deadline => {
                    let cause = error.to_string();
                    if told.as_ref() != Some(&cause) {
                        setup::say(format_args!("waiting: {cause}"));
                        told = Some(cause);
                    }
                    sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    pub(crate) async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        self.ask(|| self.backend.list(request.clone())).await
    }

    /// Watches, once the kvstore answers.
    pub(crate) async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        self.ask(|| self.backend.watch(request.clone())).await
    }

    /// One key and who answered. Reads nothing else.
    pub(crate) async fn key(&self, name: &KeyName) -> Result<(Header, Option<KeyValue>), Failure> {
        let request = ListRequest::new(KeyRange::one(&self.prefix.path(name)));
        let mut page = self.list(request).await.map_err(Failure::promise)?;
        Ok((page.header, page.kvs.pop()))
    }

    /// Waits until the kvstore has reached a revision.
    pub(crate) async fn at_least(&self, wanted: Revision) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let request = ListRequest { limit: 1, keys_only: true, ..ListRequest::new(self.prefix.range()) };
            let now = self.list(request).await.map_err(Failure::promise)?.header.revision;
            if now >= wanted {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let seconds = self.timeout.as_secs_f64();
                let error = format!("the kvstore has not reached revision {wanted} within {seconds} s: it is at {now}");
                return Err(Failure::promise(error));
            }
            sleep(PAUSE).await;
        }
    }

    /// All keys below the prefix at one revision, in the order of their names. Keys whose names are empty or not UTF-8
    /// are among them.
    pub(crate) async fn keys(&self, keys_only: bool) -> Result<Keys, Failure> {
        let deadline = Instant::now() + self.timeout;
        let all = ListRequest { limit: PAGE, keys_only, ..ListRequest::new(self.prefix.range()) };
        let (mut request, mut kvs) = (all.clone(), Vec::new());
        let (progress, mut total) = (Progress::new("reading keys"), 0);
        loop {
            let page = match self.list(request.clone()).await {
                Err(BackendError::Compacted { .. }) if Instant::now() < deadline => {
                    // Somebody compacts faster than this reads: from the beginning.
                    (request, kvs) = (all.clone(), Vec::new());
                    continue;
                }
                page => page.map_err(Failure::promise)?,
            };
            let revision = *request.revision.get_or_insert(page.header.revision);
            let last = page.kvs.last().map(|kv| kv.path.clone());
            total = total.max(usize::try_from(page.count).unwrap_or(usize::MAX));
            kvs.extend(page.kvs);
            progress.at(kvs.len(), total);
            match last {
                Some(last) if page.more => request.range.start = KeyRange::one(&last).end,
                Some(_) | None => return Ok(Keys { revision, kvs }),
            }
        }
    }

    /// How long a lease has left.
    pub(crate) async fn left(&self, lease: LeaseId) -> Result<Left, Failure> {
        if lease == LeaseId::NONE {
            return Ok(Left::NoLease);
        }
        match self.ask(|| self.backend.lease_time(lease)).await {
            Ok(time) => Ok(Left::For(time.left)),
            Err(BackendError::LeaseNotFound { .. }) => Ok(Left::Gone),
            // The keys can be read all the same.
            Err(BackendError::Rejected { .. } | BackendError::Forbidden { .. }) => Ok(Left::Unknown),
            Err(error) => Err(Failure::promise(error)),
        }
    }

    /// How long each lease of these keys has left.
    pub(crate) async fn leases(&self, kvs: &[KeyValue]) -> Result<BTreeMap<LeaseId, Left>, Failure> {
        let leases: std::collections::BTreeSet<_> = kvs.iter().map(|kv| kv.lease).collect();
        let ask = |lease| async move { self.left(lease).await.map(|left| (lease, left)) };
        stream::iter(leases).map(ask).buffer_unordered(LEASES).try_collect().await
    }

    /// One transaction. It is not repeated when nobody knows whether it was applied.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, Failure> {
        self.backend.write(writes).await.map_err(Failure::promise)
    }

    pub(crate) fn no_key(&self, name: &KeyName) -> Failure {
        let name = name.as_str();
        Failure::promise(format_args!("no key named {name:?} below {}: see list --keys-only", self.prefix))
    }
}
