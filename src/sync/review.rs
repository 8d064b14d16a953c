//! What is decided about one name.

use std::time::Instant;

use super::local::{Verdict, Want};
use super::{Seen, Sync, SyncEvent, WriteError};
use crate::config::ConflictPolicy;
use crate::key::KeyName;

impl Sync {
    pub(super) fn review_all(&mut self, now: Instant) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        for name in &names {
            self.review(now, name);
        }
    }

    /// Decides what a name needs, and queues it.
    pub(super) fn review(&mut self, now: Instant, name: &KeyName) {
        let Some(local) = self.names.get_mut(name) else { return };
        if let Some(at) = local.delayed.take() {
            self.delayed.remove(&(at, name.clone()));
        }
        if local.flight {
            return self.count(name);
        }
        match local.verdict(now, self.policy, &self.leases) {
            Verdict::Settled => self.settled(now, name),
            Verdict::Wait => {}
            Verdict::Write(at) if at <= now => {
                if !std::mem::replace(&mut local.queued, true) {
                    self.dirty.push_back(name.clone());
                }
            }
            Verdict::Write(at) => {
                local.delayed = Some(at);
                self.delayed.insert((at, name.clone()));
            }
            Verdict::Conflict(theirs) => self.conflict(now, name, theirs),
        }
        self.count(name);
    }

    /// Keeps the number of names that are not as they should be.
    pub(super) fn count(&mut self, name: &KeyName) {
        let Some(local) = self.names.get_mut(name) else { return };
        let unsettled = local.flight || local.queued || local.delayed.is_some();
        match (std::mem::replace(&mut local.unsettled, unsettled), unsettled) {
            (false, true) => self.unsettled += 1,
            (true, false) => self.unsettled -= 1,
            (true, true) | (false, false) => {}
        }
    }

    /// The kvstore is as it should be for this name.
    pub(super) fn settled(&mut self, now: Instant, name: &KeyName) {
        let Some(local) = self.names.get_mut(name) else { return };
        let revision = local.known.as_of;
        if let Some(once) = local.once.take() {
            if once.adopt {
                local.want = Want::Put { value: once.value, hash: once.hash };
                local.stored = true;
            }
            self.timeouts.remove(&(once.deadline, name.clone()));
            let revision = local.known.written();
            self.done(once.ticket, Ok(revision));
            // With the write done, the name's lasting wish counts again.
            return self.review(now, name);
        }
        let late = local.late.is_some_and(|lease| self.leases.is_alive(lease));
        match local.want {
            Want::Put { .. } => {
                let revision = local.known.written();
                local.held = true;
                if !std::mem::replace(&mut local.stored, true) {
                    self.events.push_back(SyncEvent::Stored { name: name.clone(), revision });
                }
            }
            Want::Delete { .. } => {
                let told = std::mem::replace(&mut local.haunts, late);
                for ticket in std::mem::take(&mut local.deletes) {
                    self.done(ticket, Ok(revision));
                }
                if !(told && late) {
                    self.events.push_back(SyncEvent::Deleted { name: name.clone(), revision, late });
                }
                if !late {
                    self.drop_name(name);
                }
            }
            Want::Nothing if late => {}
            Want::Nothing => self.drop_name(name),
        }
    }

    pub(super) fn conflict(&mut self, now: Instant, name: &KeyName, theirs: Seen) {
        let policy = self.policy;
        let Some(local) = self.names.get_mut(name) else { return };
        if local.conflict != Some(theirs.mod_revision) {
            local.conflict = Some(theirs.mod_revision);
            let (revision, lease) = (theirs.mod_revision, theirs.lease);
            self.events.push_back(SyncEvent::Conflict { name: name.clone(), revision, lease, policy });
        }
        match policy {
            // Reported: now it may be written.
            ConflictPolicy::Overwrite => self.review(now, name),
            ConflictPolicy::Yield => {
                if let Some(once) = local.once.take() {
                    self.done(once.ticket, Err(WriteError::Conflict { lease: theirs.lease }));
                    self.review(now, name);
                }
            }
            ConflictPolicy::Fail => {
                let once = local.once.take();
                let owned = matches!(local.want, Want::Put { .. });
                local.want = Want::Nothing;
                if let Some(once) = once {
                    self.done(once.ticket, Err(WriteError::Conflict { lease: theirs.lease }));
                }
                if owned {
                    self.events.push_back(SyncEvent::Lost { name: name.clone() });
                }
                self.review(now, name);
            }
        }
    }

    pub(super) fn drop_name(&mut self, name: &KeyName) {
        if let Some(local) = self.names.remove(name) {
            self.unsettled -= usize::from(local.unsettled);
            // A key that was put once stays on its lease.
            let stays = |lease| !local.want.is_delete() && local.known.state.is_some_and(|seen| seen.lease == lease);
            if let Some(lease) = local.lease.filter(|lease| !stays(*lease)) {
                self.leases.release(lease);
            }
            if let Some(at) = local.delayed {
                self.delayed.remove(&(at, name.clone()));
            }
            self.aside.remove(name);
        }
    }
}
