//! Owning keys without keeping a cache.

mod canary;
mod events;
mod pending;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::config::Config;
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{Event, Revision};
use crate::own::{Answer, Command, KeyState, NamesPart, Observation, OwnKeys, Request, Ticket};
use crate::prefix::Prefix;
use crate::status::State;
use crate::store::Refused;
use crate::watch::{Delivery, Page, PageKeys};

use self::canary::Canary;
use self::pending::{Mark, Pending};
pub use self::types::{CanaryState, PublishEvent, PublishRequestId, PublisherStatus};

/// Owns keys and reads no others: Cilium's `SyncStore`. A pure machine around [`OwnKeys`], fed by a
/// [`Watch::from_now`](crate::watch::Watch::from_now) of its prefix.
///
/// # Invariants
/// 1. Its memory grows with the own keys only.
/// 2. No key is written before the watch has said where it begins: so every later damage is seen.
/// 3. The canary is written when all keys given before it was asked for are in the kvstore, and once. A key that the
///    kvstore refuses for good, or that is left to another owner, holds it up no more than any other key.
/// 4. When a lease is lost the canary is taken back, and written again when the keys of that lease are back.
/// 5. What a gap may have hidden is asked for: the canary whenever the watch is live again, the keys when another watch
///    takes its place.
#[derive(Debug)]
pub struct Publisher {
    prefix: Prefix,
    keys: OwnKeys,
    canary: Option<Canary>,
    state: State,
    /// The watch has said where it begins.
    begun: bool,
    /// The last name of the list under way.
    listed: Option<Box<str>>,
    pending: Pending,
    left_to_others: BTreeMap<KeyName, Arc<str>>,
    /// The tickets that wait for all keys given before.
    waiting: Vec<(Mark, Ticket)>,
    closing: Option<Closing>,
    events: VecDeque<PublishEvent>,
}

/// The cause of [`State::Closed`] after Close and Release.
pub const LEFT: &str = "left";

/// What leaving still waits for.
#[derive(Debug, Default)]
struct Closing {
    keys: bool,
    canary: bool,
    /// How the keys leave, once the canary has left.
    leave_keys: Option<Command>,
    left: Vec<(KeyName, Arc<str>)>,
}

impl Publisher {
    /// A publisher that owns nothing. `max_writes` is how many writes one transaction of the backend can hold; `canary` is
    /// where the canary goes, if there is to be one, and its name there: see [`Prefix::canary`].
    #[must_use]
    pub fn new(config: &Config, max_writes: usize, canary: Option<(Prefix, KeyName)>) -> Self {
        Self {
            prefix: config.prefix.clone(),
            keys: OwnKeys::new(config, max_writes),
            canary: canary.map(|(canaries, name)| Canary::new(config, canaries, name)),
            state: State::Connecting { cause: None },
            begun: false,
            listed: None,
            pending: Pending::default(),
            left_to_others: BTreeMap::new(),
            waiting: Vec::new(),
            closing: None,
            events: VecDeque::new(),
        }
    }

    // What the owner wants.

    /// Owns a key from now on.
    pub fn put(&mut self, now: Instant, name: KeyName, value: Bytes) {
        if self.closing.is_none() {
            self.left_to_others.remove(&name);
            self.pending.begin(&name);
            self.keys.command(now, Command::Put { name, value });
            self.take_events(now);
        }
    }

    /// Gives up a key and deletes it; `ticket` comes back in
    /// [`OwnEvent::Done`](crate::own::OwnEvent::Done), if there is one.
    pub fn delete(&mut self, now: Instant, name: KeyName, ticket: Option<Ticket>) {
        self.left_to_others.remove(&name);
        self.pending.end(&name);
        self.keys.command(now, Command::Delete { name, ticket });
        self.take_events(now);
    }

    /// All keys that the canary stands for have been given. `ticket` comes back in [`PublishEvent::Synced`] when these
    /// keys, and then the canary, are in the kvstore. The first call decides what the canary waits for; later calls
    /// are no error.
    pub fn synced(&mut self, now: Instant, ticket: Ticket) {
        let mark = self.pending.mark();
        self.waiting.push((mark, ticket));
        if let Some(canary) = &mut self.canary {
            canary.ask(mark);
        }
        self.take_events(now);
    }

