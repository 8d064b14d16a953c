//! Reading the cache from any thread.

mod key_watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{self, Point, Shared};
use crate::change::Origin;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::status::State;

pub use self::key_watch::KeyWatch;

/// How many keys [`Reader::entries`] takes at once.
const PART: usize = 256;

/// Reads the cache from any thread: no message, no wait for I/O. Cheap to clone; outlives the store.
///
/// A read takes a lock that the writer holds only while it puts a decoded batch into place; no code of a user runs
/// under it. Each single read shows one point in the kvstore's history.
pub struct Reader<K> {
    shared: Arc<Shared<K>>,
    /// The version this reader has seen, for `changed`.
    seen: u64,
}

/// One key with what the kvstore says of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry<K> {
    /// The key's name.
    pub name: KeyName,
    /// The key: the last value that could be decoded.
    pub key: Arc<K>,
    /// The revision that wrote the value.
    pub revision: Revision,
    /// The revision that created the key; the same as long as it is not deleted.
    pub create_revision: Revision,
    /// The lease it is under, or [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// Whose key it is.
    pub origin: Origin,
    held_back: bool,
}

impl<K> Entry<K> {
    fn new((name, entry): (&KeyName, &cache::Entry<K>)) -> Self {
        let cache::Entry { mod_revision, create_revision, lease, origin, held_back, .. } = *entry;
        let (name, key) = (name.clone(), Arc::clone(&entry.key));
        Self { name, key, revision: mod_revision, create_revision, lease, origin, held_back }
    }

    /// Whether the kvstore no longer has the key, and its deletion is held back: by [`Config::delete_delay`] or the
    /// [`DeletionGuard`], or because it is an own key that somebody else has deleted and that is put again.
    ///
    /// ```
    /// # fn show(reader: &shared_store_core::Reader<String>) {
    /// let gone = reader.entries().filter(|entry| entry.held_back()).count();
    /// # }
    /// ```
    ///
    /// [`Config::delete_delay`]: crate::Config::delete_delay
    /// [`DeletionGuard`]: crate::DeletionGuard
    #[must_use]
    pub fn held_back(&self) -> bool {
        self.held_back
    }
}

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), key: Arc::clone(&self.key), ..*self }
    }
}

/// Some or all keys at one revision.
///
/// ```
/// # fn show(reader: &shared_store_core::Reader<String>) {
/// let snapshot = reader.scan("cluster1/");
/// let longest = snapshot.values().map(|key| key.len()).max();
/// for (name, key) in &snapshot {
///     println!("{name} = {key}");
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Snapshot<K> {
    /// The revision they show.
    pub revision: Revision,
    /// The keys.
    pub entries: Vec<(KeyName, Arc<K>)>,
}

impl<K> Snapshot<K> {
    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names and keys, in the order of [`entries`](Self::entries).
    pub fn iter(&self) -> std::slice::Iter<'_, (KeyName, Arc<K>)> {
        self.entries.iter()
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &KeyName> {
        self.entries.iter().map(|(name, _)| name)
    }

    /// The keys without their names.
    #[must_use]
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Arc<K>> {
        self.entries.iter().map(|(_, key)| key)
    }
}

impl<K> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, entries: self.entries.clone() }
    }
}

impl<'a, K> IntoIterator for &'a Snapshot<K> {
    type Item = &'a (KeyName, Arc<K>);
    type IntoIter = std::slice::Iter<'a, (KeyName, Arc<K>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K> IntoIterator for Snapshot<K> {
    type Item = (KeyName, Arc<K>);
    type IntoIter = std::vec::IntoIter<(KeyName, Arc<K>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// The index was not declared when the store was joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no index named {0:?}")]
pub struct UnknownIndex(pub String);

/// The cache did not reach a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtLeastError {
    /// Not in the time given.
    #[error("cache is at revision {reached}, not yet at {wanted} ({state})")]
    TimedOut {
        /// The revision waited for.
        wanted: Revision,
        /// The revision the cache shows.
        reached: Revision,
        /// How the store is.
        state: State,
    },
    /// The store has left: it never will.
    #[error("store is closed at revision {reached}")]
    Closed {
        /// The last revision the cache showed.
        reached: Revision,
    },
}

/// The store has left: the cache will not change any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("store is closed")]
pub struct Closed;

impl<K> Reader<K> {
    pub(crate) fn new(shared: Arc<Shared<K>>) -> Self {
        let seen = shared.point.borrow().version;
        Self { shared, seen }
    }

    /// A reader that has seen all changes up to now.
    fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }

