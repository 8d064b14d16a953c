//! The own keys of one owner: what it wants of each, what is known of each, and what follows.

mod closing;
mod known;
mod leases;
mod limiter;
mod listed;
mod name;
mod repairs;
mod requests;
mod review;
#[cfg(test)]
mod tests;
mod time;
mod types;
mod wish;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::clock::bounded;
use crate::config::{Config, ConflictPolicy};
use crate::hash::value_hash;
use crate::key::{KeyName, NameMap};
use crate::kv::{LeaseId, Revision};
use crate::prefix::Prefix;

use self::closing::{Closing, Leave};
use self::leases::Leases;
pub use self::listed::NamesPart;
use self::name::OwnName;
#[cfg(test)]
use self::name::Step;
use self::requests::Requests;
pub use self::types::{
    Answer, Command, Damage, KeyState, Lifetime, Observation, OwnEvent, OwnStats, Request, RequestId, Ticket,
    WriteError,
};
use self::wish::{Deletable, Once, OnceKind, Wish};
use self::writes::Flight;

/// How long after its request a put whose answer was lost may still be applied: TCP gives up a connection after about
/// a quarter of an hour (`tcp_retries2`).
const LATEST_PUT: Duration = Duration::from_secs(15 * 60);

/// Keeps own keys in the kvstore. A pure machine: commands, observations and answers go in, requests and events come
/// out, and time is an argument. It is the only place that knows whose key a name is: the [`Store`](crate::Store) and
/// the [`Publisher`](crate::publisher::Publisher) each hold one and ask it.
///
/// The shell performs every request of [`poll_request`](Self::poll_request), several at once, passes each answer to
/// [`answer`](Self::answer), and asks again then, after every input, and at the [`deadline`](Self::deadline).
///
/// # Invariants
/// 1. Of a name only the newest wish counts, and at most one write is under way.
/// 2. Every write is compared with the newest known state of its name, so a write that is applied late or twice has no
///    unwanted effect.
/// 3. A damaged own key is put again at once, and after that at most once per back-off step. A deletion does not wait for
///    the back-off of a conflict.
/// 4. A key of another live owner is never deleted, and overwritten only with [`ConflictPolicy::Overwrite`].
/// 5. A write or deletion is acknowledged only after an answer of the kvstore that is newer than the command. A
///    synchronous write that fails neither owns nor deletes anything. Every ticket is answered once.
/// 6. A dead lease is never kept: its keys are put again under a new one at once. No lease has more than 1000 keys.
/// 7. A bad key holds up no other key.
/// 8. When all is well, nothing is sent but keep-alives, which nothing holds back.
/// 9. A name is known until the cache has passed the last answer about it, and as long as its key is under a live lease
///    of ours. So a key under a live lease of ours whose name is not known was created by a delayed put: it is deleted.
#[derive(Debug)]
pub struct OwnKeys {
    prefix: Prefix,
    policy: ConflictPolicy,
    write_timeout: Duration,
    close_timeout: Duration,
    sync_interval: Duration,
    max_writes: usize,
    names: NameMap<Box<OwnName>>,
    owned: usize,
    /// Names to be written now.
    dirty: VecDeque<KeyName>,
    /// Names to be written later.
    delayed: BTreeSet<(Instant, KeyName)>,
    /// Halves of a transaction that was refused for good: the bad key is found by bisection.
    bisected: VecDeque<Vec<KeyName>>,
    /// When synchronous writes time out.
    timeouts: BTreeSet<(Instant, KeyName)>,
    /// Names that are dropped once the cache has reached a revision.
    behind: BTreeSet<(Revision, KeyName)>,
    /// Names that are dropped once a put whose answer was lost can no longer be applied.
    unanswered_puts: BTreeSet<(Instant, KeyName)>,
    /// States that answers have told and that the watch has still to show, by revision.
    unconfirmed: BTreeSet<(Revision, KeyName)>,
    /// The revision that the cache shows.
    reached: Revision,
    /// The newest revision that the kvstore has answered with.
    answered: Revision,
    flights: HashMap<RequestId, Flight>,
    /// Counts the histories: an answer to a request of an earlier history is ignored.
    epoch: u64,
    /// `HistoryChanged` was emitted.
    history_changed: bool,
    leases: Leases,
    requests: Requests,
    next_tick: Option<Instant>,
    rng: fastrand::Rng,
    closing: Option<Closing>,
    events: VecDeque<OwnEvent>,
    unsettled: usize,
    aside: BTreeMap<KeyName, Arc<str>>,
    repairs: u64,
    writes: u64,
}

