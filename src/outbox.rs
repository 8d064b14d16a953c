//! What one observer has still to be told.

mod batch;
mod first;
mod mode;
mod position;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::change::{Change, Changes, Notice, Origin, Parcel};
use crate::filter::Filter;
use crate::key::{KeyName, NameMap};
use crate::kv::Revision;
use crate::reason::Reason;
use crate::user_code::Panicked;

use self::batch::Backlog;
pub(crate) use self::batch::{Batch, Batches};
pub(crate) use self::first::First;
pub use self::mode::DeliveryMode;
use self::subject::Subject;

/// No parcel holds more changes than this, so an observer that receives one message a change is not flooded.
pub(crate) const PARCEL: usize = 256;

/// Names one subscription of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct ObserverId(pub(crate) u64);

/// What one observer has still to be told. A pure machine: [`push`](Self::push) puts in, [`poll`](Self::poll) takes
/// out one parcel at a time, [`delivered`](Self::delivered) says that it has been handled.
///
/// # Invariants
/// 1. What is taken out, one after the other, is a history: each `old` is the `new` told before.
/// 2. The end of that history is the end of what was put in: no final state and no deletion is lost.
/// 3. Its size is bounded. It holds no more than the parcel under way, batches of changes that it shares with other outboxes and
///    of which none names a key of another, one change of each changed key, one notice of each subject (two if the newer one
///    ends the older one), and, with `EveryEvent`, `capacity` changes.
/// 4. A value that came back to what was told before is not told again.
/// 5. `Synced` is told once, and the history told before it ends at the state it names, in either mode.
/// 6. A notice is told after the changes that were put in before it, in either mode.
#[derive(Debug)]
pub(crate) struct Outbox<K> {
    filter: Filter<K>,
    mode: DeliveryMode,
    /// The keys that this observer was told of, if its filter can change its mind about a key.
    visible: Option<HashSet<KeyName>>,
    /// Shared with other observers, and before everything else. None names a key of another.
    backlog: VecDeque<Backlog<K>>,
    synced: Option<Notice>,
    /// The revision to which history went back after the first state was told.
    first_went_back: Option<Revision>,
    /// Whether the first state has been handled.
    begun: bool,
    /// The revision to which history went back.
    went_back: Option<Revision>,
    /// The revision up to which changes were left out.
    overrun: Option<Revision>,
    /// Changed keys in the order of their first change, and notices.
    slots: VecDeque<Slot>,
    pending: NameMap<Change<K>>,
    /// The newest notice of each subject. If that notice ends an earlier one, the earlier one is told before it.
    notices: HashMap<Subject, Vec<Notice>>,
    /// Behind the slots, with `EveryEvent`.
    queue: VecDeque<Queued<K>>,
    queued_notices: usize,
    /// Revision of the last change taken out.
    told: Revision,
    /// The revision up to which everything was put in, if the observer wants to be told of revisions without changes.
    reached: Option<Revision>,
    /// Whether something was told since the observer was last told that it knows everything up to a revision; `None` as
    /// long as the first state is not complete.
    unannounced: Option<bool>,
    under_way: usize,
    /// How many entries the parcel under way has taken out, and how many were taken out and handled before.
    taken: usize,
    handled: u64,
    behind_since: Option<Instant>,
    panics: u64,
}

#[derive(Debug)]
enum Slot {
    Key(KeyName),
    Notice(Subject),
}

#[derive(Debug)]
enum Queued<K> {
    Change(Change<K>),
    Notice(Subject),
}

/// How far an observer is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The observer's name, if it was given one.
    pub name: Option<Arc<str>>,
    /// How many changes it has still to be told or to handle.
    pub pending: usize,
    /// Since when it has not been up to date; `None` if it is.
    pub behind_since: Option<Instant>,
    /// How often its filter, or a closure that observes, panicked.
    pub panics: u64,
}

impl<K> Outbox<K> {
    pub(crate) fn new(filter: Filter<K>, mode: DeliveryMode) -> Self {
        let visible = (!filter.by_name_only()).then(HashSet::new);
        Self {
            filter,
            mode,
            visible,
            backlog: VecDeque::new(),
            synced: None,
            first_went_back: None,
            begun: false,
            went_back: None,
            overrun: None,
            slots: VecDeque::new(),
            pending: NameMap::default(),
            notices: HashMap::new(),
            queue: VecDeque::new(),
            queued_notices: 0,
            told: Revision::ZERO,
            reached: None,
            unannounced: None,
            under_way: 0,
            taken: 0,
            handled: 0,
            behind_since: None,
            panics: 0,
        }
    }

    /// Gives the first state: creates, then `Synced`.
    pub(crate) fn begin(&mut self, now: Instant, snapshot: &Arc<[Change<K>]>, revision: Revision) {
        let changes = self.wanted(snapshot);
        self.synced = Some(Notice::Synced { revision, entries: changes.len() });
        self.told = revision;
        self.backlog.extend(Backlog::of(changes, 0));
        self.behind_since.get_or_insert(now);
    }

