//! One collaborator: its watch, its store and its requests, each message between them delayed at will.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use super::auditor::Auditor;
use super::item::{Dice, Item};
use super::link::Link;
use super::model::{Model, Own};
use super::observer::Observer;
use super::party::{Party, SILENCE, Shell};
use super::reads::Reading;
use super::requests::Requests;
use super::restart::Left;
use super::seeds::Trace;
use super::wants::{Afterwards, Wants};
use super::world::World;
use crate::config::Config;
use crate::index::Index;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::outbox::ObserverId;
use crate::own::{Lifetime, OwnEvent, RequestId};
use crate::reader::Reader;
use crate::status::State;
use crate::store::Store;
use crate::watch::{Delivery, Reached, Watch};

/// One collaborator.
pub(super) struct Member {
    pub(super) shell: Shell,
    pub(super) auditor: Auditor,
    pub(super) reading: Reading,
    pub(super) store: Store<Item>,
    pub(super) reader: Reader<Item>,
    pub(super) model: Model,
    pub(super) observers: BTreeMap<ObserverId, Observer>,
    requests: Requests<RequestId>,
    pub(super) wants: Wants,
    /// The step at which the list under way, or the last one, began.
    listed_at: u64,
    /// The snapshots that its processes have left.
    pub(super) left: Vec<Left>,
}

pub(super) fn indexes() -> Vec<Index<Item>> {
    vec![Index::new("value", |item: &Item| vec![item.value.to_string()])]
}

impl Member {
    pub(super) fn new(config: Config, names: Vec<KeyName>, seed: u64, dice: &mut Dice, trace: Trace) -> Self {
        let store = Store::new(&config, indexes());
        let link = Link::new(Watch::new(config.prefix.range(), SILENCE, seed), dice);
        Self {
            auditor: Auditor::new(&config.prefix, seed, dice),
            reading: Reading::new(&link.watch, seed),
            reader: store.reader(),
            store,
            model: Model::new(&config),
            observers: BTreeMap::new(),
            requests: Requests::new(dice, config.conflict, trace),
            wants: Wants::new(&config),
            listed_at: 0,
            left: Vec::new(),
            shell: Shell::new(config, names, link, trace),
        }
    }

    pub(super) fn say(&self, words: impl FnOnce() -> String) {
        self.shell.say(words);
    }

    fn poll_events(&mut self) -> Vec<OwnEvent> {
        std::iter::from_fn(|| self.store.poll_event()).collect()
    }

    /// What has happened to own keys: every answer is checked against what the kvstore was.
    fn take_events(&mut self, world: &World, events: Vec<OwnEvent>) {
        self.model.own = Own::of(self.store.own());
        for event in events {
            self.say(|| format!("    {event:?}"));
            self.model.event(&event);
            self.wants.event(world, self.store.own(), &event);
            assert!(!matches!(event, OwnEvent::Closed { .. }), "nobody closes a store");
            self.shell.told_history_changed |= event == OwnEvent::HistoryChanged;
        }
    }

    /// Takes what has happened, and sends what follows, until nothing does.
    fn events(&mut self, world: &World, now: Instant) {
        let events = self.poll_events();
        self.take_events(world, events);
        if let Some((id, request)) = self.store.poll_request(now) {
            self.requests.send(id, request);
            return self.events(world, now);
        }
        if self.store.has_events() {
            self.events(world, now);
        }
    }

    /// The process ends: what was under way is lost, but for some requests that arrive afterwards.
    pub(super) fn crash(&mut self, world: &mut World, dice: &mut Dice, store: Store<Item>) {
        let config = &self.shell.config;
        self.requests.lose(world, dice);
        self.requests.granted.clear();
        self.wants = Wants::new(config);
        (self.reader, self.store, self.model) = (store.reader(), store, Model::new(config));
        self.auditor = Auditor::new(&config.prefix, dice.0.u64(..), dice);
        self.observers.clear();
    }
}

impl Party for Member {
    fn shell(&self) -> &Shell {
        &self.shell
    }

