//! What cases are written with: a prefix of their own and a watch that is read to a known end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use crate::backend::{
    Backend, BackendError, Expect, ListPage, ListRequest, WatchRequest, WatchResponse, WatchStream, Write, WriteAction,
    WriteOutcome,
};
use crate::kv::{Event, KeyRange, LeaseId, Revision};
use crate::prefix::Prefix;

/// How long a case waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A collaborator and a prefix nobody else uses.
#[derive(Debug, Clone)]
pub struct Space {
    /// The collaborator.
    pub backend: Arc<dyn Backend>,
    /// The prefix, without a trailing slash.
    pub prefix: String,
}

/// The methods panic where the backend breaks its contract: they are assertions.
#[allow(clippy::missing_panics_doc, reason = "every method asserts")]
impl Space {
    /// A fresh prefix on the kvstore under test.
    #[must_use]
    pub fn new(harness: &dyn Harness) -> Self {
        Self { backend: harness.backend(), prefix: format!("conformance/{:016x}", fastrand::u64(..)) }
    }

    /// The whole path of a name.
    #[must_use]
    pub fn path(&self, name: impl AsRef<[u8]>) -> Bytes {
        [self.prefix.as_bytes(), b"/", name.as_ref()].concat().into()
    }

    /// The path of a name below a sibling whose prefix begins with this one.
    #[must_use]
    pub fn sibling(&self, name: &str) -> Bytes {
        format!("{}0/{name}", self.prefix).into()
    }

    /// All paths below the prefix.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        Prefix::new(&self.prefix).expect("the prefix is valid").range()
    }

    /// The name of a path below the prefix, lossily as text.
    #[must_use]
    pub fn name(&self, path: &[u8]) -> String {
        String::from_utf8_lossy(path.get(self.prefix.len() + 1..).unwrap_or_default()).into_owned()
    }

    /// The newest revision.
    pub async fn revision(&self) -> Revision {
        self.page(ListRequest { limit: 1, ..self.all() }).await.header.revision
    }

    /// Everything below the prefix.
    #[must_use]
    pub fn all(&self) -> ListRequest {
        ListRequest::new(self.range())
    }

    /// A page that must be answered.
    pub async fn page(&self, request: ListRequest) -> ListPage {
        self.backend.list(request).await.expect("the list is answered")
    }

    /// All names and values below the prefix.
    pub async fn state(&self) -> Vec<(String, String)> {
        let page = self.page(self.all()).await;
        page.kvs.iter().map(|kv| (self.name(&kv.path), String::from_utf8_lossy(&kv.value).into_owned())).collect()
    }

    /// Commits writes that must be taken.
    pub async fn commit(&self, writes: Vec<Write>) -> Revision {
        match self.backend.write(writes).await {
            Ok(WriteOutcome::Committed { revision }) => revision,
            other => panic!("not committed: {other:?}"),
        }
    }

    /// Puts a value without a lease.
    pub async fn put(&self, name: &str, value: &str) -> Revision {
        self.commit(vec![put(self.path(name), value)]).await
    }

    /// Deletes a key.
    pub async fn delete(&self, name: &str) -> Revision {
        self.commit(vec![delete(self.path(name))]).await
    }

    /// Watches everything below the prefix.
    pub async fn follow(&self, start: Revision) -> Follower {
        let stream = self.backend.watch(WatchRequest { range: self.range(), start }).await;
        Follower { stream: stream.expect("the watch is accepted"), events: Vec::new(), complete: true }
    }
}

/// A watch and all it has told.
#[derive(Debug)]
pub struct Follower {
    /// The watch.
    pub stream: Box<dyn WatchStream>,
    /// The events so far.
    pub events: Vec<Event>,
    /// Whether the last event's revision is complete.
    pub complete: bool,
}

#[allow(clippy::missing_panics_doc, reason = "every method asserts")]
impl Follower {
    /// Takes in one response, checking what holds for each.
    pub fn take(&mut self, response: WatchResponse) {
        match response {
            WatchResponse::Events(events) => {
                let last = events.events.last().expect("a response with events has some").revision();
                assert!(events.header.revision >= last, "the header is behind its events");
                self.events.extend(events.events);
                self.complete = events.complete;
                assert!(self.events.is_sorted_by_key(Event::revision), "out of order: {:?}", self.events);
            }
            WatchResponse::Progress(header) => {
                let last = self.events.last().map_or(Revision::ZERO, Event::revision);
                assert!(header.revision >= last, "progress is behind the events");
            }
        }
    }

    /// The next response.
    ///
    /// # Errors
    /// As the stream says.
    pub async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("the watch says something")
    }

    /// Reads until the last event is that of `revision` and it is complete, then returns every event so far.
    pub async fn until(&mut self, revision: Revision) -> &[Event] {
        while !self.complete || self.events.last().is_none_or(|event| event.revision() < revision) {
            let response = self.next().await.expect("the watch goes on");
            self.take(response);
        }
        &self.events
    }
}

/// A put of a text without a lease, whatever is there.
#[must_use]
pub fn put(path: Bytes, value: &str) -> Write {
    let action = WriteAction::Put { value: Bytes::copy_from_slice(value.as_bytes()), lease: LeaseId::NONE };
    Write { path, expect: Expect::Any, action }
}

/// A delete, whatever is there.
#[must_use]
pub fn delete(path: Bytes) -> Write {
    Write { path, expect: Expect::Any, action: WriteAction::Delete }
}

/// The state of each path, which the refusal of a transaction names.
pub(super) fn refused(outcome: Result<WriteOutcome, BackendError>) -> Vec<Option<crate::kv::KeyValue>> {
    match outcome {
        Ok(WriteOutcome::Refused { current, .. }) => current,
        other => panic!("not refused: {other:?}"),
    }
}
