//! The names this store owns.

use std::collections::HashMap;

use crate::key::KeyName;
use crate::sync::Ticket;

/// The names this store owns, is about to own, or has just given up.
#[derive(Debug, Default)]
pub(super) struct LocalNames {
    names: HashMap<KeyName, Ownership>,
    /// Synchronous writes whose success makes a name ours.
    adopting: HashMap<Ticket, KeyName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    /// So many synchronous writes under way, none of which has succeeded.
    Adopting(usize),
    Owned,
    /// Given up; its deletion is under way.
    Retiring,
}

impl LocalNames {
    pub(super) fn owned(&self) -> usize {
        self.names.values().filter(|ownership| **ownership == Ownership::Owned).count()
    }

    /// Whether what happens to the name is our own doing.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether the name is to stay in the kvstore whatever others do.
    pub(super) fn is_owned(&self, name: &str) -> bool {
        self.names.get(name) == Some(&Ownership::Owned)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.names.keys()
    }

    pub(super) fn own(&mut self, name: &KeyName) {
        self.names.insert(name.clone(), Ownership::Owned);
    }

    pub(super) fn adopt(&mut self, ticket: Ticket, name: &KeyName) {
        self.adopting.insert(ticket, name.clone());
        match self.names.entry(name.clone()).or_insert(Ownership::Adopting(0)) {
            Ownership::Adopting(writes) => *writes += 1,
            Ownership::Owned => {}
            retiring @ Ownership::Retiring => *retiring = Ownership::Adopting(1),
        }
    }

    /// A synchronous write has ended.
    pub(super) fn adopted(&mut self, ticket: Ticket, success: bool) {
        let Some(name) = self.adopting.remove(&ticket) else { return };
        match self.names.get_mut(&name) {
            Some(ownership @ Ownership::Adopting(_)) if success => *ownership = Ownership::Owned,
            Some(Ownership::Adopting(writes)) if *writes > 1 => *writes -= 1,
            Some(Ownership::Adopting(_)) => {
                self.names.remove(&name);
            }
            Some(Ownership::Owned | Ownership::Retiring) | None => {}
        }
    }

    pub(super) fn retire(&mut self, name: &KeyName) {
        self.names.insert(name.clone(), Ownership::Retiring);
    }

    /// The deletion of a name given up has ended; whether it is still given up.
    pub(super) fn retired(&mut self, name: &str) -> bool {
        let retiring = self.names.get(name) == Some(&Ownership::Retiring);
        if retiring {
            self.names.remove(name);
        }
        retiring
    }

    /// The name was lost to another owner.
    pub(super) fn lost(&mut self, name: &str) {
        self.names.remove(name);
    }
}
