//! etcd's Watch service.

mod one;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use etcd_client::proto::{PbWatchRequest, PbWatchRequestUnion, PbWatchResponse, PbWatchService};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::one::{Asked, Watch};
use super::{Service, proto};
use crate::backend::WatchRequest;
use crate::backend::etcd::convert;
use crate::kv::{Header, KeyRange};

/// How many watches a stream can have.
const MAX_WATCHES: usize = 10_000;
/// How many requests for progress can wait for their answers; more are left out.
const MAX_ASKED: usize = 16;
/// The id of answers that are about no watch, or about all.
const NO_WATCH: i64 = -1;

type Responses = mpsc::Sender<Result<PbWatchResponse, Status>>;

#[tonic::async_trait]
impl PbWatchService for Service {
    type WatchStream = BoxStream<PbWatchResponse>;

    async fn watch(&self, request: Request<Streaming<PbWatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, stream) = mpsc::channel(1);
        let watches =
            Watches { service: self.clone(), responses, next: 0, open: HashMap::new(), tasks: JoinSet::new() };
        tokio::spawn(watches.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The watches of one stream. They end with it.
///
/// Nothing is buffered for a watch whose client does not read: it goes on from the history when the client reads, and is
/// cancelled as compacted if that does not reach back far enough by then.
struct Watches {
    service: Service,
    responses: Responses,
    /// The id the next watch has, unless its client chooses one.
    next: i64,
    open: HashMap<i64, Open>,
    tasks: JoinSet<i64>,
}

struct Open {
    task: AbortHandle,
    asked: mpsc::Sender<Asked>,
}

impl Watches {
    async fn run(mut self, mut requests: Streaming<PbWatchRequest>) {
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                Some(ended) = self.tasks.join_next() => {
                    self.forget(ended.ok());
                    continue;
                }
                () = self.responses.closed() => return,
            };
            let Ok(Some(PbWatchRequest { request_union })) = request else { return };
            match request_union {
                Some(PbWatchRequestUnion::CreateRequest(create)) => {
                    let key = if create.key.is_empty() { vec![0] } else { create.key };
                    let range = proto::range(key, create.range_end);
                    let watch = Watch {
                        id: create.watch_id,
                        progress: create.progress_notify,
                        prev_kv: create.prev_kv,
                        fragment: create.fragment,
                        filters: create.filters,
                        responses: self.responses.clone(),
                    };
                    self.create(watch, range, create.start_revision).await;
                }
                Some(PbWatchRequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
                Some(PbWatchRequestUnion::ProgressRequest(_)) => self.progress().await,
                None => {}
            }
        }
    }

    /// A task has ended. If it was a watch, its id is free, unless a new watch has it already.
    fn forget(&mut self, ended: Option<i64>) {
        if let Some(id) = ended
            && self.open.get(&id).is_some_and(|open| open.task.is_finished())
        {
            self.open.remove(&id);
        }
    }

    async fn create(&mut self, mut watch: Watch, range: KeyRange, start: i64) {
        let header = self.service.memory.header();
        if range.start >= range.end {
            return self.refuse(header, "mvcc: watcher range is empty").await;
        }
        if self.open.len() >= MAX_WATCHES {
            return self.refuse(header, "too many watches on one stream").await;
        }
        if watch.id == 0 {
            while self.open.contains_key(&self.next) {
                self.next += 1;
            }
            watch.id = self.next;
            self.next += 1;
        }
        let id = watch.id;
        let Entry::Vacant(entry) = self.open.entry(id) else {
            return self.refuse(header, "mvcc: duplicate watch ID provided on the WatchStream").await;
        };
        let start = if start == 0 { header.revision.next() } else { convert::revision(start) };
        let (asked, asks) = mpsc::channel(1);
        let watch = watch.run(self.service.clone(), header, WatchRequest { range, start }, asks);
        let task = self.tasks.spawn(async move {
            watch.await;
            id
        });
        entry.insert(Open { task, asked });
    }

    async fn cancel(&mut self, id: i64) {
        if let Some(open) = self.open.remove(&id) {
            open.task.abort();
            self.send(PbWatchResponse { watch_id: id, canceled: true, ..response(self.service.memory.header()) }).await;
        }
    }

    /// Tells the revision of now when every watch has told its events up to it. etcd before 3.5.8 tells it at once, and
    /// later ones leave it out while a watch is behind.
    async fn progress(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.forget(ended.ok());
        }
        if self.tasks.len() >= self.open.len() + MAX_ASKED {
            return;
        }
        let (header, responses) = (self.service.memory.header(), self.responses.clone());
        // All are done when nobody holds the sender any more.
        let (asked, mut done) = mpsc::channel(1);
        for open in self.open.values() {
            // A watch that has ended has told all it ever will.
            let _ = open.asked.send(asked.clone()).await;
        }
        drop(asked);
        self.tasks.spawn(async move {
            let _ = done.recv().await;
            let _ = responses.send(Ok(PbWatchResponse { watch_id: NO_WATCH, ..response(header) })).await;
            NO_WATCH
        });
    }

    /// As etcd: the answer to the creation also ends the watch.
    async fn refuse(&self, header: Header, reason: &str) {
        let cancel_reason = reason.to_owned();
        let refusal = PbWatchResponse { created: true, canceled: true, cancel_reason, ..response(header) };
        self.send(PbWatchResponse { watch_id: NO_WATCH, ..refusal }).await;
    }

    async fn send(&self, response: PbWatchResponse) {
        // If nobody listens any more, the stream ends at once.
        let _ = self.responses.send(Ok(response)).await;
    }
}

fn response(header: Header) -> PbWatchResponse {
    PbWatchResponse { header: Some(proto::header(header)), ..PbWatchResponse::default() }
}
