//! When a key that others have damaged is put back.

use std::time::{Duration, Instant};

const REPAIR_BASE: Duration = Duration::from_millis(100);
const REPAIR_CAP: Duration = Duration::from_secs(30);

/// How often others have damaged the key lately.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    count: u32,
    last: Option<Instant>,
}

impl Repairs {
    /// When the key may be repaired: at once the first two times, then after longer and longer steps.
    pub(super) fn repair_at(&self, now: Instant) -> Instant {
        let delay = match self.count {
            0 | 1 => Duration::ZERO,
            count => REPAIR_BASE.saturating_mul(1 << (count - 2).min(16)).min(REPAIR_CAP),
        };
        self.last.map_or(now, |last| (last + delay).max(now))
    }

    pub(super) fn repaired(&mut self, now: Instant) {
        let calm = |last: Instant| now.saturating_duration_since(last) > 2 * REPAIR_CAP;
        self.count = if self.last.is_none_or(calm) { 1 } else { self.count.saturating_add(1) };
        self.last = Some(now);
    }
}
