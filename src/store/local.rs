//! The names this store owns.

use std::collections::{HashMap, HashSet};

use crate::change::Origin;
use crate::key::KeyName;
use crate::kv::Revision;
use crate::sync::Ticket;

/// The names this store owns, is about to own, or has just given up.
#[derive(Debug, Default)]
pub(super) struct LocalNames {
    names: HashMap<KeyName, Ownership>,
    /// Synchronous writes that decide about a name, and whether their success makes it ours.
    writes: HashMap<Ticket, (KeyName, Then)>,
    /// Lost to another owner, and not asked for since: or so it seems until we hear that they are stored.
    lost: HashSet<KeyName>,
    /// How many names are [`Ownership::Retired`].
    retired: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ownership {
    /// These synchronous writes are under way, and none of them has succeeded.
    Writing(Vec<Ticket>),
    Owned,
    /// Given up; its deletion is under way.
    Retiring,
    /// Deleted at this revision, which the cache has still to reach.
    Retired(Revision),
}

/// What a synchronous write makes of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Own,
    Leave,
}

impl LocalNames {
    pub(super) fn owned(&self) -> usize {
        self.names.values().filter(|ownership| **ownership == Ownership::Owned).count()
    }

    /// Whether what happens to the name is our own doing.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn origin(&self, name: &str) -> Origin {
        if self.contains(name) { Origin::Local } else { Origin::Remote }
    }

    /// Whether the name is to stay in the kvstore whatever others do.
    pub(super) fn is_owned(&self, name: &str) -> bool {
        self.names.get(name) == Some(&Ownership::Owned)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.names.keys()
    }

    /// The names whose keys are, or were, ours: not those we only try to write.
    pub(super) fn ours(&self) -> impl Iterator<Item = &KeyName> {
        let ours = |ownership: &Ownership| !matches!(ownership, Ownership::Writing(_));
        self.names.iter().filter(move |(_, ownership)| ours(ownership)).map(|(name, _)| name)
    }

    fn set(&mut self, name: &KeyName, ownership: Option<Ownership>) {
        self.lost.remove(name);
        self.retired += usize::from(matches!(ownership, Some(Ownership::Retired(_))));
        let old = match ownership {
            Some(ownership) => self.names.insert(name.clone(), ownership),
            None => self.names.remove(name),
        };
        self.retired -= usize::from(matches!(old, Some(Ownership::Retired(_))));
    }

    pub(super) fn own(&mut self, name: &KeyName) {
        self.set(name, Some(Ownership::Owned));
    }

    /// A synchronous write begins. It takes back a deletion under way.
    pub(super) fn write(&mut self, ticket: Ticket, name: &KeyName, then: Then) {
        match self.names.get_mut(name) {
            Some(Ownership::Writing(tickets)) if then == Then::Own => tickets.push(ticket),
            Some(Ownership::Retiring) => self.set(name, Some(Ownership::Writing(vec![ticket]))),
            Some(Ownership::Retired(_)) | None if then == Then::Own => {
                self.set(name, Some(Ownership::Writing(vec![ticket])));
            }
            Some(Ownership::Owned) if then == Then::Own => {}
            Some(Ownership::Owned | Ownership::Writing(_) | Ownership::Retired(_)) | None => return,
        }
        self.writes.insert(ticket, (name.clone(), then));
    }

    /// A synchronous write has ended; the name it decided about, and whether its key is now in the kvstore for good.
    pub(super) fn written(&mut self, ticket: Ticket, success: bool) -> Option<(KeyName, bool)> {
        let (name, then) = self.writes.remove(&ticket)?;
        let stored = success && then == Then::Own;
        // Of a write begun before the name was given up nobody wants to know.
        if let Some(Ownership::Writing(tickets)) = self.names.get_mut(&name)
            && let Some(index) = tickets.iter().position(|known| *known == ticket)
        {
            tickets.swap_remove(index);
            let last = tickets.is_empty();
            if stored {
                self.own(&name);
            } else if last {
                self.set(&name, None);
            }
        }
        Some((name, stored))
    }

    /// The name's key is in the kvstore for good. Whether that makes it ours again: when it was asked for, it had just
    /// been lost.
    pub(super) fn stored(&mut self, name: &KeyName) -> bool {
        let again = self.lost.contains(name);
        if again {
            self.own(name);
        }
        again
    }

    pub(super) fn retire(&mut self, name: &KeyName) {
        self.set(name, Some(Ownership::Retiring));
    }

    /// The deletion of a name given up has ended. Until the cache shows it, what happens is our doing.
    pub(super) fn retired(&mut self, name: &KeyName, at: Revision, reached: Revision) {
        if self.names.get(name) == Some(&Ownership::Retiring) {
            self.set(name, (at > reached).then_some(Ownership::Retired(at)));
        }
    }

    /// Somebody put the name: if that was after its deletion, it was not us.
    pub(super) fn put(&mut self, name: &KeyName, at: Revision) {
        if self.retired > 0 && matches!(self.names.get(name), Some(Ownership::Retired(gone)) if *gone < at) {
            self.set(name, None);
        }
    }

    /// The cache has reached `revision`: the names whose deletions it shows.
    pub(super) fn reached(&mut self, revision: Revision) -> Vec<KeyName> {
        self.forget(|gone| gone <= revision)
    }

    /// Revisions known so far mean nothing any more.
    pub(super) fn history_went_back(&mut self) {
        self.forget(|_| true);
    }

    fn forget(&mut self, over: impl Fn(Revision) -> bool) -> Vec<KeyName> {
        if self.retired == 0 {
            return Vec::new();
        }
        let over = |ownership: &Ownership| matches!(ownership, Ownership::Retired(gone) if over(*gone));
        let names: Vec<_> = self.names.iter().filter(|(_, of)| over(of)).map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.set(name, None));
        names
    }

    /// The name was lost to another owner, unless a newer wish decides about it.
    pub(super) fn lost(&mut self, name: &KeyName) {
        if self.is_owned(name.as_str()) {
            self.set(name, None);
            self.lost.insert(name.clone());
        }
    }
}
