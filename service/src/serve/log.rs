//! The changes of one store as streams are told them: all keys, and then every change, from any point that is remembered.
//!
//! One task writes ([`follow`](super::follow)), any number of streams read at their own speed. What is remembered is bounded;
//! a stream that falls behind it is told all keys again. A *mark* is a revision up to which everything has been written: the
//! ids of events, from which a stream can go on.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use shared_store::{KeyName, Origin, Revision};
use tokio::sync::watch;

use super::names::Names;
use crate::document::Document;
use crate::record::{Encoded, Value};
use crate::setup::utc;
use crate::value::Form;

/// A stream is given about so many bytes at once.
const CHUNK: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct ChangeLog<V> {
    inner: Mutex<Inner<V>>,
    /// Frames before this number can be read.
    readable: watch::Sender<u64>,
    max_frames: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner<V> {
    /// Names the history that the marks belong to. Another process, and a kvstore that went back, have other histories.
    run: String,
    /// Revisions up to this one may belong to an earlier history.
    doubtful: Revision,
    keys: BTreeMap<KeyName, Arc<Held<V>>>,
    /// The revision of the first state, once it is complete.
    synced: Option<Revision>,
    frames: VecDeque<Frame>,
    /// The number of the first frame.
    first: u64,
    bytes: usize,
    /// Marks in the order of their revisions, and the number of the frame that follows each.
    marks: VecDeque<(Revision, u64)>,
    /// The last revision written since the last mark, as long as revisions only grew.
    growing: Option<Revision>,
}

/// A key as streams were told it.
#[derive(Debug)]
pub(crate) struct Held<V> {
    pub(crate) document: Arc<Document<V>>,
    pub(crate) revision: Revision,
    /// Nothing if the cache is ahead of this value.
    pub(crate) create_revision: Option<Revision>,
    pub(crate) origin: Origin,
    pub(crate) lease: Option<String>,
    pub(crate) at: SystemTime,
}

/// One event, or the mark after events.
#[derive(Debug)]
enum Frame {
    Event { kind: &'static str, name: Option<KeyName>, data: Arc<str> },
    Mark(Revision),
}

/// The data of an update.
#[derive(Debug, Serialize)]
pub(crate) struct UpdateData<'a> {
    pub(crate) name: &'a str,
    #[serde(flatten)]
    pub(crate) value: Encoded,
    pub(crate) old: Option<Value>,
    pub(crate) revision: u64,
    pub(crate) create_revision: Option<Revision>,
    pub(crate) origin: Origin,
    pub(crate) reason: &'a str,
    pub(crate) initial: bool,
    pub(crate) lease: Option<&'a str>,
    pub(crate) at: String,
}

/// The data of a deletion.
#[derive(Debug, Serialize)]
pub(crate) struct DeleteData<'a> {
    pub(crate) name: &'a str,
    #[serde(flatten)]
    pub(crate) value: Encoded,
    pub(crate) revision: u64,
    pub(crate) origin: Origin,
    pub(crate) reason: &'a str,
    pub(crate) at: String,
}

/// Where a stream is.
#[derive(Debug)]
pub(crate) struct Cursor {
    next: u64,
    names: Names,
}

/// What a stream is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Send this.
    Text(String),
    /// Wait for more.
    Nothing,
    /// Begin again with all keys: what comes next has been forgotten.
    Behind,
}

/// From where a stream wants to go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since {
    pub(crate) revision: Option<Revision>,
    pub(crate) run: Option<String>,
}

/// All keys at one point of the log.
#[derive(Debug)]
pub(crate) struct Whole<V> {
    pub(crate) keys: Vec<(KeyName, Arc<Held<V>>)>,
    pub(crate) cursor: Cursor,
    /// The last mark before this point.
    pub(crate) mark: Option<Revision>,
    pub(crate) synced: bool,
}

