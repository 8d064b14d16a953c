//! Runs the read index of a watch beside it.

use std::sync::Arc;

use actix::WeakRecipient;
use shared_store_core::Header;
use shared_store_core::backend::{Backend, BackendError};
use shared_store_core::watch::{Needed, Reached, ReadIndex, Reads};
use tokio::sync::watch;

use super::{Listing, ReadsAnswered, guarded, some};
use crate::clock::now;

/// Performs what the read index needs, and answers reads.
pub(super) struct Reader {
    backend: Arc<dyn Backend>,
    index: ReadIndex,
    page: Option<Listing>,
    reads: watch::Receiver<Option<Reads>>,
    answers: Option<WeakRecipient<ReadsAnswered>>,
}

/// What the watch is to do for reads.
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// To be asked for its progress.
    Progress,
    /// To list what changed.
    List,
    /// The kvstore's history is another one.
    OtherHistory(BackendError),
    /// The kvstore's history has ended.
    Ended,
}

impl Reader {
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        index: ReadIndex,
        reads: watch::Receiver<Option<Reads>>,
        answers: Option<WeakRecipient<ReadsAnswered>>,
    ) -> Self {
        Self { backend, index, page: None, reads, answers }
    }

    /// The store has taken in what was delivered.
    pub(super) fn reached(&mut self, reached: Reached) {
        self.index.reached(now(), reached);
        if !self.index.is_asking() {
            self.page = None;
        }
        self.answer();
    }

    pub(super) fn without_progress(&mut self) {
        self.index.without_progress(now());
    }

    /// What the watch is to do; never, if nobody reads. Cancel-safe: a request under way goes on.
    pub(super) async fn next(&mut self, in_step: Option<Header>) -> Next {
        loop {
            if self.page.is_none() {
                match self.index.poll(now(), in_step) {
                    Some(Needed::Progress) => return Next::Progress,
                    Some(Needed::List) => return Next::List,
                    Some(Needed::Ended) => return Next::Ended,
                    Some(Needed::Ask(request)) => {
                        let backend = Arc::clone(&self.backend);
                        self.page = Some(Box::pin(async move { guarded(backend.list(request)).await }));
                    }
                    None => {}
                }
            }
            let due = self.index.deadline().filter(|_| in_step.is_some());
            tokio::select! {
                Ok(()) = self.reads.changed() => {
                    let reads = *self.reads.borrow_and_update();
                    reads.into_iter().for_each(|reads| self.index.wait(reads));
                }
                result = some(self.page.as_mut()) => {
                    self.page = None;
                    let other_history = self.index.answer(now(), result);
                    self.answer();
                    return other_history.map_or(Next::Nothing, Next::OtherHistory);
                }
                () = some(due.map(|at| tokio::time::sleep_until(at.into()))) => {}
            }
        }
    }

    fn answer(&mut self) {
        while let Some(answered) = self.index.poll_answered() {
            if let Some(answers) = self.answers.as_ref().and_then(WeakRecipient::upgrade) {
                answers.do_send(ReadsAnswered(answered));
            }
        }
    }
}
