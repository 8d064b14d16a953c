//! Keys the kvstore no longer has, and the cache still shows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::clock::bounded;
use crate::key::{KeyName, NameMap};

/// Keys the kvstore no longer has, and the cache still shows: own keys that somebody deleted, which will be back, and
/// foreign ones whose deletion is held back.
#[derive(Debug)]
pub(super) struct Tombstones {
    delay: Duration,
    /// When the deletion is told; `None` for an own key, which is shown until it is given up.
    names: NameMap<Option<Instant>>,
    deadlines: BTreeSet<(Instant, KeyName)>,
}

impl Tombstones {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay: bounded(delay), names: NameMap::default(), deadlines: BTreeSet::new() }
    }

    /// How long the deletion of a foreign key is held back, if it is: for the delay of the store, or longer.
    pub(super) fn delay(&self, hold: Option<Duration>) -> Option<Duration> {
        Some(hold.unwrap_or_default().max(self.delay)).filter(|delay| !delay.is_zero())
    }

    /// An own key is gone, until it is put again.
    pub(super) fn keep(&mut self, name: &KeyName) {
        self.remove(name.as_str());
        self.names.insert(name.clone(), None);
    }

    /// A foreign key is deleted; [`due`](Self::due) returns it when its time is over.
    pub(super) fn hold(&mut self, until: Instant, name: &KeyName) {
        self.remove(name.as_str());
        self.deadlines.insert((until, name.clone()));
        self.names.insert(name.clone(), Some(until));
    }

    /// The key is back, or it is not shown any more. Returns whether it was gone.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let Some((name, until)) = self.names.remove_entry(name) else { return false };
        if let Some(deadline) = until {
            self.deadlines.remove(&(deadline, name));
        }
        true
    }

    /// How many deletions are held back.
    pub(super) fn held(&self) -> usize {
        self.deadlines.len()
    }

    /// The names whose deletions are held back.
    pub(super) fn held_names(&self) -> impl Iterator<Item = &KeyName> {
        self.deadlines.iter().map(|(_, name)| name)
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

    /// The keys whose time is over and that have not come back meanwhile.
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
