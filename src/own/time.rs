//! What becomes due, and leases that end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::name::{Refusal, SetAside, Step};
use super::{Damage, OwnEvent, OwnKeys, WriteError};
use crate::key::KeyName;
use crate::kv::LeaseId;

impl OwnKeys {
    /// The synchronous write of the name that is under way times out at this deadline, if not earlier. The error names
    /// `timeout`.
    pub fn limit(&mut self, name: &KeyName, timeout: Duration, deadline: Instant) {
        let Some(once) = self.names.get_mut(name).and_then(|own| own.once.as_mut()) else { return };
        if deadline < once.deadline {
            self.timeouts.remove(&(once.deadline, name.clone()));
            (once.timeout, once.deadline) = (timeout, deadline);
            self.timeouts.insert((once.deadline, name.clone()));
        }
    }

    /// Notices what has become due, and leases that have ended.
    pub(crate) fn time_passes(&mut self, now: Instant) {
        while let Some((at, name)) = self.timeouts.first().cloned()
            && at <= now
        {
            self.timeouts.pop_first();
            if let Some(own) = self.names.get_mut(&name)
                && let Some(once) = own.once.take_if(|once| once.deadline <= now)
            {
                let cause = self.requests.last_error().cloned();
                self.done(once.ticket, Err(WriteError::TimedOut { after: once.timeout, cause }));
                self.review(now, &name);
            }
        }
        while let Some((at, _)) = self.delayed.first()
            && *at <= now
            && let Some((_, name)) = self.delayed.pop_first()
        {
            self.step(&name, Step::Idle);
            self.review(now, &name);
        }
        while let Some((at, _)) = self.unanswered_puts.first()
            && *at <= now
            && let Some((_, name)) = self.unanswered_puts.pop_first()
        {
            if let Some(own) = self.names.get_mut(&name) {
                own.unanswered_put_until = None;
            }
            self.retire(&name);
        }
        if self.closing.is_none() {
            // While leaving, a lease counts until it is revoked.
            self.leases.drop_lost(now);
        }
        for (lease, cause) in self.leases.expired(now) {
            self.lease_lost(now, lease, cause);
        }
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = (!self.names.is_empty()).then(|| self.tick_after(now));
            self.retry_refused(now);
        }
    }

    /// Jittered by a tenth, so that owners do not tick in step.
    pub(super) fn tick_after(&mut self, now: Instant) -> Instant {
        now + self.sync_interval.mul_f64(0.9 + 0.1 * self.rng.f64())
    }

    /// The periodic sync: forbidden keys are tried again, since roles change. Other damage is repaired when it
    /// happens, so a tick without damage sends nothing.
    fn retry_refused(&mut self, now: Instant) {
        let names: Vec<_> = self.aside.keys().cloned().collect();
        for name in names {
            if let Some(own) = self.names.get_mut(&name)
                && own.set_aside == SetAside::Refused(Refusal::ForNow)
            {
                own.set_aside = SetAside::Retried;
                self.review(now, &name);
            }
        }
    }

    pub(super) fn lease_lost(&mut self, now: Instant, lease: LeaseId, cause: Arc<str>) {
        self.leases.lose(lease);
        self.events.push_back(OwnEvent::LeaseLost { lease, cause });
        let mut names: Vec<_> =
            self.names.iter().filter(|(_, own)| own.is_under(lease)).map(|(name, _)| name.clone()).collect();
        // What is sent does not depend on chance.
        names.sort_unstable();
        for name in &names {
            if let Some(own) = self.names.get_mut(name) {
                own.lease = own.lease.filter(|kept| *kept != lease);
                // Nobody else did this: putting it again is no repair.
                own.not_stored();
                own.damage = own.damage.filter(|damage| *damage != Damage::Deleted);
            }
            self.review(now, name);
        }
    }
}
