//! What must be put, deleted and put again so that own keys are in the kvstore.

mod closing;
mod leases;
mod limiter;
mod listed;
mod local;
mod review;
#[cfg(test)]
mod tests;
mod types;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::BackendError;
use crate::backoff::Backoff;
use crate::config::{Config, ConflictPolicy};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::prefix::Prefix;

use self::closing::Closing;
use self::leases::Leases;
use self::limiter::Limiter;
pub use self::listed::NamesPart;
use self::local::{Local, Once, Want};
pub use self::types::{
    Answer, Command, Observation, Request, RequestId, Seen, SyncEvent, SyncStats, Ticket, WriteError,
};
use self::writes::Flight;

/// Keeps own keys in the kvstore. A pure machine: commands, observations and answers go in, requests and events come
/// out, and time is an argument.
///
/// The shell performs every request of [`poll_request`](Self::poll_request), several at once, feeds what came of each
/// to [`answer`](Self::answer), and asks again then, after every input, and at the [`deadline`](Self::deadline).
///
/// # Invariants
/// 1. Of a name only the newest wish counts, and at most one write is under way.
/// 2. Every write is compared with the best known state of its name, so a write that is applied late, twice or by
///    surprise changes nothing it should not.
/// 3. An own key that is damaged is put again at once, and at most once per back-off step after that.
/// 4. A key of another live owner is never deleted, and overwritten only with [`ConflictPolicy::Overwrite`].
/// 5. A synchronous write that fails neither owns nor deletes anything. Every ticket is answered once.
/// 6. A dead lease is never kept: its keys are put again under a new one at once. No lease has more than 1000 keys.
/// 7. One bad key holds up no other.
/// 8. When all is well, nothing is sent but keep-alives, which nothing holds back.
#[derive(Debug)]
pub struct Sync {
    prefix: Prefix,
    policy: ConflictPolicy,
    write_timeout: Duration,
    close_timeout: Duration,
    sync_interval: Duration,
    max_writes: usize,
    max_inflight: usize,
    // In name order, so that what is sent does not depend on chance.
    names: BTreeMap<KeyName, Local>,
    /// Names to be written now, each once.
    dirty: VecDeque<KeyName>,
    /// Names to be written later.
    delayed: BTreeSet<(Instant, KeyName)>,
    /// Parts of a batch that was refused for good, to find the bad key.
    suspects: VecDeque<Vec<KeyName>>,
    timeouts: BTreeSet<(Instant, KeyName)>,
    flights: HashMap<RequestId, Flight>,
    next_id: u64,
    /// Answers to requests of an earlier history say nothing.
    epoch: u64,
    /// It has been told that the history went back.
    distrusted: bool,
    leases: Leases,
    backoff: Backoff,
    /// Nothing is written before.
    retry_at: Option<Instant>,
    last_error: Option<Arc<str>>,
    limiter: Limiter,
    next_tick: Option<Instant>,
    stretch: u32,
    rng: fastrand::Rng,
    closing: Option<Closing>,
    events: VecDeque<SyncEvent>,
    unsettled: usize,
    aside: BTreeMap<KeyName, Arc<str>>,
    requests: u64,
    writes: u64,
}

