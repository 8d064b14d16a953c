//! A publisher, its watch and its requests, each message between them delayed at will.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;

use super::item::Dice;
use super::link::Link;
use super::party::{Party, SILENCE, Shell};
use super::requests::Requests;
use super::seeds::Trace;
use super::wants::Wants;
use super::world::{TOO_LARGE, Truth, World};
use crate::config::{Config, ConflictPolicy};
use crate::key::KeyName;
use crate::kv::{Event, LeaseId, Revision};
use crate::own::{OwnEvent, Request, Ticket};
use crate::prefix::Prefix;
use crate::publisher::{CanaryState, PublishEvent, PublishRequestId, Publisher};
use crate::status::State;
use crate::watch::{Delivery, Watch};

/// What happens to the keys of one that leaves.
#[derive(Clone, Copy, PartialEq)]
enum Leave {
    /// They are deleted.
    Close,
    /// They stay until their lease expires.
    Release,
}

/// One publisher.
pub(super) struct Publishing {
    shell: Shell,
    /// Where its canary goes; not every one has any.
    canaries: Option<Prefix>,
    pub(super) publisher: Publisher,
    requests: Requests<PublishRequestId>,
    wants: Wants,
    /// The newest revision that the watch has told.
    revision: Revision,
    /// The step at which the watch began, in the newest history it knows.
    began: u64,
    /// Own keys that are said not to be there.
    refused: BTreeSet<KeyName>,
    /// The keys the canary vouches for; `None` while the owner has not said that all keys are given.
    stands_for: Option<BTreeSet<KeyName>>,
    /// The canary's newest value.
    canary: Bytes,
    /// Who waits for which keys.
    waiting: BTreeMap<Ticket, BTreeSet<KeyName>>,
    next: u64,
    /// How it was told to leave.
    leaves: Option<Leave>,
    /// The step at which it began to leave.
    left_at: u64,
    /// It has left.
    closed: bool,
    /// A key was deleted by leaving while the canary was there.
    outlived: bool,
}

impl Publishing {
    pub(super) fn new(config: Config, names: Vec<KeyName>, seed: u64, dice: &mut Dice, trace: Trace) -> Self {
        // Each has its own: of two that share one, both could say the same.
        let own = Prefix::canaries(&format!("{seed}")).expect("it is a prefix");
        let canaries = (!dice.one_in(4)).then_some(own);
        let link = Link::new(Watch::from_now(config.prefix.range(), SILENCE, seed), dice);
        Self {
            publisher: Publisher::new(&config, 3, canaries.clone().map(|canaries| config.prefix.canary(canaries))),
            canaries,
            requests: Requests::new(dice, config.conflict, trace),
            wants: Wants::new(&config),
            revision: Revision::ZERO,
            began: 0,
            refused: BTreeSet::new(),
            stands_for: None,
            canary: Bytes::new(),
            waiting: BTreeMap::new(),
            next: 0,
            leaves: None,
            left_at: 0,
            closed: false,
            outlived: false,
            shell: Shell::new(config, names, link, trace),
        }
    }

    /// Where the canary is.
    pub(super) fn canary_path(&self) -> Option<Bytes> {
        Some(self.canaries.as_ref()?.path(&self.canary_name()))
    }

    fn canary_name(&self) -> KeyName {
        KeyName::new(self.shell.config.prefix.as_str()).expect("it is a name")
    }

    // What it says.

    /// Performs what the machine asks for, and checks what it says.
    fn events(&mut self, world: &World, now: Instant) {
        loop {
            while let Some((id, request)) = self.publisher.poll_request(now) {
                self.requests.send(id, request);
            }
            while let Some(event) = self.publisher.poll_event() {
                self.shell.say(|| format!("    {event:?}"));
                self.event(world, event);
            }
            if !self.publisher.canary_is_due() {
                return;
            }
            let keys = self.stands_for.as_ref().expect("nobody has said that all keys are given");
            self.are_in(world, keys, |lease| self.publisher.keys().leases().contains(&lease));
            self.next += 1;
            self.canary = format!("canary {}", self.next).into();
            self.shell.say(|| format!("    the canary is due: {:?}", self.canary));
            self.publisher.write_canary(now, self.canary.clone());
        }
    }

