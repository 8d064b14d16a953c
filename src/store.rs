//! From what the kvstore says and what the owner wants to a cache, to observers and to writes.

pub(crate) mod cache;
mod gone;
mod incoming;
mod local;
mod observers;
mod staging;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;

use crate::change::{Change, Notice, Origin, Parcel};
use crate::config::{Config, OnUndecodable};
use crate::filter::{Filter, Panicked, contained};
use crate::index::Index;
use crate::key::{Codec, CodecError, Key, KeyError, KeyName};
use crate::kv::{Event, KeyValue, LeaseId, Revision};
use crate::outbox::{Mode, change};
use crate::prefix::Prefix;
use crate::reader::Reader;
use crate::status::{State, Status};
use crate::sync::{Command, Observation, Seen, SyncEvent, SyncStats, Ticket};
use crate::watch::{Delivery, Page};

use self::cache::{Cache, Entry, Shared};
use self::gone::Gone;
use self::incoming::{Arrived, Incoming};
use self::local::{LocalNames, Then};
pub use self::observers::ObserverId;
use self::observers::Observers;
use self::staging::Staging;

/// The heart of a shared store. A pure machine: it takes the [`Delivery`]s of a [`Watch`](crate::watch::Watch) and the
/// commands of its owner, keeps the cache, and gives out what observers are to be told and what a
/// [`Sync`](crate::sync::Sync) is to do.
///
/// # Invariants
/// 1. When all deliveries are in, the cache equals the kvstore, except for own keys that somebody deleted (they are
///    shown until they are back or given up) and deletions held back for the delay.
/// 2. What an observer is told, in order, leads from nothing to the cache.
/// 3. A list is taken in as a whole or not at all, and tells its true difference.
/// 4. A value is decoded at most once, outside the lock, and not at all if its bytes are those already decoded.
/// 5. A value that cannot be decoded stops nothing: it is in quarantine until it heals or goes.
/// 6. Every change of a name that is ours is observed to `Sync`, and every absence after a list.
#[derive(Debug)]
pub struct Store<K: Key> {
    prefix: Prefix,
    on_undecodable: OnUndecodable,
    indexes: Vec<Index<K>>,
    shared: Arc<Shared<K>>,
    state: State,
    /// The revision of the cache.
    revision: Revision,
    /// Whether the first list is complete.
    listed: bool,
    staging: Option<Staging<K>>,
    /// Fingerprint and revision of each value that cannot be decoded, and the value.
    quarantine: HashMap<KeyName, Quarantined>,
    local: LocalNames,
    gone: Gone,
    observers: Observers<K>,
    sync_inputs: VecDeque<SyncInput>,
    /// How many keys each lease holds.
    owners: HashMap<LeaseId, usize>,
    /// How often code of the user panicked.
    panics: AtomicU64,
}

#[derive(Debug)]
struct Quarantined {
    hash: u128,
    mod_revision: Revision,
    lease: LeaseId,
    raw: Bytes,
    cause: CodecError,
}

impl Quarantined {
    fn notice(&self, name: &KeyName) -> Notice {
        Notice::Undecodable { name: name.clone(), revision: self.mod_revision, cause: self.cause.clone() }
    }
}

/// What [`Sync`](crate::sync::Sync) is to be told.
#[derive(Debug)]
pub enum SyncInput {
    /// To [`Sync::command`](crate::sync::Sync::command).
    Command(Command),
    /// To [`Sync::observe`](crate::sync::Sync::observe).
    Observed(Observation),
    /// To [`Sync::backend_up`](crate::sync::Sync::backend_up).
    BackendUp,
    /// To [`Sync::forget`](crate::sync::Sync::forget).
    Forget,
    /// To [`Sync::owners`](crate::sync::Sync::owners).
    Owners(usize),
}

/// The cache does not fit what the kvstore says: [`Watch::relist`](crate::watch::Watch::relist) mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cache does not fit the list")]
pub struct Inconsistent;

