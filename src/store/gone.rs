//! Keys the kvstore no longer has, and the cache still shows.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::key::KeyName;

/// In place of a delay beyond what the clock can tell: a hundred years.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Keys the kvstore no longer has, and the cache still shows: own keys that somebody deleted, which will be back, and
/// foreign ones whose deletion is held back for the delay.
#[derive(Debug)]
pub(super) struct Gone {
    delay: Duration,
    /// When the deletion is told; `None` for an own key: when it is given up.
    names: HashMap<KeyName, Option<Instant>>,
    deadlines: BTreeSet<(Instant, KeyName)>,
}

impl Gone {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, names: HashMap::new(), deadlines: BTreeSet::new() }
    }

    /// Whether deletions of foreign keys are held back.
    pub(super) fn delays(&self) -> bool {
        !self.delay.is_zero()
    }

    /// An own key is gone, until it is put again.
    pub(super) fn keep(&mut self, name: &KeyName) {
        self.forget(name.as_str());
        self.names.insert(name.clone(), None);
    }

    /// A foreign key is gone; it comes out of [`due`](Self::due) after the delay.
    pub(super) fn delay(&mut self, now: Instant, name: &KeyName) {
        self.forget(name.as_str());
        let deadline = now.checked_add(self.delay).unwrap_or(now + FOR_EVER);
        self.deadlines.insert((deadline, name.clone()));
        self.names.insert(name.clone(), Some(deadline));
    }

    /// The key is back, or it is not shown any more.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some((name, Some(deadline))) = self.names.remove_entry(name) {
            self.deadlines.remove(&(deadline, name));
        }
    }

    /// How many deletions wait for their delay.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Whether it is an own key that waits to be put again.
    pub(super) fn is_kept(&self, name: &str) -> bool {
        self.names.get(name) == Some(&None)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// When the next deletion is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The keys whose delay has passed and that have not come back meanwhile.
    pub(super) fn due(&mut self, now: Instant) -> Vec<KeyName> {
        let mut due = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            let Some((_, name)) = self.deadlines.pop_first() else { break };
            self.names.remove(&name);
            due.push(name);
        }
        due
    }
}
