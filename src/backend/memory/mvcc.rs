//! A kvstore as a value: etcd's revisions, transactions, history and leases, without a clock.

#[cfg(all(feature = "etcd", any(feature = "etcd-server", feature = "test-kit")))]
mod served;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::history::History;
use super::lease::Leases;
use crate::backend::{
    BackendError, Expect, LeaseGrant, LeaseTime, ListPage, ListRequest, Write, WriteAction, WriteOutcome,
};
use crate::kv::{ClusterId, Event, Header, KeyRange, KeyValue, LeaseId, Revision};

/// As etcd's `--max-txn-ops`.
pub(crate) const MAX_WRITES: usize = 128;
/// As etcd's `--max-request-bytes`.
pub(crate) const MAX_REQUEST_BYTES: usize = 3 << 19;
/// How many changes are kept if nobody says otherwise.
const MAX_CHANGES: usize = 100_000;

/// A kvstore with etcd's semantics as a plain value: time comes in as an argument, nothing waits.
///
/// A new one is at revision 1, as etcd's. A clone is a backup: see [`restore`](Self::restore).
///
/// **Reading:** [`list`](Self::list), [`events_since`](Self::events_since), [`header`](Self::header),
/// [`next_expiry`](Self::next_expiry). **Writing:** [`write`](Self::write), [`grant`](Self::grant),
/// [`keep_alive`](Self::keep_alive), [`revoke`](Self::revoke). **Time:** call [`expire`](Self::expire) before anything
/// else whenever time has passed. **Operating:** [`compact`](Self::compact), [`restore`](Self::restore).
///
/// # History
/// The newest 100,000 changes (see [`history`](Self::history)), at most 256 MiB of them, can be watched and listed
/// from; older ones are compacted as new ones come. The newest revision is kept whole, whatever its size.
#[derive(Clone)]
pub struct Mvcc {
    cluster: ClusterId,
    revision: Revision,
    keys: BTreeMap<Bytes, Stored>,
    history: History,
    leases: Leases,
}

/// A key as it is in the kvstore, with what only etcd's own API tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    kv: KeyValue,
    /// How often it has been written since it was created, that included.
    pub(crate) version: u64,
}

impl Deref for Stored {
    type Target = KeyValue;

    fn deref(&self) -> &KeyValue {
        &self.kv
    }
}

impl Default for Mvcc {
    fn default() -> Self {
        Self {
            cluster: ClusterId(1),
            revision: Revision(1),
            keys: BTreeMap::new(),
            history: History::new(MAX_CHANGES),
            leases: Leases::default(),
        }
    }
}

impl Mvcc {
    /// An empty kvstore of cluster 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which cluster it says it is.
    #[must_use]
    pub fn cluster(mut self, cluster: ClusterId) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets how many changes can be looked back at.
    #[must_use]
    pub fn history(mut self, changes: usize) -> Self {
        self.history.limit(changes);
        self
    }

    /// Sets where the ids of leases begin: after this one. From 1 on by default, so tests repeat exactly.
    #[must_use]
    pub fn leases_after(mut self, last: LeaseId) -> Self {
        self.leases.begin_after(last);
        self
    }

    /// Which cluster this is, and its newest revision.
    #[must_use]
    pub fn header(&self) -> Header {
        Header { cluster: self.cluster, revision: self.revision }
    }

    /// A page of the keys in a range.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] or [`BackendError::FutureRevision`] for a pinned revision that is not there.
    pub fn list(&self, request: &ListRequest) -> Result<ListPage, BackendError> {
        let all = self.at(request.revision, &request.range)?;
        let since = request.min_mod_revision.unwrap_or(Revision::ZERO);
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        let shown = |kv: &KeyValue| KeyValue {
            value: if request.keys_only { Bytes::new() } else { kv.value.clone() },
            ..kv.clone()
        };
        let mut matching = all.iter().map(|stored| &stored.kv).filter(|kv| kv.mod_revision >= since);
        let kvs = matching.by_ref().take(limit).map(shown).collect();
        let more = matching.next().is_some();
        Ok(ListPage { header: self.header(), kvs, more, count: all.len() as u64 })
    }

