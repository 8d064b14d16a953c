//! The leases of a kvstore: their deadlines and the keys attached to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::{BackendError, LeaseTime};
use crate::kv::LeaseId;

/// The shortest time a lease lives.
const MIN_TTL: Duration = Duration::from_secs(1);
/// As etcd's.
const MAX_TTL: Duration = Duration::from_secs(9_000_000_000);

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
    /// In path order, the order in which they are deleted.
    keys: BTreeSet<Bytes>,
}

/// All leases that live.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    live: BTreeMap<LeaseId, Lease>,
    /// One entry per live lease, by its deadline.
    deadlines: BTreeSet<(Instant, LeaseId)>,
    last: LeaseId,
}

impl Leases {
    /// The ids of leases begin after this one.
    pub(super) fn begin_after(&mut self, last: LeaseId) {
        self.last = self.last.max(last);
    }

    /// A new lease, with a fresh id for [`LeaseId::NONE`], and its TTL.
    pub(super) fn grant(
        &mut self,
        lease: LeaseId,
        ttl: Duration,
        now: Instant,
    ) -> Result<(LeaseId, Duration), BackendError> {
        let ttl = ttl.max(MIN_TTL);
        let deadline = now.checked_add(ttl).filter(|_| ttl <= MAX_TTL);
        let deadline = deadline
            .ok_or_else(|| BackendError::rejected("too large lease TTL: at most 9,000,000,000 s are allowed"))?;
        let lease = if lease == LeaseId::NONE { self.fresh() } else { lease };
        if self.live.contains_key(&lease) {
            return Err(BackendError::LeaseExists { lease });
        }
        self.live.insert(lease, Lease { ttl, deadline, keys: BTreeSet::new() });
        self.deadlines.insert((deadline, lease));
        Ok((lease, ttl))
    }

    /// The next id that no client has chosen for a live lease.
    fn fresh(&mut self) -> LeaseId {
        loop {
            self.last = LeaseId(self.last.0.checked_add(1).unwrap_or(1));
            if !self.live.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// The TTL the lease has again from `now` on, or `None` if it is gone or due.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Instant) -> Option<Duration> {
        let ttl = self.live.get(&id).filter(|lease| lease.deadline > now)?.ttl;
        self.prolong(id, now);
        Some(ttl)
    }

    /// How long the lease has left at `now`, or `None` if it is gone or due.
    pub(super) fn time(&self, id: LeaseId, now: Instant) -> Option<LeaseTime> {
        let lease = self.live.get(&id).filter(|lease| lease.deadline > now)?;
        Some(LeaseTime { left: lease.deadline.duration_since(now), ttl: lease.ttl })
    }

    fn prolong(&mut self, id: LeaseId, now: Instant) {
        let Some(lease) = self.live.get_mut(&id) else { return };
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now.checked_add(lease.ttl).unwrap_or(lease.deadline);
        self.deadlines.insert((lease.deadline, id));
    }

    pub(super) fn contains(&self, lease: LeaseId) -> bool {
        self.live.contains_key(&lease)
    }

    pub(super) fn attach(&mut self, lease: LeaseId, path: &Bytes) {
        if let Some(lease) = self.live.get_mut(&lease) {
            lease.keys.insert(path.clone());
        }
    }

    pub(super) fn detach(&mut self, lease: LeaseId, path: &Bytes) {
        if let Some(lease) = self.live.get_mut(&lease) {
            lease.keys.remove(path);
        }
    }

    /// Ends a lease and says which keys go with it.
    pub(super) fn remove(&mut self, id: LeaseId) -> BTreeSet<Bytes> {
        let Some(lease) = self.live.remove(&id) else { return BTreeSet::new() };
        self.deadlines.remove(&(lease.deadline, id));
        lease.keys
    }

    /// The first lease whose time is over.
    pub(super) fn due(&self, now: Instant) -> Option<LeaseId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, lease)| *lease)
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// As after a restart: every lease has its full TTL again, and no id granted after `self` was saved comes back.
    pub(super) fn restarted(mut self, newest: &Self, now: Instant) -> Self {
        self.last = self.last.max(newest.last);
        for id in self.live.keys().copied().collect::<Vec<_>>() {
            self.prolong(id, now);
        }
        self
    }
}

/// What only etcd's own API tells.
#[cfg(all(feature = "etcd", any(feature = "etcd-server", feature = "test-kit")))]
impl Leases {
    /// The keys attached to a lease, in path order.
    pub(super) fn keys(&self, lease: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.live.get(&lease).into_iter().flat_map(|lease| &lease.keys)
    }

    /// All leases, the one that ends first before the others.
    pub(super) fn all(&self) -> impl Iterator<Item = LeaseId> {
        self.deadlines.iter().map(|(_, lease)| *lease)
    }
}