    /// Whether it is time for [`write_canary`](Self::write_canary).
    #[must_use]
    pub fn canary_is_due(&self) -> bool {
        let due = |canary: &Canary| canary.waits_for().is_some_and(|mark| self.pending.is_past(mark));
        self.begun && self.closing.is_none() && self.canary.as_ref().is_some_and(due)
    }

    /// Writes the canary. Its value is the time.
    pub fn write_canary(&mut self, now: Instant, value: Bytes) {
        if let Some(canary) = &mut self.canary {
            canary.write(now, value);
        }
        self.take_events(now);
    }

    /// Deletes the canary and the own keys, and stops.
    pub fn close(&mut self, now: Instant) {
        self.leave(now, |ticket| Command::Close { ticket });
    }

    /// Finishes what is pending and stops; keys and canary stay until their leases end.
    pub fn release(&mut self, now: Instant) {
        self.leave(now, |ticket| Command::Release { ticket });
    }

    fn leave(&mut self, now: Instant, command: impl Fn(Ticket) -> Command) {
        if self.closing.is_some() {
            return;
        }
        let command = command(Ticket(u64::MAX));
        let keys = Some(command.clone());
        self.closing = Some(Closing { canary: self.canary.is_none(), leave_keys: keys, ..Closing::default() });
        match &mut self.canary {
            // The canary must not say that the keys are there when they are not.
            Some(canary) => canary.own.command(now, command),
            None => self.leave_keys(now),
        }
        self.take_events(now);
    }

    /// The canary has left: the keys may go.
    fn leave_keys(&mut self, now: Instant) {
        if let Some(command) = self.closing.as_mut().and_then(|closing| closing.leave_keys.take()) {
            self.keys.command(now, command);
        }
    }

    // What the kvstore says.

    /// Takes in what the watch delivers.
    ///
    /// # Errors
    /// [`Refused`] if it is not of a watch from now.
    pub fn deliver(&mut self, now: Instant, delivery: Delivery) -> Result<(), Refused> {
        match delivery {
            Delivery::Began { same_history, revision } => {
                let again = std::mem::replace(&mut self.begun, true);
                if !same_history {
                    self.new_history(now);
                } else if again {
                    // Another watch: what happened between the two is unknown.
                    self.keys.mark_unsure(now);
                }
                self.keys.reached(now, revision);
            }
            Delivery::Page(page) => self.page(now, &page)?,
            Delivery::Events(events) => {
                for event in &events {
                    if let Some(observation) = self.observation(event) {
                        self.keys.observe(now, observation);
                    }
                }
                self.keys.reached(now, events.last().map_or(Revision::ZERO, Event::revision));
            }
            Delivery::Live => {
                let was_broken = self.state.cause().is_some();
                self.state = State::Synced;
                self.keys.backend_up();
                if let Some(canary) = &mut self.canary {
                    canary.own.backend_up();
                    if was_broken {
                        // The canary is not watched, and the kvstore may have been set back to before it.
                        canary.own.mark_unsure(now);
                    }
                }
            }
            Delivery::Broken(error) => self.state.out_of_date(now, error.to_string().into()),
            Delivery::Progress(revision) => self.keys.reached(now, revision),
            Delivery::Audited(_) => return Err(Refused::Inconsistent),
        }
        self.take_events(now);
        Ok(())
    }

    /// What an event says of an own key, or of one under a lease of ours.
    fn observation(&self, event: &Event) -> Option<Observation> {
        let name = self.prefix.strip_str(event.path())?;
        let ours = matches!(event, Event::Put(kv) if self.keys.is_ours(kv.lease));
        let known = self.keys.name(name).cloned();
        let name = known.or_else(|| KeyName::new(name).ok().filter(|_| ours))?;
        let state = match event {
            Event::Put(kv) => {
                Some(KeyState { hash: value_hash(&kv.value), mod_revision: kv.mod_revision, lease: kv.lease })
            }
            Event::Delete { .. } => None,
        };
        Some(Observation { name, revision: event.revision(), state })
    }

