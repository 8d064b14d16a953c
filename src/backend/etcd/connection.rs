//! One connection to one endpoint at a time, made again when it dies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, KvClient, LeaseClient, WatchClient};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::cluster::{Cluster, Connected};
use super::failure::{Failure, Kind};
use crate::backend::BackendError;
use crate::thread::Thread;

/// The largest accepted message: a page of a list or one watch response. etcd's own default of 4 MiB would end a watch
/// that catches up.
const MAX_MESSAGE: usize = 1 << 30;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Lists and writes.
    Bulk,
    /// Watches and leases.
    Live,
}

/// One connection to one endpoint at a time.
#[derive(Debug)]
pub(super) struct Connection {
    role: Role,
    pub(super) cluster: Arc<Cluster>,
    /// A client dies with the runtime that connected it.
    pub(super) thread: Thread,
    current: Mutex<Current>,
    /// Held while connecting. Callers that wait for it get the outcome and do not try once more.
    connecting: tokio::sync::Mutex<Option<(u64, Attempt)>>,
}

#[derive(Debug)]
struct Current {
    /// Counts the clients so far, so that a caller does not discard a client that others have replaced already.
    turn: u64,
    endpoint: Arc<str>,
    link: Option<Link>,
    /// The number of the certificates that `link` was made with, or that could not replace them.
    generation: u64,
}

/// A client and the endpoint it is connected to.
#[derive(Clone)]
pub(super) struct Link {
    client: Arc<Client>,
    pub(super) endpoint: Arc<str>,
    turn: u64,
    pub(super) line: Arc<Line>,
}

/// What is known of a connection while it is in use.
#[derive(Debug)]
pub(super) struct Line {
    ping_interval: Duration,
    /// Whether the member answers requests for the progress of watches as it should.
    pub(super) answers_progress: bool,
    heard: Mutex<Instant>,
}

impl Line {
    pub(super) fn new(ping_interval: Duration, answers_progress: bool) -> Arc<Self> {
        Arc::new(Self { ping_interval, answers_progress, heard: Mutex::new(Instant::now()) })
    }

    /// Something came over it.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Nothing was received for so long that the connection may have died unnoticed.
    fn is_doubtful(&self) -> bool {
        self.silent() > self.ping_interval
    }

    /// etcd closed the connection: the failure to report if that was because of the pings.
    pub(super) fn closed(&self, cluster: &Cluster) -> Option<Failure> {
        let silent = self.silent();
        self.hear();
        cluster.pings.closed(self.ping_interval, silent)
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("endpoint", &self.endpoint).field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn lease(&self) -> LeaseClient {
        self.client.lease_client()
    }

    pub(super) fn watch(&self) -> WatchClient {
        self.client.watch_client().max_decoding_message_size(MAX_MESSAGE)
    }
}

/// An attempt that failed: where, how, and whether there was a connection at all.
#[derive(Debug, Clone)]
struct Attempt {
    endpoint: Arc<str>,
    failure: Failure,
    connected: bool,
}

/// A link that is to be made.
struct Wanted {
    turn: u64,
    endpoint: Arc<str>,
    /// Of the certificates that are in use now.
    generation: u64,
    /// The link there is, made with older ones.
    outdated: Option<Link>,
}

impl Connection {
    pub(super) fn new(role: Role, cluster: Arc<Cluster>, thread: Thread) -> Self {
        let endpoint = cluster.endpoints.after("");
        let current = Mutex::new(Current { turn: 0, endpoint, link: None, generation: 0 });
        Self { role, cluster, thread, current, connecting: tokio::sync::Mutex::default() }
    }

