//! The key that says that a prefix is complete.

use std::time::Instant;

use bytes::Bytes;

use super::pending::{Mark, Pending};
use super::types::CanaryState;
use crate::config::{Config, ConflictPolicy};
use crate::key::KeyName;
use crate::kv::Revision;
use crate::own::{Command, OwnKeys};
use crate::prefix::{Prefix, PrefixError};

impl Prefix {
    /// Where the canaries of a cluster are: `cilium/synced/<cluster>`. A canary says that all keys of a prefix are in the
    /// kvstore; its name there is the prefix, its value the time in RFC 3339 (Cilium's layout).
    ///
    /// # Errors
    /// [`PrefixError`] if there can be no such prefix: the name is empty, or ends with a slash.
    pub fn canaries(cluster: &str) -> Result<Self, PrefixError> {
        Self::new(format!("cilium/synced/{cluster}"))
    }

    /// Where the canary of this prefix is, below the [canaries](Self::canaries) of its cluster.
    ///
    /// # Panics
    /// Never: a prefix is not empty.
    #[must_use]
    pub fn canary(&self, canaries: Self) -> (Self, KeyName) {
        (canaries, KeyName::new(self.as_str()).expect("a prefix is not empty"))
    }
}

/// The key that says that all keys of a prefix are in the kvstore.
#[derive(Debug)]
pub(super) struct Canary {
    /// Keeps it there.
    pub(super) own: OwnKeys,
    name: KeyName,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Unasked,
    /// For the keys given before.
    Waiting(Mark),
    Writing,
    Written(Revision),
}

impl Canary {
    pub(super) fn new(config: &Config, canaries: Prefix, name: KeyName) -> Self {
        let mut config = config.clone();
        config.prefix = canaries;
        // An existing canary is of an earlier process of ours, or of another publisher of the same prefix.
        config.conflict = ConflictPolicy::Overwrite;
        Self { own: OwnKeys::new(&config, 1), name, phase: Phase::Unasked }
    }

    /// The canary is wanted once all keys given before are there. Asking again changes nothing.
    pub(super) fn ask(&mut self, mark: Mark) {
        if matches!(self.phase, Phase::Unasked) {
            self.phase = Phase::Waiting(mark);
        }
    }

    /// What it waits for.
    pub(super) fn waits_for(&self) -> Option<Mark> {
        if let Phase::Waiting(mark) = self.phase { Some(mark) } else { None }
    }

    pub(super) fn write(&mut self, now: Instant, value: Bytes) {
        self.phase = Phase::Writing;
        self.own.command(now, Command::Put { name: self.name.clone(), value });
    }

    pub(super) fn written(&mut self, revision: Revision) {
        self.phase = Phase::Written(revision);
    }

    /// The canary is not true any more, until the keys given before are there.
    pub(super) fn take_back(&mut self, now: Instant, mark: Mark) {
        match self.phase {
            Phase::Unasked => {}
            Phase::Waiting(_) => self.phase = Phase::Waiting(mark),
            Phase::Writing | Phase::Written(_) => {
                self.phase = Phase::Waiting(mark);
                self.own.command(now, Command::Delete { name: self.name.clone(), ticket: None });
            }
        }
    }

    /// Whether it is in the kvstore.
    pub(super) fn is_written(&self) -> bool {
        matches!(self.phase, Phase::Written(_))
    }

    pub(super) fn state(&self, pending: &Pending) -> CanaryState {
        match self.phase {
            Phase::Unasked => CanaryState::Unasked,
            Phase::Waiting(mark) => CanaryState::Waiting { keys: pending.before(mark) },
            Phase::Writing => CanaryState::Writing,
            Phase::Written(revision) => CanaryState::Written { revision },
        }
    }
}
