//! Turns what the kvstore says and what the owner wants into a cache, notifications of observers and writes.

mod apply;
mod attaching;
mod audits;
mod guard;
mod ignored;
mod incoming;
mod observers;
mod owner;
mod staging;
#[cfg(test)]
mod tests;
mod tombstones;
mod warm;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::cache::{Cache, Entry, Shared};
use crate::change::{Change, Notice, Parcel};
use crate::config::{Config, OnUndecodable};
use crate::filter::Filter;
use crate::index::Index;
use crate::key::{CodecError, Key, KeyName, NameMap};
use crate::kv::{ClusterId, Header, KeyValue, LeaseId, Revision};
use crate::outbox::{DeliveryMode, ObserverId, change};
use crate::own::{KeyState, OwnEvent, OwnKeys};
use crate::prefix::Prefix;
use crate::reader::Reader;
use crate::reason::Reason;
use crate::status::{Relists, State, Status};
use crate::watch::{Delivery, Page, Resume};

use self::apply::Cause;
use self::audits::Audits;
pub use self::audits::{AuditReport, Difference, DifferenceKind};
use self::guard::Guard;
use self::ignored::Ignored;
pub use self::incoming::{Decoded, Decoder};
pub use self::observers::Mark;
use self::observers::Observers;
use self::staging::Staging;
use self::tombstones::Tombstones;

/// The heart of a shared store. A pure machine: it takes the [`Delivery`]s of a [`Watch`](crate::watch::Watch) and the
/// commands of its owner, keeps the cache and the own keys, and gives out what observers are to be told and which requests
/// the kvstore is to be sent.
///
/// # Invariants
/// 1. When all deliveries are in, the cache equals the kvstore, except for own keys that somebody deleted (they are
///    shown until they are back or given up) and deletions held back for the delay.
/// 2. The changes that an observer is told, in order, lead from nothing to the cache.
/// 3. A list is taken in as a whole or not at all, and tells its true difference.
/// 4. A value is decoded outside the lock, and not at all if its bytes are those of the value in the cache.
/// 5. A value that cannot be decoded stops nothing: it is in quarantine until the key has a good value or is deleted.
/// 6. [`OwnKeys`] sees every change of its names before the cache shows it, and the state of each after a list.
/// 7. Mass deletions, and all deletions of another history, are held back ([`DeletionGuard`](crate::DeletionGuard)).
/// 8. A key is [`Origin::Local`](crate::Origin::Local) if its lease was granted by this owner.
#[derive(Debug)]
pub struct Store<K: Key> {
    prefix: Prefix,
    on_undecodable: OnUndecodable,
    /// Whether the cache keeps the bytes of values, for snapshots.
    keeps_raw: bool,
    decoder: Decoder<K>,
    shared: Arc<Shared<K>>,
    state: State,
    /// The revision of the cache.
    revision: Revision,
    /// The cluster it is a revision of.
    cluster: ClusterId,
    /// Where the shown state comes from.
    shows: Contents,
    staging: Option<Staging<K>>,
    /// The next list is of another kvstore or prefix than the cache.
    reattached: bool,
    guard: Guard,
    audits: Audits,
    relists: Relists,
    /// Fingerprint and revision of each value that cannot be decoded, and the value.
    quarantine: NameMap<Quarantined>,
    ignored: Ignored,
    /// How many keys have left the quarantine, by a good value or a deletion.
    healed: u64,
    own: OwnKeys,
    tombstones: Tombstones,
    observers: Observers<K>,
    /// What has happened to own keys.
    events: VecDeque<OwnEvent>,
}

/// What the cache shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// Nothing yet.
    Nothing,
    /// What was known before a restart; the first list is not complete.
    Snapshot,
    /// What the kvstore said.
    List,
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

/// A delivery was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The cache does not fit what the kvstore says: [`Watch::relist`](crate::watch::Watch::relist) mends it.
    #[error("cache does not fit the kvstore")]
    Inconsistent,
}

impl<K: Key> Store<K> {
    /// A store that has seen nothing.
    #[must_use]
    pub fn new(config: &Config, indexes: Vec<Index<K>>) -> Self {
        let shared = Arc::new(Shared::new(&indexes));
        Self {
            prefix: config.prefix.clone(),
            on_undecodable: config.on_undecodable,
            keeps_raw: config.state_dir.is_some(),
            decoder: Decoder::new(config, Arc::clone(&shared), indexes),
            shared,
            state: State::Connecting { cause: None },
            revision: Revision::ZERO,
            cluster: ClusterId::default(),
            shows: Contents::Nothing,
            staging: None,
            reattached: false,
            guard: Guard::new(config.deletion_guard),
            audits: Audits::default(),
            relists: Relists::default(),
            quarantine: NameMap::default(),
            ignored: Ignored::default(),
            healed: 0,
            own: OwnKeys::new(config, config.backend.max_writes()),
            tombstones: Tombstones::new(config.delete_delay),
            observers: Observers::default(),
            events: VecDeque::new(),
        }
    }

