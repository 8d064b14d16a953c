//! A simple, truthful stand-in for the machine that writes: it knows of the kvstore only what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::item::Dice;
use crate::backend::memory::Mvcc;
use crate::backend::{Expect, Write, WriteAction, WriteOutcome};
use crate::config::ConflictPolicy;
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::prefix::Prefix;
use crate::store::SyncInput;
use crate::sync::{Command, Observation, Seen, SyncEvent, Ticket, WriteError};

const TTL: Duration = Duration::from_secs(100_000);

/// Writes what the store wants written, some time.
pub(super) struct Owner {
    prefix: Prefix,
    names: BTreeMap<KeyName, Local>,
    lease: Option<LeaseId>,
    pub(super) events: VecDeque<SyncEvent>,
    /// The newest revision a write was answered with.
    pub(super) answered: Revision,
    /// Whether a name that another writes is left to them.
    yields: bool,
    pub(super) fails: bool,
}

#[derive(Default)]
struct Local {
    put: Option<Bytes>,
    once: Option<(Ticket, Bytes, bool)>,
    delete: bool,
    tickets: Vec<Ticket>,
    as_of: Revision,
    known: Option<Seen>,
    dirty: bool,
}

impl Owner {
    pub(super) fn new(prefix: &Prefix, dice: &mut Dice) -> Self {
        Self {
            prefix: prefix.clone(),
            names: BTreeMap::new(),
            lease: None,
            events: VecDeque::new(),
            answered: Revision::ZERO,
            yields: dice.one_in(3),
            fails: true,
        }
    }

