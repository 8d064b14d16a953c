//! One collaborator: its watch, its store and its requests, each message between them delayed at will.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::auditor::Auditor;
use super::item::{Dice, Item};
use super::link::Link;
use super::model::{Model, Own};
use super::observer::Observer;
use super::restart::Left;
use super::world::World;
use crate::backend::{Applied, BackendError, WriteOutcome};
use crate::config::{Config, ConflictPolicy};
use crate::index::Index;
use crate::key::KeyName;
use crate::own::{Answer, Lifetime, OwnEvent, Request, RequestId, Ticket, WriteError};
use crate::reader::Reader;
use crate::store::{ObserverId, Store};
use crate::watch::{Action, Delivery, Outcome, Page, Watch};

/// One collaborator.
pub(super) struct Member {
    pub(super) config: Config,
    /// The names it may own.
    names: Vec<KeyName>,
    pub(super) link: Link,
    pub(super) auditor: Auditor,
    pub(super) store: Store<Item>,
    pub(super) reader: Reader<Item>,
    pub(super) model: Model,
    pub(super) observers: BTreeMap<ObserverId, Observer>,
    /// What came of the watch's last action, on its way.
    arriving: Option<Outcome>,
    /// Requests on their way to the kvstore.
    sent: Vec<(RequestId, Request)>,
    /// Answers on their way back.
    answers: Vec<(RequestId, Answer)>,
    /// A write has shown that the history went back; the watch has not heard of it.
    distrusts: bool,
    /// The kvstore's history went back, and this member's watch has not noticed.
    pub(super) unaware: bool,
    /// What it wants of a name: a value, or that it is gone.
    pub(super) wants: BTreeMap<KeyName, Option<Bytes>>,
    /// Names written once since they were last given up.
    pub(super) once: BTreeSet<KeyName>,
    tickets: HashMap<Ticket, Asked>,
    next: u64,
    /// What its processes have left behind.
    pub(super) left: Vec<Left>,
    /// One request in so many fails; 0 for none.
    pub(super) faults: u32,
    loud: bool,
}

/// A command whose answer is awaited.
struct Asked {
    name: KeyName,
    /// The value of a write, and whether the key is owned then; `None` for a deletion.
    write: Option<(Bytes, bool)>,
    step: u64,
}

pub(super) fn indexes() -> Vec<Index<Item>> {
    vec![Index::new("value", |item: &Item| vec![item.value.to_string()])]
}

impl Member {
    pub(super) fn new(config: Config, names: Vec<KeyName>, seed: u64, dice: &mut Dice, loud: bool) -> Self {
        let store = Store::new(&config, indexes());
        Self {
            link: Link::new(Watch::new(config.prefix.range(), Duration::from_secs(60), seed), dice),
            auditor: Auditor::new(&config.prefix, seed, dice),
            reader: store.reader(),
            store,
            model: Model::new(&config),
            config,
            names,
            observers: BTreeMap::new(),
            arriving: None,
            sent: Vec::new(),
            answers: Vec::new(),
            distrusts: false,
            unaware: false,
            wants: BTreeMap::new(),
            once: BTreeSet::new(),
            tickets: HashMap::new(),
            next: 0,
            left: Vec::new(),
            faults: dice.of(&[0, 4, 10]),
            loud,
        }
    }

    pub(super) fn say(&self, words: impl FnOnce() -> String) {
        if self.loud {
            println!("{}", words());
        }
    }

    // The watch.

    /// The watch does something, or hears what came of it.
    pub(super) fn watch(&mut self, world: &World, dice: &mut Dice, now: &mut Instant) -> bool {
        if let Some(outcome) = self.arriving.take() {
            self.outcome(world, outcome, *now);
            return true;
        }
        self.arriving = self.link.perform(world, dice, now);
        self.arriving.is_some()
    }

    /// The time of a read passes.
    pub(super) fn watch_times_out(&mut self, now: &mut Instant) -> bool {
        self.arriving = self.arriving.take().or_else(|| self.link.time_out(now));
        self.arriving.is_some()
    }

    fn outcome(&mut self, world: &World, outcome: Outcome, now: Instant) {
        self.say(|| format!("{:?} -> {outcome:?}", self.link.watch.action()));
        let opened = matches!(outcome, Outcome::Opened(_));
        let next = self.link.watch.handle(outcome);
        if opened && matches!(self.link.watch.action(), Action::Read(_)) {
            self.unaware = false;
        }
        self.deliver(world, next, now);
    }