    /// Adds changes of the cache, in order.
    ///
    /// If nothing waits behind the parcel under way but batches that name other keys, the batch is kept as it is, shared with
    /// other outboxes. A batch that names a key twice is kept only if nothing waits and no parcel is under way. It must not be
    /// longer than [`PARCEL`]: it becomes the next parcel.
    pub(crate) fn push(&mut self, now: Instant, changes: &Arc<[Change<K>]>, batch: Batch) {
        let whole = match self.backlog.front() {
            None => self.under_way == 0 || self.begun && batch.once,
            Some(first) => {
                let merges = self.mode == DeliveryMode::LatestPerKey;
                merges && self.begun && batch.once && batch.after < first.number
            }
        };
        if whole && self.has_only_backlog() {
            if let Some(waiting) = Backlog::of(self.wanted(changes), batch.number) {
                self.backlog.push_back(waiting);
                self.behind_since.get_or_insert(now);
            }
            return;
        }
        self.merge_batches();
        for change in changes.iter() {
            if let Some(change) = self.seen(change) {
                self.add(change);
            }
        }
    }

    /// Adds a notice, unless it is about a key whose name does not pass. It replaces a waiting notice of the same
    /// subject, unless it ends that notice.
    pub(crate) fn notify(&mut self, now: Instant, notice: Notice) {
        let subject = Subject::of(&notice);
        if subject.name().is_some_and(|name| !self.filter.passes_name(name)) {
            return;
        }
        self.behind_since.get_or_insert(now);
        self.merge_batches();
        let waiting = self.notices.entry(subject.clone()).or_default();
        match (waiting.is_empty(), self.queue.is_empty()) {
            (false, _) => {}
            (true, true) => self.slots.push_back(Slot::Notice(subject)),
            (true, false) => {
                self.queued_notices += 1;
                self.queue.push_back(Queued::Notice(subject));
            }
        }
        waiting.retain(|before| subject::is_end(&notice) && !subject::is_end(before));
        waiting.push(notice);
    }

    /// Says that the kvstore's history went back to `to`, which made these changes.
    ///
    /// They are merged with the waiting changes, in either mode: of two histories an observer is told only the final
    /// state.
    pub(crate) fn history_changed(&mut self, now: Instant, to: Revision, changes: &Arc<[Change<K>]>) {
        self.behind_since.get_or_insert(now);
        self.merge_batches();
        self.merge_queue();
        (self.went_back, self.overrun) = (Some(to), None);
        self.reached = self.reached.map(|_| to);
        for change in changes.iter() {
            if let Some(change) = self.seen(change) {
                self.merge(change);
            }
        }
        // What remains of the old history gets a revision of the new one, whose own revisions come next.
        self.pending.values_mut().for_each(|change| change.revision = change.revision.min(to));
    }

    /// The next parcel, unless one is under way.
    pub(crate) fn poll(&mut self) -> Option<Parcel<K>> {
        if self.under_way > 0 {
            return None;
        }
        let waiting = self.waiting();
        let parcel = self.next();
        self.taken += waiting - self.waiting();
        self.note_announced(parcel.as_ref());
        match &parcel {
            Some(Parcel::Changes(changes)) => {
                self.under_way = changes.len();
                self.told = changes.iter().map(|change| change.revision).max().unwrap_or(self.told).max(self.told);
            }
            Some(Parcel::Notice(_)) => self.under_way = 1,
            None => {
                self.behind_since = None;
                self.count_handled();
            }
        }
        parcel
    }

    /// The parcel under way has been handled.
    pub(crate) fn delivered(&mut self) {
        self.under_way = 0;
        self.count_handled();
        self.begun |= self.backlog.is_empty() && self.synced.is_none();
    }

