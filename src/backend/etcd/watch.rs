//! A watch on etcd.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{WatchOptions, WatchResponse as Response, WatchStream as Stream};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::connection::{Connection, Line, Link};
use super::convert;
use super::failure::{Failure, Kind};
use crate::backend::{BackendError, Events, WatchRequest, WatchResponse, WatchStream};
use crate::kv::Header;

/// Responses read ahead. More stay in etcd's flow control.
const READ_AHEAD: usize = 16;
/// Up to so many events wait for those that have arrived after them.
const TOGETHER: usize = 128;

type Message = Result<Option<Response>, etcd_client::Error>;

/// A watch on etcd: a task on the connections' thread reads it, and ends when this is dropped.
#[derive(Debug)]
pub(super) struct EtcdWatch {
    header: Header,
    responses: mpsc::Receiver<Result<WatchResponse, BackendError>>,
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
        let cluster = Arc::clone(&connection.cluster);
        connection.thread.spawn(async move { read(stream, sender, &cluster, &endpoint, &line).await });
        Ok(Self { header, responses, ended: false, _connection: Arc::clone(connection) })
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
}

async fn read(
    mut stream: Stream,
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
            // Nobody listens any more: dropping the stream ends the watch on the server.
            () = responses.closed() => return,
            () = &mut removed => {
                let error = Failure::broken("the endpoint was removed").into_error(endpoint);
                let _ = responses.send(Err(error)).await;
                return;
            }
        };
        let Some(response) = understand(message, cluster, line) else { continue };
        for response in with_arrived(response, || stream.message().now_or_never(), cluster, line) {
            let last = response.is_err();
            if responses.send(response.map_err(|failure| failure.into_error(endpoint))).await.is_err() || last {
                return;
            }
        }
    }
}

/// A response and what has arrived after it, events together: each response that is handed on wakes others.
fn with_arrived(
    first: Result<WatchResponse, Failure>,
    mut arrived: impl FnMut() -> Option<Message>,
    cluster: &Cluster,
    line: &Line,
) -> Vec<Result<WatchResponse, Failure>> {
    let mut responses = vec![first];
    while let Some(Ok(WatchResponse::Events(events))) = responses.last_mut()
        && events.events.len() <= TOGETHER
        && let Some(message) = arrived()
    {
        match understand(message, cluster, line) {
            None => {}
            Some(Ok(WatchResponse::Events(more))) => {
                events.events.extend(more.events);
                (events.header, events.complete) = (more.header, more.complete);
            }
            Some(other) => responses.push(other),
        }
    }
    responses
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

/// What a message means for the reader, if anything.
fn understand(message: Message, cluster: &Cluster, line: &Line) -> Option<Result<WatchResponse, Failure>> {
    let response = match message {
        Ok(Some(response)) => response,
        Ok(None) => return Some(Err(Failure::broken("it closed the watch"))),
        Err(error) => return Some(Err(why_broken(error.into(), cluster, line))),
    };
    line.hear();
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

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbEvent, PbKeyValue, PbWatchResponse};

    use super::*;
    use crate::backend::etcd::EtcdConfig;

    fn message(keys: usize, fragment: bool) -> Message {
        let kv = PbKeyValue { key: b"k".to_vec(), mod_revision: 1, ..PbKeyValue::default() };
        let events = vec![PbEvent { kv: Some(kv), ..PbEvent::default() }; keys];
        Ok(Some(Response(PbWatchResponse { events, fragment, ..PbWatchResponse::default() })))
    }

    /// What is handed on of these messages at a time: numbers of events, and whether the last revision is complete.
    fn handed_on(messages: Vec<Message>) -> Vec<Vec<(usize, bool)>> {
        let cluster = Cluster::new(EtcdConfig::new(["http://127.0.0.1:1"])).unwrap();
        let line = Line::new(Duration::from_secs(10));
        let mut messages = messages.into_iter();
        let mut batches = Vec::new();
        while let Some(first) = messages.next().and_then(|message| understand(message, &cluster, &line)) {
            let responses = with_arrived(first, || messages.next(), &cluster, &line);
            let shown = responses.into_iter().map(|response| match response {
                Ok(WatchResponse::Events(events)) => (events.events.len(), events.complete),
                Ok(WatchResponse::Progress(_)) | Err(_) => (0, true),
            });
            batches.push(shown.collect());
        }
        batches
    }

    #[test]
    fn events_that_have_arrived_are_handed_on_together_up_to_a_limit_and_in_order() {
        assert_eq!(handed_on(vec![message(1, false), message(2, false), message(1, true)]), [[(4, false)]]);
        assert_eq!(handed_on(vec![message(1, true), message(1, false)]), [[(2, true)]]);
        let progress = || message(0, false);
        let with_progress = handed_on(vec![message(1, false), progress(), message(1, false), Ok(None)]);
        assert_eq!(with_progress, [[(1, true), (0, true)], [(1, true), (0, true)]]);
        let many: Vec<_> = (0..3).map(|_| message(100, false)).collect();
        assert_eq!(handed_on(many), [[(200, true)], [(100, true)]]);
    }
}