    fn event(&mut self, world: &World, event: PublishEvent) {
        match event {
            PublishEvent::Keys(event) => {
                match &event {
                    OwnEvent::Stored { name, revision } => {
                        self.refused.remove(name);
                        let (_, want) = self.wants.owned().find(|(own, _)| *own == name).expect("it is wanted");
                        let had = world.was(
                            &self.path(name),
                            |value, lease| value == want && self.granted(lease),
                            self.began,
                        );
                        assert!(had, "{name} is said to be stored at {revision} and was never");
                    }
                    OwnEvent::SetAside { name, .. } | OwnEvent::StillSetAside { name } | OwnEvent::Lost { name } => {
                        self.refused.insert(name.clone());
                    }
                    OwnEvent::Conflict { name, policy, .. } if *policy != ConflictPolicy::Overwrite => {
                        self.refused.insert(name.clone());
                    }
                    OwnEvent::LeaseLost { .. } => self.takes_back(),
                    OwnEvent::HistoryChanged => self.shell.told_history_changed = true,
                    OwnEvent::Closed { .. } => panic!("{event:?}"),
                    OwnEvent::Conflict { .. }
                    | OwnEvent::Done { .. }
                    | OwnEvent::Repaired { .. }
                    | OwnEvent::Released { .. }
                    | OwnEvent::NoLongerSetAside { .. }
                    | OwnEvent::BackendFailed(_) => {}
                }
                self.wants.event(world, self.publisher.keys(), &event);
            }
            PublishEvent::Canary(event) => match event {
                OwnEvent::LeaseLost { .. } => self.takes_back(),
                OwnEvent::HistoryChanged => self.shell.told_history_changed = true,
                OwnEvent::Conflict { .. } | OwnEvent::Lost { .. } | OwnEvent::Closed { .. } | OwnEvent::Done { .. } => {
                    panic!("{event:?} of the canary")
                }
                OwnEvent::Stored { .. }
                | OwnEvent::Repaired { .. }
                | OwnEvent::Released { .. }
                | OwnEvent::SetAside { .. }
                | OwnEvent::StillSetAside { .. }
                | OwnEvent::NoLongerSetAside { .. }
                | OwnEvent::BackendFailed(_) => {}
            },
            PublishEvent::Synced { ticket } => {
                let keys = self.waiting.remove(&ticket).expect("a ticket is answered once");
                self.are_in(world, &keys, |lease| self.granted(lease));
                if let Some(path) = self.canary_path() {
                    let canary = |value: &Bytes, lease| *value == self.canary && self.granted(lease);
                    assert!(world.was(&path, canary, self.began), "synced without the canary");
                }
            }
            PublishEvent::Closed { left } => {
                self.closed = true;
                let left: Vec<_> = left.iter().map(|(name, _)| name).collect();
                assert!(!self.outlived || left.contains(&&self.canary_name()), "the canary outlived a key");
                self.has_left(world, &left);
            }
        }
    }

    /// After a loss the canary vouches for all keys.
    fn takes_back(&mut self) {
        if let Some(keys) = &mut self.stands_for {
            *keys = self.wants.owned().map(|(name, _)| name.clone()).collect();
        }
    }

    fn path(&self, name: &KeyName) -> Bytes {
        self.shell.config.prefix.path(name)
    }

    fn granted(&self, lease: LeaseId) -> bool {
        self.requests.granted.contains(&lease)
    }

    /// All these keys were put under such a lease, or are said to be refused.
    fn are_in(&self, world: &World, names: &BTreeSet<KeyName>, lease: impl Fn(LeaseId) -> bool) {
        for name in names.iter().filter(|name| !self.refused.contains(*name)) {
            let is_in = world.was(&self.path(name), |_, under| lease(under), self.began);
            assert!(is_in, "{name} is said to be in the kvstore and was never");
        }
    }

