//! What `OwnKeys` does, told with a kvstore that answers at once unless a test says otherwise.

mod close;
mod leases;
mod lifetimes;
mod ownership;
mod proven;
mod repairs;
mod simulation;
mod writes;

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Answer, Command, KeyState, Observation, OwnEvent, OwnKeys, Request, RequestId, Ticket, WriteError};
use crate::backend::memory::Mvcc;
use crate::backend::{BackendError, Expect, Write, WriteAction, WriteOutcome};
use crate::config::{Config, ConflictPolicy};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{Event, KeyValue, LeaseId, Revision};
use crate::prefix::Prefix;

/// A kvstore, an owner, and the clock.
struct World {
    kv: Mvcc,
    sync: OwnKeys,
    now: Instant,
    /// What the watch has shown so far.
    seen: Revision,
    /// Every request, in order.
    sent: Vec<Request>,
    events: Vec<OwnEvent>,
    /// The kvstore cannot be reached.
    down: bool,
}

fn prefix() -> Prefix {
    Prefix::new("p").unwrap()
}

fn config() -> Config {
    Config::new(prefix()).seed(1)
}

fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    fn new(config: &Config) -> Self {
        let (kv, now) = (Mvcc::new(), Instant::now());
        let (sync, seen) = (OwnKeys::new(config, 128), kv.header().revision);
        Self { kv, sync, now, seen, sent: Vec::new(), events: Vec::new(), down: false }
    }

    fn put(&mut self, key: &str, value: &str) {
        self.give(Command::Put { name: name(key), value: Bytes::copy_from_slice(value.as_bytes()) });
    }

    fn delete(&mut self, key: &str, ticket: u64) {
        self.give(Command::Delete { name: name(key), ticket: Some(Ticket(ticket)) });
    }

    /// Gives a command and lets everything happen that follows.
    fn give(&mut self, command: Command) {
        self.sync.command(self.now, command);
        self.run();
    }

    /// Performs requests and shows what the watch sees until nothing is left to do now.
    fn run(&mut self) {
        for _ in 0..10_000 {
            let sent = self.sent.len();
            while let Some((id, request)) = self.sync.poll_request(self.now) {
                self.sent.push(request.clone());
                let answer = self.perform(request);
                self.sync.answer(self.now, id, answer);
            }
            let observed = !self.down && self.watch();
            self.events.extend(std::iter::from_fn(|| self.sync.poll_event()));
            if self.sent.len() == sent && !observed {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets time pass, from one deadline to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = [self.sync.deadline(), self.kv.next_expiry()].into_iter().flatten().min();
            let next = next.filter(|next| *next <= end).unwrap_or(end).max(self.now);
            self.now = next;
            self.kv.expire(self.now);
            self.run();
            if next == end {
                return;
            }
            // A deadline that does not move on would be a busy loop.
            assert!(self.sync.deadline().is_none_or(|at| at > self.now), "deadline passed and nothing came of it");
        }
    }

    /// The process stands still for a while, and the kvstore does not.
    fn suspend(&mut self, time: Duration) {
        self.now += time;
        self.kv.expire(self.now);
        self.run();
    }

    fn perform(&mut self, request: Request) -> Answer {
        let down = || BackendError::unreachable("down");
        if self.down {
            return match request {
                Request::Grant { .. } => Answer::Granted(Err(down())),
                Request::KeepAlive(_) => Answer::KeptAlive(Err(down())),
                Request::Revoke(_) => Answer::Revoked(Err(down())),
                Request::Write(_) => Answer::Written(Err(down())),
            };
        }
        match request {
            Request::Grant { lease, ttl } => Answer::Granted(self.kv.grant(lease, ttl, self.now)),
            Request::KeepAlive(lease) => Answer::KeptAlive(self.kv.keep_alive(lease, self.now)),
            Request::Revoke(lease) => {
                self.kv.revoke(lease);
                Answer::Revoked(Ok(()))
            }
            Request::Write(writes) => Answer::Written(self.kv.write(writes)),
        }
    }

    /// Shows what has happened since; whether anything has.
    fn watch(&mut self) -> bool {
        let (events, next) = self.kv.events_since(&prefix().range(), self.seen.next(), usize::MAX).unwrap();
        self.seen = Revision(next.0 - 1);
        for event in &events {
            self.sync.observe(self.now, observation(event));
        }
        self.sync.reached(self.now, self.seen);
        !events.is_empty()
    }

    /// Somebody else writes.
    fn stranger(&mut self, key: &str, value: &str, lease: LeaseId) {
        let action = WriteAction::Put { value: Bytes::copy_from_slice(value.as_bytes()), lease };
        self.meddle(key, action);
    }

    /// Somebody else deletes.
    fn strange_delete(&mut self, key: &str) {
        self.meddle(key, WriteAction::Delete);
    }

    fn meddle(&mut self, key: &str, action: WriteAction) {
        let path = prefix().path(&name(key));
        let outcome = self.kv.write(vec![Write { path, expect: Expect::Any, action }]).unwrap();
        assert!(matches!(outcome, WriteOutcome::Committed { .. }));
    }

    /// A lease of somebody who is alive.
    fn foreign_lease(&mut self) -> LeaseId {
        self.kv.grant(LeaseId::NONE, secs(1_000_000), self.now).unwrap().lease
    }

    fn get(&self, key: &str) -> Option<KeyValue> {
        let range = crate::kv::KeyRange::one(&prefix().path(&name(key)));
        self.kv.list(&crate::backend::ListRequest::new(range)).unwrap().kvs.pop()
    }

    fn value(&self, key: &str) -> Option<String> {
        self.get(key).map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
    }

    /// The transactions sent so far.
    fn batches(&self) -> Vec<&Vec<Write>> {
        self.sent
            .iter()
            .filter_map(|sent| if let Request::Write(writes) = sent { Some(writes) } else { None })
            .collect()
    }

    fn count(&self, kind: impl Fn(&Request) -> bool) -> usize {
        self.sent.iter().filter(|request| kind(request)).count()
    }

    /// How a ticket ended, which it does once.
    fn done(&self, ticket: u64) -> Option<&Result<Revision, WriteError>> {
        let done = |event: &'_ OwnEvent| matches!(event, OwnEvent::Done { ticket: t, .. } if *t == Ticket(ticket));
        assert!(self.events.iter().filter(|event| done(event)).count() <= 1, "ticket {ticket} ended twice");
        self.events.iter().find_map(|event| {
            let OwnEvent::Done { ticket: t, result } = event else { return None };
            (*t == Ticket(ticket)).then_some(result)
        })
    }
}

fn observation(event: &Event) -> Observation {
    let name = prefix().strip(event.path()).unwrap();
    let state = match event {
        Event::Put(kv) => Some(seen(kv)),
        Event::Delete { .. } => None,
    };
    Observation { name, revision: event.revision(), state }
}

fn seen(kv: &KeyValue) -> KeyState {
    KeyState { hash: value_hash(&kv.value), mod_revision: kv.mod_revision, lease: kv.lease }
}

fn is_write(request: &Request) -> bool {
    matches!(request, Request::Write(_))
}
