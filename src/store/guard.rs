//! Mass deletions, and how they are held back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::clock::bounded;
use crate::config::DeletionGuard;

/// Decides which deletions are held back, as its rule says.
///
/// A deletion that is held back is shown as if it had not happened, and told when its time is over unless the key has
/// come back. Nothing is asked again and nobody waits: all else of the answer is taken in at once.
#[derive(Debug)]
pub(super) struct Guard {
    rule: DeletionGuard,
    hold: Duration,
    /// When keys were removed lately, and how many.
    removals: VecDeque<(Instant, usize)>,
    recent: usize,
}

impl Guard {
    pub(super) fn new(rule: DeletionGuard) -> Self {
        Self { rule, hold: bounded(rule.hold), removals: VecDeque::new(), recent: 0 }
    }

    fn is_off(&self) -> bool {
        self.hold.is_zero() || self.rule.percent >= 100
    }

    /// For how long deletions are held back that a list of another history makes: always. Owners need that time to put
    /// their keys into the kvstore that answers now.
    pub(super) fn other_history(&self) -> Option<Duration> {
        (!self.is_off()).then_some(self.hold)
    }

    /// For how long so many deletions by others are held back, of so many keys that are shown; `None` to tell them at
    /// once. Deletions of the last `hold` count together: leases of one site expire one after the other.
    pub(super) fn deletions(&mut self, now: Instant, removed: usize, entries: usize) -> Option<Duration> {
        while let Some((at, count)) = self.removals.front().copied()
            && now.saturating_duration_since(at) >= self.hold
        {
            self.removals.pop_front();
            self.recent -= count;
        }
        if self.is_off() || removed == 0 {
            return None;
        }
        let before = entries + self.recent;
        let many = (self.recent + removed).saturating_mul(100) > before.saturating_mul(self.rule.percent.into());
        if many && before >= self.rule.min_keys {
            return Some(self.hold);
        }
        self.recent += removed;
        match self.removals.back_mut() {
            // What came at about the same time is one entry.
            Some((at, count)) if now.saturating_duration_since(*at) < self.hold / 32 => *count += removed,
            Some(_) | None => self.removals.push_back((now, removed)),
        }
        None
    }
}
