//! The leases own keys are attached to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RequestId;
use crate::backend::LeaseGrant;
use crate::clock::bounded;
use crate::config::Config;
use crate::hash::value_hash;
use crate::kv::LeaseId;

/// A put's cost in etcd grows with the keys on its lease (etcd#15993); Cilium's number.
const KEYS_PER_LEASE: usize = 1000;

/// How long after a failure the next lease is asked for again, if it is not needed before.
const AHEAD_PAUSE: Duration = Duration::from_secs(1);

/// The bits of a lease's id that differ between the leases of one owner.
const NUMBER_BITS: u32 = 20;

/// The leases own keys are attached to.
///
/// The owner chooses their ids: the upper 43 bits name the owner, so a key from before a restart is recognised by its
/// lease, without a list of all leases ever granted.
#[derive(Debug)]
pub(super) struct Leases {
    owner: i64,
    ttl: Duration,
    rng: fastrand::Rng,
    alive: BTreeMap<LeaseId, Lease>,
    /// Leases that were not confirmed for their TTL and may exist in the kvstore, until this time.
    lost: BTreeMap<LeaseId, Instant>,
    /// Every id that this process has asked for and that nobody else had.
    requested: BTreeSet<LeaseId>,
    /// Leases of another live process with the same owner.
    rivals: BTreeSet<LeaseId>,
    /// The grant under way and when it was asked for.
    pub(super) granting: Option<(RequestId, Instant)>,
    /// A lease that is not needed yet is not asked for before.
    ahead_at: Option<Instant>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    keys: usize,
    /// When the last request that kept it alive was sent: it lives at least until its TTL after that.
    renewed: Instant,
    next_keep_alive: Instant,
    under_way: Option<(RequestId, Instant)>,
}

impl Config {
    /// Whether this is the id of a lease that this [`owner`](Self::owner) granted, now or in an earlier process. Without a name
    /// none is.
    #[must_use]
    pub fn is_own_lease(&self, lease: LeaseId) -> bool {
        self.owner.as_deref().is_some_and(|owner| lease.0 >> NUMBER_BITS == bits_of(upper_bits(owner)) >> NUMBER_BITS)
    }
}

/// The bits of a lease's id that name the owner.
fn bits_of(owner: u64) -> i64 {
    // The lease's id is positive: etcd takes 0 for no id.
    ((owner >> (NUMBER_BITS + 1)).max(1) << NUMBER_BITS).cast_signed()
}

impl Leases {
    pub(super) fn new(config: &Config) -> Self {
        // A publisher's keys and its canary, and stores of one configuration, have the same owner and seed. If they chose
        // the same ids, one would keep the lease of another alive and think that it was its own.
        let prefix = upper_bits(config.prefix.as_str());
        let rng = fastrand::Rng::with_seed(config.seed ^ prefix);
        let owner = bits_of(config.owner.as_deref().map_or_else(|| fastrand::u64(..), upper_bits));
        let ttl = bounded(config.lease_ttl);
        let (alive, lost, requested, rivals) = Default::default();
        Self { owner, ttl, rng, alive, lost, requested, rivals, granting: None, ahead_at: None }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// An id for the next lease.
    pub(super) fn new_id(&mut self) -> LeaseId {
        // Number 0 is free for tests.
        let lease = LeaseId(self.owner | self.rng.i64(1..1 << NUMBER_BITS));
        self.requested.insert(lease);
        lease
    }

    #[cfg(test)]
    pub(super) fn alive(&self) -> Vec<LeaseId> {
        self.alive.keys().copied().collect()
    }

    #[cfg(test)]
    pub(super) fn of_owner(&self) -> LeaseId {
        LeaseId(self.owner)
    }

    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn is_alive(&self, lease: LeaseId) -> bool {
        self.alive.contains_key(&lease)
    }

    /// Whether this owner granted the lease, now or in an earlier process.
    pub(super) fn is_ours(&self, lease: LeaseId) -> bool {
        lease.0 >> NUMBER_BITS == self.owner >> NUMBER_BITS
    }

    /// Somebody else has a lease with this id, which this process has asked for.
    pub(super) fn is_taken(&mut self, lease: LeaseId) {
        if !self.may_exist(lease) {
            self.requested.remove(&lease);
        }
    }

    /// Whether another process with the same owner granted the lease: an earlier one, or one that runs now.
    pub(super) fn is_of_another_process(&self, lease: LeaseId) -> bool {
        self.is_ours(lease) && !self.requested.contains(&lease)
    }

    /// Another process with the same owner runs now, and this is one of its leases.
    pub(super) fn add_rival(&mut self, lease: LeaseId) {
        self.rivals.insert(lease);
    }

    /// Whether another live owner granted the lease, or another live process with the same owner.
    pub(super) fn is_foreign(&self, lease: LeaseId) -> bool {
        lease != LeaseId::NONE && (!self.is_ours(lease) || self.rivals.contains(&lease))
    }

    /// Whether the lease may hold keys that this store has put.
    pub(super) fn may_exist(&self, lease: LeaseId) -> bool {
        self.is_alive(lease) || self.lost.contains_key(&lease)
    }

    /// Whether there are leases that were not confirmed and may exist.
    pub(super) fn some_are_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// All leases that may hold keys that this store has put.
    pub(super) fn all(&self) -> Vec<LeaseId> {
        self.alive.keys().chain(self.lost.keys()).copied().collect()
    }

    /// Whether the next lease may be asked for before it is needed.
    pub(super) fn may_ask_ahead(&self, now: Instant) -> bool {
        self.granting.is_none() && self.ahead_at.is_none_or(|at| at <= now)
    }

    /// A grant has failed that was not needed yet.
    pub(super) fn ask_ahead_later(&mut self, now: Instant) {
        self.ahead_at = Some(now + AHEAD_PAUSE);
    }

    /// Whether so many more keys need another lease.
    pub(super) fn is_filled_by(&self, keys: usize) -> bool {
        let room: usize = self.alive.values().map(|lease| KEYS_PER_LEASE.saturating_sub(lease.keys)).sum();
        keys > room
    }

    /// Reserves a place for one key, if a lease has room.
    pub(super) fn reserve(&mut self) -> Option<LeaseId> {
        let (lease, room) = self.alive.iter_mut().find(|(_, lease)| lease.keys < KEYS_PER_LEASE)?;
        room.keys += 1;
        Some(*lease)
    }

    /// A key has left its lease.
    pub(super) fn release(&mut self, lease: LeaseId) {
        if let Some(lease) = self.alive.get_mut(&lease) {
            lease.keys = lease.keys.saturating_sub(1);
        }
    }

    /// A grant was answered. Returns whether the lease is alive: not if the answer took longer than its TTL.
    pub(super) fn granted(&mut self, now: Instant, asked: Instant, grant: LeaseGrant) -> bool {
        let ttl = bounded(grant.ttl);
        if now >= asked + ttl {
            self.lost.insert(grant.lease, now + ttl);
            return false;
        }
        let next_keep_alive = self.next_keep_alive(asked, ttl);
        let lease = Lease { ttl, keys: 0, renewed: asked, next_keep_alive, under_way: None };
        self.alive.insert(grant.lease, lease);
        true
    }

    /// The lease whose keep-alive is due, if one is.
    pub(super) fn due(&self, now: Instant) -> Option<LeaseId> {
        let due = |lease: &Lease| lease.under_way.is_none() && lease.next_keep_alive <= now;
        self.alive.iter().find(|(_, lease)| due(lease)).map(|(id, _)| *id)
    }

    pub(super) fn keep_alive_sent(&mut self, now: Instant, lease: LeaseId, id: RequestId) {
        if let Some(lease) = self.alive.get_mut(&lease) {
            lease.under_way = Some((id, now));
        }
    }

    /// The lease a keep-alive was for, and when that was sent.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<(LeaseId, Instant)> {
        self.alive.iter_mut().find_map(|(lease, state)| {
            let (_, sent) = state.under_way.take_if(|(request, _)| *request == id)?;
            Some((*lease, sent))
        })
    }

