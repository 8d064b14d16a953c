//! How long requests to the kvstore take, and how it is heard.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::metrics::SharedString;
use async_trait::async_trait;
use tokio::time::Instant;

use super::{EVENTS_QUEUE, KVSTORE_REVISION, OPERATIONS, WATCH_RESPONSE, float};
use crate::backend::{
    Backend, BackendError, LeaseGrant, ListPage, ListRequest, WatchRequest, WatchResponse, WatchStream, Write,
    WriteAction, WriteOutcome,
};
use crate::kv::{Header, LeaseId, Revision};
use crate::prefix::Prefix;

/// Measures every call of a backend. A call that is dropped before its answer is not measured.
#[derive(Debug)]
pub struct MeasuredBackend {
    backend: Arc<dyn Backend>,
    scope: SharedString,
}

impl MeasuredBackend {
    /// Measures the calls of `backend` for the store of this prefix.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, prefix: &Prefix) -> Self {
        Self { backend, scope: prefix.as_str().to_owned().into() }
    }

    async fn measured<T>(
        &self,
        kind: &'static str,
        action: &'static str,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let begun = Instant::now();
        let result = call.await;
        // As Cilium: what the kvstore refuses because an expectation does not hold is a success.
        let outcome = if result.is_ok() { "success" } else { "fail" };
        let labels = [&self.scope, &kind.into(), &action.into(), &outcome.into()];
        OPERATIONS.measured(&labels, begun.elapsed().as_secs_f64());
        result
    }

    fn answered_at(&self, revision: Revision) {
        KVSTORE_REVISION.set(&[&self.scope], float(revision.0));
    }
}

#[async_trait]
impl Backend for MeasuredBackend {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        let page = self.measured("read", "list", self.backend.list(request)).await?;
        self.answered_at(page.header.revision);
        Ok(page)
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        let stream = self.measured("read", "watch", self.backend.watch(request)).await?;
        self.answered_at(stream.header().revision);
        Ok(Box::new(MeasuredStream { stream, scope: self.scope.clone(), received: None }))
    }

    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        let puts = writes.iter().any(|write| matches!(write.action, WriteAction::Put { .. }));
        let kind = if puts { "set" } else { "delete" };
        let outcome = self.measured(kind, "write", self.backend.write(writes)).await?;
        let (WriteOutcome::Committed { revision } | WriteOutcome::Refused { revision, .. }) = &outcome;
        self.answered_at(*revision);
        Ok(outcome)
    }

    fn max_writes(&self) -> usize {
        self.backend.max_writes()
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        self.measured("lease", "grant", self.backend.grant(lease, ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        self.measured("lease", "keep_alive", self.backend.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        self.measured("lease", "revoke", self.backend.revoke(lease)).await
    }
}

/// The watcher asks for the next response once the store has taken in the one before.
#[derive(Debug)]
struct MeasuredStream {
    stream: Box<dyn WatchStream>,
    scope: SharedString,
    /// When the last response came, until the next one is asked for.
    received: Option<Instant>,
}

#[async_trait]
impl WatchStream for MeasuredStream {
    fn header(&self) -> Header {
        self.stream.header()
    }

    async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        if let Some(received) = self.received.take() {
            EVENTS_QUEUE.measured(&[&self.scope], received.elapsed().as_secs_f64());
        }
        let response = self.stream.next().await?;
        self.received = Some(Instant::now());
        let header = match &response {
            WatchResponse::Events(events) => events.header,
            WatchResponse::Progress(header) => *header,
        };
        KVSTORE_REVISION.set(&[&self.scope], float(header.revision.0));
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        WATCH_RESPONSE.set(&[&self.scope], time.as_secs_f64());
        Ok(response)
    }
}
