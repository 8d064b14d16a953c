//! What an owner wants of its names, what it was told of them, and whether that agrees with the kvstore.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::world::{TOO_LARGE, Truth, World};
use crate::config::{Config, ConflictPolicy};
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::own::{OwnEvent, OwnKeys, Ticket, WriteError};
use crate::prefix::Prefix;

pub(super) struct Wants {
    prefix: Prefix,
    policy: ConflictPolicy,
    /// What it wants of a name: a value, or that it is gone.
    values: BTreeMap<KeyName, Option<Bytes>>,
    /// Names written once since they were last given up.
    once: BTreeSet<KeyName>,
    /// Own keys that were stored since they were given.
    had: BTreeSet<KeyName>,
    /// The write of another owner that was reported last.
    conflicts: BTreeMap<KeyName, Revision>,
    tickets: HashMap<Ticket, Asked>,
    next: u64,
}

/// What a key is once a synchronous write has put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afterwards {
    Owned,
    Unowned,
}

/// A command whose answer is awaited.
struct Asked {
    name: KeyName,
    /// The value of a write, and what the key is then; `None` for a deletion.
    write: Option<(Bytes, Afterwards)>,
    step: u64,
}

impl Wants {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            prefix: config.prefix.clone(),
            policy: config.conflict,
            values: BTreeMap::new(),
            once: BTreeSet::new(),
            had: BTreeSet::new(),
            conflicts: BTreeMap::new(),
            tickets: HashMap::new(),
            next: 0,
        }
    }

    // Commands.

    pub(super) fn put(&mut self, name: &KeyName, value: Bytes) {
        self.values.insert(name.clone(), Some(value));
    }

    /// A synchronous write. It takes back a deletion.
    pub(super) fn write(&mut self, name: &KeyName, value: Bytes, after: Afterwards, step: u64) -> Ticket {
        if self.values.get(name) == Some(&None) {
            self.values.remove(name);
        }
        self.once.insert(name.clone());
        self.ask(Asked { name: name.clone(), write: Some((value, after)), step })
    }

    pub(super) fn delete(&mut self, name: &KeyName, step: u64) -> Ticket {
        self.values.insert(name.clone(), None);
        self.once.remove(name);
        self.had.remove(name);
        self.ask(Asked { name: name.clone(), write: None, step })
    }

    fn ask(&mut self, asked: Asked) -> Ticket {
        self.next += 1;
        self.tickets.insert(Ticket(self.next), asked);
        Ticket(self.next)
    }

    /// The keys it owns.
    pub(super) fn owned(&self) -> impl Iterator<Item = (&KeyName, &Bytes)> {
        self.values.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)))
    }

    // What it is told.

    /// Checks what has happened against what the kvstore was and what was said before.
    pub(super) fn event(&mut self, world: &World, own: &OwnKeys, event: &OwnEvent) {
        match event {
            OwnEvent::Done { ticket, result } => self.done(world, own, *ticket, result),
            OwnEvent::Stored { name, .. } => {
                assert!(matches!(self.values.get(name), Some(Some(_))), "{name} was stored and is not wanted");
                self.had.insert(name.clone());
            }
            OwnEvent::Conflict { name, revision, lease, policy } => {
                assert!(
                    *policy == self.policy && *lease != LeaseId::NONE && !own.leases().contains(lease),
                    "{event:?}"
                );
                self.conflicts.insert(name.clone(), *revision);
            }
            OwnEvent::Lost { name } => {
                assert_eq!(self.policy, ConflictPolicy::Fail, "{name} was given up");
                assert!(self.had.remove(name), "{name} was lost and never had");
                assert!(self.conflicts.contains_key(name), "{name} was lost, and nothing says to whom");
                self.values.remove(name);
            }
            OwnEvent::Repaired { name, .. } => {
                assert!(self.had.contains(name), "{name} was repaired and never had");
            }
            OwnEvent::Released { .. }
            | OwnEvent::SetAside { .. }
            | OwnEvent::StillSetAside { .. }
            | OwnEvent::NoLongerSetAside { .. }
            | OwnEvent::LeaseLost { .. }
            | OwnEvent::HistoryChanged
            | OwnEvent::Closed { .. }
            | OwnEvent::BackendFailed(_) => {}
        }
    }

    fn done(&mut self, world: &World, own: &OwnKeys, ticket: Ticket, result: &Result<Revision, WriteError>) {
        let Asked { name, write, step } = self.tickets.remove(&ticket).expect("a ticket is answered once");
        let path = self.prefix.path(&name);
        match (write, result) {
            (Some((value, after)), Ok(revision)) => {
                let had = world.had(&path, &value, *revision, step);
                assert!(had, "{name} was acknowledged and never so at {revision}");
                if after == Afterwards::Owned {
                    self.values.insert(name, Some(value));
                }
            }
            (None, Ok(_)) => {
                let ours = |lease| own.leases().contains(&lease);
                assert!(!world.has_been(&path, ours, step), "the deletion of {name} was acknowledged and not done");
            }
            (_, Err(WriteError::Conflict { .. } | WriteError::NotOwned { .. })) => {
                let owned = matches!(self.values.get(&name), Some(Some(_)));
                assert!(self.policy != ConflictPolicy::Overwrite || !owned, "{name} was left to another");
            }
            (Some((_, Afterwards::Unowned)), Err(WriteError::Owned)) => {
                assert!(matches!(self.values.get(&name), Some(Some(_))), "{name} is not owned");
            }
            (_, Err(error)) => assert_ne!(*error, WriteError::Owned, "{name}"),
        }
    }

    // Once everything is quiet.

    /// Own keys against the kvstore itself.
    pub(super) fn check(&self, own: &OwnKeys, truth: &Truth) {
        let stats = own.stats();
        assert_eq!(stats.pending, 0, "own keys are not done");
        assert!(self.tickets.is_empty(), "tickets never answered");
        let aside: Vec<_> = stats.set_aside.iter().map(|(name, _)| name).collect();
        for (name, want) in &self.values {
            let is = truth.get(name);
            let ours = is.is_some_and(|(_, _, lease)| own.leases().contains(lease));
            let Some(want) = want else {
                assert!(!ours, "{name} was given up and is there");
                continue;
            };
            let theirs = is.filter(|(value, _, lease)| *lease != LeaseId::NONE && !ours && value != want);
            let refused = aside.contains(&name);
            assert!(!refused || want == TOO_LARGE, "{name} = {want:?} is set aside");
            if let Some((_, revision, _)) = theirs.filter(|_| !refused) {
                assert_ne!(self.policy, ConflictPolicy::Overwrite, "own {name} was left to another");
                assert_eq!(self.conflicts.get(name), Some(revision), "own {name} was left to another, untold");
                let lost = self.policy == ConflictPolicy::Fail && self.had.contains(name);
                assert!(!lost, "own {name} was lost, untold");
            } else if want == TOO_LARGE {
                assert!(refused, "{name} cannot be written, and nothing says so");
            } else {
                let (value, _, lease) = is.unwrap_or_else(|| panic!("own {name} is not there"));
                assert_eq!(value, want, "own {name} has the wrong value");
                assert_ne!(*lease, LeaseId::NONE, "own {name} would outlive its owner");
            }
        }
        for name in aside {
            assert_eq!(self.values.get(name), Some(&Some(TOO_LARGE.into())), "{name} is set aside");
        }
        for (name, (value, _, lease)) in truth {
            if own.leases().contains(lease) {
                let wanted = matches!(self.values.get(name), Some(Some(want)) if want == value || want == TOO_LARGE);
                assert!(wanted || self.once.contains(name), "{name} = {value:?} is under a lease of ours, unwanted");
            }
        }
    }
}