impl OwnKeys {
    /// A machine that owns nothing. `max_writes` is how many writes one transaction of the backend can hold.
    #[must_use]
    pub fn new(config: &Config, max_writes: usize) -> Self {
        Self {
            prefix: config.prefix.clone(),
            policy: config.conflict,
            write_timeout: bounded(config.write_timeout),
            close_timeout: bounded(config.close_timeout),
            sync_interval: bounded(config.sync_interval),
            max_writes: max_writes.max(1),
            names: NameMap::default(),
            owned: 0,
            dirty: VecDeque::new(),
            delayed: BTreeSet::new(),
            bisected: VecDeque::new(),
            timeouts: BTreeSet::new(),
            behind: BTreeSet::new(),
            unanswered_puts: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            reached: Revision::ZERO,
            answered: Revision::ZERO,
            flights: HashMap::new(),
            epoch: 0,
            history_changed: false,
            leases: Leases::new(config),
            requests: Requests::new(config),
            next_tick: None,
            rng: fastrand::Rng::with_seed(config.seed),
            closing: None,
            events: VecDeque::new(),
            unsettled: 0,
            aside: BTreeMap::new(),
            repairs: 0,
            writes: 0,
        }
    }

    // Inputs.

    /// Takes a wish of the owner.
    pub fn command(&mut self, now: Instant, command: Command) {
        let (timeout, deadline) = (self.write_timeout, now + self.write_timeout);
        let once =
            |ticket, value: Bytes, kind| Once { ticket, hash: value_hash(&value), value, kind, timeout, deadline };
        match command {
            Command::Close { ticket } => self.leave(now, ticket, Leave::Close),
            Command::Release { ticket } => self.leave(now, ticket, Leave::Release),
            Command::PutSync { ticket, .. }
            | Command::PutOnce { ticket, .. }
            | Command::Delete { ticket: Some(ticket), .. }
                if self.closing.is_some() =>
            {
                self.done(ticket, Err(WriteError::Closed));
            }
            Command::Put { .. } | Command::Delete { .. } if self.closing.is_some() => (),
            Command::Put { name, value } => {
                let own = self.names.entry(name.clone()).or_default();
                let superseded = own.supersede();
                own.give_wish(Wish::Keep { hash: value_hash(&value), value }, &mut self.owned);
                self.settle_tickets(superseded, &WriteError::Superseded);
                self.wished(now, &name);
            }
            Command::PutSync { ticket, name, value } => {
                self.put_once(now, &name, once(ticket, value, OnceKind::Adopt));
            }
            Command::PutOnce { ticket, name, .. } if self.owns(&name) => self.done(ticket, Err(WriteError::Owned)),
            Command::PutOnce { ticket, name, value, lifetime } => {
                self.put_once(now, &name, once(ticket, value, OnceKind::Unowned(lifetime)));
            }
            Command::Delete { name, ticket } => {
                let own = self.names.entry(name.clone()).or_default();
                let superseded = if own.wish.is_given_up() { own.once_ticket() } else { own.supersede() };
                own.give_up(&mut self.owned);
                own.deletes.extend(ticket);
                self.settle_tickets(superseded, &WriteError::Superseded);
                self.wished(now, &name);
            }
        }
    }