    fn shell_mut(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn take_delivery(&mut self, world: &World, delivery: Delivery, now: Instant) {
        self.auditor.audit.delivered(&delivery);
        let reached = Reached::by(&delivery);
        if matches!(&delivery, Delivery::Page(page) if page.first) {
            self.listed_at = world.steps;
        }
        self.model.own = Own::of(self.store.own());
        if let Err(refused) = self.store.deliver(now, delivery.clone()) {
            // Only a snapshot can be ahead of the first list, which a watch has begun that knew nothing of it; and pages of one
            // revision are of two histories if the kvstore is set back between them and reaches that revision again.
            let ahead = self.model.restored && !self.model.listed;
            assert!(ahead || world.went_back_since(self.listed_at), "{refused}");
            self.say(|| format!("    {refused}"));
            return self.shell.relist();
        }
        let events = self.poll_events();
        self.model.own.lost(&events);
        self.model.deliver(now, &delivery);
        if self.model.listed {
            self.observers.values_mut().for_each(|observer| observer.begin(&self.model));
        }
        self.take_events(world, events);
        self.events(world, now);
        self.reached(world, now, reached);
    }

    fn command(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        let (name, value) = (self.shell.name(dice), dice.0.u32(..6));
        let item = Item { name: name.to_string(), value };
        let (bytes, kind) = (Bytes::from(value.to_string()), dice.0.u32(..7));
        self.say(|| format!("command {kind} {name} {value}"));
        match kind {
            0..2 => {
                self.wants.put(&name, bytes);
                self.store.put_local(now, &item).expect("it has an encoding");
            }
            2..5 => {
                let after = if kind < 4 { Afterwards::Owned } else { Afterwards::Unowned };
                let ticket = self.wants.write(&name, bytes, after, world.steps);
                // Draws no random number, so that kept seeds replay the same run.
                let lifetime = if ticket.0.is_multiple_of(2) { Lifetime::Store } else { Lifetime::Unlimited };
                let put = match after {
                    Afterwards::Owned => self.store.put_local_sync(now, ticket, &item),
                    Afterwards::Unowned => self.store.put_once(now, ticket, &item, lifetime),
                };
                put.expect("it has an encoding");
            }
            _ => {
                let ticket = self.wants.delete(&name, world.steps);
                self.store.delete_local(now, Some(ticket), &name);
            }
        }
        self.events(world, now);
        self.model.given_up(&name);
    }

    fn perform(&mut self, world: &mut World, dice: &mut Dice, now: Instant) -> bool {
        let Some(request) = self.requests.pick(dice) else { return false };
        let own = self.store.own();
        self.requests.perform(request, world, dice, now, |lease| own.is_ours(lease))
    }

    fn answer(&mut self, world: &World, dice: &mut Dice, now: Instant) -> bool {
        let Some((id, answer)) = self.requests.answer(dice) else { return false };
        self.store.answer(now, id, answer);
        self.events(world, now);
        true
    }

    fn lose_requests(&mut self, world: &mut World, dice: &mut Dice, now: Instant) {
        self.requests.lose(world, dice);
        self.store.requests_lost(now);
        self.events(world, now);
    }

    fn lose_watch(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        self.store.watch_ended(now);
        let (range, silence, seed) = (self.shell.config.prefix.range(), SILENCE, dice.0.u64(..));
        let watch = match self.store.resume() {
            Some(resume) => Watch::resume(range, silence, seed, resume),
            None => Watch::new(range, silence, seed),
        };
        self.reading.follow(&watch, now);
        self.shell.replace(Link::new(watch, dice));
        self.events(world, now);
    }

    fn restart(&mut self, world: &mut World, dice: &mut Dice, now: Instant) {
        self.begin_anew(world, dice, now);
    }

    fn timeout(&mut self, world: &World, now: Instant) {
        self.model.own = Own::of(self.store.own());
        self.model.timeout(now);
        self.store.timeout(now);
        self.events(world, now);
    }

    fn heal(&mut self) {
        (self.shell.link.faults, self.requests.faults) = (0, 0);
    }

    fn leases(&self) -> Vec<LeaseId> {
        self.store.own().leases()
    }

    fn watched(&self) -> Revision {
        self.model.revision
    }

    fn knows(&self) -> Revision {
        self.store.own().newest().max(self.model.revision)
    }

    fn is_synced(&self) -> bool {
        self.reader.state() == State::Synced
    }

    fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    fn writes(&self) -> u64 {
        self.store.own_stats().writes
    }

    fn deadline(&self) -> Option<Instant> {
        let reading = self.reading.deadline().filter(|_| self.shell.link.watch.in_step().is_some());
        self.store.deadline().into_iter().chain(reading).min()
    }
}