impl<K: Key> Store<K> {
    /// A store that has seen nothing.
    #[must_use]
    pub fn new(config: &Config, indexes: Vec<Index<K>>) -> Self {
        Self {
            prefix: config.prefix.clone(),
            on_undecodable: config.on_undecodable,
            shared: Arc::new(Shared::new(&indexes)),
            indexes,
            state: State::Connecting { cause: None },
            revision: Revision::ZERO,
            listed: false,
            staging: None,
            quarantine: HashMap::new(),
            local: LocalNames::default(),
            gone: Gone::new(config.delete_delay),
            observers: Observers::default(),
            sync_inputs: VecDeque::new(),
            owners: HashMap::new(),
            panics: AtomicU64::new(0),
        }
    }

    /// A handle that reads the cache from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<K> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Whether the first list is in the cache.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    // What the kvstore says.

    /// Takes in what the watch delivers.
    ///
    /// # Errors
    /// [`Inconsistent`] if only a full relist can mend the cache; nothing was taken in.
    ///
    /// After [`close`](Self::close) nothing is taken in, and that is no error.
    pub fn deliver(&mut self, now: Instant, delivery: Delivery) -> Result<(), Inconsistent> {
        if matches!(self.state, State::Closed { .. }) {
            return Ok(());
        }
        match delivery {
            Delivery::Page(page) => self.page(now, page)?,
            Delivery::Events(events) => self.events(now, &events),
            Delivery::Progress(revision) => {
                let changes = self.apply(now, Vec::new(), revision);
                self.observers.push(now, changes);
            }
            Delivery::Live => {
                self.state = State::Synced;
                self.sync_inputs.push_back(SyncInput::BackendUp);
            }
            Delivery::Broken(error) => {
                let cause: Arc<str> = error.to_string().into();
                self.state = match std::mem::replace(&mut self.state, State::Synced) {
                    State::Connecting { .. } => State::Connecting { cause: Some(cause) },
                    State::Listing { seen, .. } => State::Listing { seen, cause: Some(cause) },
                    State::Synced => State::Stale { since: now, cause },
                    State::Stale { since, .. } => State::Stale { since, cause },
                    closed @ State::Closed { .. } => closed,
                };
            }
        }
        self.announce(0);
        Ok(())
    }

    fn page(&mut self, now: Instant, page: Page) -> Result<(), Inconsistent> {
        let mut staging = match (page.first, self.staging.take()) {
            (true, _) => Staging::new(page.revision, page.same_history),
            (false, Some(staging)) => staging,
            // Without its first part a list would delete what that part named.
            (false, None) => return Err(Inconsistent),
        };
        {
            let cache = self.shared.read();
            staging.add(
                page.keys,
                |kv| self.known(&cache, kv),
                |kv| self.incoming(&cache, kv),
                |kv| self.prefix.strip(&kv.path),
            );
        }
        if matches!(self.state, State::Connecting { .. } | State::Listing { .. }) {
            self.state = State::Listing { seen: staging.len(), cause: None };
        }
        if !page.last {
            self.staging = Some(staging);
            return Ok(());
        }
        if !staging.is_complete() {
            return Err(Inconsistent);
        }
        self.commit(now, staging);
        Ok(())
    }

    /// The name of a key whose value we have at just this revision.
    fn known(&self, cache: &Cache<K>, kv: &KeyValue) -> Option<KeyName> {
        let name = self.prefix.strip_str(&kv.path)?;
        if self.gone.contains(name) {
            return None;
        }
        if let Some((name, quarantined)) = self.quarantine.get_key_value(name) {
            return (quarantined.mod_revision == kv.mod_revision).then(|| name.clone());
        }
        let (name, entry) = cache.get_key_value(name)?;
        (entry.mod_revision == kv.mod_revision).then(|| name.clone())
    }

