//! Leaving: what is deleted, flushed and reported.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::name::{Presence, SetAside, Step};
use super::wish::{Deletable, Wish};
use super::{OwnEvent, OwnKeys, Request, RequestId, Ticket, WriteError};
use crate::backend::BackendError;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};

/// What becomes of the own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// They are deleted.
    Close,
    /// They stay until their leases end.
    Release,
}

/// How far leaving has got.
#[derive(Debug)]
pub(super) struct Closing {
    waiting: Vec<Ticket>,
    pub(super) deadline: Instant,
    /// Close: the leases to be revoked, with all that is on them. `None` for Release.
    revoke: Option<VecDeque<LeaseId>>,
    revoking: HashMap<RequestId, LeaseId>,
    revoked: HashSet<LeaseId>,
    /// What was left, once it is over.
    over: Option<Vec<(KeyName, Arc<str>)>>,
}

impl OwnKeys {
    /// Whether it has left.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.over.is_some())
    }

    pub(super) fn leave(&mut self, now: Instant, ticket: Ticket, how: Leave) {
        if let Some(closing) = &mut self.closing {
            match closing.over.clone() {
                Some(left) => self.events.push_back(OwnEvent::Closed { ticket, left }),
                None => closing.waiting.push(ticket),
            }
            return;
        }
        // One revocation deletes up to 1000 keys at one revision, never another owner's, and a put still under way
        // cannot come after it.
        let revoke = (how == Leave::Close).then(|| self.leases.all().into());
        self.closing = Some(Closing {
            waiting: vec![ticket],
            deadline: now + self.close_timeout,
            revoke,
            revoking: HashMap::new(),
            revoked: HashSet::new(),
            over: None,
        });
        if how == Leave::Close {
            self.give_up_all(now);
        }
        self.finish_closing(now);
    }

    /// Close: ends all wishes. Keys that no revocation deletes, because somebody wrote them without a lease, are deleted.
    fn give_up_all(&mut self, now: Instant) {
        let mut lasting = Vec::new();
        for (name, own) in &mut self.names {
            let tickets = own.supersede();
            let done = tickets.into_iter().map(|ticket| OwnEvent::Done { ticket, result: Err(WriteError::Closed) });
            self.events.extend(done);
            let owned = match own.give_wish(Wish::Nothing, &mut self.owned) {
                Wish::Keep { .. } => own.presence != Presence::Never,
                Wish::Delete(which) | Wish::Released(which) => which == Deletable::OnOwnOrNoLease,
                Wish::Nothing => false,
            };
            if owned && own.known.state.is_some_and(|seen| seen.lease == LeaseId::NONE) {
                own.wish = Wish::Delete(Deletable::OnOwnOrNoLease);
                own.wished();
                lasting.push(name.clone());
            }
        }
        self.dirty.clear();
        self.bisected.clear();
        self.timeouts.clear();
        let names: Vec<_> = self.names.keys().cloned().collect();
        for name in &names {
            if self.names.get(name).is_some_and(|own| own.step != Step::Sent) {
                self.step(name, Step::Idle);
            }
        }
        lasting.sort_unstable();
        for name in &lasting {
            self.review(now, name);
        }
    }

    /// The next lease to be revoked.
    pub(super) fn revocation(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if !self.requests.may_retry(now) {
            return None;
        }
        let closing = self.closing.as_mut()?;
        let lease = closing.revoke.as_mut()?.pop_front()?;
        let id = self.requests.id();
        closing.revoking.insert(id, lease);
        Some((id, Request::Revoke(lease)))
    }

    /// A lease was granted while leaving.
    pub(super) fn revoke_too(&mut self, lease: LeaseId) {
        if let Some(revoke) = self.closing.as_mut().and_then(|closing| closing.revoke.as_mut()) {
            revoke.push_back(lease);
        }
    }

    /// The revocations under way.
    pub(super) fn revoking(&self) -> impl Iterator<Item = RequestId> {
        self.closing.iter().flat_map(|closing| closing.revoking.keys().copied())
    }

    pub(super) fn revoked(&mut self, now: Instant, id: RequestId, result: Result<(), BackendError>) {
        let Some(closing) = &mut self.closing else { return };
        let Some(lease) = closing.revoking.remove(&id) else { return };
        match result {
            Ok(()) | Err(BackendError::LeaseNotFound { .. }) => {
                closing.revoked.insert(lease);
                self.leases.revoked(lease);
            }
            Err(error) => {
                if let Some(revoke) = &mut closing.revoke {
                    revoke.push_back(lease);
                }
                self.backend_failed(now, error);
            }
        }
    }

    /// Reports the end, once everything is done or the time is over.
    pub(super) fn finish_closing(&mut self, now: Instant) {
        let Some(closing) = &self.closing else { return };
        if closing.over.is_some() {
            return;
        }
        // A lease may still be granted.
        let revoked = closing
            .revoke
            .as_ref()
            .is_none_or(|revoke| revoke.is_empty() && closing.revoking.is_empty() && self.leases.granting.is_none());
        if !(revoked && self.unsettled == 0) && now < closing.deadline {
            return;
        }
        let left = self.left();
        let Some(closing) = &mut self.closing else { return };
        closing.over = Some(left.clone());
        let waiting = std::mem::take(&mut closing.waiting);
        for own in self.names.values_mut() {
            let tickets = own.supersede();
            let done = tickets.into_iter().map(|ticket| OwnEvent::Done { ticket, result: Err(WriteError::Closed) });
            self.events.extend(done);
        }
        self.events.extend(waiting.into_iter().map(|ticket| OwnEvent::Closed { ticket, left: left.clone() }));
    }

    /// The names for which Close or Release did not do what it promised.
    fn left(&self) -> Vec<(KeyName, Arc<str>)> {
        let Some(closing) = &self.closing else { return Vec::new() };
        let unknown = || Arc::from("not confirmed in time");
        let cause = self.requests.last_error().cloned().unwrap_or_else(unknown);
        let held = |lease: LeaseId| self.leases.may_exist(lease);
        // After a change of history nothing is known of a key, and it can be on a lease of before.
        let lost = self.leases.some_are_lost();
        let mut left: Vec<_> = self
            .names
            .iter()
            .filter(|(_, own)| {
                if closing.revoke.is_some() {
                    let there = own.known.state.is_some_and(|seen| held(seen.lease)) || own.lease.is_some_and(held);
                    let doubtful = lost && own.known.as_of == Revision::ZERO;
                    there || doubtful || matches!(own.wish, Wish::Delete(_))
                } else {
                    own.step != Step::Idle || matches!(own.set_aside, SetAside::Refused(_) | SetAside::Retried)
                }
            })
            .map(|(name, _)| (name.clone(), self.aside.get(name).unwrap_or(&cause).clone()))
            .collect();
        left.sort_unstable();
        left
    }

    /// After Close: whether the name's key has been deleted, as far as is known.
    #[must_use]
    pub fn is_deleted(&self, name: &KeyName) -> bool {
        let Some(closing) = self.closing.as_ref().filter(|closing| closing.revoke.is_some()) else { return false };
        self.names.get(name).is_some_and(|own| match own.known.state {
            Some(seen) => closing.revoked.contains(&seen.lease),
            None => true,
        })
    }
}