    /// What is to be in the kvstore for good, and under which lease.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (&KeyName, &Bytes, Option<LeaseId>)> {
        self.names.iter().filter_map(|(name, local)| Some((name, local.put.as_ref()?, self.lease)))
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.events.is_empty() || self.names.values().any(|local| local.dirty)
    }

    pub(super) fn lease(&self) -> Option<LeaseId> {
        self.lease
    }

    pub(super) fn take(&mut self, input: SyncInput) {
        match input {
            SyncInput::Command(command) => self.command(command),
            SyncInput::Observed(observation) => self.observe(observation),
            SyncInput::Forget => {
                for local in self.names.values_mut() {
                    (local.as_of, local.known, local.dirty) = (Revision::ZERO, None, true);
                }
                self.answered = Revision::ZERO;
                self.lease = None;
            }
            SyncInput::BackendUp | SyncInput::Owners(_) => {}
        }
    }

    fn command(&mut self, command: Command) {
        let (name, put, once, delete) = match command {
            Command::Put { name, value } => (name, Some(value), None, None),
            Command::PutSync { ticket, name, value } => (name, None, Some((ticket, value, true)), None),
            Command::PutOnce { ticket, name, value } => (name, None, Some((ticket, value, false)), None),
            Command::Delete { name, ticket } => (name, None, None, Some(ticket)),
            Command::Close { .. } | Command::Release { .. } => return,
        };
        let local = self.names.entry(name).or_default();
        local.dirty = true;
        if let Some((ticket, ..)) = local.once.take() {
            self.events.push_back(SyncEvent::Done { ticket, result: Err(WriteError::Superseded) });
        }
        if let Some(ticket) = delete {
            local.put = None;
            local.delete = true;
            local.tickets.extend(ticket);
            return;
        }
        for ticket in local.tickets.drain(..) {
            self.events.push_back(SyncEvent::Done { ticket, result: Err(WriteError::Superseded) });
        }
        local.delete = false;
        local.once = once;
        local.put = put.or(local.put.take());
    }

    fn observe(&mut self, Observation { name, revision, state }: Observation) {
        let Some(local) = self.names.get_mut(&name) else { return };
        if revision <= local.as_of {
            return;
        }
        (local.as_of, local.known) = (revision, state);
        let Some(put) = &local.put else { return };
        let damaged = state.is_none_or(|seen| seen.hash != value_hash(put) || Some(seen.lease) != self.lease);
        local.dirty |= damaged;
        let Some(theirs) = state.filter(|theirs| damaged && Some(theirs.lease) != self.lease) else { return };
        let (lease, policy) = (theirs.lease, ConflictPolicy::Overwrite);
        self.events.push_back(SyncEvent::Conflict { name: name.clone(), revision, lease, policy });
        if self.yields && local.once.is_none() && theirs.hash != value_hash(put) {
            self.names.remove(&name);
            self.events.push_back(SyncEvent::Lost { name });
        }
    }

    fn our_lease(&mut self, mvcc: &mut Mvcc, now: Instant) -> LeaseId {
        let alive = self.lease.filter(|lease| mvcc.keep_alive(*lease, now).is_ok());
        let lease = alive.unwrap_or_else(|| mvcc.grant(LeaseId::NONE, TTL, now).expect("the lease is possible").lease);
        self.lease = Some(lease);
        lease
    }

    fn write(&mut self, mvcc: &mut Mvcc, name: &KeyName, action: WriteAction) -> Revision {
        let write = Write { path: self.prefix.path(name), expect: Expect::Any, action };
        let Ok(WriteOutcome::Committed { revision }) = mvcc.write(vec![write]) else { panic!("the write is possible") };
        self.answered = revision;
        revision
    }

    /// Does what is to be done for one name; in words.
    pub(super) fn perform(&mut self, mvcc: &mut Mvcc, dice: &mut Dice, now: Instant) -> Option<String> {
        let dirty: Vec<_> = self.names.iter().filter(|(_, local)| local.dirty).map(|(name, _)| name.clone()).collect();
        let name = dirty.get(dice.0.usize(..dirty.len().max(1)))?.clone();
        let mut local = self.names.remove(&name)?;
        let fails = self.fails && dice.one_in(4);
        let lease = self.our_lease(mvcc, now);
        local.dirty = false;
        let value = local.once.as_ref().map(|(_, value, _)| value).or(local.put.as_ref()).cloned();
        let Some(value) = value else {
            let foreign = local.known.filter(|seen| seen.lease != lease);
            let at = if foreign.is_some() { local.as_of } else { self.write(mvcc, &name, WriteAction::Delete) };
            for ticket in local.tickets {
                self.events.push_back(SyncEvent::Done { ticket, result: Ok(at) });
            }
            if local.delete {
                self.events.push_back(SyncEvent::Deleted { name: name.clone(), revision: at, late: false });
            }
            return Some(format!("delete own {name} at {at}"));
        };
        let hash = value_hash(&value);
        let there = local.known.filter(|seen| seen.hash == hash && seen.lease == lease);
        let mut revision = there.map(|seen| seen.mod_revision);
        let words = format!("put own {name} {value:?}, there {revision:?}, fails {fails}");
        if revision.is_none() && (!fails || dice.one_in(2)) {
            let written = self.write(mvcc, &name, WriteAction::Put { value, lease });
            if !fails {
                (local.as_of, local.known) = (written, Some(Seen { hash, mod_revision: written, lease }));
                revision = Some(written);
            }
        }
        match (local.once.take(), revision) {
            (Some((ticket, value, adopt)), Some(revision)) => {
                self.events.push_back(SyncEvent::Done { ticket, result: Ok(revision) });
                local.put = if adopt { Some(value) } else { local.put };
                local.dirty = !adopt && local.put.is_some();
            }
            (Some((ticket, ..)), None) => {
                let error = WriteError::TimedOut { after: Duration::ZERO, cause: None };
                self.events.push_back(SyncEvent::Done { ticket, result: Err(error) });
                local.dirty = local.put.is_some();
            }
            (None, Some(revision)) => self.events.push_back(SyncEvent::Stored { name: name.clone(), revision }),
            (None, None) => local.dirty = true,
        }
        if local.put.is_some() || local.dirty {
            self.names.insert(name, local);
        }
        Some(words)
    }
}
