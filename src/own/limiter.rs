//! How many write requests a second.

use std::time::{Duration, Instant};

/// Spaces write requests evenly: `bootstrap` a second until everything has been written once, then `steady`.
#[derive(Debug)]
pub(super) struct Limiter {
    steady: u32,
    bootstrap: u32,
    bootstrapped: bool,
    next: Option<Instant>,
}

impl Limiter {
    /// Requests a second; 0 for no limit.
    pub(super) fn new(steady: u32, bootstrap: u32) -> Self {
        Self { steady, bootstrap, bootstrapped: false, next: None }
    }

    /// Before this no request may be sent.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A request was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        let rate = if self.bootstrapped { self.steady } else { self.bootstrap };
        self.next = (rate > 0).then(|| now + Duration::from_secs(1) / rate);
    }

    /// Everything has been written once.
    pub(super) fn bootstrapped(&mut self) {
        self.bootstrapped = true;
    }
}
