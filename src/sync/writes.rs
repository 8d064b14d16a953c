//! Requests: which names go into a transaction, and what its answer means for each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::local::{Known, Target, Verdict};
use super::{Answer, Request, RequestId, Seen, Sync, SyncEvent, WriteError};
use crate::backend::{Applied, BackendError, Expect, LeaseGrant, Write, WriteAction, WriteOutcome};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};

/// etcd refuses requests above 1.5 MiB.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Flight {
    epoch: u64,
    lease: Option<LeaseId>,
    writes: Vec<Written>,
}

/// One name of a transaction.
#[derive(Debug)]
struct Written {
    name: KeyName,
    expected: Revision,
    /// As of when that was the best we knew; 0 if it was not.
    as_of: Revision,
    /// The put value's fingerprint and lease; `None` for a deletion.
    put: Option<(u128, LeaseId)>,
}

impl Sync {
    /// A keep-alive that is due. Nothing holds it back.
    pub(super) fn lease_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        let lease = self.leases.due(now)?;
        let id = self.request_id();
        self.leases.keep_alive_sent(now, lease, id);
        Some((id, Request::KeepAlive(lease)))
    }

    /// A transaction of what is to be written, or the grant it needs first.
    pub(super) fn write_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if !self.may_write() || self.flights.len() >= self.max_inflight {
            return None;
        }
        if self.dirty.is_empty() && self.suspects.is_empty() {
            if self.flights.is_empty() && !self.names.is_empty() {
                self.limiter.bootstrapped();
            }
            return None;
        }
        if self.retry_at.max(self.limiter.next()).is_some_and(|at| at > now) {
            return None;
        }
        let (flight, writes, starved) = match self.suspects.pop_front() {
            Some(names) => {
                let mut names = names.into();
                let batch = self.batch(now, &mut names);
                self.dirty.append(&mut names);
                batch
            }
            None => {
                let mut dirty = std::mem::take(&mut self.dirty);
                let batch = self.batch(now, &mut dirty);
                // What was queued meanwhile comes last.
                dirty.append(&mut self.dirty);
                self.dirty = dirty;
                batch
            }
        };
        if writes.is_empty() {
            let grant = starved && self.leases.granting.is_none();
            return grant.then(|| {
                let id = self.request_id();
                self.leases.granting = Some((id, now));
                (id, Request::Grant { ttl: self.leases.ttl() })
            });
        }
        let id = self.request_id();
        self.writes += writes.len() as u64;
        self.limiter.sent(now);
        self.flights.insert(id, flight);
        Some((id, Request::Write(writes)))
    }

    /// As many of the names as fit into one transaction, taken out of the queue. All puts of a transaction are under
    /// one lease, so a lost lease is known by its transaction. Also whether a put found no lease.
    fn batch(&mut self, now: Instant, queue: &mut VecDeque<KeyName>) -> (Flight, Vec<Write>, bool) {
        let mut flight = Flight { epoch: self.epoch, lease: None, writes: Vec::new() };
        let (mut writes, mut bytes, mut starved) = (Vec::new(), 0, false);
        let mut later = Vec::new();
        // Names under other leases are passed over, but not without end.
        while writes.len() < self.max_writes && later.len() < 4 * self.max_writes {
            let Some(name) = queue.pop_front() else { break };
            let Some(local) = self.names.get_mut(&name) else { continue };
            local.queued = false;
            let due = matches!(local.verdict(now, self.policy, &self.leases), Verdict::Write(at) if at <= now);
            let Some(target) = local.target().filter(|_| due && !local.flight) else {
                self.review(now, &name);
                continue;
            };
            let path = self.prefix.path(&name);
            let (expect, known) = (local.expect(&target), local.known);
            let (action, put) = match target {
                Target::Delete => (WriteAction::Delete, None),
                Target::Put { value, hash } => {
                    let kept = local.lease.filter(|lease| self.leases.is_alive(*lease));
                    local.lease = kept.or_else(|| self.leases.reserve());
                    starved |= local.lease.is_none();
                    bytes += value.len();
                    match local.lease.filter(|lease| *flight.lease.get_or_insert(*lease) == *lease) {
                        Some(lease) => (WriteAction::Put { value, lease }, Some((hash, lease))),
                        None => {
                            later.push(name);
                            continue;
                        }
                    }
                }
            };
            bytes += path.len();
            if bytes > MAX_BATCH_BYTES && !writes.is_empty() {
                later.push(name);
                break;
            }
            local.flight = true;
            // A write that mends what others did, or that others refused, waits longer each time.
            let (stored, resisted) = (std::mem::take(&mut local.stored), std::mem::take(&mut local.resisted));
            if stored || resisted {
                local.strike(now);
            }
            let expected = if let Expect::Revision(revision) = expect { revision } else { Revision::ZERO };
            writes.push(Write { path, expect, action });
            self.count(&name);
            let as_of = if expected == known.expected() { known.as_of } else { Revision::ZERO };
            flight.writes.push(Written { name, expected, as_of, put });
        }
        for name in later.into_iter().rev() {
            if let Some(local) = self.names.get_mut(&name) {
                local.queued = true;
                queue.push_front(name);
            }
        }
        (flight, writes, starved)
    }

    /// Takes what the backend answered to a request.
    pub fn answer(&mut self, now: Instant, id: RequestId, answer: Answer) {
        match answer {
            Answer::Granted(result) => self.granted(now, id, result),
            Answer::KeptAlive(result) => {
                let Some((lease, sent)) = self.leases.answered(id) else { return };
                match result {
                    Ok(ttl) => self.leases.kept_alive(sent, lease, ttl),
                    Err(BackendError::LeaseNotFound { .. }) => {
                        self.lease_lost(now, lease, Arc::from("the kvstore does not know it any more"));
                    }
                    Err(error) => {
                        self.leases.keep_alive_failed(now, lease);
                        self.events.push_back(SyncEvent::BackendFailed(error));
                    }
                }
            }
            Answer::Revoked(result) => self.revoked(now, id, result),
            Answer::Written(result) => self.written(now, id, result),
        }
        self.finish_closing(now);
    }

    fn granted(&mut self, now: Instant, id: RequestId, result: Result<LeaseGrant, BackendError>) {
        let Some((_, asked)) = self.leases.granting.take_if(|(request, _)| *request == id) else { return };
        match result {
            Ok(grant) => {
                self.backoff.reset();
                self.revoke_too(grant.lease);
                if !self.leases.granted(now, asked, grant) {
                    let cause = Arc::from("its grant took longer than its TTL");
                    self.events.push_back(SyncEvent::LeaseLost { lease: grant.lease, cause });
                }
            }
            Err(error) => self.backend_failed(now, error),
        }
    }

    fn written(&mut self, now: Instant, id: RequestId, result: Result<WriteOutcome, BackendError>) {
        let Some(Flight { epoch, lease, writes }) = self.flights.remove(&id) else { return };
        let current = epoch == self.epoch;
        for written in &writes {
            if let Some(local) = self.names.get_mut(&written.name) {
                local.flight = false;
            }
        }
        match result {
            Ok(WriteOutcome::Committed { revision }) if current => {
                self.backoff.reset();
                for Written { name, put, .. } in &writes {
                    let seen = put.map(|(hash, lease)| Seen { hash, mod_revision: revision, lease });
                    if let Some(local) = self.names.get_mut(name) {
                        local.unsure = false;
                        local.learn(revision, seen);
                    }
                }
            }
            Ok(WriteOutcome::Refused { revision, current: states }) if current => {
                self.backoff.reset();
                let mut went_back = false;
                for (Written { name, expected, as_of, .. }, state) in writes.iter().zip(states) {
                    let Some(local) = self.names.get_mut(name) else { continue };
                    let seen = state.map(|kv| Seen {
                        hash: value_hash(&kv.value),
                        mod_revision: kv.mod_revision,
                        lease: kv.lease,
                    });
                    let mismatch = seen.map_or(Revision::ZERO, |seen| seen.mod_revision) != *expected;
                    // Not knowing better is no resistance, and neither is that a dead lease took the key.
                    let dead = |seen: Seen| self.leases.ever_ours(seen.lease) && !self.leases.is_alive(seen.lease);
                    let unaware = local.known.as_of == Revision::ZERO || local.known.state.is_some_and(dead);
                    // We expected the best we know, which is newer than the answer that says otherwise.
                    let contradicts = mismatch && revision < *as_of;
                    local.resisted |= mismatch && (!unaware || contradicts);
                    went_back |= contradicts;
                    // The answer is at least as new as what it was compared with.
                    if revision >= local.known.as_of {
                        local.known = Known { as_of: revision, state: seen };
                        local.unsure = false;
                    }
                }
                if went_back && !std::mem::replace(&mut self.distrusted, true) {
                    self.events.push_back(SyncEvent::HistoryWentBack);
                }
            }
            Ok(_) => {}
            Err(BackendError::LeaseNotFound { .. }) => {
                if let Some(lease) = lease.filter(|lease| self.leases.is_alive(*lease)) {
                    self.lease_lost(now, lease, Arc::from("the kvstore does not know it any more"));
                }
            }
            Err(BackendError::Rejected { cause }) => return self.rejected(now, writes, &cause),
            Err(error) => {
                let applied = !matches!(error, BackendError::Unavailable { applied: Applied::No, .. });
                for Written { name, expected, put, .. } in writes.iter().filter(|_| applied && current) {
                    if let Some(local) = self.names.get_mut(name) {
                        local.unsure = true;
                        // Over what was ours it cannot come after a deletion.
                        let ours = |seen: Seen| seen.mod_revision == *expected && self.leases.ever_ours(seen.lease);
                        let late = put.filter(|_| !local.known.state.is_some_and(ours));
                        local.late = late.map(|(_, lease)| lease).or(local.late);
                    }
                }
                self.backend_failed(now, error);
            }
        }
        for written in &writes {
            self.review(now, &written.name);
        }
    }

    /// One of the writes is bad: which one is found by halves.
    fn rejected(&mut self, now: Instant, writes: Vec<Written>, cause: &Arc<str>) {
        let mut names: Vec<_> = writes.into_iter().map(|written| written.name).collect();
        let [name] = &names[..] else {
            for name in &names {
                if let Some(local) = self.names.get_mut(name) {
                    local.queued = true;
                }
                self.count(name);
            }
            let second = names.split_off(names.len() / 2);
            self.suspects.extend([names, second]);
            return;
        };
        let Some(local) = self.names.get_mut(name) else { return };
        if let Some(once) = local.once.take() {
            self.done(once.ticket, Err(WriteError::Rejected { cause: Arc::clone(cause) }));
        } else if local.want.is_delete() {
            // A deletion is never too large; whatever it is, repeating it slowly is all that can be done.
            self.backend_failed(now, BackendError::rejected(cause));
        } else {
            local.aside = true;
            self.aside.insert(name.clone(), Arc::clone(cause));
            self.events.push_back(SyncEvent::SetAside { name: name.clone(), cause: Arc::clone(cause) });
        }
        self.review(now, name);
    }
}
