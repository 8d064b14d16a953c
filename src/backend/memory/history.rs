//! The newest changes of a kvstore, so that watches and pinned lists can look back.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::mvcc::Stored;
use crate::backend::BackendError;
use crate::kv::{Event, KeyRange, Revision};

/// How many bytes of changes are kept, whatever their number.
const MAX_BYTES: usize = 256 << 20;

/// A change and what it replaced.
#[derive(Debug, Clone)]
struct Change {
    event: Event,
    before: Option<Stored>,
}

impl Change {
    /// What it costs to keep.
    fn bytes(&self) -> usize {
        let after = match &self.event {
            Event::Put(kv) => kv.value.len(),
            Event::Delete { .. } => 0,
        };
        size_of::<Self>()
            + self.event.path().len()
            + after
            + self.before.as_ref().map_or(0, |before| before.value.len())
    }
}

/// The changes since some revision, oldest first.
///
/// An old state is computed by undoing the changes since then in the newest state. So keys that do not change cost
/// nothing, and compaction only drops the front.
#[derive(Debug, Clone)]
pub(super) struct History {
    changes: VecDeque<Change>,
    /// All changes at or after this revision are here.
    oldest: Revision,
    bytes: usize,
    max_changes: usize,
}

impl History {
    pub(super) fn new(max_changes: usize) -> Self {
        Self { changes: VecDeque::new(), oldest: Revision::ZERO, bytes: 0, max_changes }
    }

    pub(super) fn limit(&mut self, max_changes: usize) {
        self.max_changes = max_changes;
        self.trim();
    }

    /// Whether everything at or after `revision` is still known.
    pub(super) fn reaches(&self, revision: Revision) -> Result<(), BackendError> {
        if revision < self.oldest { Err(BackendError::Compacted { oldest: self.oldest }) } else { Ok(()) }
    }

    pub(super) fn push(&mut self, event: Event, before: Option<Stored>) {
        let change = Change { event, before };
        self.bytes += change.bytes();
        self.changes.push_back(change);
    }

    /// Forgets the oldest revisions that are beyond the bounds, but never the newest one.
    pub(super) fn trim(&mut self) {
        while self.changes.len() > self.max_changes || self.bytes > MAX_BYTES {
            let (Some(first), Some(last)) = (self.changes.front(), self.changes.back()) else { return };
            let first = first.event.revision();
            if first == last.event.revision() {
                return;
            }
            self.compact(first.next());
        }
    }

    /// Forgets every change before `revision`.
    pub(super) fn compact(&mut self, revision: Revision) {
        let gone = self.index(revision);
        self.bytes -= self.changes.drain(..gone).map(|change| change.bytes()).sum::<usize>();
        self.oldest = self.oldest.max(revision);
    }

    /// All changes at or after `start`.
    pub(super) fn since(&self, start: Revision) -> impl Iterator<Item = &Event> {
        self.tail(start).map(|change| &change.event)
    }

    /// The keys of `range` that changed after `revision`, with what each held then.
    pub(super) fn held_at(&self, revision: Revision, range: &KeyRange) -> BTreeMap<&Bytes, Option<&Stored>> {
        let mut held = BTreeMap::new();
        for change in self.tail(revision.next()).filter(|change| range.contains(change.event.path())) {
            held.entry(change.event.path()).or_insert(change.before.as_ref());
        }
        held
    }

    fn tail(&self, start: Revision) -> impl Iterator<Item = &Change> {
        self.changes.range(self.index(start)..)
    }

    /// Where `revision` begins, or would.
    fn index(&self, revision: Revision) -> usize {
        self.changes.partition_point(|change| change.event.revision() < revision)
    }
}

/// What only etcd's own API tells.
#[cfg(all(feature = "etcd", any(feature = "etcd-server", feature = "test-kit")))]
impl History {
    /// The revision of the last change.
    pub(super) fn last(&self) -> Revision {
        self.changes.back().map_or(Revision::ZERO, |change| change.event.revision())
    }

    /// The first revision that is not compacted; 0 if none ever was.
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// For each of these events, which are in order: the key's version after it, and what the key was at the revision
    /// before it, if that is not compacted.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] if the first of them is no longer here.
    pub(super) fn details(&self, events: &[Event]) -> Result<Vec<(u64, Option<&Stored>)>, BackendError> {
        let first = events.first().map_or(self.oldest, Event::revision);
        self.reaches(first)?;
        let mut changes = self.tail(first);
        let details = events.iter().map(|event| {
            let same =
                |change: &&Change| change.event.revision() == event.revision() && change.event.path() == event.path();
            let Some(change) = changes.find(same) else { return (0, None) };
            let shown = event.revision() > self.oldest;
            let before = change.before.as_ref().filter(|before| shown && before.mod_revision < event.revision());
            let version = match event {
                Event::Put(_) => change.before.as_ref().map_or(0, |before| before.version) + 1,
                Event::Delete { .. } => 0,
            };
            (version, before)
        });
        Ok(details.collect())
    }
}