    fn page(&mut self, now: Instant, page: &Page) -> Result<(), Refused> {
        let PageKeys::Names(kvs) = &page.keys else { return Err(Refused::Inconsistent) };
        if page.first {
            self.listed = None;
        }
        let keys: Vec<_> =
            kvs.iter().filter_map(|kv| Some((self.prefix.strip_str(&kv.path)?, kv.mod_revision))).collect();
        let part = NamesPart { revision: page.revision, after: self.listed.as_deref(), keys: &keys, last: page.last };
        self.keys.listed(now, part);
        let last = keys.last().map(|(name, _)| (*name).into());
        self.listed = last.or(self.listed.take());
        for kv in kvs {
            let ours = self.keys.is_ours(kv.lease);
            let name = self.prefix.strip(&kv.path).filter(|name| ours && !self.keys.contains(name.as_str()));
            // The key of an unknown name is deleted, whatever its value.
            let state = Some(KeyState { hash: 0, mod_revision: kv.mod_revision, lease: kv.lease });
            if let Some(name) = name {
                self.keys.observe(now, Observation { name, revision: page.revision, state });
            }
        }
        if page.last {
            self.keys.reached(now, page.revision);
        }
        Ok(())
    }

    // Requests and events.

    /// The next request, if there is one to be sent now. The canary's come first: it is taken back before the keys.
    pub fn poll_request(&mut self, now: Instant) -> Option<(PublishRequestId, Request)> {
        // All leases that have ended are noticed before anything is written under any of them.
        self.keys.time_passes(now);
        if let Some(canary) = &mut self.canary {
            canary.own.time_passes(now);
        }
        self.take_events(now);
        let canary = self.canary.as_mut().and_then(|canary| canary.own.poll_request(now));
        let request = match canary {
            Some((id, request)) => Some((PublishRequestId::Canary(id), request)),
            None if self.may_write() => {
                self.keys.poll_request(now).map(|(id, request)| (PublishRequestId::Keys(id), request))
            }
            None => None,
        };
        self.take_events(now);
        request
    }

    /// What was under way has no answer: the shell has lost it.
    pub fn requests_lost(&mut self, now: Instant) {
        self.keys.requests_lost(now);
        if let Some(canary) = &mut self.canary {
            canary.own.requests_lost(now);
        }
        self.take_events(now);
    }

    /// The watch has ended, and another one begins.
    pub fn watch_ended(&mut self, now: Instant) {
        self.state.out_of_date(now, "the watcher ended".into());
    }

    fn may_write(&self) -> bool {
        self.begun || self.closing.is_some()
    }

    /// Takes what the backend answered to a request.
    pub fn answer(&mut self, now: Instant, id: PublishRequestId, answer: Answer) {
        match (id, &mut self.canary) {
            (PublishRequestId::Keys(id), _) => self.keys.answer(now, id, answer),
            (PublishRequestId::Canary(id), Some(canary)) => canary.own.answer(now, id, answer),
            (PublishRequestId::Canary(_), None) => debug_assert!(false, "there is no canary"),
        }
        self.take_events(now);
    }

    /// When to ask for requests again, at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let keys = if self.may_write() { self.keys.deadline() } else { None };
        keys.into_iter().chain(self.canary.as_ref().and_then(|canary| canary.own.deadline())).min()
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<PublishEvent> {
        self.events.pop_front()
    }

    /// How far what is known of own keys can be trusted.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The current status.
    #[must_use]
    pub fn status(&self) -> PublisherStatus {
        let stats = self.keys.stats();
        let mut refused = stats.set_aside;
        refused.extend(self.left_to_others.iter().map(|(name, cause)| (name.clone(), Arc::clone(cause))));
        PublisherStatus {
            state: self.state.clone(),
            own: stats.names,
            pending: stats.pending,
            refused,
            repairs: stats.repairs,
            leases: stats.leases,
            canary: self.canary.as_ref().map(|canary| canary.state(&self.pending)),
        }
    }

    /// The own keys.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> &OwnKeys {
        &self.keys
    }

    /// The newest revision it knows of.
    #[cfg(test)]
    pub(crate) fn newest(&self) -> Revision {
        self.keys.newest().max(self.canary.as_ref().map_or(Revision::ZERO, |canary| canary.own.newest()))
    }
}
