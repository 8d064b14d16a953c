//! Whose name is whose, said as simply as can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::change::Origin;
use crate::key::KeyName;
use crate::kv::Revision;
use crate::own::{OwnEvent, Ticket};

/// The names that are ours in some way.
#[derive(Default)]
pub(super) struct Names {
    names: BTreeMap<KeyName, Ownership>,
    /// Synchronous writes, and whether their success makes the name ours.
    tickets: BTreeMap<Ticket, (KeyName, bool)>,
    /// Names lost and not asked for since.
    lost: BTreeSet<KeyName>,
}

enum Ownership {
    Owned,
    /// Ours if one of these synchronous writes succeeds.
    Writing(BTreeSet<Ticket>),
    /// Given up, until its deletion is done.
    Leaving,
    /// Deleted at this revision, which the cache has not reached.
    Left(Revision),
}

impl Names {
    pub(super) fn is_owned(&self, name: &KeyName) -> bool {
        matches!(self.names.get(name), Some(Ownership::Owned))
    }

    pub(super) fn contains(&self, name: &KeyName) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn origin(&self, name: &KeyName) -> Origin {
        if self.contains(name) { Origin::Local } else { Origin::Remote }
    }

    pub(super) fn own(&mut self, name: &KeyName) {
        self.lost.remove(name);
        self.names.insert(name.clone(), Ownership::Owned);
    }

    /// A synchronous write begins. A deletion under way is taken back.
    pub(super) fn write(&mut self, name: &KeyName, ticket: Ticket, adopt: bool) {
        match self.names.get_mut(name) {
            Some(Ownership::Leaving) => {
                self.names.insert(name.clone(), Ownership::Writing([ticket].into()));
            }
            _ if !adopt => return,
            Some(Ownership::Owned) => {}
            Some(Ownership::Writing(tickets)) => {
                tickets.insert(ticket);
            }
            Some(Ownership::Left(_)) | None => {
                self.names.insert(name.clone(), Ownership::Writing([ticket].into()));
            }
        }
        self.lost.remove(name);
        self.tickets.insert(ticket, (name.clone(), adopt));
    }

    pub(super) fn leave(&mut self, name: &KeyName) {
        self.lost.remove(name);
        self.names.insert(name.clone(), Ownership::Leaving);
    }

    /// Somebody wrote the name: after our deletion it is somebody else.
    pub(super) fn written(&mut self, name: &KeyName, at: Revision) {
        if matches!(self.names.get(name), Some(Ownership::Left(left)) if *left < at) {
            self.names.remove(name);
        }
    }

    /// The cache has reached a revision: the names that are nobody's business any more.
    pub(super) fn reached(&mut self, revision: Revision) -> Vec<KeyName> {
        let over = |ownership: &Ownership| matches!(ownership, Ownership::Left(left) if *left <= revision);
        let names: Vec<_> = self.names.iter().filter(|(_, of)| over(of)).map(|(name, _)| name.clone()).collect();
        self.names.retain(|_, ownership| !over(ownership));
        names
    }

    pub(super) fn history_went_back(&mut self) {
        self.names.retain(|_, ownership| !matches!(ownership, Ownership::Left(_)));
    }

    /// What became of our writes; the name it concerns.
    pub(super) fn sync_event(&mut self, event: &OwnEvent, reached: Revision) -> Option<KeyName> {
        match event {
            OwnEvent::Done { ticket, result } => {
                let (name, adopt) = self.tickets.remove(ticket)?;
                let ours = adopt && result.is_ok();
                match self.names.get_mut(&name) {
                    Some(Ownership::Writing(tickets)) => {
                        let (known, last) = (tickets.remove(ticket), tickets.is_empty());
                        if known && ours {
                            self.own(&name);
                        } else if known && last {
                            self.names.remove(&name);
                        }
                    }
                    None if ours && self.lost.contains(&name) => self.own(&name),
                    Some(_) | None => {}
                }
                Some(name)
            }
            OwnEvent::Deleted { name, revision, .. } => {
                if matches!(self.names.get(name), Some(Ownership::Leaving)) {
                    self.names.remove(name);
                    if *revision > reached {
                        self.names.insert(name.clone(), Ownership::Left(*revision));
                    }
                }
                Some(name.clone())
            }
            OwnEvent::Lost { name } => {
                if self.is_owned(name) {
                    self.names.remove(name);
                    self.lost.insert(name.clone());
                }
                Some(name.clone())
            }
            OwnEvent::Stored { name, .. } => {
                if self.lost.contains(name) {
                    self.own(name);
                }
                Some(name.clone())
            }
            OwnEvent::Conflict { .. }
            | OwnEvent::SetAside { .. }
            | OwnEvent::LeaseLost { .. }
            | OwnEvent::BackendFailed(_)
            | OwnEvent::HistoryWentBack
            | OwnEvent::Closed { .. } => None,
        }
    }
}