    /// What it said about what it leaves behind.
    fn has_left(&self, world: &World, left: &[&KeyName]) {
        if self.leaves == Some(Leave::Close) && world.went_back_since(self.left_at) {
            // A kvstore that is set back meanwhile shows keys again that were deleted, until their leases end.
        } else if self.leaves == Some(Leave::Close) {
            for kv in world.all().iter().filter(|kv| self.granted(kv.lease)) {
                let name = self.shell.config.prefix.strip(&kv.path).expect("it was written by its name");
                assert!(left.contains(&&name), "{name} was left, untold");
            }
            let canary = self.canary_path().and_then(|path| world.get(&path)).filter(|kv| self.granted(kv.lease));
            assert!(canary.is_none() || left.contains(&&self.canary_name()), "the canary was left, untold");
        } else {
            for (name, want) in self.wants.owned().filter(|(name, _)| !left.contains(name)) {
                let is_in = |value: &Bytes, lease| value == want && self.granted(lease);
                let is_in = world.was(&self.path(name), is_in, self.began);
                assert!(is_in || self.refused.contains(name), "{name} = {want:?} was not written, untold");
            }
        }
    }

    // What the owner wants.

    fn put(&mut self, name: &KeyName, value: Bytes, now: Instant) {
        if self.leaves.is_none() {
            self.wants.put(name, value.clone());
            if self.refused.contains(name) {
                // It sets out again, behind those that are waited for.
                self.not_waited_for(name);
            }
        }
        self.publisher.put(now, name.clone(), value);
    }

    fn not_waited_for(&mut self, name: &KeyName) {
        for keys in self.waiting.values_mut().chain(&mut self.stands_for) {
            keys.remove(name);
        }
    }

    fn synced(&mut self, now: Instant) {
        let keys: BTreeSet<_> = self.wants.owned().map(|(name, _)| name.clone()).collect();
        self.next += 1;
        self.waiting.insert(Ticket(self.next), keys.clone());
        self.stands_for.get_or_insert(keys);
        self.publisher.synced(now, Ticket(self.next));
    }

    fn leave(&mut self, world: &World, how: Leave) {
        if self.leaves.is_none() {
            (self.leaves, self.left_at) = (Some(how), world.steps);
        }
    }

    /// Another process begins.
    fn begin(&mut self, link: Link) {
        self.publisher = {
            let canaries = self.canaries.clone();
            let canary = canaries.map(|canaries| self.shell.config.prefix.canary(canaries));
            Publisher::new(&self.shell.config, 3, canary)
        };
        self.wants = Wants::new(&self.shell.config);
        (self.revision, self.began) = (Revision::ZERO, 0);
        self.refused.clear();
        self.stands_for = None;
        self.waiting.clear();
        (self.leaves, self.closed, self.outlived) = (None, false, false);
        self.requests.granted.clear();
        self.shell.replace(link);
    }

    fn link(config: &Config, dice: &mut Dice) -> Link {
        Link::new(Watch::from_now(config.prefix.range(), SILENCE, dice.0.u64(..)), dice)
    }

    // Once everything is quiet.

    pub(super) fn check_truth(&self, world: &World, truth: &Truth) {
        let there = self.canary_path().and_then(|path| world.get(&path));
        if self.closed {
            let left = truth.iter().find(|(_, (_, _, lease))| self.granted(*lease));
            assert!(left.is_none() && there.is_none(), "{left:?} and {there:?} have outlived their leases");
            return;
        }
        assert!(self.leaves.is_none(), "it never leaves");
        let status = self.publisher.status();
        assert_eq!((&status.state, status.pending), (&State::Synced, 0));
        assert!(self.waiting.is_empty(), "questions never answered");
        self.wants.check(self.publisher.keys(), truth);
        let refused: BTreeSet<_> = status.refused.into_iter().map(|(name, _)| name).collect();
        for (name, want) in self.wants.owned() {
            let is_in = want != TOO_LARGE && truth.get(name).is_some_and(|(value, ..)| value == want);
            assert_eq!(refused.contains(name), !is_in, "{name} = {want:?}: refused");
        }
        let Some(canary) = status.canary else { return };
        assert_eq!(there.is_some(), self.stands_for.is_some(), "the canary");
        if let Some(there) = there {
            assert_eq!((&there.value, canary), (&self.canary, CanaryState::Written { revision: there.mod_revision }));
            assert!(self.granted(there.lease), "the canary would outlive its owner");
        }
    }
}