impl<V: Form> ChangeLog<V> {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        let inner = Inner {
            run: new_run(),
            doubtful: Revision::ZERO,
            keys: BTreeMap::new(),
            synced: None,
            frames: VecDeque::new(),
            first: 0,
            bytes: 0,
            marks: VecDeque::new(),
            growing: None,
        };
        Self { inner: Mutex::new(inner), readable: watch::Sender::new(0), max_frames, max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<V>> {
        // Nothing under the lock runs code that panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key has a value. `old` is the value that was told before.
    pub(crate) fn update(&self, name: &KeyName, held: Held<V>, old: Option<&Document<V>>, reason: &str, initial: bool) {
        let mut inner = self.lock();
        let held = Arc::new(held);
        // Before the first state is complete nobody can go on from here: only streams that are open need to be told.
        if inner.synced.is_some() || self.readable.receiver_count() > 0 {
            let data = update(name, &held, old, reason, initial);
            inner.event("update", Some(name.clone()), data, Some(held.revision));
        }
        inner.keys.insert(name.clone(), held);
        self.trim(&mut inner);
    }

    /// A key is gone.
    pub(crate) fn delete(&self, name: &KeyName, last: &Document<V>, revision: Revision, origin: Origin, reason: &str) {
        let at = utc(SystemTime::now());
        let data =
            DeleteData { name: name.as_str(), value: Encoded::of(last), revision: revision.0, origin, reason, at };
        let mut inner = self.lock();
        inner.keys.remove(name);
        inner.event("delete", Some(name.clone()), json(&data), Some(revision));
        self.trim(&mut inner);
    }

    /// Something else has happened, to a key or to the store.
    pub(crate) fn notice(&self, kind: &'static str, name: Option<&KeyName>, data: &impl Serialize) {
        let mut inner = self.lock();
        inner.event(kind, name.cloned(), json(data), None);
        self.trim(&mut inner);
        self.show(&inner);
    }

    /// The first state is complete.
    pub(crate) fn synced(&self, revision: Revision, data: &impl Serialize) {
        let mut inner = self.lock();
        inner.synced = Some(revision);
        inner.doubtful = inner.doubtful.max(revision);
        inner.event("synced", None, json(data), None);
        inner.mark(revision);
        self.show(&inner);
    }

    /// The kvstore's history went back: revisions do not mean what they meant.
    pub(crate) fn went_back(&self) {
        let mut inner = self.lock();
        let last = inner.marks.back().map_or(Revision::ZERO, |(revision, _)| *revision);
        inner.doubtful = inner.doubtful.max(last);
        inner.run = new_run();
        inner.marks.clear();
        inner.growing = None;
    }

    /// Everything up to this revision has been written. Streams may read what was written.
    pub(crate) fn mark(&self, revision: Revision) {
        let mut inner = self.lock();
        inner.mark(revision);
        self.trim(&mut inner);
        self.show(&inner);
    }

    /// Streams may read what was written, though more of its last revision may follow.
    pub(crate) fn show_all(&self) {
        self.show(&self.lock());
    }

    fn show(&self, inner: &Inner<V>) {
        self.readable.send_replace(inner.end());
    }

    /// Forgets the oldest frames. A stream that has not read them is behind.
    fn trim(&self, inner: &mut Inner<V>) {
        while inner.frames.len() > self.max_frames || inner.bytes > self.max_bytes {
            let Some(frame) = inner.frames.pop_front() else { break };
            inner.bytes -= frame.bytes();
            inner.first += 1;
        }
        while inner.marks.front().is_some_and(|(_, next)| *next < inner.first) {
            inner.marks.pop_front();
        }
    }

    /// Names the history that ids belong to now.
    pub(crate) fn run(&self) -> String {
        self.lock().run.clone()
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.readable.receiver_count()
    }

    /// Tells when more can be read.
    pub(crate) fn readable(&self) -> watch::Receiver<u64> {
        self.readable.subscribe()
    }

    /// Goes on after a revision, if all that came after it is remembered. `reached` is the cache's revision.
    pub(crate) fn resume(&self, since: &Since, names: &Names, reached: Revision) -> Option<Cursor> {
        let inner = self.lock();
        let revision = since.revision.filter(|revision| *revision <= reached)?;
        let same_history = match &since.run {
            Some(run) => *run == inner.run,
            None => revision > inner.doubtful,
        };
        let before = inner.marks.partition_point(|(mark, _)| *mark <= revision);
        let (_, next) = *inner.marks.get(before.checked_sub(1)?)?;
        same_history.then(|| Cursor { next, names: names.clone() })
    }

    /// All keys that pass, and where to go on.
    pub(crate) fn whole(&self, names: &Names) -> Whole<V> {
        let inner = self.lock();
        let keys = inner.keys.iter().filter(|(name, _)| names.pass(name));
        Whole {
            keys: keys.map(|(name, held)| (name.clone(), Arc::clone(held))).collect(),
            cursor: Cursor { next: inner.end(), names: names.clone() },
            mark: inner.marks.back().map(|(revision, _)| *revision),
            synced: inner.synced.is_some(),
        }
    }

    /// What a stream has not been given, at most about 64 KiB of it.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Read {
        let end = *self.readable.borrow();
        let inner = self.lock();
        if cursor.next < inner.first {
            return Read::Behind;
        }
        let mut text = String::new();
        // The mark after events that do not pass.
        let mut silent = None;
        while cursor.next < end && text.len() < CHUNK {
            match inner.frame(cursor.next) {
                Some(Frame::Event { kind, name, data }) if name.as_ref().is_none_or(|name| cursor.names.pass(name)) => {
                    if let Some(mark) = silent.take() {
                        text.push_str(&format!("id: {mark}\n\n"));
                    }
                    text.push_str(&event(kind, data));
                    if let Some(Frame::Mark(mark)) = inner.frame(cursor.next + 1)
                        && cursor.next + 1 < end
                    {
                        text.push_str(&format!("id: {mark}\n"));
                        cursor.next += 1;
                    }
                    text.push('\n');
                }
                Some(Frame::Mark(mark)) => silent = Some(*mark),
                Some(Frame::Event { .. }) | None => {}
            }
            cursor.next += 1;
        }
        if let Some(mark) = silent {
            text.push_str(&format!("id: {mark}\n\n"));
        }
        if text.is_empty() { Read::Nothing } else { Read::Text(text) }
    }

    /// The newest events of keys, the newest first, each as JSON with its type.
    pub(crate) fn recent(&self, names: &Names, limit: usize) -> Vec<String> {
        let inner = self.lock();
        let events = inner.frames.iter().rev().filter_map(|frame| match frame {
            Frame::Event { kind, name: Some(name), data } if names.pass(name) => Some((kind, data)),
            Frame::Event { .. } | Frame::Mark(_) => None,
        });
        events.take(limit).map(|(kind, data)| format!("{{\"type\":\"{kind}\",{}", &data[1..])).collect()
    }
}

impl<V> Inner<V> {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn frame(&self, number: u64) -> Option<&Frame> {
        self.frames.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn event(&mut self, kind: &'static str, name: Option<KeyName>, data: String, revision: Option<Revision>) {
        if let (Some(revision), Some(last)) = (revision, self.growing) {
            // Revisions that only grow leave nothing out: the one before is complete.
            if revision > last {
                self.mark(last);
            }
            self.growing = (revision >= last).then_some(revision);
        }
        self.push(Frame::Event { kind, name, data: data.into() });
    }

    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes();
        self.frames.push_back(frame);
    }