impl Sync {
    /// A machine that owns nothing. `max_writes` is how many writes one transaction of the backend can hold.
    #[must_use]
    pub fn new(config: &Config, max_writes: usize) -> Self {
        Self {
            prefix: config.prefix.clone(),
            policy: config.conflict,
            write_timeout: config.write_timeout,
            close_timeout: config.close_timeout,
            sync_interval: config.sync_interval,
            max_writes: max_writes.max(1),
            max_inflight: config.max_inflight,
            names: BTreeMap::new(),
            dirty: VecDeque::new(),
            delayed: BTreeSet::new(),
            suspects: VecDeque::new(),
            timeouts: BTreeSet::new(),
            flights: HashMap::new(),
            next_id: 0,
            epoch: 0,
            distrusted: false,
            leases: Leases::new(config.lease_ttl, config.seed),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), config.seed),
            retry_at: None,
            last_error: None,
            limiter: Limiter::new(config.qps, config.bootstrap_qps),
            next_tick: None,
            stretch: 1,
            rng: fastrand::Rng::with_seed(config.seed),
            closing: None,
            events: VecDeque::new(),
            unsettled: 0,
            aside: BTreeMap::new(),
            requests: 0,
            writes: 0,
        }
    }

    // Inputs.

    /// Takes a wish of the owner.
    pub fn command(&mut self, now: Instant, command: Command) {
        let deadline = now + self.write_timeout;
        let once = |ticket, value: Bytes, adopt| Once { ticket, hash: value_hash(&value), value, adopt, deadline };
        match command {
            Command::Close { ticket } => self.leave(now, ticket, true),
            Command::Release { ticket } => self.leave(now, ticket, false),
            Command::PutSync { ticket, .. }
            | Command::PutOnce { ticket, .. }
            | Command::Delete { ticket: Some(ticket), .. }
                if self.closing.is_some() =>
            {
                self.done(ticket, Err(WriteError::Closed));
            }
            Command::Put { .. } | Command::Delete { .. } if self.closing.is_some() => (),
            Command::Put { name, value } => {
                let local = self.names.entry(name.clone()).or_default();
                let superseded = local.supersede();
                local.want = Want::Put { hash: value_hash(&value), value };
                self.settle_tickets(superseded, &WriteError::Superseded);
                self.reconsider(now, &name);
            }
            Command::PutSync { ticket, name, value } => self.put_once(now, name, once(ticket, value, true)),
            Command::PutOnce { ticket, name, value } => self.put_once(now, name, once(ticket, value, false)),
            Command::Delete { name, ticket } => {
                let local = self.names.entry(name.clone()).or_default();
                let superseded = if local.want.is_delete() { local.once_ticket() } else { local.supersede() };
                local.give_up();
                local.deletes.extend(ticket);
                self.settle_tickets(superseded, &WriteError::Superseded);
                self.reconsider(now, &name);
            }
        }
    }

    fn put_once(&mut self, now: Instant, name: KeyName, once: Once) {
        let local = self.names.entry(name.clone()).or_default();
        let superseded = local.supersede();
        if local.want.is_delete() {
            local.want = Want::Nothing;
        }
        let deadline = once.deadline;
        local.once = Some(once);
        self.settle_tickets(superseded, &WriteError::Superseded);
        self.reconsider(now, &name);
        self.timeouts.insert((deadline, name));
    }

    /// A new wish for a name: what was refused before may be taken now.
    fn reconsider(&mut self, now: Instant, name: &KeyName) {
        if let Some(local) = self.names.get_mut(name) {
            local.wish();
        }
        self.aside.remove(name);
        self.next_tick.get_or_insert(now + self.sync_interval);
        self.review(now, name);
    }

    /// Takes what the watch saw of a name. Of a name nobody asked for, and older than what is known, it is ignored.
    pub fn observe(&mut self, now: Instant, observation: Observation) {
        let Observation { name, revision, state } = observation;
        let Some(local) = self.names.get_mut(&name) else { return };
        if local.observe(revision, state) {
            self.review(now, &name);
        }
    }

    /// The watch is live again: whatever waited out a failure goes on at once.
    pub fn backend_up(&mut self, _now: Instant) {
        self.backoff.reset();
        self.retry_at = None;
        self.distrusted = false;
    }

    /// The kvstore's history went back, or it is another kvstore: all that was known of keys and leases is void.
    pub fn forget(&mut self, now: Instant) {
        self.epoch += 1;
        for lease in self.leases.forget() {
            self.events.push_back(SyncEvent::LeaseLost { lease, cause: Arc::from("the kvstore's history went back") });
        }
        for local in self.names.values_mut() {
            local.forget();
        }
        self.review_all(now);
    }

    /// How many owners there are, to stretch the interval as Consul does: by `ceil(log2 n - log2 128) + 1` above 128.
    pub fn owners(&mut self, owners: usize) {
        self.stretch = 1 + owners.div_ceil(128).max(1).next_power_of_two().ilog2();
    }

    // Outputs.

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<SyncEvent> {
        self.events.pop_front()
    }

    /// The next request, if there is one to be sent now.
    pub fn poll_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if self.closing.as_ref().is_some_and(Closing::is_done) {
            return None;
        }
        self.time_passes(now);
        let request = self.lease_request(now).or_else(|| self.closing_request(now)).or_else(|| self.write_request(now));
        self.finish_closing(now);
        request
    }

    /// When to ask for requests again, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.closing.as_ref().is_some_and(Closing::is_done) {
            return None;
        }
        let writable = !self.dirty.is_empty() || !self.suspects.is_empty();
        let room = self.flights.len() < self.max_inflight;
        let next_write = self.retry_at.max(self.limiter.next());
        [
            self.timeouts.first().map(|(at, _)| *at),
            self.delayed.first().map(|(at, _)| *at),
            self.next_tick,
            self.leases.deadline(),
            next_write.filter(|_| writable && room),
            self.closing.as_ref().map(|closing| closing.deadline),
            self.retry_at.filter(|_| self.closing.is_some()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How it stands.
    #[must_use]
    pub fn stats(&self) -> SyncStats {
        SyncStats {
            names: self.names.len(),
            pending: self.unsettled,
            set_aside: self.aside.iter().map(|(name, cause)| (name.clone(), Arc::clone(cause))).collect(),
            leases: self.leases.len(),
            requests: self.requests,
            writes: self.writes,
        }
    }

    // Time.

    /// Notices what has become due, and leases that have ended.
    pub(crate) fn time_passes(&mut self, now: Instant) {
        while let Some((at, name)) = self.timeouts.first().cloned()
            && at <= now
        {
            self.timeouts.pop_first();
            if let Some(local) = self.names.get_mut(&name)
                && let Some(once) = local.once.take_if(|once| once.deadline <= now)
            {
                let cause = self.last_error.clone();
                self.done(once.ticket, Err(WriteError::TimedOut { after: self.write_timeout, cause }));
                self.review(now, &name);
            }
        }
        while let Some((at, name)) = self.delayed.first().cloned()
            && at <= now
        {
            self.delayed.pop_first();
            if let Some(local) = self.names.get_mut(&name) {
                local.delayed = None;
            }
            self.review(now, &name);
        }
        for (lease, cause) in self.leases.expire(now) {
            self.lease_lost(now, lease, cause);
        }
        if self.next_tick.is_some_and(|at| at <= now) {
            // Jittered by a tenth, so that owners do not tick in step.
            let interval = self.sync_interval.saturating_mul(self.stretch).mul_f64(0.9 + 0.2 * self.rng.f64());
            self.next_tick = (!self.names.is_empty()).then(|| now + interval);
            self.review_all(now);
        }
    }

    fn done(&mut self, ticket: Ticket, result: Result<Revision, WriteError>) {
        self.events.push_back(SyncEvent::Done { ticket, result });
    }

    fn settle_tickets(&mut self, tickets: Vec<Ticket>, error: &WriteError) {
        for ticket in tickets {
            self.done(ticket, Err(error.clone()));
        }
    }

    // Failures that concern more than one name.

    fn lease_lost(&mut self, now: Instant, lease: LeaseId, cause: Arc<str>) {
        self.leases.lose(lease);
        self.events.push_back(SyncEvent::LeaseLost { lease, cause });
        let concerns = |local: &Local| local.lease == Some(lease) || local.late == Some(lease);
        let names: Vec<_> =
            self.names.iter().filter(|(_, local)| concerns(local)).map(|(name, _)| name.clone()).collect();
        for name in &names {
            if let Some(local) = self.names.get_mut(name) {
                local.late = local.late.filter(|late| *late != lease);
                local.lease = local.lease.filter(|kept| *kept != lease);
                // Nobody else did this: putting it again is no repair.
                local.stored = false;
            }
            self.review(now, name);
        }
    }

    fn backend_failed(&mut self, now: Instant, error: BackendError) {
        self.last_error = Some(error.to_string().into());
        self.retry_at = Some(now + self.backoff.fail());
        self.events.push_back(SyncEvent::BackendFailed(error));
    }

    fn request_id(&mut self) -> RequestId {
        self.next_id += 1;
        self.requests += 1;
        RequestId(self.next_id)
    }
}
