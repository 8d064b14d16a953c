//! etcd's Watch service.

use std::collections::HashMap;

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, proto, status};
use crate::backend::etcd::convert;
use crate::backend::faulty::Op;
use crate::backend::{Backend, BackendError, WatchRequest, WatchResponse};
use crate::kv::Header;

type Responses = mpsc::Sender<Result<PbWatchResponse, Status>>;

#[tonic::async_trait]
impl PbWatchService for Service {
    type WatchStream = BoxStream<PbWatchResponse>;

    async fn watch(&self, request: Request<Streaming<PbWatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, stream) = mpsc::channel(1);
        tokio::spawn(watches(self.clone(), request.into_inner(), responses));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The watches of one stream. They end with it.
async fn watches(service: Service, mut requests: Streaming<PbWatchRequest>, responses: Responses) {
    let mut running = JoinSet::new();
    let mut watches = HashMap::new();
    let mut next = 0;
    loop {
        let request = tokio::select! {
            request = requests.message() => request,
            () = responses.closed() => return,
        };
        let Ok(Some(PbWatchRequest { request_union })) = request else { return };
        match request_union {
            Some(PbWatchRequestUnion::CreateRequest(create)) => {
                let (id, newest) = (next, service.memory.header().revision);
                next += 1;
                let simple = create.filters.is_empty() && !create.prev_kv && create.watch_id == 0;
                let range = proto::range(create.key, create.range_end);
                let request = WatchRequest { range, start: proto::start(create.start_revision, newest) };
                let watch = Watch { id, progress: create.progress_notify, responses: responses.clone() };
                if simple {
                    watches.insert(id, running.spawn(watch.run(service.clone(), request)));
                } else {
                    watch.refuse(service.memory.header()).await;
                }
            }
            Some(PbWatchRequestUnion::CancelRequest(cancel)) => {
                if let Some(watch) = watches.remove(&cancel.watch_id) {
                    watch.abort();
                    let watch = Watch { id: cancel.watch_id, progress: false, responses: responses.clone() };
                    watch.cancel(service.memory.header(), 0, "").await;
                }
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) | None => {}
        }
    }
}

/// One watch. Its stream stays open when it has ended, and says nothing, as etcd's does.
struct Watch {
    id: i64,
    progress: bool,
    responses: Responses,
}

impl Watch {
    async fn run(self, service: Service, request: WatchRequest) {
        if let Err(status) = service.wire.pass(Op::Watch) {
            return self.send(Err(status)).await;
        }
        let mut stream = match service.faulty.watch(request).await {
            Ok(stream) => stream,
            Err(error) => {
                if matches!(error, BackendError::Compacted { .. }) {
                    // It is accepted first.
                    self.created(service.memory.header()).await;
                }
                return self.end(service.memory.header(), error).await;
            }
        };
        self.created(stream.header()).await;
        loop {
            let response = match stream.next().await {
                Ok(WatchResponse::Events(response)) => {
                    let mut events: Vec<_> = response.events.into_iter().map(proto::event).collect();
                    events.iter_mut().for_each(|event| event.r#type = service.wire.type_of(event.r#type));
                    PbWatchResponse { fragment: !response.complete, events, ..self.response(response.header) }
                }
                Ok(WatchResponse::Progress(header)) if self.progress => self.response(header),
                Ok(WatchResponse::Progress(_)) => continue,
                Err(error) => return self.end(service.memory.header(), error).await,
            };
            self.send(Ok(response)).await;
        }
    }

    async fn created(&self, header: Header) {
        self.send(Ok(PbWatchResponse { created: true, ..self.response(header) })).await;
    }

    /// An outage ends the whole stream, anything else this watch.
    async fn end(&self, header: Header, error: BackendError) {
        match error {
            BackendError::Unavailable { .. } => self.send(Err(status(error))).await,
            BackendError::Compacted { oldest } => {
                self.cancel(header, convert::to_i64(oldest), status(error).message()).await;
            }
            error @ (BackendError::FutureRevision
            | BackendError::LeaseNotFound { .. }
            | BackendError::LeaseExists { .. }
            | BackendError::Rejected { .. }
            | BackendError::Forbidden { .. }
            | BackendError::Misconfigured { .. }) => self.cancel(header, 0, status(error).message()).await,
        }
    }

    async fn cancel(&self, header: Header, compact_revision: i64, reason: &str) {
        let cancel_reason = reason.to_owned();
        let response = PbWatchResponse { canceled: true, compact_revision, cancel_reason, ..self.response(header) };
        self.send(Ok(response)).await;
    }

    /// As etcd: the answer to the creation also ends a watch with an impossible id.
    async fn refuse(&self, header: Header) {
        let cancel_reason = "not served: this kind of watch".to_owned();
        let refusal = PbWatchResponse { created: true, canceled: true, cancel_reason, ..self.response(header) };
        self.send(Ok(PbWatchResponse { watch_id: -1, ..refusal })).await;
    }

    fn response(&self, header: Header) -> PbWatchResponse {
        PbWatchResponse { header: Some(proto::header(header)), watch_id: self.id, ..PbWatchResponse::default() }
    }

    async fn send(&self, response: Result<PbWatchResponse, Status>) {
        // Nobody may be listening any more; then all of the stream's watches end.
        let _ = self.responses.send(response).await;
    }
}