    fn mark(&mut self, revision: Revision) {
        self.growing = Some(revision);
        if self.synced.is_some() && self.marks.back().is_none_or(|(last, _)| *last < revision) {
            self.push(Frame::Mark(revision));
            self.marks.push_back((revision, self.end()));
        }
    }
}

impl Frame {
    /// About what it needs in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Event { data, .. } => size_of::<Self>() + data.len(),
            Self::Mark(_) => size_of::<Self>(),
        }
    }
}

/// An event without its id and without its end.
pub(crate) fn event(kind: &str, data: &str) -> String {
    format!("event: {kind}\ndata: {data}\n")
}

/// The data of an update event.
pub(crate) fn update<V: Form>(
    name: &KeyName,
    held: &Held<V>,
    old: Option<&Document<V>>,
    reason: &str,
    initial: bool,
) -> String {
    json(&UpdateData {
        name: name.as_str(),
        value: Encoded::of(&held.document),
        old: old.map(Value::of),
        revision: held.revision.0,
        create_revision: held.create_revision,
        origin: held.origin,
        reason,
        initial,
        lease: held.lease.as_deref(),
        at: utc(held.at),
    })
}

fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("data have text as keys, and their values are JSON")
}

/// 16 hex digits that no other run has.
fn new_run() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(SystemTime::now()))
}
