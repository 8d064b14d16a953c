//! Requests: which names go into a transaction, and what its answer means for each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::known::Known;
use super::name::{Refusal, SetAside, Step, Target, Verdict};
use super::wish::Wish;
use super::{Answer, KeyState, LATEST_PUT, Lifetime, OwnEvent, OwnKeys, Request, RequestId, WriteError};
use crate::backend::{Applied, BackendError, Expect, LeaseGrant, Write, WriteAction, WriteOutcome};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{KeyValue, LeaseId, Revision};

/// etcd refuses requests above 1.5 MiB.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Flight {
    epoch: u64,
    /// The newest revision known when it was sent: the answer cannot be older within one history.
    floor: Revision,
    lease: Option<LeaseId>,
    writes: Vec<Written>,
}

/// One name of a transaction.
#[derive(Debug)]
struct Written {
    name: KeyName,
    /// The version of the command that this write is for.
    version: u64,
    expect: Expect,
    /// Whether `expect` is a state that was known, not a guess.
    expected_known: bool,
    /// The put value's fingerprint and lease; `None` for a deletion.
    put: Option<(u128, LeaseId)>,
}

impl Written {
    /// The revision the write expected; 0 for no key.
    fn expected(&self) -> Revision {
        match self.expect {
            Expect::Is { revision, .. } | Expect::Revision(revision) => revision,
            Expect::Absent | Expect::Any => Revision::ZERO,
        }
    }
}

impl OwnKeys {
    /// A keep-alive that is due. Nothing holds it back.
    pub(super) fn keep_alive(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        let lease = self.leases.due(now)?;
        let id = self.requests.id();
        self.leases.keep_alive_sent(now, lease, id);
        Some((id, Request::KeepAlive(lease)))
    }

