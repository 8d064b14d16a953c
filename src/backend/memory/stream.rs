//! A watch on a kvstore in memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use crate::backend::{BackendError, Events, WatchRequest, WatchResponse, WatchStream};
use crate::kv::{Header, KeyRange, Revision};

/// As etcd's limit, so that clients meet a catch-up in several pieces here, too.
const MAX_REVISIONS: usize = 1000;

/// A cursor into the history. It does not delay compaction: a slow cursor is overtaken.
pub(super) struct MemoryWatch {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    range: KeyRange,
    header: Header,
    next: Revision,
    progress_interval: Duration,
    last_answer: Instant,
    /// Somebody has asked for progress.
    asked: bool,
}

impl MemoryWatch {
    pub(super) fn new(shared: Arc<Shared>, request: WatchRequest, progress_interval: Duration) -> Self {
        let WatchRequest { range, start } = request;
        let changed = shared.changed.subscribe();
        let header = shared.with(|mvcc, _| mvcc.header());
        let last_answer = Instant::now();
        Self { shared, changed, range, header, next: start, progress_interval, last_answer, asked: false }
    }
}

#[async_trait]
impl WatchStream for MemoryWatch {
    fn header(&self) -> Header {
        self.header
    }

    async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        loop {
            self.changed.mark_unchanged();
            let (found, header, expiry) = self.shared.with(|mvcc, _| {
                (mvcc.events_since(&self.range, self.next, MAX_REVISIONS), mvcc.header(), mvcc.next_expiry())
            });
            let (events, next) = found?;
            // Cancel-safe: from here to the return nothing waits.
            self.next = next;
            let now = Instant::now();
            let progress_due = self.last_answer.checked_add(self.progress_interval);
            // As etcd: a watch that begins in the future does not answer.
            let asked = self.asked && next <= header.revision.next();
            let progress = asked || progress_due.is_some_and(|due| due <= now);
            if progress || !events.is_empty() {
                self.last_answer = now;
            }
            if !events.is_empty() {
                return Ok(WatchResponse::Events(Events { header, events, complete: true }));
            }
            if progress {
                self.asked = false;
                return Ok(WatchResponse::Progress(header));
            }
            tokio::select! {
                // Never ends in an error: the sender lives as long as `shared`.
                _ = self.changed.changed() => {}
                () = until(expiry.map(Instant::from_std)) => {}
                () = until(progress_due) => {}
            }
        }
    }

    fn request_progress(&mut self) -> bool {
        self.asked = true;
        true
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for MemoryWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryWatch").field("range", &self.range).field("next", &self.next).finish_non_exhaustive()
    }
}