impl Party for Publishing {
    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn take_delivery(&mut self, world: &World, delivery: Delivery, now: Instant) {
        match &delivery {
            Delivery::Began { revision, .. } => self.revision = *revision,
            Delivery::Page(page) if page.last => self.revision = page.revision,
            Delivery::Progress(revision) => self.revision = *revision,
            Delivery::Events(events) => self.revision = events.last().map_or(self.revision, Event::revision),
            Delivery::Page(_) | Delivery::Live | Delivery::Broken(_) | Delivery::Audited(_) => {}
        }
        if let Delivery::Began { same_history, .. } = delivery {
            if !same_history || self.began == 0 {
                self.began = world.steps;
            }
            if !same_history {
                self.takes_back();
            }
        }
        self.publisher.deliver(now, delivery).expect("it is of a watch from now");
        self.events(world, now);
    }

    fn command(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        if self.closed {
            return;
        }
        let (name, value, kind) = (self.shell.name(dice), Bytes::from(dice.0.u32(..6).to_string()), dice.0.u32(..48));
        self.shell.say(|| format!("publisher: command {kind} {name} {value:?}"));
        match kind {
            0..24 => self.put(&name, value, now),
            24..46 if self.leaves.is_some() => {}
            24..34 => {
                let ticket = self.wants.delete(&name, world.steps);
                self.not_waited_for(&name);
                self.refused.remove(&name);
                self.publisher.delete(now, name, Some(ticket));
            }
            34..46 => self.synced(now),
            46 => {
                self.leave(world, Leave::Close);
                self.publisher.close(now);
            }
            _ => {
                self.leave(world, Leave::Release);
                self.publisher.release(now);
            }
        }
        self.events(world, now);
    }

    fn perform(&mut self, world: &mut World, dice: &mut Dice, now: Instant) -> bool {
        let Some((id, request)) = self.requests.pick(dice) else { return false };
        if let (PublishRequestId::Keys(_), Request::Revoke(_)) = (&id, &request) {
            // A kvstore that is set back meanwhile shows a canary again that was taken back, until its lease ends.
            let canary = self.canary_path().filter(|_| !world.went_back_since(self.left_at));
            let canary = canary.and_then(|path| world.get(&path));
            self.outlived |= canary.is_some_and(|kv| self.granted(kv.lease));
        }
        // A canary of an earlier process says the same.
        let (keys, canary) = (self.publisher.keys(), matches!(id, PublishRequestId::Canary(_)));
        self.requests.perform((id, request), world, dice, now, |lease| canary || keys.is_ours(lease))
    }

    fn answer(&mut self, world: &World, dice: &mut Dice, now: Instant) -> bool {
        let Some((id, answer)) = self.requests.answer(dice) else { return false };
        self.publisher.answer(now, id, answer);
        self.events(world, now);
        true
    }

    fn lose_requests(&mut self, world: &mut World, dice: &mut Dice, now: Instant) {
        self.requests.lose(world, dice);
        self.publisher.requests_lost(now);
        self.events(world, now);
    }

    fn lose_watch(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        self.publisher.watch_ended(now);
        self.shell.replace(Self::link(&self.shell.config, dice));
        self.events(world, now);
    }

    fn restart(&mut self, world: &mut World, dice: &mut Dice, _: Instant) {
        if dice.one_in(2) {
            self.shell.config.owner = Some(dice.0.u64(..).to_string());
        }
        self.requests.lose(world, dice);
        let link = Self::link(&self.shell.config, dice);
        self.begin(link);
    }

    fn timeout(&mut self, world: &World, now: Instant) {
        self.events(world, now);
    }

    fn heal(&mut self) {
        (self.shell.link.faults, self.requests.faults) = (0, 0);
    }

    fn leases(&self) -> Vec<LeaseId> {
        self.requests.granted.iter().copied().collect()
    }

    fn watched(&self) -> Revision {
        self.revision
    }

    fn knows(&self) -> Revision {
        self.publisher.newest().max(self.revision)
    }

    fn is_synced(&self) -> bool {
        self.closed || *self.publisher.state() == State::Synced
    }

    fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    fn writes(&self) -> u64 {
        // Whether the canary is there is asked whenever the watch is open again.
        self.publisher.keys().stats().writes
    }

    fn deadline(&self) -> Option<Instant> {
        self.publisher.deadline()
    }
}