    pub(super) fn deliver(&mut self, world: &World, mut next: Option<Delivery>, now: Instant) {
        while let Some(delivery) = next {
            self.say(|| format!("    {delivery:?}"));
            if let Delivery::Page(Page { last: true, .. }) = &delivery {
                self.unaware = false;
            }
            if delivery.is_of_another_history() {
                self.distrusts = false;
            }
            if delivery == Delivery::Live {
                assert!(self.model.revision >= self.link.named, "live before it has caught up");
            }
            self.auditor.audit.delivered(&delivery);
            self.model.own = Own::of(self.store.own());
            self.model.deliver(now, &delivery);
            self.store.deliver(now, delivery).expect("the list fits the cache");
            if self.model.listed {
                self.observers.values_mut().for_each(|observer| observer.begin(&self.model));
            }
            self.events(world, now);
            next = self.link.watch.caught_up();
        }
    }

    /// The watch hears that its history is in doubt.
    pub(super) fn hear(&mut self, world: &World, now: Instant) -> bool {
        // A watch that lists or waits looks for itself, and hears it afterwards.
        let hears = self.distrusts && self.link.watch.in_step().is_some();
        if hears {
            (self.distrusts, self.arriving) = (false, None);
            let delivery = self.link.watch.ended();
            self.deliver(world, delivery, now);
        }
        hears
    }

    // Own keys.

    /// The owner wants something.
    pub(super) fn command(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        let (name, value) = (self.names[dice.0.usize(..self.names.len())].clone(), dice.0.u32(..6));
        let item = Item { name: name.to_string(), value };
        let (bytes, kind, ticket) = (Bytes::from(value.to_string()), dice.0.u32(..7), Ticket(self.next));
        self.next += 1;
        self.say(|| format!("command {kind} {name} {value} {ticket:?}"));
        let asked = |write| Asked { name: name.clone(), write, step: world.steps };
        match kind {
            0..2 => {
                self.wants.insert(name.clone(), Some(bytes));
                self.store.put_local(now, &item).expect("it has an encoding");
            }
            2..5 => {
                let adopt = kind < 4;
                if self.wants.get(&name) == Some(&None) {
                    self.wants.remove(&name);
                }
                self.once.insert(name.clone());
                self.tickets.insert(ticket, asked(Some((bytes, adopt))));
                // No throw of the dice: seeds that are kept stay what they are.
                let lifetime = if ticket.0.is_multiple_of(2) { Lifetime::Store } else { Lifetime::Unlimited };
                let put = if adopt {
                    self.store.put_local_sync(now, ticket, &item)
                } else {
                    self.store.put_once(now, ticket, &item, lifetime)
                };
                put.expect("it has an encoding");
            }
            _ => {
                self.wants.insert(name.clone(), None);
                self.once.remove(&name);
                self.tickets.insert(ticket, asked(None));
                self.store.delete_local(now, Some(ticket), &name);
            }
        }
        self.events(world, now);
        self.model.given_up(&name);
    }

    /// What has happened to own keys: every answer is checked against what the kvstore was.
    pub(super) fn events(&mut self, world: &World, now: Instant) {
        self.model.own = Own::of(self.store.own());
        while let Some(event) = self.store.poll_event() {
            self.say(|| format!("    {event:?}"));
            self.model.event(&event);
            match event {
                OwnEvent::Done { ticket, result } => self.done(world, ticket, result),
                OwnEvent::HistoryWentBack => self.distrusts = true,
                OwnEvent::Lost { .. } | OwnEvent::Closed { .. } => panic!("{event:?}"),
                OwnEvent::Stored { .. }
                | OwnEvent::Repaired { .. }
                | OwnEvent::Released { .. }
                | OwnEvent::Conflict { .. }
                | OwnEvent::SetAside { .. }
                | OwnEvent::NoLongerSetAside { .. }
                | OwnEvent::LeaseLost { .. }
                | OwnEvent::BackendFailed(_) => {}
            }
        }
        if let Some((id, request)) = self.store.poll_request(now) {
            self.say(|| format!("    {id:?} {request:?}"));
            self.sent.push((id, request));
            return self.events(world, now);
        }
        if self.store.has_events() {
            self.events(world, now);
        }
    }