    /// Whether the first state has been handled, be it verified or not.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn lag(&self) -> Lag {
        Lag {
            name: None,
            pending: self.waiting() + self.under_way,
            behind_since: self.behind_since,
            panics: self.panics,
        }
    }

    /// Whether a batch waits as a whole.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    fn has_only_backlog(&self) -> bool {
        self.synced.is_none()
            && self.first_went_back.is_none()
            && self.went_back.is_none()
            && self.overrun.is_none()
            && self.slots.is_empty()
            && self.queue.is_empty()
    }

    fn next(&mut self) -> Option<Parcel<K>> {
        if let Some(to) = self.first_went_back.take() {
            let from = std::mem::replace(&mut self.told, to);
            return Some(Parcel::Notice(Notice::Resynced { from, to }));
        }
        if let Some(Backlog { changes, next, .. }) = self.backlog.front_mut() {
            let end = changes.len().min(*next + PARCEL);
            let parcel = Changes::new(Arc::clone(changes), *next..end);
            *next = end;
            if end == changes.len() {
                self.backlog.pop_front();
            }
            return Some(Parcel::Changes(self.with_small_batches(parcel)));
        }
        if let Some(notice) = self.synced.take() {
            return Some(Parcel::Notice(notice));
        }
        if let Some(to) = self.went_back.take().or_else(|| self.overrun.take()) {
            let from = std::mem::replace(&mut self.told, to);
            return Some(Parcel::Notice(Notice::Resynced { from, to }));
        }
        let mut changes = Vec::new();
        while changes.len() < PARCEL {
            match self.slots.front() {
                Some(Slot::Key(name)) => changes.extend(self.pending.remove(name).filter(|change| !change.is_void())),
                Some(Slot::Notice(_)) if !changes.is_empty() => break,
                Some(Slot::Notice(subject)) => {
                    let mut waiting = self.notices.remove(subject).unwrap_or_default().into_iter();
                    let notice = waiting.next();
                    if waiting.len() == 0 {
                        self.slots.pop_front();
                    } else {
                        self.notices.insert(subject.clone(), waiting.collect());
                    }
                    return notice.map(Parcel::Notice);
                }
                // The queue goes on where the slots end.
                None => match self.queue.pop_front() {
                    Some(Queued::Change(change)) => changes.push(change),
                    Some(Queued::Notice(subject)) => {
                        self.queued_notices -= 1;
                        self.slots.push_back(Slot::Notice(subject));
                        continue;
                    }
                    None => break,
                },
            }
            self.slots.pop_front();
        }
        if changes.is_empty() { self.progress() } else { Some(Parcel::Changes(changes.into())) }
    }

    fn add(&mut self, change: Change<K>) {
        match self.mode {
            DeliveryMode::LatestPerKey => self.merge(change),
            DeliveryMode::EveryEvent { capacity } if self.queue.len() - self.queued_notices < capacity.get() => {
                self.queue.push_back(Queued::Change(change));
            }
            DeliveryMode::EveryEvent { .. } => {
                self.overrun = Some(change.revision);
                self.merge_queue();
                self.merge(change);
            }
        }
    }

    fn merge_queue(&mut self) {
        self.queued_notices = 0;
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Change(change) => self.merge(change),
                Queued::Notice(subject) => self.slots.push_back(Slot::Notice(subject)),
            }
        }
    }

    /// Merges a change into the pending one of its key; the newest reason counts. A pair that cancels out keeps its
    /// slot: the memory is one entry a changed key, and the key's place in the order is that of its first change.
    fn merge(&mut self, change: Change<K>) {
        if let Some(pending) = self.pending.get_mut(&change.name) {
            pending.new = change.new;
            pending.hashes.1 = change.hashes.1;
            pending.revision = change.revision;
            pending.origin = change.origin;
            pending.reason = change.reason;
        } else {
            self.slots.push_back(Slot::Key(change.name.clone()));
            self.pending.insert(change.name.clone(), change);
        }
    }

    /// The changes as this observer sees them; shared if it sees all of them as they are.
    fn wanted(&mut self, changes: &Arc<[Change<K>]>) -> Arc<[Change<K>]> {
        if self.filter.is_open() && !changes.iter().any(Change::is_void) {
            return Arc::clone(changes);
        }
        changes.iter().filter_map(|change| self.seen(change)).collect()
    }

    /// A change through this observer's filter.
    fn seen(&mut self, change: &Change<K>) -> Option<Change<K>> {
        let Some(visible) = &mut self.visible else {
            let key = change.new.as_ref().or(change.old.as_ref())?;
            let passes = self.filter.passes(&change.name, key, change.origin) == Ok(true);
            return (passes && !change.is_void()).then(|| change.clone());
        };
        let passes = match change.new.as_ref().map(|key| self.filter.passes(&change.name, key, change.origin)) {
            Some(Ok(passes)) => passes,
            Some(Err(Panicked)) => {
                self.panics += 1;
                false
            }
            None => false,
        };
        let mut change = change.clone();
        if passes {
            if visible.insert(change.name.clone()) && change.old.take().is_some() {
                change.reason = Reason::EnteredFilter;
            }
        } else {
            if !visible.remove(&change.name) {
                return None;
            }
            if change.new.take().is_some() {
                change.reason = Reason::LeftFilter;
            }
        }
        (!change.is_void()).then_some(change)
    }
}

/// Makes a change from its parts.
pub(crate) fn change<K>(
    name: &KeyName,
    old: Option<(&Arc<K>, u128)>,
    new: Option<(&Arc<K>, u128)>,
    revision: Revision,
    origin: Origin,
    reason: Reason,
) -> Change<K> {
    Change {
        name: name.clone(),
        old: old.map(|(key, _)| Arc::clone(key)),
        new: new.map(|(key, _)| Arc::clone(key)),
        revision,
        origin,
        reason,
        initial: false,
        hashes: (old.map_or(0, |(_, hash)| hash), new.map_or(0, |(_, hash)| hash)),
    }
}
