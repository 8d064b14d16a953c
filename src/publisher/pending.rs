//! Which own keys are on their way into the kvstore.

use std::collections::BTreeMap;

use crate::key::{KeyName, NameMap};

/// A point in the order in which keys were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark(u64);

/// The own keys that are on their way into the kvstore, in the order in which they were given. Empty when all keys are
/// stored.
#[derive(Debug, Default)]
pub(super) struct Pending {
    given: NameMap<u64>,
    order: BTreeMap<u64, KeyName>,
    next: u64,
}

impl Pending {
    /// A key has to be written. A key that is pending already keeps its position, so that a key that changes all the
    /// time does not delay those who wait for it.
    pub(super) fn begin(&mut self, name: &KeyName) {
        if !self.given.contains_key(name) {
            self.given.insert(name.clone(), self.next);
            self.order.insert(self.next, name.clone());
            self.next += 1;
        }
    }

    /// A key is stored, or will not be.
    pub(super) fn end(&mut self, name: &KeyName) {
        if let Some(position) = self.given.remove(name) {
            self.order.remove(&position);
        }
    }

    /// Behind all keys given so far.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.next)
    }

    /// Whether all keys given before are there.
    pub(super) fn is_past(&self, Mark(mark): Mark) -> bool {
        self.order.first_key_value().is_none_or(|(position, _)| *position >= mark)
    }

    /// How many keys given before are not there yet.
    pub(super) fn before(&self, Mark(mark): Mark) -> usize {
        self.order.range(..mark).count()
    }
}
