//! How far an observer has been told: the revision up to which it knows everything, and what waited at some time.

use super::Outbox;
use crate::change::{Notice, Parcel};
use crate::kv::Revision;

impl<K> Outbox<K> {
    /// The observer wants to be told of revisions without changes.
    pub(crate) fn want_progress(&mut self) {
        self.reached.get_or_insert(Revision::ZERO);
    }

    /// Everything up to this revision is put in.
    pub(crate) fn reached(&mut self, revision: Revision) {
        self.reached = self.reached.map(|_| revision);
    }

    /// The revision up to which everything has been told, if nothing is left to be told and this is news.
    pub(super) fn progress(&mut self) -> Option<Parcel<K>> {
        let (reached, unannounced) = (self.reached?, self.unannounced?);
        if !unannounced && reached <= self.told {
            return None;
        }
        let revision = reached.max(self.told);
        self.told = revision;
        Some(Parcel::Notice(Notice::Progress { revision }))
    }

    /// Notes whether the parcel that is taken out tells something new, or says how far the observer knows everything.
    pub(super) fn note_announced(&mut self, parcel: Option<&Parcel<K>>) {
        match parcel {
            Some(Parcel::Notice(Notice::Synced { .. } | Notice::Progress { .. })) => self.unannounced = Some(false),
            Some(Parcel::Changes(_) | Parcel::Notice(Notice::Resynced { .. })) => {
                self.unannounced = self.unannounced.map(|_| true);
            }
            Some(Parcel::Notice(_)) | None => {}
        }
    }

    /// How many entries wait behind the parcel under way.
    pub(super) fn waiting(&self) -> usize {
        let backlog = self.backlog.iter().map(|backlog| backlog.changes.len() - backlog.next);
        backlog.sum::<usize>() + self.slots.len() + self.queue.len()
    }

    /// The parcel that was taken out is handled.
    pub(super) fn count_handled(&mut self) {
        self.handled += std::mem::take(&mut self.taken) as u64;
    }

    /// The position behind everything that has still to be handled. Entries keep their order; merged entries only make
    /// the position come later.
    pub(crate) fn mark(&self) -> u64 {
        self.handled + (self.taken + self.waiting()) as u64
    }

    /// Whether everything before the mark is handled.
    pub(crate) fn has_passed(&self, mark: u64) -> bool {
        self.handled >= mark || self.under_way == 0 && self.waiting() == 0
    }

    /// Code of the observer panicked.
    pub(crate) fn panicked(&mut self) {
        self.panics += 1;
    }
}