    /// Makes a call, again on the next endpoint if it was never sent. Dropping the future aborts it.
    pub(super) async fn call<T, F>(
        self: &Arc<Self>,
        timeout: Duration,
        call: impl Fn(Link) -> F + Send + Sync + 'static,
    ) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let this = Arc::clone(self);
        let task = self.thread.spawn(async move { this.attempts(timeout, call).await });
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| {
            // The text of a panic can quote a value.
            let cause = if error.is_panic() { "the client of etcd panicked" } else { "the backend of etcd has ended" };
            Err(BackendError::unavailable(cause))
        })
    }

    async fn attempts<T, F>(&self, timeout: Duration, call: impl Fn(Link) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let deadline = Instant::now() + timeout;
        let (mut attempts, mut unconnected, mut renewed) = (0, 0, false);
        let mut misconfigured = None;
        loop {
            let Attempt { endpoint, failure, connected } = match self.attempt(deadline, timeout, &call).await {
                Ok(answer) => return Ok(answer),
                Err(attempt) => attempt,
            };
            attempts += 1;
            unconnected += usize::from(!connected);
            let endpoints = self.cluster.endpoints.list().len();
            let never_sent = matches!(failure.kind, Kind::Unreached | Kind::Elsewhere);
            let again = match failure.kind {
                Kind::Token | Kind::AuthOff => !std::mem::replace(&mut renewed, true),
                Kind::NoLogin => self.cluster.logs_in() && !std::mem::replace(&mut renewed, true),
                // Once more than there are endpoints: the first may have been a connection that had died unnoticed.
                Kind::Unreached | Kind::Elsewhere => unconnected < endpoints && attempts <= endpoints,
                Kind::Answered | Kind::Closed | Kind::Broken => false,
            };
            let error = failure.into_error(&endpoint);
            if again && Instant::now() < deadline {
                if never_sent && matches!(error, BackendError::Misconfigured { .. }) {
                    misconfigured.get_or_insert(error);
                }
            } else {
                // This failure says more than that another endpoint is down.
                return Err(misconfigured.filter(|_| never_sent).unwrap_or(error));
            }
        }
    }

    async fn attempt<T, F>(&self, deadline: Instant, timeout: Duration, call: impl Fn(Link) -> F) -> Result<T, Attempt>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let link = match timeout_at(deadline, self.link()).await {
            Ok(link) => link?,
            Err(_) => {
                let endpoint = Arc::clone(&self.current().endpoint);
                return Err(Attempt { endpoint, failure: Failure::timed_out(timeout).never_sent(), connected: false });
            }
        };
        let answer = timeout_at(deadline, call(link.clone())).await;
        let failure = match answer.unwrap_or_else(|_| Err(Failure::timed_out(timeout))) {
            Ok(answer) => {
                link.line.hear();
                return Ok(answer);
            }
            Err(failure) => failure,
        };
        match failure.kind {
            Kind::Answered => {}
            Kind::NoLogin if !self.cluster.logs_in() => {}
            // A new connection logs in, if etcd permits it.
            Kind::Token | Kind::NoLogin | Kind::AuthOff => self.give_up(link.turn, Arc::clone(&link.endpoint)),
            Kind::Unreached | Kind::Elsewhere | Kind::Closed | Kind::Broken => {
                self.give_up(link.turn, self.cluster.endpoints.after(&link.endpoint));
            }
        }
        Err(Attempt { endpoint: link.endpoint, failure, connected: true })
    }

    /// The link in use, made first if need be.
    async fn link(&self) -> Result<Link, Attempt> {
        let waiting = match self.in_use() {
            Ok(link) if !link.line.is_doubtful() => return Ok(link),
            Ok(link) => link.turn,
            Err(wanted) => wanted.turn,
        };
        // What connecting needs would be most of the memory of each call.
        Box::pin(self.connected(waiting)).await
    }

    /// The link that replaces the one of this turn, or that one if it turns out to be alive.
    async fn connected(&self, waiting: u64) -> Result<Link, Attempt> {
        let mut last = self.connecting.lock().await;
        if let Some((turn, attempt)) = &*last
            && *turn == waiting
        {
            return Err(attempt.clone());
        }
        let Wanted { turn, endpoint, generation, outdated } = loop {
            match self.in_use() {
                Ok(link) if !link.line.is_doubtful() => return Ok(link),
                Ok(link) if self.cluster.is_alive(&link.client).await => link.line.hear(),
                // The endpoint may be healthy: a device in between may have dropped the idle connection.
                Ok(link) => self.give_up(link.turn, link.endpoint),
                Err(wanted) => break wanted,
            }
        };
        let interval = self.cluster.pings.interval();
        match (self.cluster.connect(&endpoint, interval).await, outdated) {
            (Ok(Connected { client, answers_progress }), _) => {
                let (client, turn, line) = (Arc::new(client), turn + 1, Line::new(interval, answers_progress));
                Ok(self.keep(Link { client, endpoint, turn, line }, generation))
            }
            (Err(failure), Some(link)) => {
                let cause = failure.into_error(&endpoint);
                tracing::warn!(%cause, "cannot connect with the changed certificates: the connection stays as it is");
                Ok(self.keep(Link { turn: turn + 1, ..link }, generation))
            }
            (Err(failure), None) => {
                self.give_up(turn, self.cluster.endpoints.after(&endpoint));
                let attempt = Attempt { endpoint, failure, connected: false };
                *last = Some((turn, attempt.clone()));
                Err(attempt)
            }
        }
    }

    fn in_use(&self) -> Result<Link, Wanted> {
        let generation = self.cluster.certificates.generation(std::time::Instant::now());
        let mut current = self.current();
        if !self.cluster.endpoints.list().contains(&current.endpoint) {
            let endpoint = self.cluster.endpoints.after("");
            *current = Current { turn: current.turn + 1, endpoint, link: None, generation };
        }
        if current.link.as_ref().is_some_and(|link| link.line.ping_interval != self.cluster.pings.interval()) {
            (current.turn, current.link) = (current.turn + 1, None);
        }
        match current.link.clone() {
            Some(link) if current.generation == generation => Ok(link),
            outdated => {
                Err(Wanted { turn: current.turn, endpoint: Arc::clone(&current.endpoint), generation, outdated })
            }
        }
    }

    /// Takes a link into use, unless the link that it replaces was discarded meanwhile.
    fn keep(&self, link: Link, generation: u64) -> Link {
        let mut current = self.current();
        if current.turn + 1 == link.turn {
            tracing::debug!(endpoint = %link.endpoint, role = ?self.role, "connected to etcd");
            let endpoint = Arc::clone(&link.endpoint);
            *current = Current { turn: link.turn, endpoint, link: Some(link.clone()), generation };
        }
        link
    }

    /// Discards the client that is in use, unless somebody else has replaced it already.
    fn give_up(&self, turn: u64, next: Arc<str>) {
        let mut current = self.current();
        if current.turn == turn {
            current.turn += 1;
            current.link = None;
            current.endpoint = next;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::etcd::EtcdConfig;

    #[test]
    fn a_client_that_is_dead_is_replaced() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let endpoint: Arc<str> = format!("http://{address}").into();
        let cluster = Cluster::new(EtcdConfig::new([&*endpoint])).unwrap();
        let connection = Arc::new(Connection::new(Role::Bulk, cluster.into(), Thread::start("test").unwrap()));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A client dies with its runtime.
        let client = runtime().block_on(Client::connect([&endpoint], None)).unwrap();
        let line = Line::new(Duration::from_secs(10), false);
        connection.keep(Link { client: client.into(), endpoint: Arc::clone(&endpoint), turn: 1, line }, 0);
        let call = |link: Link| async move { Ok(link.kv().get("a", None).await.map(|_| ())?) };
        let error = runtime().block_on(connection.call(Duration::from_secs(5), call)).unwrap_err();
        let cause = format!("cannot reach etcd at {endpoint}: connection refused");
        assert_eq!(error, BackendError::unreachable(cause), "nobody was asked anew");
    }
}
