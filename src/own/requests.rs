//! When a request may be sent to the kvstore.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RequestId;
use super::limiter::Limiter;
use crate::backend::BackendError;
use crate::backoff::Backoff;
use crate::config::Config;

/// When a request may be sent to the kvstore: back-off, rate and the number under way.
#[derive(Debug)]
pub(super) struct Requests {
    next_id: u64,
    max_inflight: usize,
    backoff: Backoff,
    /// Nothing is written before.
    retry_at: Option<Instant>,
    last_error: Option<Arc<str>>,
    pub(super) limiter: Limiter,
    /// When a request was last asked for and there was nothing to send.
    idle: Option<Instant>,
}

impl Requests {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            next_id: 0,
            max_inflight: config.max_inflight,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), config.seed),
            retry_at: None,
            last_error: None,
            limiter: Limiter::new(config.qps, config.bootstrap_qps),
            idle: None,
        }
    }

    /// An id for a request.
    pub(super) fn id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    /// How many ids were given.
    pub(super) fn sent(&self) -> u64 {
        self.next_id
    }

    /// Whether the back-off is over.
    pub(super) fn may_retry(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    /// Whether one more write may be sent while this many are under way.
    pub(super) fn may_write(&self, now: Instant, under_way: usize) -> bool {
        under_way < self.max_inflight && self.may_retry(now) && self.limiter.next().is_none_or(|at| at <= now)
    }

    /// The kvstore has answered.
    pub(super) fn answered(&mut self) {
        self.backoff.reset();
        self.last_error = None;
    }

    /// The kvstore could not answer.
    pub(super) fn failed(&mut self, now: Instant, error: &BackendError) {
        self.last_error = Some(error.to_string().into());
        self.retry_at = Some(now + self.backoff.fail());
    }

    /// The kvstore can be reached again.
    pub(super) fn backend_up(&mut self) {
        self.backoff.reset();
        self.retry_at = None;
    }

    /// Why the last request failed, until one succeeds.
    pub(super) fn last_error(&self) -> Option<&Arc<str>> {
        self.last_error.as_ref()
    }

    /// A request was asked for, and there was none.
    pub(super) fn nothing_to_send(&mut self, now: Instant) {
        self.idle = Some(now);
    }

    /// Whether something can become due at this time. What was due when there was nothing to send waits for an answer
    /// or a command, not for the clock.
    pub(super) fn is_news(&self, at: Instant) -> bool {
        self.idle.is_none_or(|idle| at > idle)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let times = [self.retry_at, self.limiter.next()];
        times.into_iter().flatten().filter(|at| self.is_news(*at)).min()
    }
}
