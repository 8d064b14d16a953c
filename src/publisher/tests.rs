//! A publisher, its watch and a kvstore that answers at once unless a test says otherwise.

mod canaries;
mod histories;
mod repairs;

use std::time::{Duration, Instant};

use super::*;
use crate::backend::memory::Mvcc;
use crate::backend::{BackendError, Events, Expect, ListRequest, WatchResponse, Write, WriteAction};
use crate::config::ConflictPolicy;
use crate::kv::{KeyRange, KeyValue, LeaseId, Revision};
use crate::own::OwnEvent;
use crate::watch::{Action, Outcome, Watch};

struct World {
    kv: Mvcc,
    publisher: Publisher,
    watch: Watch,
    /// Where the open watch has got to.
    stream: Option<Revision>,
    /// When the watch goes on.
    waits: Option<Instant>,
    now: Instant,
    /// The kvstore cannot be reached.
    down: bool,
    /// Nothing is told of what the watch would see.
    blind: bool,
    /// Every request and every list, in order.
    sent: Vec<Request>,
    lists: Vec<ListRequest>,
    events: Vec<PublishEvent>,
    canaries: usize,
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
        Self::with(config, Mvcc::new())
    }

    fn with(config: &Config, kv: Mvcc) -> Self {
        let canaries = Prefix::canaries("c1").unwrap();
        Self {
            kv,
            publisher: Publisher::new(config, 3, Some(config.prefix.canary(canaries))),
            watch: Watch::from_now(prefix().range(), secs(1200), 1),
            stream: None,
            waits: None,
            now: Instant::now(),
            down: false,
            blind: false,
            sent: Vec::new(),
            lists: Vec::new(),
            events: Vec::new(),
            canaries: 0,
        }
    }

    fn put(&mut self, key: &str, value: &str) {
        self.publisher.put(self.now, name(key), Bytes::copy_from_slice(value.as_bytes()));
    }

    /// Lets everything happen that is to happen now.
    fn run(&mut self) {
        for _ in 0..10_000 {
            let requests = self.requests();
            let watched = !self.blind && self.step_watch();
            let history_changed = self.listen();
            if !requests && !watched && !history_changed {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Takes in what the publisher says; whether it says that the watch is to look.
    fn listen(&mut self) -> bool {
        let known = self.events.len();
        self.events.extend(std::iter::from_fn(|| self.publisher.poll_event()));
        let back = |event: &PublishEvent| matches!(event, PublishEvent::Keys(event) | PublishEvent::Canary(event) if *event == OwnEvent::HistoryChanged);
        let history_changed = self.events[known..].iter().any(back) && self.watch.in_step().is_some();
        if history_changed {
            self.stream = None;
            if let Some(delivery) = self.watch.ended() {
                self.publisher.deliver(self.now, delivery).unwrap();
            }
        }
        history_changed
    }

    /// Performs what is asked for; whether anything was.
    fn requests(&mut self) -> bool {
        let mut any = false;
        loop {
            while let Some((id, request)) = self.publisher.poll_request(self.now) {
                any = true;
                self.sent.push(request.clone());
                let answer = self.perform(request);
                self.publisher.answer(self.now, id, answer);
            }
            if !self.publisher.canary_is_due() {
                return any;
            }
            self.canaries += 1;
            let value = format!("time {}", self.canaries);
            self.publisher.write_canary(self.now, value.into());
        }
    }

    fn perform(&mut self, request: Request) -> Answer {
        let down = || BackendError::unreachable("down");
        match request {
            Request::Grant { .. } if self.down => Answer::Granted(Err(down())),
            Request::KeepAlive(_) if self.down => Answer::KeptAlive(Err(down())),
            Request::Revoke(_) if self.down => Answer::Revoked(Err(down())),
            Request::Write(_) if self.down => Answer::Written(Err(down())),
            Request::Grant { lease, ttl } => Answer::Granted(self.kv.grant(lease, ttl, self.now)),
            Request::KeepAlive(lease) => Answer::KeptAlive(self.kv.keep_alive(lease, self.now)),
            Request::Revoke(lease) => {
                self.kv.revoke(lease);
                Answer::Revoked(Ok(()))
            }
            Request::Write(writes) if writes.iter().any(|write| write.path.ends_with(b"forbidden")) => {
                Answer::Written(Err(BackendError::forbidden("permission denied")))
            }
            Request::Write(writes) if writes.iter().any(|write| is_bad(&write.action)) => {
                Answer::Written(Err(BackendError::rejected("too large")))
            }
            Request::Write(writes) => Answer::Written(self.kv.write(writes)),
        }
    }

    /// Performs the watch's action; whether anything came of it.
    fn step_watch(&mut self) -> bool {
        let outcome = match self.watch.action() {
            Action::Wait(delay) => {
                let at = *self.waits.get_or_insert(self.now + delay);
                if at > self.now {
                    return false;
                }
                self.waits = None;
                Outcome::Waited
            }
            _ if self.down => Outcome::Failed(BackendError::unreachable("down")),
            Action::List(request) => {
                self.lists.push(request.clone());
                self.kv.list(&request).map_or_else(Outcome::Failed, Outcome::Listed)
            }
            Action::Open(request) => match self.kv.events_since(&request.range, request.start, 1) {
                Ok(_) => {
                    self.stream = Some(request.start);
                    Outcome::Opened(self.kv.header())
                }
                Err(error) => Outcome::Failed(error),
            },
            Action::Read(_) => {
                let Some(from) = self.stream else { return self.take(Outcome::Failed(broken())) };
                match self.kv.events_since(&prefix().range(), from, 100) {
                    Ok((events, _)) if events.is_empty() => {
                        // Its progress is told, as etcd does now and then.
                        if from > self.kv.header().revision {
                            return false;
                        }
                        self.stream = Some(self.kv.header().revision.next());
                        Outcome::Read(WatchResponse::Progress(self.kv.header()))
                    }
                    Ok((events, next)) => {
                        self.stream = Some(next);
                        let (header, complete) = (self.kv.header(), true);
                        Outcome::Read(WatchResponse::Events(Events { header, events, complete }))
                    }
                    Err(error) => Outcome::Failed(error),
                }
            }
        };
        self.take(outcome)
    }

    fn take(&mut self, outcome: Outcome) -> bool {
        if matches!(outcome, Outcome::Failed(_)) {
            self.stream = None;
        }
        let mut delivery = self.watch.handle(outcome);
        while let Some(next) = delivery {
            self.publisher.deliver(self.now, next).unwrap();
            delivery = self.watch.caught_up();
        }
        true
    }

    /// Lets time pass, from one deadline to the next.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let deadlines = [self.publisher.deadline(), self.kv.next_expiry(), self.waits];
            let next = deadlines.into_iter().flatten().min().filter(|next| *next <= end).unwrap_or(end);
            self.now = next.max(self.now);
            self.kv.expire(self.now);
            self.run();
            if next >= end {
                return;
            }
        }
    }

    /// The watch's connection ends.
    fn cut(&mut self) {
        self.stream = None;
    }

    /// Somebody else writes.
    fn stranger(&mut self, key: &str, action: WriteAction) {
        let path = prefix().path(&name(key));
        self.kv.write(vec![Write { path, expect: Expect::Any, action }]).unwrap();
    }

    fn overwrite(&mut self, key: &str, value: &str, lease: LeaseId) {
        self.stranger(key, WriteAction::Put { value: Bytes::copy_from_slice(value.as_bytes()), lease });
    }

    /// A lease of somebody who is alive.
    fn foreign_lease(&mut self) -> LeaseId {
        self.kv.grant(LeaseId::NONE, secs(1_000_000), self.now).unwrap().lease
    }

    /// What is in the kvstore below a prefix.
    fn all(&self, prefix: &Prefix) -> Vec<KeyValue> {
        self.kv.list(&ListRequest::new(prefix.range())).unwrap().kvs
    }

    fn get(&self, key: &str) -> Option<KeyValue> {
        let range = KeyRange::one(&prefix().path(&name(key)));
        self.kv.list(&ListRequest::new(range)).unwrap().kvs.pop()
    }

    fn value(&self, key: &str) -> Option<String> {
        self.get(key).map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
    }

    fn canary(&self) -> Option<KeyValue> {
        let all = self.all(&Prefix::canaries("c1").unwrap());
        assert!(all.iter().all(|kv| kv.path == "cilium/synced/c1/p" && kv.lease != LeaseId::NONE));
        all.into_iter().next()
    }

    fn writes(&self) -> usize {
        self.sent.iter().filter(|sent| matches!(sent, Request::Write(_))).count()
    }

    fn conflicts(&self) -> usize {
        let conflict = |event: &&PublishEvent| matches!(event, PublishEvent::Keys(OwnEvent::Conflict { .. }));
        self.events.iter().filter(conflict).count()
    }
}

fn is_bad(action: &WriteAction) -> bool {
    matches!(action, WriteAction::Put { value, .. } if value == "bad")
}

fn broken() -> BackendError {
    BackendError::unavailable("cut")
}
