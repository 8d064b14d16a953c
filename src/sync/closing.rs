//! Leaving: what is deleted, flushed and reported.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::{Request, RequestId, Sync, SyncEvent, Ticket, WriteError};
use crate::backend::BackendError;
use crate::key::KeyName;
use crate::kv::LeaseId;

/// How far leaving has got.
#[derive(Debug)]
pub(super) struct Closing {
    waiting: Vec<Ticket>,
    pub(super) deadline: Instant,
    /// Close: the leases to be revoked, with all that is on them. `None` for Release.
    revoke: Option<VecDeque<LeaseId>>,
    revoking: HashMap<RequestId, LeaseId>,
    /// What was left, once it is over.
    over: Option<Vec<(KeyName, Arc<str>)>>,
}

impl Closing {
    pub(super) fn is_done(&self) -> bool {
        self.over.is_some()
    }
}

impl Sync {
    pub(super) fn leave(&mut self, now: Instant, ticket: Ticket, delete: bool) {
        if let Some(closing) = &mut self.closing {
            match closing.over.clone() {
                Some(left) => self.events.push_back(SyncEvent::Closed { ticket, left }),
                None => closing.waiting.push(ticket),
            }
            return;
        }
        // One revocation deletes up to 1000 keys at one revision, never another owner's, and a put still under way
        // cannot come after it.
        let revoke = delete.then(|| self.leases.all().into());
        self.closing = Some(Closing {
            waiting: vec![ticket],
            deadline: now + self.close_timeout,
            revoke,
            revoking: HashMap::new(),
            over: None,
        });
        if delete {
            for local in self.names.values_mut() {
                let tickets = local.supersede();
                let done =
                    tickets.into_iter().map(|ticket| SyncEvent::Done { ticket, result: Err(WriteError::Closed) });
                self.events.extend(done);
            }
            self.dirty.clear();
            self.suspects.clear();
            self.delayed.clear();
            self.timeouts.clear();
        }
        self.finish_closing(now);
    }

    /// Whether writes go out: not any more once the leases are being revoked.
    pub(super) fn may_write(&self) -> bool {
        self.closing.as_ref().is_none_or(|closing| closing.revoke.is_none() && closing.over.is_none())
    }

    /// The next lease to be revoked.
    pub(super) fn closing_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let lease = self.closing.as_mut()?.revoke.as_mut()?.pop_front()?;
        let id = self.request_id();
        self.closing.as_mut()?.revoking.insert(id, lease);
        Some((id, Request::Revoke(lease)))
    }

    /// A lease was granted while leaving.
    pub(super) fn revoke_too(&mut self, lease: LeaseId) {
        if let Some(revoke) = self.closing.as_mut().and_then(|closing| closing.revoke.as_mut()) {
            revoke.push_back(lease);
        }
    }

    pub(super) fn revoked(&mut self, now: Instant, id: RequestId, result: Result<(), BackendError>) {
        let Some(closing) = &mut self.closing else { return };
        let Some(lease) = closing.revoking.remove(&id) else { return };
        match result {
            Ok(()) | Err(BackendError::LeaseNotFound { .. }) => self.leases.revoked(lease),
            Err(error) => {
                if let Some(revoke) = &mut closing.revoke {
                    revoke.push_back(lease);
                }
                self.backend_failed(now, error);
            }
        }
    }

    /// Says that it is over, once everything is done or the time is.
    pub(super) fn finish_closing(&mut self, now: Instant) {
        let Some(closing) = &self.closing else { return };
        if closing.over.is_some() {
            return;
        }
        let done = match &closing.revoke {
            // A lease may be on its way yet.
            Some(revoke) => revoke.is_empty() && closing.revoking.is_empty() && self.leases.granting.is_none(),
            None => self.unsettled == 0,
        };
        if !done && now < closing.deadline {
            return;
        }
        let left = self.left();
        let Some(closing) = &mut self.closing else { return };
        closing.over = Some(left.clone());
        let waiting = std::mem::take(&mut closing.waiting);
        for local in self.names.values_mut() {
            let tickets = local.supersede();
            let done = tickets.into_iter().map(|ticket| SyncEvent::Done { ticket, result: Err(WriteError::Closed) });
            self.events.extend(done);
        }
        self.events.extend(waiting.into_iter().map(|ticket| SyncEvent::Closed { ticket, left: left.clone() }));
    }

    /// The names that are not as leaving promised.
    fn left(&self) -> Vec<(KeyName, Arc<str>)> {
        let Some(closing) = &self.closing else { return Vec::new() };
        let unknown = || Arc::from("not confirmed in time");
        let cause = self.last_error.clone().unwrap_or_else(unknown);
        let held = |lease: LeaseId| self.leases.ever_ours(lease);
        let mut left: Vec<_> = self
            .names
            .iter()
            .filter(|(_, local)| {
                if closing.revoke.is_some() {
                    local.known.state.is_some_and(|seen| held(seen.lease)) || local.lease.is_some_and(held)
                } else {
                    local.unsettled || local.aside
                }
            })
            .map(|(name, _)| (name.clone(), self.aside.get(name).unwrap_or(&cause).clone()))
            .collect();
        left.sort_unstable();
        left
    }
}