    fn commit(&mut self, now: Instant, staging: Staging<K>) {
        let (revision, same_history) = (staging.revision, staging.same_history);
        if !same_history {
            self.sync_inputs.push_back(SyncInput::Forget);
            self.local.history_went_back();
        }
        let (mut incoming, present) = staging.finish();
        let absent = |name: &KeyName| present.binary_search(name).is_err();
        {
            let cache = self.shared.read();
            let shown = cache.names().chain(self.quarantine.keys().filter(|name| cache.get(name.as_str()).is_none()));
            // A key that is gone already stays gone as of the revision known for it.
            let deleted = shown.filter(|name| absent(name) && !self.gone.contains(name.as_str()));
            incoming.extend(deleted.map(|name| Incoming { name: name.clone(), revision, arrived: None }));
        }
        let lost = self.local.names().filter(|name| absent(name));
        let lost: Vec<_> = lost.map(|name| Observation { name: name.clone(), revision, state: None }).collect();
        self.sync_inputs.extend(lost.into_iter().map(SyncInput::Observed));
        let changes = self.apply(now, incoming, revision);
        if !same_history {
            self.shared.write().history_went_back(revision);
        }
        match (self.listed, same_history) {
            (true, true) => self.observers.push_difference(now, changes),
            (true, false) => self.observers.history_went_back(now, revision, changes),
            (false, _) => {
                self.listed = true;
                self.observers.begin_waiting(now, &self.snapshot(), revision, &self.undecodable());
            }
        }
    }

    fn events(&mut self, now: Instant, events: &[Event]) {
        let Some(revision) = events.last().map(Event::revision) else { return };
        let incoming = {
            let cache = self.shared.read();
            events
                .iter()
                .filter_map(|event| match event {
                    Event::Put(kv) => self.incoming(&cache, kv),
                    Event::Delete { path, revision } => {
                        let name = self.prefix.strip_str(path)?;
                        let name = cache
                            .get_key_value(name)
                            .map_or_else(|| KeyName::new(name).ok(), |(name, _)| Some(name.clone()))?;
                        Some(Incoming { name, revision: *revision, arrived: None })
                    }
                })
                .collect()
        };
        let changes = self.apply(now, incoming, revision);
        self.observers.push(now, changes);
    }

    /// Puts a batch into the cache, all at once for readers, and answers with the changes.
    fn apply(&mut self, now: Instant, incoming: Vec<Incoming<K>>, revision: Revision) -> Vec<Change<K>> {
        let shared = Arc::clone(&self.shared);
        let mut changes = Vec::with_capacity(incoming.len());
        let owners = self.owners.len();
        let mut cache = shared.write();
        for incoming in incoming {
            if self.local.contains(incoming.name.as_str()) {
                self.sync_inputs.push_back(SyncInput::Observed(incoming.observation()));
            }
            let change = match incoming.arrived {
                Some(arrived) => self.put(now, &mut cache, &incoming.name, incoming.revision, arrived),
                None => self.delete(now, &mut cache, &incoming.name, incoming.revision),
            };
            changes.extend(change);
        }
        self.revision = revision;
        cache.revision = revision;
        for name in self.local.reached(revision) {
            changes.extend(self.settled(&mut cache, &name));
        }
        drop(cache);
        if self.owners.len() != owners {
            self.sync_inputs.push_back(SyncInput::Owners(self.owners.len()));
        }
        self.announce(changes.iter().filter(|change| !change.is_void()).count());
        changes
    }

    fn put(
        &mut self,
        now: Instant,
        cache: &mut Cache<K>,
        name: &KeyName,
        mod_revision: Revision,
        arrived: Arrived<K>,
    ) -> Option<Change<K>> {
        self.gone.forget(name.as_str());
        self.local.put(name, mod_revision);
        let Arrived { hash, lease, raw, value } = arrived;
        let (key, index_values) = match value {
            Ok(value) => value,
            Err(cause) => {
                let known = self.quarantine.get(name).is_some_and(|quarantined| quarantined.hash == hash);
                let quarantined = Quarantined { hash, mod_revision, lease, raw, cause };
                if !known {
                    let cause = &quarantined.cause;
                    tracing::warn!(key = %name, revision = %mod_revision, %cause, "value cannot be decoded");
                    self.observers.notify(now, &quarantined.notice(name));
                }
                self.quarantine.insert(name.clone(), quarantined);
                return match self.on_undecodable {
                    OnUndecodable::Remove if !self.local.is_owned(name.as_str()) => {
                        self.remove(cache, name.as_str(), mod_revision)
                    }
                    // An own key will be put again: observers see no deletion.
                    OnUndecodable::Remove | OnUndecodable::KeepLast => None,
                };
            }
        };
        self.quarantine.remove(name);
        let origin = self.local.origin(name.as_str());
        let Some(entry) = cache.get_mut(name.as_str()) else {
            let change = change(name, None, Some((&key, hash)), mod_revision, origin);
            count(&mut self.owners, None, Some(lease));
            cache.insert(name, Entry { key, hash, mod_revision, lease, origin }, index_values);
            return Some(change);
        };
        count(&mut self.owners, Some(entry.lease), Some(lease));
        if entry.hash == hash {
            entry.mod_revision = mod_revision;
            entry.lease = lease;
            return changed_hands(name, entry, mod_revision, origin);
        }
        let change = change(name, Some((&entry.key, entry.hash)), Some((&key, hash)), mod_revision, origin);
        cache.insert(name, Entry { key, hash, mod_revision, lease, origin }, index_values);
        Some(change)
    }

