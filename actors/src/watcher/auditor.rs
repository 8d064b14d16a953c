//! Runs an audit beside the watch.

use std::sync::Arc;

use shared_store_core::Header;
use shared_store_core::audit::{Audit, Found};
use shared_store_core::backend::Backend;
use shared_store_core::watch::Delivery;
use tokio::sync::Notify;

use super::{Listing, guarded, some};
use crate::clock::now;

/// Performs what the audit asks for.
pub(super) struct Auditor {
    backend: Arc<dyn Backend>,
    audit: Option<Audit>,
    asked: Arc<Notify>,
    page: Option<Listing>,
}

impl Auditor {
    pub(super) fn new(backend: Arc<dyn Backend>, audit: Option<Audit>, asked: Arc<Notify>) -> Self {
        Self { backend, audit, asked, page: None }
    }

    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        if let Some(audit) = &mut self.audit {
            audit.delivered(delivery);
        }
    }

    /// What came of the next request; never, if there is no audit. Cancel-safe: a request under way goes on.
    pub(super) async fn next(&mut self, in_step: Option<Header>) -> Found {
        let Some(audit) = &mut self.audit else { return std::future::pending().await };
        loop {
            if self.page.is_none()
                && let Some(request) = audit.poll_request(now(), in_step)
            {
                let backend = Arc::clone(&self.backend);
                self.page = Some(Box::pin(async move { guarded(backend.list(request)).await }));
            }
            let due = audit.deadline().filter(|_| in_step.is_some());
            tokio::select! {
                result = some(self.page.as_mut()) => {
                    self.page = None;
                    return audit.answer(now(), result);
                }
                () = some(due.map(|at| tokio::time::sleep_until(at.into()))) => {}
                () = self.asked.notified() => {
                    self.page = None;
                    audit.ask();
                }
            }
        }
    }
}