    /// The keep-alives under way.
    pub(super) fn under_way(&self) -> impl Iterator<Item = RequestId> {
        self.alive.values().filter_map(|lease| lease.under_way.map(|(id, _)| id))
    }

    pub(super) fn kept_alive(&mut self, sent: Instant, lease: LeaseId, ttl: Duration) {
        let ttl = bounded(ttl);
        let next_keep_alive = self.next_keep_alive(sent, ttl);
        if let Some(lease) = self.alive.get_mut(&lease) {
            (lease.ttl, lease.renewed, lease.next_keep_alive) = (ttl, sent, next_keep_alive);
        }
    }

    /// A keep-alive failed: again soon, while there is time.
    pub(super) fn keep_alive_failed(&mut self, now: Instant, lease: LeaseId) {
        let jitter = 0.5 + self.rng.f64() / 2.0;
        if let Some(lease) = self.alive.get_mut(&lease) {
            let pause = (lease.ttl / 10).clamp(Duration::from_millis(50), Duration::from_secs(5));
            lease.next_keep_alive = now + pause.mul_f64(jitter);
        }
    }

    /// The leases that nobody has confirmed for their whole TTL.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(LeaseId, Arc<str>)> {
        let silent = self.alive.iter().filter(|(_, lease)| lease.renewed + lease.ttl <= now);
        let silent: Vec<_> = silent.map(|(id, lease)| (*id, lease.ttl)).collect();
        let cause = |ttl: Duration| Arc::from(format!("not confirmed for its TTL of {} s", ttl.as_secs_f64()));
        silent
            .into_iter()
            .map(|(id, ttl)| {
                // A new leader of the kvstore gives it its full TTL once more.
                self.lost.insert(id, now + ttl);
                (id, cause(ttl))
            })
            .collect()
    }

    /// Drops lost leases that cannot exist any more.
    pub(super) fn drop_lost(&mut self, now: Instant) {
        self.lost.retain(|_, until| *until > now);
    }

    /// The lease must not be used any more.
    pub(super) fn lose(&mut self, lease: LeaseId) {
        self.alive.remove(&lease);
    }

    /// A lease was revoked: nothing is on it any more.
    pub(super) fn revoked(&mut self, lease: LeaseId) {
        self.alive.remove(&lease);
        self.lost.remove(&lease);
    }

    /// No lease counts in another history. Returns the leases that were alive. They may exist all the same: the
    /// kvstore that answers now may have granted them before anybody knew that it is another one.
    pub(super) fn new_history(&mut self, now: Instant) -> Vec<LeaseId> {
        self.granting = None;
        let alive = std::mem::take(&mut self.alive);
        self.lost.extend(alive.iter().map(|(id, lease)| (*id, now + lease.ttl)));
        alive.into_keys().collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = |lease: &Lease| {
            let end = lease.renewed + lease.ttl;
            if lease.under_way.is_some() { end } else { lease.next_keep_alive.min(end) }
        };
        self.alive.values().map(next).min()
    }

    /// A third of the TTL, less a tenth of jitter so that many leases spread.
    fn next_keep_alive(&mut self, sent: Instant, ttl: Duration) -> Instant {
        sent + (ttl / 3).mul_f64(1.0 - self.rng.f64() / 10.0)
    }
}

/// 64 bits of the text's hash.
fn upper_bits(text: &str) -> u64 {
    u64::try_from(value_hash(text.as_bytes()) >> 64).expect("64 bits are left")
}