    /// The state of a range at a revision, or as it is now, in path order.
    ///
    /// # Errors
    /// As [`reaches`](Self::reaches).
    pub(crate) fn at(&self, revision: Option<Revision>, range: &KeyRange) -> Result<Vec<&Stored>, BackendError> {
        self.reaches(revision)?;
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let newest = self.keys.range::<Bytes, _>(&range.start..&range.end).map(|(_, kv)| kv);
        let changed = revision.map(|revision| self.history.held_at(revision, range)).unwrap_or_default();
        if changed.is_empty() {
            return Ok(newest.collect());
        }
        let rested = newest.filter(|kv| !changed.contains_key(&kv.path));
        let mut all: Vec<_> = rested.chain(changed.values().copied().flatten()).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path)); // Two sorted runs: the stable sort merges them.
        Ok(all)
    }

    /// Whether the state at this revision can be told.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] or [`BackendError::FutureRevision`].
    pub(crate) fn reaches(&self, revision: Option<Revision>) -> Result<(), BackendError> {
        match revision {
            Some(revision) if revision > self.revision => Err(BackendError::FutureRevision),
            Some(revision) => self.history.reaches(revision),
            None => Ok(()),
        }
    }

    /// The changes of a range at or after `start`, out of at most `max_revisions` revisions (but one at least), and the
    /// revision to go on from.
    ///
    /// A cut never parts the changes of one revision. A `start` in the future gives nothing and stays as it is.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] if some of them may be gone.
    pub fn events_since(
        &self,
        range: &KeyRange,
        start: Revision,
        max_revisions: usize,
    ) -> Result<(Vec<Event>, Revision), BackendError> {
        self.history.reaches(start)?;
        let mut events: Vec<Event> = Vec::new();
        let mut revisions = 0;
        for event in self.history.since(start).filter(|event| range.contains(event.path())) {
            if events.last().map(Event::revision) != Some(event.revision()) {
                if revisions == max_revisions.max(1) {
                    return Ok((events, event.revision()));
                }
                revisions += 1;
            }
            events.push(event.clone());
        }
        Ok((events, start.max(self.revision.next())))
    }

    /// Applies all writes at one revision if every expectation holds, else none of them.
    ///
    /// # Errors
    /// [`BackendError::Rejected`] for more than 128 writes, a path twice, an empty path, or more than 1.5 MiB in all;
    /// [`BackendError::LeaseNotFound`] if a put names a lease that is gone. Nothing was applied then.
    pub fn write(&mut self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        check(&writes)?;
        if !writes.iter().all(|write| self.meets(write)) {
            let current =
                writes.iter().map(|write| self.keys.get(&write.path).map(|stored| stored.kv.clone())).collect();
            return Ok(WriteOutcome::Refused { revision: self.revision, current });
        }
        for write in &writes {
            if let WriteAction::Put { lease, .. } = write.action
                && lease != LeaseId::NONE
                && !self.leases.contains(lease)
            {
                return Err(BackendError::LeaseNotFound { lease });
            }
        }
        self.commit(|store, revision| {
            for write in writes {
                match write.action {
                    WriteAction::Put { value, lease } => store.put(write.path, value, lease, revision),
                    WriteAction::Delete => store.delete(write.path, revision),
                }
            }
        });
        Ok(WriteOutcome::Committed { revision: self.revision })
    }

    /// Whether what a write expects holds. As in etcd, an absent key was last written at revision 0.
    fn meets(&self, write: &Write) -> bool {
        let last = || self.keys.get(&write.path).map_or(Revision::ZERO, |kv| kv.mod_revision);
        match write.expect {
            Expect::Any => true,
            Expect::Absent => last() == Revision::ZERO,
            Expect::Revision(revision) => last() == revision,
            Expect::Is { revision, lease } => {
                self.keys.get(&write.path).is_some_and(|kv| kv.mod_revision == revision && kv.lease == lease)
            }
        }
    }

    /// Applies changes at one new revision, which counts only if something changed.
    pub(crate) fn commit<T>(&mut self, changes: impl FnOnce(&mut Self, Revision) -> T) -> T {
        let revision = self.revision.next();
        let answer = changes(self, revision);
        if self.history.since(revision).next().is_some() {
            self.revision = revision;
            self.history.trim();
        }
        answer
    }

    /// Part of a [`commit`](Self::commit). The lease exists.
    pub(crate) fn put(&mut self, path: Bytes, value: Bytes, lease: LeaseId, revision: Revision) {
        let old = self.keys.get(&path);
        let create_revision = old.map_or(revision, |old| old.create_revision);
        let version = old.map_or(1, |old| old.version + 1);
        if let Some(old) = old {
            self.leases.detach(old.lease, &path);
        }
        self.leases.attach(lease, &path);
        let kv = KeyValue { path: path.clone(), value, create_revision, mod_revision: revision, lease };
        let before = self.keys.insert(path, Stored { kv: kv.clone(), version });
        self.history.push(Event::Put(kv), before);
    }

    /// Part of a [`commit`](Self::commit).
    pub(crate) fn delete(&mut self, path: Bytes, revision: Revision) {
        if let Some(old) = self.keys.remove(&path) {
            self.leases.detach(old.lease, &path);
            self.history.push(Event::Delete { path, revision }, Some(old));
        }
    }

    /// Grants a lease that lives at least one second, with a fresh id for [`LeaseId::NONE`].
    ///
    /// # Errors
    /// [`BackendError::LeaseExists`] if the id is taken, [`BackendError::Rejected`] if the TTL is above etcd's limit or
    /// longer than the clock can tell.
    pub fn grant(&mut self, lease: LeaseId, ttl: Duration, now: Instant) -> Result<LeaseGrant, BackendError> {
        let (lease, ttl) = self.leases.grant(lease, ttl, now)?;
        Ok(LeaseGrant { lease, ttl })
    }

    /// Gives a lease its whole TTL again, and says it.
    ///
    /// # Errors
    /// [`BackendError::LeaseNotFound`] if it is gone or due.
    pub fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Result<Duration, BackendError> {
        self.leases.keep_alive(lease, now).ok_or(BackendError::LeaseNotFound { lease })
    }

    /// How long a lease has left at `now`.
    ///
    /// # Errors
    /// As [`Backend::lease_time`](crate::Backend::lease_time).
    pub fn lease_time(&self, lease: LeaseId, now: Instant) -> Result<LeaseTime, BackendError> {
        self.leases.time(lease, now).ok_or(BackendError::LeaseNotFound { lease })
    }

    /// Ends a lease and deletes its keys at one revision. A lease that is gone already is no error.
    pub fn revoke(&mut self, lease: LeaseId) {
        let paths = self.leases.remove(lease);
        self.commit(|store, revision| paths.into_iter().for_each(|path| store.delete(path, revision)));
    }

    /// Ends every lease whose deadline is not after `now`, in the order of their deadlines, each at its own revision.
    pub fn expire(&mut self, now: Instant) {
        while let Some(lease) = self.leases.due(now) {
            self.revoke(lease);
        }
    }

    /// When the next lease ends if nobody keeps it alive.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.leases.next_expiry()
    }

    /// Forgets the history before `revision`, as an operator would. What is listed or watched from there on stays.
    ///
    /// # Errors
    /// [`BackendError::Compacted`] if that was done already, [`BackendError::FutureRevision`] if there is no such
    /// revision yet.
    pub fn compact(&mut self, revision: Revision) -> Result<(), BackendError> {
        if revision > self.revision {
            return Err(BackendError::FutureRevision);
        }
        self.history.reaches(revision)?;
        self.history.compact(revision);
        Ok(())
    }

    /// Whether a watch from `start` on can be complete.
    pub(super) fn can_watch(&self, start: Revision) -> Result<(), BackendError> {
        self.history.reaches(start)
    }

    /// Goes back to an older backup, as an operator would: revisions go back, and leases have their whole TTL again.
    /// Lease ids granted since are not granted again, as in etcd.
    pub fn restore(&mut self, backup: &Self, now: Instant) {
        let leases = backup.leases.clone().restarted(&self.leases, now);
        *self = Self { leases, ..backup.clone() };
    }
}

impl fmt::Debug for Mvcc {
    /// Without keys and values: they are many, and not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mvcc").field("header", &self.header()).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// Whether a transaction can be taken at all.
fn check(writes: &[Write]) -> Result<(), BackendError> {
    if writes.len() > MAX_WRITES {
        return Err(BackendError::rejected("too many operations in transaction"));
    }
    let mut paths = HashSet::with_capacity(writes.len());
    let mut bytes = 0;
    for Write { path, action, .. } in writes {
        if path.is_empty() {
            return Err(BackendError::rejected("key is not provided"));
        }
        if !paths.insert(path) {
            return Err(BackendError::rejected("duplicate key in transaction"));
        }
        bytes += path.len();
        if let WriteAction::Put { value, .. } = action {
            bytes += value.len();
        }
    }
    if bytes > MAX_REQUEST_BYTES { Err(BackendError::rejected("request is too large")) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
