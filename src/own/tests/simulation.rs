//! Random histories of one or two owners, strangers and a kvstore that fails, by seed: see `simulation::seeds`.

mod quiet;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::*;
use crate::backend::{Applied, ListRequest};
use crate::own::Lifetime;

const SEEDS: u64 = 300;

/// One owner and what must be true of it.
struct Owner {
    sync: OwnKeys,
    policy: ConflictPolicy,
    seen: Revision,
    flights: Vec<(RequestId, Request)>,
    leases: BTreeSet<LeaseId>,
    /// What it wants of a name for good: a value, or that it is gone.
    wants: BTreeMap<KeyName, Option<Bytes>>,
    /// Synchronous writes and deletions that have not ended.
    tickets: HashMap<Ticket, Option<(KeyName, Bytes, bool)>>,
    requests: u64,
}

struct Sim {
    kv: Mvcc,
    now: Instant,
    rng: fastrand::Rng,
    owners: Vec<Owner>,
    /// Writes whose answer was an error, and that may be applied yet.
    delayed_writes: Vec<Vec<Write>>,
    foreign: LeaseId,
    large: Bytes,
    next: u64,
    log: Vec<String>,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut kv, now) = (Mvcc::new(), Instant::now());
        let foreign = kv.grant(LeaseId::NONE, secs(1_000_000), now).unwrap().lease;
        // Two owners that overwrite each other never come to rest: sharing is for the other policies.
        let policies = [ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail];
        let policy = policies[rng.usize(..3)];
        let count = if policy == ConflictPolicy::Overwrite { 1 } else { rng.usize(1..3) };
        let owner = |n: usize| {
            let config = config()
                .seed(seed + n as u64)
                .conflict(policy)
                .lease_ttl(secs(20))
                .qps([0, 0, 5][n % 3])
                .max_inflight(1 + n)
                .close_timeout(secs(30));
            Owner {
                sync: OwnKeys::new(&config, 3),
                policy,
                seen: kv.header().revision,
                flights: Vec::new(),
                leases: BTreeSet::new(),
                wants: BTreeMap::new(),
                tickets: HashMap::new(),
                requests: 0,
            }
        };
        let owners = (0..count).map(owner).collect();
        let large = Bytes::from(vec![b'x'; 2 << 20]);
        Self { kv, now, rng, owners, delayed_writes: Vec::new(), foreign, large, next: 0, log: Vec::new() }
    }

    fn name(&mut self) -> KeyName {
        name(["a", "b", "c", "d", "e", "f", "g"][self.rng.usize(..7)])
    }

    fn value(&mut self) -> Bytes {
        match self.rng.u8(..40) {
            0 => self.large.clone(),
            n => Bytes::from(format!("{}", n % 4)),
        }
    }

    fn note(&mut self, step: impl FnOnce() -> String) {
        self.log.push(step());
    }

    fn step(&mut self) {
        let who = self.rng.usize(..self.owners.len());
        match self.rng.u8(..24) {
            0..=4 => self.command(who),
            5..=10 => self.answer(who),
            11..=13 => self.observe(who, 1),
            14 => self.observe(who, usize::MAX),
            15 => self.stranger(),
            16 => {
                if let Some(writes) = self.delayed_writes.pop() {
                    self.note(|| format!("delayed write {writes:?}"));
                    self.apply_late(writes);
                }
            }
            17 => {
                let leases: Vec<_> = self.owners[who].leases.iter().copied().collect();
                if let Some(lease) = leases.get(self.rng.usize(..leases.len().max(1)))
                    && self.rng.u8(..4) == 0
                {
                    self.note(|| format!("revoke {lease}"));
                    self.kv.revoke(*lease);
                }
            }
            18 if self.rng.u8(..20) == 0 => self.wipe(),
            18 => self.owners[who].sync.backend_up(),
            19 if self.rng.u8(..10) == 0 => self.time(secs(60)),
            _ => {
                let time = Duration::from_millis(self.rng.u64(..3000));
                self.time(time);
            }
        }
        self.poll(who);
    }

    fn apply_late(&mut self, writes: Vec<Write>) {
        // Whatever comes of it, nobody hears.
        let _ = self.kv.write(writes);
    }

    fn time(&mut self, time: Duration) {
        self.now += time;
        self.kv.expire(self.now);
    }

    fn command(&mut self, who: usize) {
        let (name, value) = (self.name(), self.value());
        self.next += 1;
        let (ticket, kind) = (Ticket(self.next), self.rng.u8(..8));
        let step = format!("command {kind} ({ticket:?}) {name} = {:?}", &value[..value.len().min(9)]);
        let owner = &mut self.owners[who];
        let command = match kind {
            0..=3 => {
                owner.wants.insert(name.clone(), Some(value.clone()));
                Command::Put { name, value }
            }
            4 | 5 => {
                owner.wants.insert(name.clone(), None);
                owner.tickets.insert(ticket, None);
                Command::Delete { name, ticket: Some(ticket) }
            }
            _ => {
                // It takes back a deletion.
                if owner.wants.get(&name) == Some(&None) {
                    owner.wants.remove(&name);
                }
                owner.tickets.insert(ticket, Some((name.clone(), value.clone(), kind == 6)));
                if kind == 6 {
                    Command::PutSync { ticket, name, value }
                } else {
                    let lifetime = if self.next.is_multiple_of(2) { Lifetime::Store } else { Lifetime::Unlimited };
                    Command::PutOnce { ticket, name, value, lifetime }
                }
            }
        };
        self.note(|| format!("{who}: {step}"));
        let now = self.now;
        self.owners[who].sync.command(now, command);
        self.listen(who);
    }

    /// Takes the requests, and checks that they keep the rules.
    fn poll(&mut self, who: usize) {
        let now = self.now;
        let owner = &mut self.owners[who];
        for polls in 0.. {
            let Some((id, request)) = owner.sync.poll_request(now) else { break };
            assert!(polls < 100, "requests without end");
            owner.requests += 1;
            let lease = owner.leases.clone();
            if let Request::Write(writes) = &request {
                assert!((1..=3).contains(&writes.len()));
                let under_way: Vec<_> = owner.flights.iter().filter(|(_, request)| is_write(request)).collect();
                assert!(under_way.len() <= who, "too many under way");
                let paths: HashSet<_> = writes.iter().map(|write| &write.path).collect();
                assert_eq!(paths.len(), writes.len(), "a name twice in a transaction");
                for (_, other) in under_way {
                    let Request::Write(other) = other else { continue };
                    assert!(!other.iter().any(|write| paths.contains(&write.path)), "two writes of a name under way");
                }
                // A key without a limit is put under none.
                let leases: BTreeSet<_> =
                    writes.iter().filter_map(put_lease).filter(|lease| *lease != LeaseId::NONE).collect();
                assert!(leases.len() <= 1 && leases.is_subset(&lease), "leases of a transaction: {leases:?}");
                assert!(writes.iter().all(|write| write.expect != Expect::Any), "a write without expectation");
            }
            owner.flights.push((id, request));
        }
        self.listen(who);
    }

    fn answer(&mut self, who: usize) {
        if self.owners[who].flights.is_empty() {
            return;
        }
        let index = self.rng.usize(..self.owners[who].flights.len());
        let (id, request) = self.owners[who].flights.swap_remove(index);
        let fault = self.rng.u8(..8);
        self.reply(who, id, request, fault);
    }

    /// Performs a request, well or badly.
    fn reply(&mut self, who: usize, id: RequestId, request: Request, fault: u8) {
        let error = |applied| BackendError::Unavailable { cause: "fault".into(), applied };
        let (now, kv) = (self.now, &mut self.kv);
        let answer = match (request, fault) {
            (Request::Write(_), 0) => Answer::Written(Err(error(Applied::No))),
            (Request::Write(writes), 1) => {
                // Applied, and nobody knows.
                let _ = kv.write(writes);
                Answer::Written(Err(error(Applied::Maybe)))
            }
            (Request::Write(writes), 2) => {
                self.delayed_writes.push(writes);
                Answer::Written(Err(error(Applied::Maybe)))
            }
            (Request::Write(writes), _) => {
                let before: Vec<_> = writes.iter().map(|write| self.at(&write.path)).collect();
                let deletes: Vec<_> = writes.iter().map(|write| write.action == WriteAction::Delete).collect();
                let outcome = self.kv.write(writes);
                if let Ok(WriteOutcome::Committed { .. }) = outcome {
                    for (kv, _) in before.iter().zip(deletes).filter(|(_, delete)| *delete) {
                        let theirs = kv.as_ref().is_some_and(|kv| kv.lease == self.foreign);
                        assert!(!theirs, "deleted another owner's key");
                    }
                }
                Answer::Written(outcome)
            }
            (Request::Grant { .. }, 0) => Answer::Granted(Err(error(Applied::No))),
            (Request::Grant { lease, ttl }, _) => {
                let granted = kv.grant(lease, ttl, now);
                self.owners[who].leases.extend(granted.iter().map(|grant| grant.lease));
                Answer::Granted(granted)
            }
            (Request::KeepAlive(_), 0) => Answer::KeptAlive(Err(error(Applied::No))),
            (Request::KeepAlive(lease), _) => Answer::KeptAlive(kv.keep_alive(lease, now)),
            (Request::Revoke(_), 0) => Answer::Revoked(Err(error(Applied::Maybe))),
            (Request::Revoke(lease), _) => {
                kv.revoke(lease);
                Answer::Revoked(Ok(()))
            }
        };
        let answer_text = format!("{answer:?}");
        self.log.push(format!("{who}: {}", answer_text.chars().take(300).collect::<String>()));
        self.owners[who].sync.answer(now, id, answer);
        self.listen(who);
    }

    /// Shows an owner some of what happened.
    fn observe(&mut self, who: usize, revisions: usize) {
        let owner = &mut self.owners[who];
        let (events, next) = self.kv.events_since(&prefix().range(), owner.seen.next(), revisions).unwrap();
        owner.seen = Revision(next.0 - 1);
        for event in &events {
            owner.sync.observe(self.now, observation(event));
        }
        owner.sync.reached(self.now, owner.seen);
        self.listen(who);
    }

    fn stranger(&mut self) {
        let (name, value) = (self.name(), self.value());
        let action = match self.rng.u8(..4) {
            0 => WriteAction::Put { value: value.slice(..1), lease: self.foreign },
            1 => WriteAction::Put { value: value.slice(..1), lease: LeaseId::NONE },
            _ => WriteAction::Delete,
        };
        self.note(|| format!("stranger {name} {action:?}"));
        let path = prefix().path(&name);
        self.kv.write(vec![Write { path, expect: Expect::Any, action }]).unwrap();
    }

    /// The kvstore loses everything. What was under way to the old one never comes to the new one.
    fn wipe(&mut self) {
        self.note(|| "wipe".to_owned());
        let now = self.now;
        self.kv.restore(&Mvcc::new(), now);
        self.foreign = self.kv.grant(LeaseId::NONE, secs(1_000_000), now).unwrap().lease;
        self.delayed_writes.clear();
        for who in 0..self.owners.len() {
            self.owners[who].seen = self.kv.header().revision;
            self.owners[who].sync.new_history(now);
            let names: Vec<_> = self.owners[who].wants.keys().cloned().collect();
            for name in names {
                let revision = self.kv.header().revision;
                self.owners[who].sync.observe(now, Observation { name, revision, state: None });
            }
            for (id, request) in std::mem::take(&mut self.owners[who].flights) {
                let error = BackendError::unavailable("gone");
                let answer = match request {
                    Request::Write(_) => Answer::Written(Err(error)),
                    Request::Grant { .. } => Answer::Granted(Err(error)),
                    Request::KeepAlive(_) => Answer::KeptAlive(Err(error)),
                    Request::Revoke(_) => Answer::Revoked(Err(error)),
                };
                self.owners[who].sync.answer(now, id, answer);
            }
            self.listen(who);
        }
    }

    /// Takes in what an owner says.
    fn listen(&mut self, who: usize) {
        let owner = &mut self.owners[who];
        while let Some(event) = owner.sync.poll_event() {
            match event {
                OwnEvent::Done { ticket, result } => {
                    let write = owner.tickets.remove(&ticket).expect("each ticket ends once");
                    if let (Some((name, value, true)), Ok(_)) = (write, &result) {
                        owner.wants.insert(name, Some(value));
                    }
                }
                OwnEvent::Lost { name } => {
                    assert_eq!(owner.policy, ConflictPolicy::Fail);
                    owner.wants.remove(&name);
                }
                OwnEvent::Stored { .. }
                | OwnEvent::Repaired { .. }
                | OwnEvent::Released { .. }
                | OwnEvent::Conflict { .. }
                | OwnEvent::SetAside { .. }
                | OwnEvent::StillSetAside { .. }
                | OwnEvent::NoLongerSetAside { .. }
                | OwnEvent::LeaseLost { .. }
                | OwnEvent::BackendFailed(_)
                | OwnEvent::HistoryChanged
                | OwnEvent::Closed { .. } => {}
            }
        }
    }

    fn at(&self, path: &Bytes) -> Option<KeyValue> {
        self.kv.list(&ListRequest::new(crate::kv::KeyRange::one(path))).unwrap().kvs.pop()
    }

    fn run(&mut self) {
        for _ in 0..200 {
            self.step();
        }
        for writes in std::mem::take(&mut self.delayed_writes) {
            self.apply_late(writes);
        }
        // Beyond the longest step of the back-off and the time a synchronous write has.
        self.settle(secs(100));
        self.check();
        let requests: Vec<_> = self.owners.iter().map(|owner| owner.sync.stats().writes).collect();
        self.settle(secs(900));
        self.check();
        for (owner, before) in self.owners.iter().zip(requests) {
            assert_eq!(owner.sync.stats().writes, before, "a clean quarter of an hour wrote something");
        }
        self.leave();
    }
}

fn put_lease(write: &Write) -> Option<LeaseId> {
    if let WriteAction::Put { lease, .. } = write.action { Some(lease) } else { None }
}

#[test]
fn whatever_happens_own_keys_end_up_as_their_owner_wants_them() {
    crate::simulation::seeds::seeds(SEEDS, |seed, trace| {
        let mut sim = Sim::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.run()));
        if let Err(panic) = run {
            trace.say(|| sim.log.join("\n"));
            std::panic::resume_unwind(panic);
        }
    });
}
