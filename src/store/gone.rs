//! Keys the kvstore no longer has, and the cache still shows.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::key::KeyName;
use crate::kv::Revision;

/// Keys the kvstore no longer has, and the cache still shows: own keys that somebody deleted, which will be back, and
/// foreign ones whose deletion is held back for the delay.
#[derive(Debug)]
pub(super) struct Gone {
    delay: Duration,
    since: HashMap<KeyName, Revision>,
    /// In the order of their deadlines: the delay is one for all.
    deadlines: VecDeque<(Instant, KeyName, Revision)>,
}

impl Gone {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, since: HashMap::new(), deadlines: VecDeque::new() }
    }

    /// Whether deletions of foreign keys are held back.
    pub(super) fn delays(&self) -> bool {
        !self.delay.is_zero()
    }

    /// An own key is gone, until it is put again.
    pub(super) fn keep(&mut self, name: &KeyName, revision: Revision) {
        self.since.insert(name.clone(), revision);
    }

    /// A foreign key is gone; it comes out of [`due`](Self::due) after the delay.
    pub(super) fn delay(&mut self, now: Instant, name: &KeyName, revision: Revision) {
        self.keep(name, revision);
        self.deadlines.push_back((now + self.delay, name.clone(), revision));
    }

    /// The key is back, or it is not shown any more.
    pub(super) fn forget(&mut self, name: &str) -> Option<Revision> {
        self.since.remove(name)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.since.contains_key(name)
    }

    /// When the next deletion is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// The keys whose delay has passed and that have not come back meanwhile, with the revision of their deletion.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(KeyName, Revision)> {
        let mut due = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            let Some((_, name, revision)) = self.deadlines.pop_front() else { break };
            if self.since.get(&name) == Some(&revision) {
                self.since.remove(&name);
                due.push((name, revision));
            }
        }
        due
    }
}
