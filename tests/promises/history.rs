//! Everything that happened, as the kvstore itself tells it.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::FutureExt;
use shared_store_core::backend::{Backend, WatchRequest, WatchResponse, WatchStream};
use shared_store_core::{Event, KeyRange, KeyValue, MemoryBackend, Revision};

/// All changes of the kvstore, in order.
#[derive(Debug, Default)]
pub(super) struct History {
    events: Vec<Event>,
    by_path: BTreeMap<Bytes, Vec<Event>>,
}

impl History {
    /// Takes in the next change, which must fit.
    pub(super) fn push(&mut self, event: Event) {
        assert!(self.events.last().is_none_or(|last| last.revision() <= event.revision()), "history is ordered");
        let before = self.before(event.path(), event.revision());
        match &event {
            Event::Put(kv) => {
                let created = before.map_or(kv.mod_revision, |before| before.create_revision);
                assert_eq!(kv.create_revision, created, "a create is one, and nothing else is: {event:?}");
            }
            Event::Delete { .. } => assert!(before.is_some(), "what is deleted was there: {event:?}"),
        }
        self.by_path.entry(event.path().clone()).or_default().push(event.clone());
        self.events.push(event);
    }

    /// What a path held at a revision.
    pub(super) fn at(&self, path: &Bytes, revision: Revision) -> Option<&KeyValue> {
        let events = self.by_path.get(path)?;
        let changes = events.partition_point(|event| event.revision() <= revision);
        match events.get(changes.checked_sub(1)?)? {
            Event::Put(kv) => Some(kv),
            Event::Delete { .. } => None,
        }
    }

    /// What a path held right before a revision.
    pub(super) fn before(&self, path: &Bytes, revision: Revision) -> Option<&KeyValue> {
        self.at(path, Revision(revision.0.checked_sub(1)?))
    }

    /// The whole range at a revision, in path order.
    pub(super) fn state(&self, range: &KeyRange, revision: Revision) -> Vec<KeyValue> {
        let paths = self.by_path.keys().filter(|path| range.contains(path));
        paths.filter_map(|path| self.at(path, revision).cloned()).collect()
    }

    /// The changes of a range after one revision, up to and including another.
    pub(super) fn between(&self, range: &KeyRange, after: Revision, to: Revision) -> Vec<Event> {
        let first = self.events.partition_point(|event| event.revision() <= after);
        let last = self.events.partition_point(|event| event.revision() <= to);
        let events = self.events[first..last.max(first)].iter();
        events.filter(|event| range.contains(event.path())).cloned().collect()
    }
}

/// Writes down the history of a kvstore in memory before it is compacted.
pub(super) struct Recorder {
    stream: Box<dyn WatchStream>,
    pub(super) history: History,
}

impl Recorder {
    pub(super) async fn new(memory: &MemoryBackend) -> Self {
        let stream = memory.watch(WatchRequest { range: everything(), start: Revision(1) }).await.unwrap();
        Self { stream, history: History::default() }
    }

    pub(super) fn drain(&mut self) {
        while let Some(response) = self.stream.next().now_or_never() {
            if let WatchResponse::Events(response) = response.expect("it is never overtaken") {
                response.events.into_iter().for_each(|event| self.history.push(event));
            }
        }
    }
}

pub(super) fn everything() -> KeyRange {
    KeyRange { start: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\xff") }
}
