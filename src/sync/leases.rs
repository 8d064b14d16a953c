//! The leases own keys are attached to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RequestId;
use crate::backend::LeaseGrant;
use crate::kv::LeaseId;

/// A put's cost in etcd grows with the keys on its lease (etcd#15993); Cilium's number.
const KEYS_PER_LEASE: usize = 1000;

/// The leases own keys are attached to.
#[derive(Debug)]
pub(super) struct Leases {
    ttl: Duration,
    rng: fastrand::Rng,
    alive: BTreeMap<LeaseId, Lease>,
    /// Leases that were ours and are lost, or are believed to be.
    former: BTreeSet<LeaseId>,
    /// The grant under way and when it was asked for.
    pub(super) granting: Option<(RequestId, Instant)>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    keys: usize,
    /// It lives at least until `ttl` after this: when the last request that kept it alive was sent.
    renewed: Instant,
    next_keep_alive: Instant,
    under_way: Option<(RequestId, Instant)>,
}

impl Leases {
    pub(super) fn new(ttl: Duration, seed: u64) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { ttl, rng, alive: BTreeMap::new(), former: BTreeSet::new(), granting: None }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    pub(super) fn len(&self) -> usize {
        self.alive.len()
    }

    pub(super) fn is_alive(&self, lease: LeaseId) -> bool {
        self.alive.contains_key(&lease)
    }

    pub(super) fn ever_ours(&self, lease: LeaseId) -> bool {
        self.is_alive(lease) || self.former.contains(&lease)
    }

    /// All leases that may still hold keys of ours.
    pub(super) fn all(&self) -> Vec<LeaseId> {
        self.alive.keys().chain(&self.former).copied().collect()
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

    /// A grant was answered; whether the lease is alive. What took longer than its TTL is not.
    pub(super) fn granted(&mut self, now: Instant, asked: Instant, grant: LeaseGrant) -> bool {
        if now >= asked + grant.ttl {
            self.former.insert(grant.lease);
            return false;
        }
        let next_keep_alive = self.next_keep_alive(asked, grant.ttl);
        let lease = Lease { ttl: grant.ttl, keys: 0, renewed: asked, next_keep_alive, under_way: None };
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

    pub(super) fn kept_alive(&mut self, sent: Instant, lease: LeaseId, ttl: Duration) {
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
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(LeaseId, Arc<str>)> {
        let silent = self.alive.iter().filter(|(_, lease)| lease.renewed + lease.ttl <= now);
        silent
            .map(|(id, lease)| {
                let cause = format!("not confirmed for its TTL of {} s", lease.ttl.as_secs_f64());
                (*id, Arc::from(cause))
            })
            .collect()
    }

    pub(super) fn lose(&mut self, lease: LeaseId) {
        self.alive.remove(&lease);
        self.former.insert(lease);
    }

    /// A lease was revoked: nothing is on it any more.
    pub(super) fn revoked(&mut self, lease: LeaseId) {
        self.alive.remove(&lease);
        self.former.remove(&lease);
    }

    /// Forgets all of them, and answers with those that were alive.
    pub(super) fn forget(&mut self) -> Vec<LeaseId> {
        self.granting = None;
        // They mean nothing in another history, but may still exist in this one.
        let alive: Vec<_> = std::mem::take(&mut self.alive).into_keys().collect();
        self.former.extend(&alive);
        alive
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
