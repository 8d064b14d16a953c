//! Runs the proof of a watch beside it.

use std::sync::Arc;

use shared_store_core::Header;
use shared_store_core::backend::{Backend, BackendError};
use shared_store_core::watch::{Check, Delivery, Gap, Proof};

use super::{Listing, guarded, some};
use crate::clock::now;

/// Performs what the proof of the watch asks for.
pub(super) struct Prover {
    backend: Arc<dyn Backend>,
    proof: Proof,
    page: Option<Listing>,
}

/// What came of it.
pub(super) enum Proven {
    /// Nothing to do.
    Nothing,
    /// Something may be lost: a list finds it.
    List,
    /// The kvstore's history is another one.
    OtherHistory(BackendError),
}

impl Prover {
    pub(super) fn new(backend: Arc<dyn Backend>, proof: Proof) -> Self {
        Self { backend, proof, page: None }
    }

    pub(super) fn gap(&mut self, gap: Gap) {
        self.proof.gap(now(), gap);
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        self.proof.delivered(delivery);
        if self.proof.is_idle() {
            self.page = None;
        }
    }

    /// What came of the next request; never, if there is no gap. Cancel-safe: a request under way goes on.
    pub(super) async fn next(&mut self, in_step: Option<Header>) -> Proven {
        loop {
            if self.page.is_none() {
                match self.proof.poll(now(), in_step) {
                    Some(Check::List) => return Proven::List,
                    Some(Check::Ask(request)) => {
                        let backend = Arc::clone(&self.backend);
                        self.page = Some(Box::pin(async move { guarded(backend.list(request)).await }));
                    }
                    None => {}
                }
            }
            let due = self.proof.deadline().filter(|_| in_step.is_some());
            tokio::select! {
                result = some(self.page.as_mut()) => {
                    self.page = None;
                    return self.proof.answer(now(), result).map_or(Proven::Nothing, Proven::OtherHistory);
                }
                () = some(due.map(|at| tokio::time::sleep_until(at.into()))) => {}
            }
        }
    }
}