    fn put_once(&mut self, now: Instant, name: &KeyName, once: Once) {
        let own = self.names.entry(name.clone()).or_default();
        let superseded = own.supersede();
        if own.wish.is_given_up() {
            own.wish = Wish::Nothing;
        }
        let deadline = once.deadline;
        own.once = Some(Box::new(once));
        self.settle_tickets(superseded, &WriteError::Superseded);
        self.wished(now, name);
        self.timeouts.insert((deadline, name.clone()));
    }

    /// A new wish for a name: what was refused before may be accepted now.
    fn wished(&mut self, now: Instant, name: &KeyName) {
        if let Some(own) = self.names.get_mut(name) {
            own.wished();
        }
        self.aside.remove(name);
        if self.next_tick.is_none() {
            self.next_tick = Some(self.tick_after(now));
        }
        self.review(now, name);
    }

    /// Takes what the watch saw of a name, unless something newer is known.
    pub fn observe(&mut self, now: Instant, observation: Observation) {
        let Observation { name, revision, state } = observation;
        if let Some(own) = self.names.get_mut(&name) {
            if own.contradicts(revision, state) {
                self.disproved(now, &name);
            } else if own.observe(revision, state) {
                self.review(now, &name);
            }
        } else if state.is_some_and(|seen| self.leases.is_alive(seen.lease)) && self.closing.is_none() {
            // A put whose answer was lost was applied after its name was given up (invariant 9).
            let own = self.names.entry(name.clone()).or_default();
            own.wish = Wish::Delete(Deletable::OnOwnOrNoLease);
            own.observe(revision, state);
            self.review(now, &name);
        }
    }

    /// The watch has shown everything up to this revision.
    ///
    /// If a state that was answered is not shown, the kvstore was set back to before the answer.
    pub fn reached(&mut self, now: Instant, revision: Revision) {
        self.reached = revision;
        while let Some((at, _)) = self.unconfirmed.first()
            && *at <= revision
            && let Some((at, name)) = self.unconfirmed.pop_first()
        {
            if self.names.get(&name).is_some_and(|own| own.watched < at) {
                self.disproved(now, &name);
            }
        }
        while let Some((at, _)) = self.behind.first()
            && *at <= revision
            && let Some((_, name)) = self.behind.pop_first()
        {
            self.retire(&name);
        }
    }

    /// The watch is live again: requests that wait because of a failure are sent at once.
    pub fn backend_up(&mut self) {
        self.requests.backend_up();
        self.history_changed = false;
    }

    /// The kvstore's history went back, or another kvstore answers: all that was known of keys and leases is void.
    pub fn new_history(&mut self, now: Instant) {
        self.epoch += 1;
        (self.reached, self.answered, self.history_changed) = (Revision::ZERO, Revision::ZERO, false);
        self.behind.clear();
        self.unconfirmed.clear();
        for lease in self.leases.new_history(now) {
            self.events.push_back(OwnEvent::LeaseLost { lease, cause: Arc::from("the kvstore's history went back") });
        }
        self.names.values_mut().for_each(|own| own.clear_known());
        self.review_all(now);
    }

    /// What was known of the name is of another history.
    fn disproved(&mut self, now: Instant, name: &KeyName) {
        if let Some(own) = self.names.get_mut(name) {
            own.clear_known();
        }
        self.history_changed();
        self.review(now, name);
    }

    pub(super) fn history_changed(&mut self) {
        if !std::mem::replace(&mut self.history_changed, true) {
            self.events.push_back(OwnEvent::HistoryChanged);
        }
    }

    // Questions.

