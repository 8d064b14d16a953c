//! A watch on etcd.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse as Response, WatchResponseStream};
use tokio::sync::{Notify, mpsc};

use super::cluster::Cluster;
use super::connection::{Connection, Line, Link};
use super::convert;
use super::failure::{Failure, Kind};
use crate::backend::{BackendError, Events, WatchRequest, WatchResponse, WatchStream};
use crate::kv::Header;

/// Responses read ahead. More stay in etcd's flow control.
const READ_AHEAD: usize = 16;

/// A watch on etcd: a task on the connections' thread reads it, and ends when this is dropped.
#[derive(Debug)]
pub(super) struct EtcdWatch {
    header: Header,
    responses: mpsc::Receiver<Result<WatchResponse, BackendError>>,
    /// Wakes the task to ask for progress, if the member can be asked.
    progress: Option<Arc<Notify>>,
    ended: bool,
    /// Its thread lives as long as this, even if the backend does not.
    _connection: Arc<Connection>,
}

impl EtcdWatch {
    pub(super) async fn open(
        connection: &Arc<Connection>,
        request: WatchRequest,
        timeout: Duration,
    ) -> Result<Self, BackendError> {
        let call = move |link: Link| {
            let options = WatchOptions::new()
                .with_range(request.range.end.to_vec())
                .with_start_revision(convert::to_i64(request.start))
                .with_progress_notify();
            let start = request.range.start.to_vec();
            async move {
                let mut stream = link.watch().watch(start, Some(options)).await?;
                // The first response says that the watch is accepted, or why not.
                let first = stream.message().await?.ok_or_else(|| Failure::broken("it closed the watch at once"))?;
                match ended(&first) {
                    Some(failure) => Err(failure),
                    None => Ok((stream, first, link.endpoint, link.line)),
                }
            }
        };
        let (stream, first, endpoint, line) = connection.call(timeout, call).await?;
        let header = convert::header(first.header());
        let (sender, responses) = mpsc::channel(READ_AHEAD);
        let (cluster, asked) = (Arc::clone(&connection.cluster), Arc::new(Notify::new()));
        let progress = line.answers_progress.then(|| Arc::clone(&asked));
        connection.thread.spawn(async move { read(stream.split(), &asked, sender, &cluster, &endpoint, &line).await });
        Ok(Self { header, responses, progress, ended: false, _connection: Arc::clone(connection) })
    }
}

#[async_trait]
impl WatchStream for EtcdWatch {
    fn header(&self) -> Header {
        self.header
    }

    async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        if self.ended {
            return Err(BackendError::unavailable("watch has ended"));
        }
        let next = self.responses.recv().await;
        let next = next.unwrap_or_else(|| Err(BackendError::unavailable("watch has ended")));
        self.ended = next.is_err();
        next
    }

    fn request_progress(&mut self) -> bool {
        self.progress.as_ref().map(|asked| asked.notify_one()).is_some()
    }
}

async fn read(
    (mut requests, mut stream): (WatchRequestSender, WatchResponseStream),
    asked: &Notify,
    responses: mpsc::Sender<Result<WatchResponse, BackendError>>,
    cluster: &Cluster,
    endpoint: &str,
    line: &Line,
) {
    let removed = cluster.endpoints.removed(endpoint);
    tokio::pin!(removed);
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = asked.notified() => {
                // If it cannot be sent, the stream says so.
                let _ = requests.request_progress().await;
                continue;
            }
            // Nobody listens any more: dropping the stream ends the watch on the server.
            () = responses.closed() => return,
            () = &mut removed => {
                let error = Failure::broken("the endpoint was removed").into_error(endpoint);
                let _ = responses.send(Err(error)).await;
                return;
            }
        };
        let next = match message {
            Ok(Some(response)) => {
                line.hear();
                match understand(response) {
                    Some(next) => next,
                    None => continue,
                }
            }
            Ok(None) => Err(Failure::broken("it closed the watch")),
            Err(error) => Err(why_broken(error.into(), cluster, line)),
        };
        let last = next.is_err();
        if responses.send(next.map_err(|failure| failure.into_error(endpoint))).await.is_err() || last {
            return;
        }
    }
}

/// Why a watch broke: perhaps because its connection was pinged too often.
fn why_broken(failure: Failure, cluster: &Cluster, line: &Line) -> Failure {
    match failure.kind {
        Kind::Closed => line.closed(cluster).unwrap_or(failure),
        Kind::Answered
        | Kind::Token
        | Kind::NoLogin
        | Kind::AuthOff
        | Kind::Elsewhere
        | Kind::Unreached
        | Kind::Broken => failure,
    }
}

/// What a response means for the reader, if anything.
fn understand(response: Response) -> Option<Result<WatchResponse, Failure>> {
    if let Some(failure) = ended(&response) {
        return Some(Err(failure));
    }
    if response.created() {
        return None;
    }
    let header = convert::header(response.header());
    let complete = !response.0.fragment;
    if response.0.events.is_empty() {
        return Some(Ok(WatchResponse::Progress(header)));
    }
    let events = response.0.events.into_iter().map(convert::event).collect::<Result<_, _>>();
    Some(match events {
        Ok(events) => Ok(WatchResponse::Events(Events { header, events, complete })),
        Err(what) => Err(Failure::broken(format_args!("it sent {what}"))),
    })
}

/// Why the watch has ended, if it has. After a compaction etcd accepts a watch first, ends it a moment later, and
/// leaves the stream open: every response has to be checked.
fn ended(response: &Response) -> Option<Failure> {
    if response.compact_revision() > 0 {
        return Some(Failure::compacted(convert::revision(response.compact_revision())));
    }
    response.canceled().then(|| Failure::watch_canceled(response.cancel_reason()))
}