    fn delete(&mut self, now: Instant, cache: &mut Cache<K>, name: &KeyName, at: Revision) -> Option<Change<K>> {
        self.quarantine.remove(name);
        cache.get(name.as_str())?;
        if self.local.is_owned(name.as_str()) {
            // It will be put again: observers see no deletion.
            self.gone.keep(name);
            None
        } else if self.gone.delays() && !self.local.contains(name.as_str()) {
            self.gone.delay(now, name);
            None
        } else {
            self.remove(cache, name.as_str(), at)
        }
    }

    fn remove(&mut self, cache: &mut Cache<K>, name: &str, revision: Revision) -> Option<Change<K>> {
        self.gone.forget(name);
        let (name, entry) = cache.remove(name)?;
        count(&mut self.owners, Some(entry.lease), None);
        Some(change(&name, Some((&entry.key, entry.hash)), None, revision, entry.origin))
    }

    /// Who owns a name may have changed: tells so if its key stays, and that it goes if only its owner was shown.
    fn settled(&mut self, cache: &mut Cache<K>, name: &KeyName) -> Option<Change<K>> {
        let removed = self.on_undecodable == OnUndecodable::Remove && self.quarantine.contains_key(name);
        if !self.local.is_owned(name.as_str()) && (self.gone.is_kept(name.as_str()) || removed) {
            return self.remove(cache, name.as_str(), self.revision);
        }
        let entry = cache.get_mut(name.as_str()).filter(|_| !self.gone.contains(name.as_str()))?;
        changed_hands(name, entry, self.revision, self.local.origin(name.as_str()))
    }

    fn settle(&mut self, now: Instant, name: &KeyName) {
        let shared = Arc::clone(&self.shared);
        let change = self.settled(&mut shared.write(), name);
        self.tell(now, change.into_iter().collect());
    }

    /// Tells readers and observers of changes made without the kvstore.
    fn tell(&mut self, now: Instant, changes: Vec<Change<K>>) {
        self.announce(changes.iter().filter(|change| !change.is_void()).count());
        self.observers.push(now, changes);
    }

    /// Tells readers where the cache stands, after it does.
    fn announce(&self, changes: usize) {
        let changed = changes > 0;
        self.shared.point.send_if_modified(|point| {
            let same = !changed && point.revision == self.revision && point.state == self.state;
            point.revision = self.revision;
            point.version += u64::from(changed);
            if point.state != self.state {
                point.state = self.state.clone();
            }
            !same
        });
    }

    // What the owner wants.

    /// Owns `key` from now on.
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local(&mut self, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.local.own(&name);
        self.command(Command::Put { name: name.clone(), value }, &name);
        Ok(())
    }

