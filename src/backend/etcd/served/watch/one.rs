//! One watch.

use std::convert::Infallible;

use etcd_client::proto::{PbEvent, PbWatchResponse};
use prost::Message;
use tokio::sync::mpsc;

use super::{Responses, response};
use crate::backend::etcd::convert;
use crate::backend::etcd::served::refusal::status;
use crate::backend::etcd::served::{Service, proto};
use crate::backend::faulty::Op;
use crate::backend::memory::MAX_REQUEST_BYTES;
use crate::backend::{Backend, BackendError, Events, WatchRequest, WatchResponse};
use crate::kv::{Header, Revision};

/// Dropped by a watch when it has told everything up to the revision at which it was asked, as its
/// [`request_progress`](crate::backend::WatchStream::request_progress) says.
pub(super) type Asked = mpsc::Sender<Infallible>;

/// What the client wants of it. Its stream stays open when it has ended, and says nothing, as etcd's does.
pub(super) struct Watch {
    pub(super) id: i64,
    pub(super) progress: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    /// Types of events that are not told; etcd's numbers are those of the types.
    pub(super) filters: Vec<i32>,
    pub(super) responses: Responses,
}

impl Watch {
    /// Accepts the watch with the header of its request and tells its events, until it is aborted or there are no more.
    pub(super) async fn run(
        self,
        service: Service,
        header: Header,
        request: WatchRequest,
        mut asks: mpsc::Receiver<Asked>,
    ) {
        if let Err(status) = service.wire.pass(Op::Watch) {
            let _ = self.responses.send(Err(status)).await;
            return;
        }
        let mut stream = match service.faulty.watch(request).await {
            Ok(stream) => stream,
            Err(error) => {
                if matches!(error, BackendError::Compacted { .. }) {
                    // It is accepted first.
                    self.created(header).await;
                }
                return self.end(service.memory.header(), error).await;
            }
        };
        self.created(header).await;
        // Requests that wait for the progress of this watch.
        let mut waiting = Vec::new();
        loop {
            let told = tokio::select! {
                told = stream.next() => told,
                Some(asked) = asks.recv() => {
                    waiting.push(asked);
                    stream.request_progress();
                    continue;
                }
            };
            match told {
                Ok(WatchResponse::Events(events)) => {
                    if let Err(error) = self.tell(&service, events).await {
                        return self.end(service.memory.header(), error).await;
                    }
                }
                Ok(WatchResponse::Progress(_)) if !waiting.is_empty() => waiting.clear(),
                Ok(WatchResponse::Progress(header)) if self.progress => self.send(response(header)).await,
                Ok(WatchResponse::Progress(_)) => {}
                Err(error) => return self.end(service.memory.header(), error).await,
            }
        }
    }

    async fn tell(&self, service: &Service, told: Events) -> Result<(), BackendError> {
        let mut events = service.memory.with(|mvcc, _| {
            let details = mvcc.details(&told.events)?;
            let events = told.events.iter().zip(details);
            let told =
                events.map(|(event, (version, before))| proto::event(event, version, before.filter(|_| self.prev_kv)));
            Ok(told.filter(|event| !self.filters.contains(&event.r#type)).collect::<Vec<_>>())
        })?;
        events.iter_mut().for_each(|event| event.r#type = service.wire.type_of(event.r#type));
        if events.is_empty() {
            return Ok(());
        }
        let mut parts = self.parts(events).into_iter().peekable();
        while let Some(events) = parts.next() {
            let fragment = !told.complete || parts.peek().is_some();
            self.send(PbWatchResponse { fragment, events, ..response(told.header) }).await;
        }
        Ok(())
    }

    /// The events of each response: all in one, unless the client takes fragments and they are large.
    fn parts(&self, events: Vec<PbEvent>) -> Vec<Vec<PbEvent>> {
        let (mut parts, mut bytes) = (vec![Vec::new()], 0);
        for event in events {
            bytes += event.encoded_len();
            if self.fragment && bytes > MAX_REQUEST_BYTES {
                parts.push(Vec::new());
                bytes = event.encoded_len();
            }
            parts.last_mut().expect("there is one from the beginning").push(event);
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    async fn created(&self, header: Header) {
        self.send(PbWatchResponse { created: true, ..response(header) }).await;
    }

    /// An outage ends the whole stream, anything else this watch.
    async fn end(&self, mut header: Header, error: BackendError) {
        let (compact_revision, cancel_reason) = match error {
            BackendError::Unavailable { .. } => {
                let _ = self.responses.send(Err(status(error))).await;
                return;
            }
            // As etcd: no other reason, and no revision in the header.
            BackendError::Compacted { oldest } if oldest > Revision::ZERO => {
                header.revision = Revision::ZERO;
                (convert::to_i64(oldest), String::new())
            }
            error @ (BackendError::Compacted { .. }
            | BackendError::FutureRevision
            | BackendError::LeaseNotFound { .. }
            | BackendError::LeaseExists { .. }
            | BackendError::Rejected { .. }
            | BackendError::Forbidden { .. }
            | BackendError::Misconfigured { .. }) => (0, status(error).message().to_owned()),
        };
        self.send(PbWatchResponse { canceled: true, compact_revision, cancel_reason, ..response(header) }).await;
    }

    async fn send(&self, response: PbWatchResponse) {
        // Nobody may be listening any more; then all of the stream's watches end.
        let _ = self.responses.send(Ok(PbWatchResponse { watch_id: self.id, ..response })).await;
    }
}