    fn done(&mut self, world: &World, ticket: Ticket, result: Result<crate::kv::Revision, WriteError>) {
        let Asked { name, write, step } = self.tickets.remove(&ticket).expect("a ticket is answered once");
        let path = self.config.prefix.path(&name);
        let own = self.store.own();
        match (write, result) {
            (Some((value, adopt)), Ok(revision)) => {
                assert!(world.had(&path, &value, revision, step), "{name} was acknowledged and never so at {revision}");
                if adopt {
                    self.wants.insert(name, Some(value));
                }
            }
            (None, Ok(_)) => {
                let ours = |lease| own.leases().contains(&lease);
                assert!(!world.has_been(&path, ours, step), "the deletion of {name} was acknowledged and not done");
            }
            (_, Err(WriteError::Conflict { .. } | WriteError::NotOwned { .. })) => {
                assert!(
                    self.config.conflict == ConflictPolicy::Yield || !matches!(self.wants.get(&name), Some(Some(_)))
                );
            }
            (_, Err(_)) => {}
        }
    }

    /// A request reaches the kvstore, or does not.
    pub(super) fn perform(&mut self, world: &mut World, dice: &mut Dice, now: Instant) -> bool {
        if self.sent.is_empty() {
            return false;
        }
        let (id, request) = self.sent.swap_remove(dice.0.usize(..self.sent.len()));
        let fails = dice.one_in(self.faults);
        let error = |applied| BackendError::Unavailable { cause: "fault".into(), applied };
        let answer = match request {
            Request::Write(writes) if fails => {
                let applied = dice.of(&[None, Some(false), Some(true)]);
                match applied {
                    Some(true) if !world.frozen => drop(world.transact(writes)),
                    Some(_) => world.late.push(writes),
                    None => {}
                }
                Answer::Written(Err(error(if applied.is_some() { Applied::Maybe } else { Applied::No })))
            }
            Request::Write(writes) if world.frozen => match world.mvcc.clone().write(writes.clone()) {
                Ok(refused @ WriteOutcome::Refused { .. }) => Answer::Written(Ok(refused)),
                _ => {
                    // Until the watches have noticed, nothing changes.
                    self.sent.push((id, Request::Write(writes)));
                    return false;
                }
            },
            Request::Write(writes) => Answer::Written(world.transact(writes)),
            Request::Grant { .. } if fails => Answer::Granted(Err(error(Applied::Maybe))),
            Request::Grant { lease, ttl } => Answer::Granted(world.mvcc.grant(lease, ttl, now)),
            Request::KeepAlive(_) if fails => Answer::KeptAlive(Err(error(Applied::Maybe))),
            Request::KeepAlive(lease) => Answer::KeptAlive(world.mvcc.keep_alive(lease, now)),
            Request::Revoke(_) => panic!("nobody closes"),
        };
        self.say(|| format!("{id:?} {answer:?} is on its way"));
        self.answers.push((id, answer));
        true
    }

    /// An answer comes back.
    pub(super) fn answer(&mut self, world: &World, dice: &mut Dice, now: Instant) -> bool {
        if self.answers.is_empty() {
            return false;
        }
        let (id, answer) = self.answers.swap_remove(dice.0.usize(..self.answers.len()));
        self.say(|| format!("{id:?} is answered"));
        self.store.answer(now, id, answer);
        self.events(world, now);
        true
    }

    /// All that was under way goes down with the process; some of it arrives after its end.
    pub(super) fn crash(&mut self, world: &mut World, dice: &mut Dice, store: Store<Item>) {
        for (_, request) in std::mem::take(&mut self.sent) {
            if let Request::Write(writes) = request
                && dice.one_in(2)
            {
                world.late.push(writes);
            }
        }
        (self.arriving, self.distrusts) = (None, false);
        self.answers.clear();
        self.tickets.clear();
        self.wants.clear();
        self.once.clear();
        (self.reader, self.store, self.model) = (store.reader(), store, Model::new(&self.config));
        self.auditor = Auditor::new(&self.config.prefix, dice.0.u64(..), dice);
        self.observers.clear();
    }

    /// Time passes.
    pub(super) fn timeout(&mut self, world: &World, now: Instant) {
        self.model.own = Own::of(self.store.own());
        self.model.timeout(now);
        self.store.timeout(now);
        self.events(world, now);
    }

    /// The watch has begun anew: the answer to what it did before comes to nobody.
    pub(super) fn drop_arriving(&mut self) {
        self.arriving = None;
    }

    /// Whether what came of the watch's last action is on its way.
    pub(super) fn is_hearing(&self) -> bool {
        self.arriving.is_some()
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.arriving.is_some() || !self.sent.is_empty() || !self.answers.is_empty() || self.distrusts
    }

    /// The newest revision that it knows of.
    pub(super) fn knows(&self) -> crate::kv::Revision {
        self.store.own().newest().max(self.model.revision)
    }

    pub(super) fn has_tickets(&self) -> bool {
        !self.tickets.is_empty()
    }
}
