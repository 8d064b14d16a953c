//! When a key that others have damaged is put back.

use std::time::{Duration, Instant};

const REPAIR_BASE: Duration = Duration::from_millis(100);
const REPAIR_CAP: Duration = Duration::from_secs(30);

/// How often others have damaged the key lately: overwritten it, and deleted it.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    overwritten: Often,
    deleted: Often,
}

#[derive(Debug, Default)]
struct Often {
    count: u32,
    last: Option<Instant>,
}

impl Repairs {
    /// When the key may be repaired: at once the first two times, then after longer and longer steps.
    pub(super) fn repair_at(&self, now: Instant, deleted: bool) -> Instant {
        let Often { count, last } = if deleted { &self.deleted } else { &self.overwritten };
        let delay = match *count {
            0 | 1 => Duration::ZERO,
            count => REPAIR_BASE.saturating_mul(1 << (count - 2).min(16)).min(REPAIR_CAP),
        };
        last.map_or(now, |last| (last + delay).max(now))
    }

    pub(super) fn repaired(&mut self, now: Instant, deleted: bool) {
        let Often { count, last } = if deleted { &mut self.deleted } else { &mut self.overwritten };
        let calm = |last: Instant| now.saturating_duration_since(last) > 2 * REPAIR_CAP;
        *count = if last.is_none_or(calm) { 1 } else { count.saturating_add(1) };
        *last = Some(now);
    }
}
