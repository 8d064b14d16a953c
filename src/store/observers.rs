//! All observers of one store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::change::{Change, Notice, Parcel};
use crate::filter::Filter;
use crate::kv::Revision;
use crate::outbox::{Batches, DeliveryMode, First, Lag, ObserverId, Outbox, PARCEL};

/// All observers and what each has still to be told.
#[derive(Debug)]
pub(super) struct Observers<K> {
    next: u64,
    outboxes: BTreeMap<ObserverId, Outbox<K>>,
    /// Observers that may have something to be told and have no parcel under way.
    ready: BTreeSet<ObserverId>,
    /// Observers that have not been given their first state.
    waiting: BTreeSet<ObserverId>,
    /// Observers that want to be told of revisions without changes.
    progress: BTreeSet<ObserverId>,
    /// Notices of the batch that is being taken in: they come after its changes.
    held: Vec<Notice>,
    batches: Batches,
}

/// What was pending for observers at some time: a position in the outbox of each.
#[derive(Debug)]
pub struct Mark(Vec<(ObserverId, u64)>);

impl<K> Default for Observers<K> {
    fn default() -> Self {
        Self {
            next: 0,
            outboxes: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            progress: BTreeSet::new(),
            held: Vec::new(),
            batches: Batches::default(),
        }
    }
}

impl<K> Observers<K> {
    pub(super) fn add(&mut self, filter: Filter<K>, mode: DeliveryMode) -> ObserverId {
        let id = ObserverId(self.next);
        self.next += 1;
        self.outboxes.insert(id, Outbox::new(filter, mode));
        self.waiting.insert(id);
        id
    }

    pub(super) fn remove(&mut self, id: ObserverId) {
        self.outboxes.remove(&id);
        self.ready.remove(&id);
        self.waiting.remove(&id);
        self.progress.remove(&id);
    }

    pub(super) fn want_progress(&mut self, id: ObserverId) {
        if let Some(outbox) = self.outboxes.get_mut(&id) {
            outbox.want_progress();
            self.progress.insert(id);
        }
    }

    /// Everything up to this revision was pushed.
    pub(super) fn reached(&mut self, revision: Revision) {
        for id in &self.progress {
            if let Some(outbox) = self.outboxes.get_mut(id) {
                outbox.reached(revision);
                self.ready.insert(*id);
            }
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.outboxes.iter().map(|(id, outbox)| (*id, outbox.mark())).collect())
    }

    /// Whether everything before the mark is handled. Removed observers are not waited for.
    pub(super) fn have_passed(&self, Mark(places): &mut Mark) -> bool {
        places.retain(|(id, mark)| self.outboxes.get(id).is_some_and(|outbox| !outbox.has_passed(*mark)));
        places.is_empty()
    }

    pub(super) fn panicked(&mut self, id: ObserverId) {
        if let Some(outbox) = self.outboxes.get_mut(&id) {
            outbox.panicked();
        }
    }

    /// Whether an observer waits for its first state.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Gives their first state to the observers that wait for it.
    pub(super) fn begin_waiting(
        &mut self,
        now: Instant,
        snapshot: &Arc<[Change<K>]>,
        revision: Revision,
        notices: &[Notice],
    ) {
        for id in std::mem::take(&mut self.waiting) {
            if let Some(outbox) = self.outboxes.get_mut(&id) {
                outbox.begin(now, snapshot, revision);
                for notice in notices {
                    outbox.notify(now, notice.clone());
                }
                self.ready.insert(id);
            }
        }
    }

    /// Gives what was known before a restart to the observers that wait.
    pub(super) fn begin_unverified(&mut self, now: Instant, snapshot: &Arc<[Change<K>]>, revision: Revision) {
        for id in std::mem::take(&mut self.waiting) {
            if let Some(outbox) = self.outboxes.get_mut(&id) {
                outbox.begin_unverified(now, snapshot, revision);
                self.ready.insert(id);
            }
        }
    }

    /// The state from before a restart, with these changes, is the kvstore's.
    pub(super) fn verified(&mut self, now: Instant, changes: Vec<Change<K>>, first: &First<'_>, notices: &[Notice]) {
        let changes: Arc<[Change<K>]> = changes.into();
        self.each(|outbox| {
            outbox.verified(now, &changes, first);
            for notice in notices {
                outbox.notify(now, notice.clone());
            }
        });
    }

    /// Adds changes of the cache, in parts no longer than a parcel, since they can name a key many times. What does
    /// not fit into the first part is merged or left out, as the mode of each observer says.
    pub(super) fn push(&mut self, now: Instant, steps: Vec<Change<K>>) {
        let mut steps = steps.into_iter().peekable();
        while steps.peek().is_some() {
            let part = steps.by_ref().take(PARCEL).collect();
            self.push_part(now, &part);
        }
    }

    /// Adds changes that name each key once.
    pub(super) fn push_difference(&mut self, now: Instant, changes: Vec<Change<K>>) {
        if !changes.is_empty() {
            self.push_part(now, &changes.into());
        }
    }

    fn push_part(&mut self, now: Instant, changes: &Arc<[Change<K>]>) {
        if self.outboxes.is_empty() {
            return;
        }
        if !self.outboxes.values().any(Outbox::has_backlog) {
            self.batches.none_waits();
        }
        let batch = self.batches.next(changes);
        self.each(|outbox| outbox.push(now, changes, batch));
    }

    /// Adds a notice once the changes of its batch are added.
    pub(super) fn notify_later(&mut self, notice: Notice) {
        self.held.push(notice);
    }

    /// The changes of the batch are added.
    pub(super) fn notify_held(&mut self, now: Instant) {
        for notice in std::mem::take(&mut self.held) {
            self.notify(now, &notice);
        }
    }

    pub(super) fn notify(&mut self, now: Instant, notice: &Notice) {
        self.each(|outbox| outbox.notify(now, notice.clone()));
    }

    pub(super) fn history_changed(&mut self, now: Instant, to: Revision, changes: Vec<Change<K>>) {
        let changes: Arc<[Change<K>]> = changes.into();
        self.each(|outbox| outbox.history_changed(now, to, &changes));
    }

    pub(super) fn poll(&mut self) -> Option<(ObserverId, Parcel<K>)> {
        while let Some(id) = self.ready.pop_first() {
            if let Some(parcel) = self.outboxes.get_mut(&id).and_then(Outbox::poll) {
                return Some((id, parcel));
            }
        }
        None
    }

    pub(super) fn delivered(&mut self, id: ObserverId) {
        if let Some(outbox) = self.outboxes.get_mut(&id) {
            outbox.delivered();
            self.ready.insert(id);
        }
    }

    pub(super) fn has_begun(&self, id: ObserverId) -> bool {
        self.outboxes.get(&id).is_some_and(Outbox::has_begun)
    }

    pub(super) fn lags(&self) -> Vec<(ObserverId, Lag)> {
        self.outboxes.iter().map(|(id, outbox)| (*id, outbox.lag())).collect()
    }

    fn each(&mut self, mut act: impl FnMut(&mut Outbox<K>)) {
        for (id, outbox) in &mut self.outboxes {
            if !self.waiting.contains(id) {
                act(outbox);
                self.ready.insert(*id);
            }
        }
    }
}
