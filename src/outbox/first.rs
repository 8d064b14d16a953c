//! The first state: as it was known before a restart, and as the kvstore confirms it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::batch::Backlog;
use super::{Outbox, Slot};
use crate::change::{Change, Notice};
use crate::key::KeyName;
use crate::kv::Revision;

/// The first state as the kvstore has it, after another was told from before a restart.
#[derive(Debug)]
pub(crate) struct First<'a> {
    pub(crate) revision: Revision,
    /// Whether what was told belongs to this history.
    pub(crate) same_history: bool,
    /// Every key there is.
    pub(crate) names: &'a [KeyName],
}

impl<K> Outbox<K> {
    /// Tells what was known before a restart, as creates. `Synced` waits for [`verified`](Self::verified).
    pub(crate) fn begin_unverified(&mut self, now: Instant, snapshot: &Arc<[Change<K>]>, revision: Revision) {
        self.begin(now, snapshot, revision);
        self.synced = None;
        self.begun = self.backlog.is_empty();
    }

    /// The first state is confirmed: `changes` lead to it from what the cache showed, and `Synced` follows. They are
    /// merged with the waiting changes, in either mode: observers are told the first state, without the steps that led to it.
    pub(crate) fn verified(&mut self, now: Instant, changes: &Arc<[Change<K>]>, first: &First<'_>) {
        self.behind_since.get_or_insert(now);
        self.overrun = None;
        let mut changes = self.wanted(changes);
        if self.has_backlog() || !self.pending.is_empty() || !self.queue.is_empty() {
            changes = self.coalesce(&changes, first.revision);
        }
        self.backlog = Backlog::of(changes, 0).into_iter().collect();
        let passing = || first.names.iter().filter(|name| self.filter.passes_name(name)).count();
        let entries = self.visible.as_ref().map_or_else(passing, HashSet::len);
        self.synced = Some(Notice::Synced { revision: first.revision, entries });
        if first.same_history {
            self.told = first.revision;
        } else {
            self.first_went_back = Some(first.revision);
        }
        self.reached = self.reached.map(|_| first.revision);
    }

    /// All waiting changes and then `changes`, each key once and none newer than `to`: what remains of an earlier
    /// history gets a revision of this one. Notices stay.
    fn coalesce(&mut self, changes: &[Change<K>], to: Revision) -> Arc<[Change<K>]> {
        let (slots, mut pending) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.pending));
        for Backlog { changes, next, .. } in std::mem::take(&mut self.backlog) {
            changes[next..].iter().for_each(|change| self.merge(change.clone()));
        }
        for slot in slots {
            match slot {
                Slot::Key(name) => {
                    pending.remove(&name).into_iter().for_each(|change| self.merge(change));
                }
                Slot::Notice(_) => self.slots.push_back(slot),
            }
        }
        self.merge_queue();
        changes.iter().for_each(|change| self.merge(change.clone()));
        let mut merged = std::mem::take(&mut self.pending);
        merged.values_mut().for_each(|change| change.revision = change.revision.min(to));
        let (mut changes, mut notices) = (Vec::new(), VecDeque::new());
        for slot in std::mem::take(&mut self.slots) {
            match slot {
                Slot::Key(name) => changes.extend(merged.remove(&name).filter(|change| !change.is_void())),
                Slot::Notice(_) => notices.push_back(slot),
            }
        }
        self.slots = notices;
        changes.into()
    }
}