    /// Whether this store wants the name's key to be in the kvstore, so that it is put again when somebody deletes it.
    #[must_use]
    pub fn is_kept(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|own| own.is_kept())
    }

    /// Whether this store owns the name, whatever the kvstore says of it.
    fn owns(&self, name: &KeyName) -> bool {
        self.names.get(name).is_some_and(|own| matches!(own.wish, Wish::Keep { .. }))
    }

    /// Whether this store has given the name up, and deletes or has deleted its key.
    #[must_use]
    pub fn is_given_up(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|own| own.wish.is_given_up())
    }

    /// Whether this store may have caused a change of the name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether this store owns nothing, and writes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All names it takes care of, in no order.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.names.keys()
    }

    /// How many keys this store owns.
    #[must_use]
    pub fn owned(&self) -> usize {
        debug_assert_eq!(self.owned, self.names.keys().filter(|name| self.owns(name)).count());
        self.owned
    }

    /// Whether a lease was granted by this owner: by this store, or by an earlier one of the same
    /// [`Config::owner`](crate::Config::owner).
    #[must_use]
    pub fn is_ours(&self, lease: LeaseId) -> bool {
        self.leases.is_ours(lease)
    }

    /// Whether the name is still known when all that was known of the kvstore is void.
    #[cfg(test)]
    pub(crate) fn is_wanted(&self, name: &KeyName) -> bool {
        self.names.get(name).is_some_and(|own| {
            let wish = matches!(own.wish, Wish::Keep { .. } | Wish::Delete(_));
            own.once.is_some() || wish || own.step == Step::Sent
        })
    }

    /// The synchronous writes after which a key is owned, each as it is known when the watch shows it: by hash and lease,
    /// if the watch has got beyond this revision.
    #[cfg(test)]
    pub(crate) fn adoptions(&self) -> impl Iterator<Item = (&KeyName, (u128, LeaseId), Revision)> {
        self.names.iter().filter(|(_, own)| own.verified && own.step != Step::Sent).filter_map(|(name, own)| {
            let once = own.once.as_ref().filter(|once| once.kind == OnceKind::Adopt)?;
            Some((name, (once.hash, own.lease?), own.known.as_of))
        })
    }

    /// The newest revision it knows of.
    #[cfg(test)]
    pub(crate) fn newest(&self) -> Revision {
        self.answered.max(self.reached)
    }

    /// The live leases.
    #[cfg(test)]
    pub(crate) fn leases(&self) -> Vec<LeaseId> {
        self.leases.alive()
    }

    /// What the leases of this owner have in common.
    #[cfg(test)]
    pub(crate) fn lease_of_owner(&self) -> LeaseId {
        self.leases.of_owner()
    }

    /// Numbers of what it holds.
    #[must_use]
    pub fn stats(&self) -> OwnStats {
        OwnStats {
            names: self.names.len(),
            pending: self.unsettled,
            pending_cause: self.requests.last_error().filter(|_| self.unsettled > 0).cloned(),
            set_aside: self.aside.iter().map(|(name, cause)| (name.clone(), Arc::clone(cause))).collect(),
            repairs: self.repairs,
            leases: self.leases.len(),
            requests: self.requests.sent(),
            writes: self.writes,
        }
    }

    // Outputs.

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<OwnEvent> {
        self.events.pop_front()
    }

    /// The next request, if there is one to be sent now.
    pub fn poll_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if self.is_closed() {
            return None;
        }
        self.time_passes(now);
        let request = self.keep_alive(now).or_else(|| self.revocation(now)).or_else(|| self.write_request(now));
        self.finish_closing(now);
        if request.is_none() {
            self.requests.nothing_to_send(now);
        }
        request
    }

    /// When to ask for requests again, at the latest. Never a time for which `poll_request` has already had nothing to
    /// send.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        let timers = [
            self.timeouts.first().map(|(at, _)| *at),
            self.delayed.first().map(|(at, _)| *at),
            self.unanswered_puts.first().map(|(at, _)| *at),
            self.next_tick,
            self.leases.deadline(),
            self.requests.deadline(),
            self.closing.as_ref().map(|closing| closing.deadline),
        ];
        timers.into_iter().flatten().filter(|at| self.requests.is_news(*at)).min()
    }

    fn done(&mut self, ticket: Ticket, result: Result<Revision, WriteError>) {
        self.events.push_back(OwnEvent::Done { ticket, result });
    }

    fn settle_tickets(&mut self, tickets: Vec<Ticket>, error: &WriteError) {
        for ticket in tickets {
            self.done(ticket, Err(error.clone()));
        }
    }
}
