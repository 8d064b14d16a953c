//! Batches that wait as they are, shared by observers.

use std::sync::Arc;

use super::{Outbox, PARCEL};
use crate::change::{Change, Changes};
use crate::key::NameMap;

/// Waiting batches with fewer changes are put together into one parcel. It costs as much to copy so many changes as to
/// send a message.
const SMALL: usize = 64;

/// What a batch of changes names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// Its number. A first state has none: 0.
    pub(super) number: u64,
    /// Whether it names each key once.
    pub(super) once: bool,
    /// The number of the newest batch before it that names one of its keys.
    pub(super) after: u64,
}

/// Numbers the batches, once for all observers.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    number: u64,
    /// The last batch that named each key.
    named: NameMap<u64>,
}

impl Batches {
    /// No batch waits any more.
    pub(crate) fn none_waits(&mut self) {
        self.named = NameMap::default();
    }

    pub(crate) fn next<K>(&mut self, changes: &[Change<K>]) -> Batch {
        self.number += 1;
        let mut batch = Batch { number: self.number, once: true, after: 0 };
        self.named.reserve(changes.len());
        for change in changes {
            match self.named.insert(change.name.clone(), self.number) {
                Some(before) if before == self.number => batch.once = false,
                Some(before) => batch.after = batch.after.max(before),
                None => {}
            }
        }
        batch
    }
}

/// A batch that waits, or the rest of one.
#[derive(Debug)]
pub(super) struct Backlog<K> {
    pub(super) changes: Arc<[Change<K>]>,
    pub(super) next: usize,
    /// The number of the batch.
    pub(super) number: u64,
}

impl<K> Backlog<K> {
    pub(super) fn of(changes: Arc<[Change<K>]>, number: u64) -> Option<Self> {
        (!changes.is_empty()).then_some(Self { changes, next: 0, number })
    }
}

impl<K> Outbox<K> {
    /// Adds the batches that follow, as long as all are small.
    pub(super) fn with_small_batches(&mut self, parcel: Changes<K>) -> Changes<K> {
        let mut together = Vec::new();
        while let Some(Backlog { changes, .. }) = self.backlog.front()
            && parcel.len().max(changes.len()) < SMALL
            && parcel.len().max(together.len()) + changes.len() <= PARCEL
        {
            if together.is_empty() {
                together.extend_from_slice(&parcel);
            }
            together.extend_from_slice(changes);
            self.backlog.pop_front();
        }
        if together.is_empty() { parcel } else { together.into() }
    }

    /// Batches that came while a parcel was under way wait as a whole. What comes next is merged with them. The first
    /// state is no such batch: `Synced` follows it.
    pub(super) fn merge_batches(&mut self) {
        if self.begun && self.under_way > 0 && self.synced.is_none() {
            // A batch that is told in part stays.
            let told = usize::from(self.backlog.front().is_some_and(|backlog| backlog.next > 0));
            for Backlog { changes, .. } in self.backlog.split_off(told) {
                changes.iter().for_each(|change| self.add(change.clone()));
            }
        }
    }
}
