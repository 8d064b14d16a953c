//! Measures requests to the kvstore and the responses of watches.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::metrics::SharedString;
use async_trait::async_trait;
use tokio::time::Instant;

use super::{EVENTS_QUEUE, KVSTORE_REVISION, OPERATIONS, WATCH_RESPONSE, float};
use crate::backend::shared::Call;
use crate::backend::{
    Backend, BackendError, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchResponse, WatchStream,
    Write, WriteAction, WriteOutcome,
};
use crate::kv::{Header, LeaseId, Revision};
use crate::prefix::Prefix;
use crate::thread::Thread;

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

/// The backend is called at once, not when the future is polled: where it panics, it panics without this, too.
impl Backend for MeasuredBackend {
    fn list<'b, 'a>(&'b self, request: ListRequest) -> Call<'a, ListPage>
    where
        'b: 'a,
        Self: 'a,
    {
        let call = self.measured("read", "list", self.backend.list(request));
        Box::pin(async {
            let page = call.await?;
            self.answered_at(page.header.revision);
            Ok(page)
        })
    }

    fn watch<'b, 'a>(&'b self, request: WatchRequest) -> Call<'a, Box<dyn WatchStream>>
    where
        'b: 'a,
        Self: 'a,
    {
        let call = self.measured("read", "watch", self.backend.watch(request));
        Box::pin(async {
            let stream: Box<dyn WatchStream> =
                Box::new(MeasuredStream { stream: call.await?, scope: self.scope.clone(), received: None });
            Ok(stream)
        })
    }

    fn write<'b, 'a>(&'b self, writes: Vec<Write>) -> Call<'a, WriteOutcome>
    where
        'b: 'a,
        Self: 'a,
    {
        let puts = writes.iter().any(|write| matches!(write.action, WriteAction::Put { .. }));
        let kind = if puts { "set" } else { "delete" };
        let call = self.measured(kind, "write", self.backend.write(writes));
        Box::pin(async {
            let outcome = call.await?;
            let (WriteOutcome::Committed { revision } | WriteOutcome::Refused { revision, .. }) = &outcome;
            self.answered_at(*revision);
            Ok(outcome)
        })
    }

    fn max_writes(&self) -> usize {
        self.backend.max_writes()
    }

    fn thread(&self) -> Option<Thread> {
        self.backend.thread()
    }

    fn grant<'b, 'a>(&'b self, lease: LeaseId, ttl: Duration) -> Call<'a, LeaseGrant>
    where
        'b: 'a,
        Self: 'a,
    {
        Box::pin(self.measured("lease", "grant", self.backend.grant(lease, ttl)))
    }

    fn keep_alive<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, Duration>
    where
        'b: 'a,
        Self: 'a,
    {
        Box::pin(self.measured("lease", "keep_alive", self.backend.keep_alive(lease)))
    }

    fn lease_time<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, LeaseTime>
    where
        'b: 'a,
        Self: 'a,
    {
        Box::pin(self.measured("lease", "lease_time", self.backend.lease_time(lease)))
    }

    fn revoke<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, ()>
    where
        'b: 'a,
        Self: 'a,
    {
        Box::pin(self.measured("lease", "revoke", self.backend.revoke(lease)))
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
        let header = self.stream.header();
        KVSTORE_REVISION.set(&[&self.scope], float(header.revision.0));
        header
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

    fn request_progress(&mut self) -> bool {
        self.stream.request_progress()
    }
}
