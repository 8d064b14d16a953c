//! One connection to one endpoint at a time, made again when it dies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::Client;
use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;

use super::config::{Endpoints, EtcdConfigError};
use super::failure::{Failure, Kind};
use crate::backend::BackendError;

/// Of a list's page or of one watch response. etcd's own default of 4 MiB would end a watch that catches up.
pub(super) const MAX_MESSAGE: usize = 1 << 30;

/// The thread all connections live on.
#[derive(Debug)]
pub(super) struct Worker {
    runtime: Option<Runtime>,
}

impl Worker {
    pub(super) fn start() -> Result<Self, EtcdConfigError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("shared-store-etcd")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(super) fn handle(&self) -> Option<&Handle> {
        self.runtime.as_ref().map(Runtime::handle)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped inside another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

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
    endpoints: Arc<Endpoints>,
    worker: Arc<Worker>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    client: Option<Client>,
    /// Counts endpoints used so far; which one it is now is this modulo their number.
    turn: usize,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").field("turn", &self.turn).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(role: Role, endpoints: Arc<Endpoints>, worker: Arc<Worker>) -> Self {
        Self { role, endpoints, worker, current: Mutex::default() }
    }

    /// Makes a call, again on the next endpoint if it was never sent. Dropping the future aborts it.
    pub(super) async fn call<T, F>(
        self: &Arc<Self>,
        timeout: Duration,
        call: impl Fn(Client) -> F + Send + Sync + 'static,
    ) -> Result<T, BackendError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let this = Arc::clone(self);
        self.spawn(async move { this.attempts(timeout, call).await }).await
    }

    /// Runs something on the connections' thread.
    pub(super) async fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Result<T, BackendError> {
        let Some(handle) = self.worker.handle() else { return Err(BackendError::unreachable("etcd backend ended")) };
        let task = handle.spawn(task);
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| Err(BackendError::unavailable(error)))
    }

    /// Runs something on the connections' thread that ends by itself.
    pub(super) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = self.worker.handle() {
            handle.spawn(task);
        }
    }

    #[cfg(feature = "test-kit")]
    pub(super) fn tasks(&self) -> usize {
        self.worker.handle().map_or(0, |handle| handle.metrics().num_alive_tasks())
    }

    async fn attempts<T, F>(&self, timeout: Duration, call: impl Fn(Client) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut attempts = 0;
        let mut renewed = false;
        loop {
            attempts += 1;
            let (turn, failure) = match self.client(timeout).await {
                Ok((turn, client)) => match tokio::time::timeout(timeout, call(client)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => (turn, Failure::new(&error)),
                    Err(_) => (turn, Failure::timed_out(timeout)),
                },
                Err(failure) => failure,
            };
            let endpoint = self.endpoints.get(turn);
            match failure.kind {
                Kind::Answered => return Err(failure.into_error(endpoint)),
                // The token is too old: log in again, once.
                Kind::Token if !renewed => {
                    renewed = true;
                    self.reset(turn, turn);
                }
                Kind::Token => return Err(failure.into_error(endpoint)),
                Kind::NeverSent if attempts < self.endpoints.len().max(2) => self.reset(turn, turn + 1),
                Kind::NeverSent | Kind::Broken => {
                    self.reset(turn, turn + 1);
                    return Err(failure.into_error(endpoint));
                }
            }
        }
    }

    /// The client in use and which endpoint it is for, connected first if need be.
    pub(super) async fn client(&self, timeout: Duration) -> Result<(usize, Client), (usize, Failure)> {
        let turn = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(client) = &current.client {
                return Ok((current.turn, client.clone()));
            }
            current.turn
        };
        let options = self.endpoints.options(turn).map_err(|error| (turn, Failure::misconfigured(&error)))?;
        let connect = Client::connect([self.endpoints.get(turn)], Some(options));
        let client = match tokio::time::timeout(timeout, connect).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err((turn, Failure::new(&error).never_sent())),
            Err(_) => return Err((turn, Failure::timed_out(timeout).never_sent())),
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.turn == turn {
            current.client.get_or_insert_with(|| client.clone());
        }
        tracing::debug!(endpoint = self.endpoints.get(turn), role = ?self.role, "connected to etcd");
        Ok((turn, client))
    }

    /// Gives up the client of `turn`, unless somebody else did already.
    pub(super) fn reset(&self, turn: usize, next: usize) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.turn == turn {
            current.client = None;
            current.turn = next;
        }
    }

    pub(super) fn current_endpoint(&self) -> &str {
        self.endpoints.get(self.current.lock().unwrap_or_else(PoisonError::into_inner).turn)
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