    /// A transaction of what is to be written, or the grant it needs first.
    pub(super) fn write_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if self.dirty.is_empty() && self.bisected.is_empty() {
            if self.flights.is_empty() && !self.names.is_empty() {
                self.requests.limiter.bootstrapped();
            }
            return None;
        }
        if !self.requests.may_write(now, self.flights.len()) {
            return None;
        }
        // Asked for before the last lease is full, so that no write waits for it; if that fails, when it is full.
        let next = self.dirty.front().and_then(|name| self.names.get(name));
        let lacks_room = next.is_some_and(|own| own.needs_lease()) && self.leases.is_filled_by(self.dirty.len());
        if lacks_room && self.leases.may_ask_ahead(now) && self.requests.last_error().is_none() {
            return Some(self.grant(now));
        }
        let (flight, writes, needs_lease) = match self.bisected.pop_front() {
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
            let grant = needs_lease && self.leases.granting.is_none();
            return grant.then(|| self.grant(now));
        }
        let id = self.requests.id();
        self.writes += writes.len() as u64;
        self.requests.limiter.sent(now);
        self.flights.insert(id, flight);
        Some((id, Request::Write(writes)))
    }

    fn grant(&mut self, now: Instant) -> (RequestId, Request) {
        let id = self.requests.id();
        self.leases.granting = Some((id, now));
        (id, Request::Grant { lease: self.leases.new_id(), ttl: self.leases.ttl() })
    }

    /// As many of the names as fit into one transaction, taken out of the queue. All puts of a transaction that are
    /// under a lease are under the same lease, so a lost lease is known from its transaction. Also returns whether a
    /// put found no lease.
    fn batch(&mut self, now: Instant, queue: &mut VecDeque<KeyName>) -> (Flight, Vec<Write>, bool) {
        let floor = self.answered.max(self.reached);
        let mut flight = Flight { epoch: self.epoch, floor, lease: None, writes: Vec::new() };
        let (mut writes, mut cost, mut bytes, mut needs_lease) = (Vec::new(), 0, 0, false);
        let mut later = Vec::new();
        // Names under other leases are skipped, up to a limit.
        while cost < self.max_writes && later.len() < 4 * self.max_writes {
            let Some(name) = queue.pop_front() else { break };
            let Some(own) = self.names.get_mut(&name).filter(|own| own.step == Step::Queued) else { continue };
            let due = matches!(own.verdict(now, self.policy, &self.leases), Verdict::Write(at) if at <= now);
            let Some(target) = own.target().filter(|_| due) else {
                self.step(&name, Step::Idle);
                self.review(now, &name);
                continue;
            };
            let path = self.prefix.path(&name);
            let (expect, known, version) = (own.expect(&target, self.policy), own.known, own.version);
            let (action, put) = match target {
                Target::Delete => (WriteAction::Delete, None),
                Target::Put { value, hash, lifetime: Lifetime::Unlimited } => {
                    bytes += value.len();
                    let lease = LeaseId::NONE;
                    (WriteAction::Put { value, lease }, Some((hash, lease)))
                }
                Target::Put { value, hash, lifetime: Lifetime::Store } => {
                    let kept = own.lease.filter(|lease| self.leases.is_alive(*lease));
                    own.lease = kept.or_else(|| self.leases.reserve());
                    needs_lease |= own.lease.is_none();
                    match own.lease.filter(|lease| *flight.lease.get_or_insert(*lease) == *lease) {
                        Some(lease) => {
                            bytes += value.len();
                            (WriteAction::Put { value, lease }, Some((hash, lease)))
                        }
                        None => {
                            later.push(name);
                            continue;
                        }
                    }
                }
            };
            bytes += path.len();
            cost += expect.cost();
            if (bytes > MAX_BATCH_BYTES || cost > self.max_writes) && !writes.is_empty() {
                later.push(name);
                break;
            }
            own.sent(now);
            flight.floor = flight.floor.max(known.as_of);
            writes.push(Write { path, expect, action });
            let written = Written { name, version, expect, expected_known: false, put };
            let expected_known = known.as_of > Revision::ZERO && written.expected() == known.expected();
            flight.writes.push(Written { expected_known, ..written });
        }
        for name in later.into_iter().rev() {
            queue.push_front(name);
        }
        (flight, writes, needs_lease)
    }

    /// The requests under way will have no answer: whether they were applied is unknown.
    pub fn requests_lost(&mut self, now: Instant) {
        let error = || BackendError::unavailable("the request was lost");
        let written = self.flights.keys().map(|id| (*id, Answer::Written(Err(error()))));
        let granted = self.leases.granting.iter().map(|(id, _)| (*id, Answer::Granted(Err(error()))));
        let kept = self.leases.under_way().map(|id| (id, Answer::KeptAlive(Err(error()))));
        let revoked = self.revoking().map(|id| (id, Answer::Revoked(Err(error()))));
        let mut lost: Vec<_> = written.chain(granted).chain(kept).chain(revoked).collect();
        lost.sort_by_key(|(id, _)| *id);
        for (id, answer) in lost {
            self.answer(now, id, answer);
        }
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
                        self.events.push_back(OwnEvent::BackendFailed(error));
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
                self.requests.answered();
                self.revoke_too(grant.lease);
                if !self.leases.granted(now, asked, grant) {
                    let cause = Arc::from("its grant took longer than its TTL");
                    self.events.push_back(OwnEvent::LeaseLost { lease: grant.lease, cause });
                }
            }
            // The next grant has another id.
            Err(BackendError::LeaseExists { lease }) => {
                self.leases.is_taken(lease);
                self.requests.answered();
            }
            // There is room on another lease: writes go on.
            Err(error) if !self.leases.is_filled_by(1) => {
                self.leases.ask_ahead_later(now);
                self.events.push_back(OwnEvent::BackendFailed(error));
            }
            Err(error) => self.backend_failed(now, error),
        }
    }

    pub(super) fn backend_failed(&mut self, now: Instant, error: BackendError) {
        self.requests.failed(now, &error);
        self.events.push_back(OwnEvent::BackendFailed(error));
    }

    fn written(&mut self, now: Instant, id: RequestId, result: Result<WriteOutcome, BackendError>) {
        let Some(Flight { epoch, floor, lease, writes }) = self.flights.remove(&id) else { return };
        let current = epoch == self.epoch;
        for written in &writes {
            self.step(&written.name, Step::Idle);
        }
        match result {
            Ok(WriteOutcome::Committed { revision }) if current => {
                self.answered_at(revision, floor);
                for written in &writes {
                    self.committed(now, written, revision);
                }
            }
            Ok(WriteOutcome::Refused { revision, current: states }) if current => {
                self.answered_at(revision, floor);
                for (written, state) in writes.iter().zip(states) {
                    self.refused(written, revision, floor, state);
                }
            }
            Ok(_) => {}
            Err(BackendError::LeaseNotFound { .. }) => {
                if let Some(lease) = lease.filter(|lease| self.leases.is_alive(*lease)) {
                    self.lease_lost(now, lease, Arc::from("the kvstore does not know it any more"));
                }
            }
            Err(BackendError::Rejected { cause }) => return self.not_accepted(now, writes, &cause, Refusal::ForGood),
            Err(BackendError::Forbidden { cause }) => return self.not_accepted(now, writes, &cause, Refusal::ForNow),
            Err(error) => {
                let applied = !matches!(error, BackendError::Unavailable { applied: Applied::No, .. });
                for Written { name, put, .. } in writes.iter().filter(|_| applied && current) {
                    if let Some(own) = self.names.get_mut(name) {
                        own.unsure = true;
                        own.unanswered_put_until = put.map(|_| now + LATEST_PUT).or(own.unanswered_put_until);
                    }
                }
                self.backend_failed(now, error);
            }
        }
        for written in &writes {
            self.review(now, &written.name);
        }
    }

    /// The kvstore has answered at this revision. If that is older than what was known when the request was sent, its
    /// history went back.
    fn answered_at(&mut self, revision: Revision, floor: Revision) {
        self.requests.answered();
        self.answered = self.answered.max(revision);
        if revision < floor {
            self.history_changed();
        }
    }

    fn committed(&mut self, now: Instant, written: &Written, revision: Revision) {
        let Some(own) = self.names.get_mut(&written.name) else { return };
        let changed = written.put.is_some() || written.expected() > Revision::ZERO;
        if changed && !own.outdated && own.watched < revision {
            self.unconfirmed.insert((revision, written.name.clone()));
        }
        own.found_nothing = !changed && !own.unsure && own.known.state.is_none();
        (own.unsure, own.unanswered_put_until) = (own.outdated, None);
        own.verified |= own.version == written.version;
        if !own.outdated {
            own.learn(revision, written.put.map(|(hash, lease)| KeyState { hash, mod_revision: revision, lease }));
        }
        // It is answered even if somebody has changed the key since.
        if own.once.is_some() && own.version == written.version {
            self.written_once(now, &written.name, revision);
        }
    }

    /// A write was refused in this state of its path.
    fn refused(&mut self, written: &Written, revision: Revision, floor: Revision, state: Option<KeyValue>) {
        let Some(own) = self.names.get_mut(&written.name) else { return };
        let seen =
            state.map(|kv| KeyState { hash: value_hash(&kv.value), mod_revision: kv.mod_revision, lease: kv.lease });
        let mismatch = seen.map_or(Revision::ZERO, |seen| seen.mod_revision) != written.expected();
        // Only a live process can have overwritten a key under a live lease of ours.
        let was_ours = written.expected_known && own.known.state.is_some_and(|known| self.leases.is_alive(known.lease));
        if let Some(seen) = seen.filter(|seen| was_ours && self.leases.is_of_another_process(seen.lease)) {
            self.leases.add_rival(seen.lease);
        }
        // A wrong guess is no contest, and neither is a key that was deleted with its lease.
        let ours = |lease| self.leases.is_ours(lease) && !self.leases.is_foreign(lease);
        let dead = |seen: KeyState| ours(seen.lease) && !self.leases.is_alive(seen.lease);
        let guessed = !written.expected_known || own.known.state.is_some_and(dead);
        own.contested |= mismatch && (!guessed || revision < floor);
        // An answer of another history verifies nothing.
        own.verified |= own.version == written.version && revision >= floor;
        if own.outdated {
            return;
        }
        // The watch has to show this state, too; otherwise it is of another history.
        if let Some(seen) = seen.filter(|seen| seen.mod_revision > self.reached.max(own.watched)) {
            self.unconfirmed.insert((seen.mod_revision, written.name.clone()));
        }
        // The answer is at least as new as what it was compared with.
        if revision >= own.known.as_of {
            own.known = Known { as_of: revision, state: seen };
            own.unsure = false;
        }
    }

    /// One of the writes is bad: bisection finds which one.
    fn not_accepted(&mut self, now: Instant, writes: Vec<Written>, cause: &Arc<str>, refusal: Refusal) {
        self.requests.answered();
        let [written] = &writes[..] else {
            let mut names: Vec<_> = writes.into_iter().map(|written| written.name).collect();
            for name in &names {
                self.step(name, Step::Queued);
            }
            let second = names.split_off(names.len() / 2);
            self.bisected.extend([names, second]);
            return;
        };
        let name = &written.name;
        let Some(own) = self.names.get_mut(name) else { return };
        // Another value may be accepted: a newer wish, or the one that counts since a synchronous write has timed out.
        let refused = match own.target() {
            Some(Target::Put { hash, .. }) => written.put.is_some_and(|(sent, _)| sent == hash),
            Some(Target::Delete) => written.put.is_none(),
            None => false,
        };
        if refused && own.version == written.version {
            let rejected = || WriteError::Rejected { cause: Arc::clone(cause) };
            if let Some(once) = own.once.take() {
                self.timeouts.remove(&(once.deadline, name.clone()));
                self.done(once.ticket, Err(rejected()));
            } else if own.wish.is_given_up() && refusal == Refusal::ForGood {
                // It cannot exist.
                own.wish = Wish::Nothing;
                let (tickets, revision) = (std::mem::take(&mut own.deletes), own.known.as_of);
                self.settle_tickets(tickets, &rejected());
                self.events.push_back(OwnEvent::Released { name: name.clone(), revision });
            } else {
                // Callers that wait for a forbidden deletion are answered now; the deletion is tried again later.
                let tickets = std::mem::take(&mut own.deletes);
                (own.set_aside, own.damage) = (SetAside::Refused(refusal), None);
                self.settle_tickets(tickets, &rejected());
                let before = self.aside.insert(name.clone(), Arc::clone(cause));
                self.events.push_back(if before.as_ref() == Some(cause) {
                    OwnEvent::StillSetAside { name: name.clone() }
                } else {
                    OwnEvent::SetAside { name: name.clone(), cause: Arc::clone(cause) }
                });
            }
        }
        self.review(now, name);
    }
}