    /// The key named `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.shared.read().get(name).map(|entry| Arc::clone(&entry.key))
    }

    /// The key named `name`, with the revision that wrote it.
    #[must_use]
    pub fn get_with_revision(&self, name: &str) -> Option<(Arc<K>, Revision)> {
        self.shared.read().get(name).map(|entry| (Arc::clone(&entry.key), entry.mod_revision))
    }

    /// The key named `name`, with its revisions, its lease and whose it is.
    ///
    /// ```
    /// # fn show(reader: &shared_store_core::Reader<String>) {
    /// if let Some(entry) = reader.entry("cluster1/node1") {
    ///     println!("{} since revision {}, lease {}", entry.key, entry.create_revision, entry.lease);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry<K>> {
        self.shared.read().get_key_value(name).map(Entry::new)
    }

    /// All keys in name order, read in parts of 256: it needs no memory for all of them at once, and holds the lock only
    /// while it takes a part. Each part shows one revision; the parts may show different ones. [`scan`](Self::scan) shows
    /// one.
    ///
    /// ```
    /// # use shared_store_core::Origin;
    /// # fn count(reader: &shared_store_core::Reader<String>) -> usize {
    /// reader.entries().filter(|entry| entry.origin == Origin::Local).count()
    /// # }
    /// ```
    pub fn entries(&self) -> impl Iterator<Item = Entry<K>> {
        let mut last = None;
        std::iter::from_fn(move || {
            let part: Vec<_> = self.shared.read().after(last.as_ref()).take(PART).map(Entry::new).collect();
            last = Some(part.last()?.name.clone());
            Some(part)
        })
        .flatten()
    }

    /// All names in their order.
    #[must_use]
    pub fn names(&self) -> Vec<KeyName> {
        self.shared.read().names().cloned().collect()
    }

    /// At most `limit` keys whose names start with `prefix` and come after `after`, in name order: a page of a list. `None`
    /// begins at the first key. The next page comes after the last name of this one.
    ///
    /// ```
    /// # fn names(reader: &shared_store_core::Reader<String>) -> Vec<String> {
    /// let page = reader.page("cluster1/", None, 100);
    /// page.iter().map(|entry| entry.name.to_string()).collect()
    /// # }
    /// ```
    #[must_use]
    pub fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Entry<K>> {
        let cache = self.shared.read();
        cache.page(prefix, after).take(limit).map(Entry::new).collect()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K> {
        let cache = self.shared.read();
        let entries = cache.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.key))).collect();
        Snapshot { revision: cache.revision, entries }
    }

    /// The keys whose names start with `prefix`, in name order.
    #[must_use]
    pub fn scan(&self, prefix: &str) -> Snapshot<K> {
        let cache = self.shared.read();
        let entries = cache.scan(prefix).map(|(name, entry)| (name.clone(), Arc::clone(&entry.key))).collect();
        Snapshot { revision: cache.revision, entries }
    }

    /// The keys that have `value` in the index named `index`, in name order.
    ///
    /// # Errors
    /// [`UnknownIndex`] if no such index was declared.
    pub fn lookup(&self, index: &str, value: &str) -> Result<Snapshot<K>, UnknownIndex> {
        let cache = self.shared.read();
        let found = cache.lookup(index, value).ok_or_else(|| UnknownIndex(index.to_owned()))?;
        let entries = found.map(|(name, entry)| (name.clone(), Arc::clone(&entry.key))).collect();
        Ok(Snapshot { revision: cache.revision, entries })
    }

    /// The revision the cache shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.point.borrow().revision
    }

    /// How far the cache can be trusted.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.point.borrow().state.clone()
    }

    /// Waits until the cache shows `revision` or a later one: after a write that answered with its revision, reads see
    /// it.
    ///
    /// # Errors
    /// [`AtLeastError::TimedOut`] after `timeout`, [`AtLeastError::Closed`] if the store leaves before.
    pub async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), AtLeastError> {
        let mut point = self.shared.point.subscribe();
        let reached = point.wait_for(|point| point.revision >= revision || is_closed(point));
        match tokio::time::timeout(timeout, reached).await {
            Ok(Ok(point)) if point.revision >= revision => Ok(()),
            Ok(_) => Err(AtLeastError::Closed { reached: self.revision() }),
            Err(_) => Err(AtLeastError::TimedOut { wanted: revision, reached: self.revision(), state: self.state() }),
        }
    }

    /// Waits until the cache has changed since this reader was made, was cloned or last returned from this method, and
    /// returns the revision. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`] if the store has left.
    pub async fn changed(&mut self) -> Result<Revision, Closed> {
        let mut point = self.shared.point.subscribe();
        match point.wait_for(|point| point.version > self.seen || is_closed(point)).await {
            Ok(point) if point.version > self.seen => {
                self.seen = point.version;
                Ok(point.revision)
            }
            Ok(_) | Err(_) => Err(Closed),
        }
    }

    /// Waits until the cache shows the kvstore ([`State::Synced`]). Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`] if the store leaves before.
    pub async fn synced(&self) -> Result<(), Closed> {
        let mut point = self.shared.point.subscribe();
        let decided = |point: &Point| point.state == State::Synced || is_closed(point);
        match point.wait_for(decided).await {
            Ok(point) if !is_closed(&point) => Ok(()),
            Ok(_) | Err(_) => Err(Closed),
        }
    }

    /// Waits until the state is another than `known`, and answers with it. Cancel-safe.
    pub async fn state_changed(&self, known: &State) -> State {
        let mut point = self.shared.point.subscribe();
        let changed = point.wait_for(|point| point.state != *known).await;
        // The sender is in `shared`, so it lives as long as this reader.
        changed.map_or_else(|_| self.state(), |point| point.state.clone())
    }
}

fn is_closed(point: &Point) -> bool {
    matches!(point.state, State::Closed { .. })
}

impl<K> Clone for Reader<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<K> fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