    /// Owns `key` once it is in the kvstore; `ticket` comes back in [`SyncEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local_sync(&mut self, ticket: Ticket, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.local.write(ticket, &name, Then::Own);
        self.command(Command::PutSync { ticket, name: name.clone(), value }, &name);
        Ok(())
    }

    /// Writes `key` once without owning it; `ticket` comes back in [`SyncEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_once(&mut self, ticket: Ticket, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.local.write(ticket, &name, Then::Leave);
        self.command(Command::PutOnce { ticket, name: name.clone(), value }, &name);
        Ok(())
    }

    /// Gives up the key named `name` and deletes it, if it is ours.
    pub fn delete_local(&mut self, ticket: Option<Ticket>, name: &KeyName) {
        self.local.retire(name);
        self.command(Command::Delete { name: name.clone(), ticket }, name);
    }

    fn encode(&mut self, key: &K) -> Result<(KeyName, Bytes), KeyError> {
        let encoded = contained(|| (key.name(), K::Codec::encode(key)));
        let (name, value) = encoded.map_err(|Panicked(text)| {
            self.panicked();
            KeyError::Panicked(text)
        })?;
        Ok((KeyName::new(name)?, value?))
    }

    fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands a command on, and what is known of its name with it.
    fn command(&mut self, command: Command, name: &KeyName) {
        self.sync_inputs.push_back(SyncInput::Command(command));
        // That the cache does not show it says nothing: the cache may be behind.
        if let Some(seen) = self.seen(name) {
            self.observed(name, Some(seen));
        }
    }

    fn observed(&mut self, name: &KeyName, state: Option<Seen>) {
        let observation = Observation { name: name.clone(), revision: self.revision, state };
        self.sync_inputs.push_back(SyncInput::Observed(observation));
    }

    /// The names this store owns or is about to.
    pub fn own_names(&self) -> impl Iterator<Item = &KeyName> {
        self.local.names()
    }

    /// What the kvstore holds for a name, as far as the cache knows.
    fn seen(&self, name: &KeyName) -> Option<Seen> {
        if self.gone.contains(name.as_str()) {
            return None;
        }
        if let Some(Quarantined { hash, mod_revision, lease, .. }) = self.quarantine.get(name) {
            return Some(Seen { hash: *hash, mod_revision: *mod_revision, lease: *lease });
        }
        let cache = self.shared.read();
        let entry = cache.get(name.as_str())?;
        Some(Seen { hash: entry.hash, mod_revision: entry.mod_revision, lease: entry.lease })
    }

    /// A name is stored for good. If it had just been lost when it was asked for, it is ours only now, and what happened
    /// meanwhile was not observed.
    fn stored(&mut self, name: &KeyName) {
        if self.local.stored(name) {
            self.observed(name, self.seen(name));
        }
    }

    /// Takes in what became of the writes.
    pub fn sync_event(&mut self, now: Instant, event: &SyncEvent) {
        match event {
            SyncEvent::Done { ticket, result } => {
                if let Some((name, owns)) = self.local.written(*ticket, result.is_ok()) {
                    if owns {
                        self.stored(&name);
                    }
                    self.settle(now, &name);
                }
            }
            SyncEvent::Deleted { name, revision } => {
                self.local.retired(name, *revision, self.revision);
                self.settle(now, name);
            }
            SyncEvent::Lost { name } => {
                self.local.lost(name);
                self.settle(now, name);
            }
            SyncEvent::Stored { name, .. } => {
                self.stored(name);
                self.settle(now, name);
            }
            SyncEvent::Conflict { name, revision, lease, policy } => {
                let (name, revision, lease, policy) = (name.clone(), *revision, *lease, *policy);
                self.observers.notify(now, &Notice::Conflict { name, revision, lease, policy });
            }
            SyncEvent::SetAside { .. }
            | SyncEvent::LeaseLost { .. }
            | SyncEvent::BackendFailed(_)
            | SyncEvent::Closed { .. } => {}
        }
    }

    /// The next thing `Sync` is to be told.
    pub fn poll_sync(&mut self) -> Option<SyncInput> {
        self.sync_inputs.pop_front()
    }

    // Time.

    /// When [`timeout`](Self::timeout) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.gone.deadline()
    }

    /// Announces the deletions whose delay has passed.
    pub fn timeout(&mut self, now: Instant) {
        let due = self.gone.due(now);
        self.give_up(now, &due);
    }

    /// Shows keys no more that are gone from the kvstore. They were shown until now, so they go at the revision of now:
    /// what is told after a change is never older.
    fn give_up(&mut self, now: Instant, names: &[KeyName]) {
        let (shared, revision) = (Arc::clone(&self.shared), self.revision);
        let mut cache = shared.write();
        let changes: Vec<_> =
            names.iter().filter_map(|name| self.remove(&mut cache, name.as_str(), revision)).collect();
        drop(cache);
        self.tell(now, changes);
    }

    // Observers.

    /// Adds an observer: it is told the cache as it is, then [`Notice::Synced`], then every change.
    pub fn subscribe(&mut self, now: Instant, filter: Filter<K>, mode: Mode) -> ObserverId {
        let id = self.observers.add(filter, mode);
        if self.listed {
            self.observers.begin_waiting(now, &self.snapshot(), self.revision, &self.undecodable());
        }
        id
    }

    /// Drops an observer and what it has still to be told.
    pub fn unsubscribe(&mut self, id: ObserverId) {
        self.observers.remove(id);
    }

    /// The next parcel for some observer. An observer gets its next one after [`delivered`](Self::delivered).
    pub fn poll_parcel(&mut self) -> Option<(ObserverId, Parcel<K>)> {
        self.observers.poll()
    }

    /// An observer has handled its parcel.
    pub fn delivered(&mut self, id: ObserverId) {
        self.observers.delivered(id);
    }

    /// All keys in name order, as creates.
    fn snapshot(&self) -> Arc<[Change<K>]> {
        let cache = self.shared.read();
        let create = |(name, entry): (&KeyName, &Entry<K>)| {
            let change = change(name, None, Some((&entry.key, entry.hash)), entry.mod_revision, entry.origin);
            Change { initial: true, ..change }
        };
        cache.scan("").map(create).collect()
    }

    /// What is known of values that cannot be decoded.
    fn undecodable(&self) -> Vec<Notice> {
        let notice = |(name, quarantined): (&KeyName, &Quarantined)| quarantined.notice(name);
        self.quarantine.iter().map(notice).collect()
    }

    // The end, and the state until then.

    /// How the store is, given how its writes are.
    #[must_use]
    pub fn status(&self, sync: &SyncStats) -> Status {
        Status {
            state: self.state.clone(),
            revision: self.revision,
            entries: self.shared.read().len(),
            own: self.local.owned(),
            pending_writes: sync.pending,
            set_aside: sync.set_aside.clone(),
            undecodable: self.quarantine.len(),
            panics: self.panics.load(Ordering::Relaxed),
            observers: self.observers.lags(),
        }
    }

    /// The bytes of a value that cannot be decoded.
    #[must_use]
    pub fn quarantined(&self, name: &str) -> Option<&Bytes> {
        self.quarantine.get(name).map(|quarantined| &quarantined.raw)
    }

    /// The own keys are deleted, except those in `left`: observers are told, once.
    pub fn retract_local(&mut self, now: Instant, left: &[KeyName]) {
        let left: HashSet<_> = left.iter().collect();
        let names: Vec<_> = self.local.ours().filter(|name| !left.contains(name)).cloned().collect();
        self.give_up(now, &names);
    }

    /// The store has left; nothing changes any more.
    pub fn close(&mut self, cause: impl Into<Arc<str>>) {
        if !matches!(self.state, State::Closed { .. }) {
            self.state = State::Closed { cause: cause.into() };
            self.announce(0);
        }
    }
}

impl<K: Key> Drop for Store<K> {
    /// Readers outlive the store: whoever waits there must not wait for ever.
    fn drop(&mut self) {
        self.close("store was dropped");
    }
}

/// The value stays; whose key it is may not. Only observers who care for the origin see anything in it.
fn changed_hands<K>(name: &KeyName, entry: &mut Entry<K>, at: Revision, origin: Origin) -> Option<Change<K>> {
    if std::mem::replace(&mut entry.origin, origin) == origin {
        return None;
    }
    let value = Some((&entry.key, entry.hash));
    Some(change(name, value, value, at, origin))
}

fn count(owners: &mut HashMap<LeaseId, usize>, old: Option<LeaseId>, new: Option<LeaseId>) {
    if old == new {
        return;
    }
    if let Some(lease) = new {
        *owners.entry(lease).or_default() += 1;
    }
    if let Some(lease) = old
        && let Some(keys) = owners.get_mut(&lease)
    {
        *keys -= 1;
        if *keys == 0 {
            owners.remove(&lease);
        }
    }
}