    /// A handle that reads the cache from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<K> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Whether the cache shows anything: the first list, or until then what was known before a restart.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.shows != Contents::Nothing
    }

    // What the kvstore says.

    /// Decodes what is to be delivered, so that [`deliver_decoded`](Self::deliver_decoded) does not have to.
    #[must_use]
    pub fn decoder(&self) -> Decoder<K> {
        self.decoder.clone()
    }

    /// Decodes and takes in what the watch delivers.
    ///
    /// # Errors
    /// [`Refused`] says how the watch is to go on; nothing was taken in.
    ///
    /// After [`close`](Self::close) nothing is taken in, and that is no error.
    pub fn deliver(&mut self, now: Instant, delivery: Delivery) -> Result<(), Refused> {
        let decoded = self.decoder.decode(&delivery, 0..delivery.values());
        self.deliver_decoded(now, delivery, decoded)
    }

    /// Takes in what the watch delivers, all of whose values are decoded.
    ///
    /// # Errors
    /// As [`deliver`](Self::deliver).
    pub fn deliver_decoded(&mut self, now: Instant, delivery: Delivery, decoded: Decoded<K>) -> Result<(), Refused> {
        if matches!(self.state, State::Closed { .. }) {
            return Ok(());
        }
        match delivery {
            Delivery::Page(page) => self.page(now, &page, decoded)?,
            Delivery::Events(events) => self.events(now, &events, decoded),
            Delivery::Progress(revision) => {
                let changes = self.apply(now, Vec::new(), revision, Cause::told(Reason::Event));
                self.own.reached(now, revision);
                self.observers.push(now, changes);
            }
            Delivery::Audited(part) => self.audited(now, &part)?,
            // This comes from a watch that lists no values. A cache needs them.
            Delivery::Began { .. } => return Err(Refused::Inconsistent),
            Delivery::Live => {
                self.state = State::Synced;
                self.own.backend_up();
            }
            Delivery::Broken(error) => self.out_of_date(now, error.to_string().into()),
        }
        if self.shows == Contents::List {
            self.observers.reached(self.revision);
        }
        self.announce(0);
        Ok(())
    }

    /// The watch has ended, and another one begins.
    pub fn watch_ended(&mut self, now: Instant) {
        self.staging = None;
        self.out_of_date(now, "the watcher ended".into());
    }

    /// How a new watch goes on where the cache is; `None` to begin with a list.
    #[must_use]
    pub fn resume(&self) -> Option<Resume> {
        let (cluster, revision) = (self.cluster, self.revision);
        let since = match self.shows {
            Contents::Nothing => return None,
            // No list has confirmed what a snapshot shows.
            Contents::Snapshot => None,
            Contents::List => Some(revision),
        };
        Some(Resume { cluster, revision, since })
    }

    /// The cache may be outdated from now on.
    fn out_of_date(&mut self, now: Instant, cause: Arc<str>) {
        if self.has_state() && matches!(self.state, State::Connecting { .. } | State::Listing { .. }) {
            // The list is complete: the cache was correct a moment ago.
            self.state = State::Synced;
        }
        self.state.out_of_date(now, cause);
        self.announce(0);
    }

    fn page(&mut self, now: Instant, page: &Page, decoded: Decoded<K>) -> Result<(), Refused> {
        let mut staging = match (page.first, self.staging.take()) {
            (true, _) => {
                let header = Header { cluster: page.cluster, revision: page.revision };
                let mut staging = Staging::new(header);
                staging.same_history = page.same_history && !self.reattached;
                staging
            }
            (false, Some(staging)) => staging,
            // Without its first part a list would delete what that part named.
            (false, None) => return Err(Refused::Inconsistent),
        };
        let mut contradicts = false;
        {
            let cache = self.shared.read();
            let known = |kv: &KeyValue, hash: Option<u128>| {
                let (name, seen) = self.known(&cache, kv)?;
                let same = seen.mod_revision == kv.mod_revision;
                let differs = || seen.lease != kv.lease || hash.is_some_and(|hash| seen.hash != hash);
                contradicts |= seen.mod_revision > kv.mod_revision || same && differs();
                same.then_some(name)
            };
            staging.add(&page.keys, decoded, known, |kv| self.prefix.strip(&kv.path));
        }
        if contradicts && staging.same_history {
            // Within one history no key's revision goes back, and no value changes without a new revision.
            return Err(Refused::Inconsistent);
        }
        if matches!(self.state, State::Connecting { .. } | State::Listing { .. }) {
            self.state = State::Listing { seen: staging.len(), cause: None };
        }
        if !page.last {
            self.staging = Some(staging);
            return Ok(());
        }
        if !staging.is_complete() {
            return Err(Refused::Inconsistent);
        }
        self.commit(now, staging);
        Ok(())
    }

    /// The name of a key that has a value, in the cache or in quarantine, and that value.
    fn known(&self, cache: &Cache<K>, kv: &KeyValue) -> Option<(KeyName, KeyState)> {
        let name = self.prefix.strip_str(&kv.path)?;
        if self.tombstones.contains(name) {
            return None;
        }
        if let Some((name, quarantined)) = self.quarantine.get_key_value(name) {
            let Quarantined { hash, mod_revision, lease, .. } = *quarantined;
            return Some((name.clone(), KeyState { hash, mod_revision, lease }));
        }
        let (name, entry) = cache.get_key_value(name)?;
        Some((name.clone(), KeyState { hash: entry.hash(), mod_revision: entry.mod_revision, lease: entry.lease }))
    }

    // Time.

    /// When [`timeout`](Self::timeout) or [`poll_request`](Self::poll_request) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.tombstones.deadline().into_iter().chain(self.own.deadline()).min()
    }

    /// Announces the deletions whose delay has passed.
    pub fn timeout(&mut self, now: Instant) {
        let due = self.tombstones.due(now);
        self.give_up(now, &due, Reason::HeldBack);
    }

    // Observers.

    /// Adds an observer: it is told the cache as it is, then [`Notice::Synced`], then every change. While the cache shows
    /// what was known before a restart, `Synced` comes after the first list, and before it what that list changed.
    pub fn subscribe(&mut self, now: Instant, filter: Filter<K>, mode: DeliveryMode) -> ObserverId {
        let id = self.observers.add(filter, mode);
        match self.shows {
            Contents::Nothing => {}
            Contents::Snapshot => self.observers.begin_unverified(now, &self.snapshot(), self.revision),
            Contents::List => self.observers.begin_waiting(now, &self.snapshot(), self.revision, &self.notices()),
        }
        id
    }

    /// Tells an observer [`Notice::Progress`], too.
    pub fn want_progress(&mut self, id: ObserverId) {
        self.observers.want_progress(id);
    }

    /// What observers have still to be told or to handle now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.observers.mark()
    }

    /// Whether observers have handled everything that was pending when the mark was made.
    pub fn have_passed(&self, mark: &mut Mark) -> bool {
        self.observers.have_passed(mark)
    }

    /// An observer's own code panicked while it handled a parcel: counted in its [`Lag`](crate::Lag).
    pub fn observer_panicked(&mut self, id: ObserverId) {
        self.observers.panicked(id);
    }

    /// Whether an observer has handled its first state: the first list, or until then what was known before a restart.
    #[must_use]
    pub fn has_begun(&self, id: ObserverId) -> bool {
        self.observers.has_begun(id)
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
            let (value, reason) = (Some((&entry.key, entry.hash())), Reason::FirstState);
            Change { initial: true, ..change(name, None, value, entry.mod_revision, entry.origin, reason) }
        };
        cache.scan("").map(create).collect()
    }

    /// The present problems: values that cannot be decoded, and own keys that the kvstore refuses.
    fn notices(&self) -> Vec<Notice> {
        let undecodable = self.quarantine.iter().map(|(name, quarantined)| quarantined.notice(name));
        let aside = self.own.stats().set_aside.into_iter();
        undecodable.chain(aside.map(|(name, cause)| Notice::SetAside { name, cause: Some(cause) })).collect()
    }

    // The end, and the state until then.

    /// How the store is.
    #[must_use]
    pub fn status(&self) -> Status {
        let own = self.own.stats();
        Status {
            state: self.state.clone(),
            revision: self.revision,
            entries: self.shared.read().len(),
            own: self.own.owned(),
            pending_writes: own.pending,
            pending_cause: own.pending_cause,
            set_aside: own.set_aside,
            repairs: own.repairs,
            leases: own.leases,
            held_back: self.tombstones.held(),
            undecodable: self.quarantine.len(),
            ignored: self.ignored.status(),
            healed: self.healed,
            relists: self.relists,
            audits: self.audits.stats(),
            panics: self.decoder.panics(),
            saved: None,
            state_error: None,
            observers: self.observers.lags(),
        }
    }

    /// The bytes of a value that cannot be decoded.
    #[must_use]
    pub fn quarantined(&self, name: &str) -> Option<&Bytes> {
        self.quarantine.get(name).map(|quarantined| &quarantined.raw)
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
    /// Readers outlive the store: a task that waits there must not wait for ever.
    fn drop(&mut self) {
        self.close("store was dropped");
    }
}
