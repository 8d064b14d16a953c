//! Mass deletions, and how they are held back.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::clock::bounded;
use crate::config::DeletionGuard;
use crate::key::{KeyName, NameMap};

/// Decides which deletions are held back, as its rule says.
///
/// While a deletion is held back, the key stays visible. The deletion is told when the time is over, unless the key
/// has come back. Nothing is asked again and nothing waits: the rest of the answer is taken in at once.
#[derive(Debug)]
pub(super) struct Guard {
    rule: DeletionGuard,
    hold: Duration,
    /// The keys that others have deleted lately, whose deletions were not held back and that have not come back, and
    /// when. At most the rule's share of all keys.
    recent: NameMap<Instant>,
}

impl Guard {
    pub(super) fn new(rule: DeletionGuard) -> Self {
        Self { rule, hold: bounded(rule.hold), recent: NameMap::default() }
    }

    fn is_off(&self) -> bool {
        self.hold.is_zero() || self.rule.percent >= 100
    }

    /// How long to hold back deletions in a list of another history; these are always held back. Owners need that time
    /// to put their keys into the kvstore that answers now.
    pub(super) fn other_history(&self) -> Option<Duration> {
        (!self.is_off()).then_some(self.hold)
    }

    /// How long to hold back these deletions by others; `None` to tell them at once. Deletions of the last `hold`
    /// count together: leases of one site expire one after the other. The total is the `entries` that are shown, plus
    /// the keys deleted within the last `hold`.
    pub(super) fn deletions(
        &mut self,
        now: Instant,
        removed: HashSet<KeyName>,
        entries: usize,
        is_shown: impl Fn(&KeyName) -> bool,
    ) -> Option<Duration> {
        if self.is_off() || removed.is_empty() {
            return None;
        }
        let hold = self.hold;
        self.recent.retain(|_, at| now.saturating_duration_since(*at) < hold);
        let before = entries + self.recent.keys().filter(|name| !is_shown(name)).count();
        let gone = self.recent.len() + removed.len();
        if before >= self.rule.min_keys && gone.saturating_mul(100) > before.saturating_mul(self.rule.percent.into()) {
            return Some(hold);
        }
        self.recent.extend(removed.into_iter().map(|name| (name, now)));
        None
    }

    /// A key is in the kvstore: if it was deleted, it has come back.
    pub(super) fn is_there(&mut self, name: &KeyName) {
        if !self.recent.is_empty() {
            self.recent.remove(name);
        }
    }
}
