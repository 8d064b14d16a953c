//! Reads that wait until the cache shows what the kvstore had acknowledged before.

use std::time::Instant;

use actix::prelude::*;
use shared_store_core::watch::{Answered, Reads};
use shared_store_core::{BackendError, Key, Revision};
use tokio::sync::oneshot;

use super::StoreActor;
use crate::clock::{LONGEST, now};
use crate::error::CatchUpError;
use crate::messages::CatchUp;
use crate::watcher::{AwaitReads, ReadsAnswered};

/// The reads that wait, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    last: u64,
    waiting: Vec<(Reads, oneshot::Sender<Result<Revision, BackendError>>)>,
    /// How many remained when dropped requests were last removed.
    pruned: usize,
}

impl Readers {
    /// Adds a read; its answer comes through the receiver.
    fn add(&mut self, until: Instant) -> (Reads, oneshot::Receiver<Result<Revision, BackendError>>) {
        if self.waiting.len() > 2 * self.pruned {
            self.prune();
        }
        let (sender, receiver) = oneshot::channel();
        self.last += 1;
        let reads = Reads { last: self.last, until };
        self.waiting.push((reads, sender));
        (reads, receiver)
    }

    fn prune(&mut self) {
        self.waiting.retain(|(_, reader)| !reader.is_closed());
        self.pruned = self.waiting.len();
    }

    /// All that wait, for a watcher that knows of none.
    pub(super) fn all(&mut self) -> Option<AwaitReads> {
        self.prune();
        self.waiting.iter().map(|(reads, _)| *reads).reduce(Reads::and).map(AwaitReads)
    }

    /// Nobody waits any longer: the store closes.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl<K: Key> Handler<CatchUp> for StoreActor<K> {
    type Result = ResponseFuture<Result<Revision, CatchUpError>>;

    fn handle(&mut self, CatchUp { timeout }: CatchUp, _: &mut Self::Context) -> Self::Result {
        let Some(children) = self.children.as_ref().filter(|_| self.closing.is_none()) else {
            return Box::pin(std::future::ready(Err(CatchUpError::Closed)));
        };
        let (reads, receiver) = self.readers.add(now() + timeout.min(LONGEST));
        // A watcher that has ended is replaced by one that is told.
        children.watcher.do_send(AwaitReads(reads));
        let reader = self.store.reader();
        Box::pin(async move {
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(answer)) => answer.map_err(CatchUpError::Refused),
                Ok(Err(_)) => Err(CatchUpError::Closed),
                Err(_) => Err(CatchUpError::timed_out(timeout, &reader)),
            }
        })
    }
}

impl<K: Key> Handler<ReadsAnswered> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, ReadsAnswered(Answered { last, result }): ReadsAnswered, _: &mut Self::Context) {
        // Otherwise what was delivered may not have been taken in.
        if self.closing.is_none() && self.attachment.is_attached() {
            let answered = self.readers.waiting.partition_point(|(reads, _)| reads.last <= last);
            for (_, reader) in self.readers.waiting.drain(..answered) {
                // The requester may have been dropped.
                let _ = reader.send(result.clone());
            }
        }
    }
}
