//! What is decided about one name.

use std::time::Instant;

use super::name::{Presence, SetAside, Step, Verdict};
use super::wish::{Deletable, OnceKind, Wish};
use super::{KeyState, OwnEvent, OwnKeys, WriteError};
use crate::config::ConflictPolicy;
use crate::key::KeyName;
use crate::kv::Revision;

impl OwnKeys {
    pub(super) fn review_all(&mut self, now: Instant) {
        let mut names: Vec<_> = self.names.keys().cloned().collect();
        // What is sent does not depend on chance.
        names.sort_unstable();
        for name in &names {
            self.review(now, name);
        }
    }

    /// Decides what a name needs, and queues it.
    pub(super) fn review(&mut self, now: Instant, name: &KeyName) {
        let Some(own) = self.names.get_mut(name) else { return };
        if own.step == Step::Sent {
            return;
        }
        if let Some(lease) = own.rival(&self.leases) {
            self.leases.add_rival(lease);
        }
        let verdict = own.verdict(now, self.policy, &self.leases);
        if verdict != Verdict::Settled {
            own.note_damage();
        }
        own.is_made_right(&self.leases);
        match verdict {
            Verdict::Settled => {
                self.step(name, Step::Idle);
                self.settled(now, name);
            }
            Verdict::Wait => {
                if !own.waits() {
                    // The key is left to another owner; the kvstore does not refuse it.
                    self.accepted(name);
                }
                self.step(name, Step::Idle);
            }
            Verdict::Write(at) if at <= now => {
                if own.step != Step::Queued {
                    self.dirty.push_back(name.clone());
                }
                self.step(name, Step::Queued);
            }
            Verdict::Write(at) => self.step(name, Step::Delayed(at)),
            Verdict::Conflict(theirs) => self.conflict(now, name, theirs),
        }
    }

    /// Moves a name to another step, and keeps the number of names that are not as they should be.
    pub(super) fn step(&mut self, name: &KeyName, step: Step) {
        let Some(own) = self.names.get_mut(name) else { return };
        let before = std::mem::replace(&mut own.step, step);
        if let Step::Delayed(at) = before {
            self.delayed.remove(&(at, name.clone()));
        }
        if let Step::Delayed(at) = step {
            self.delayed.insert((at, name.clone()));
        }
        match (before == Step::Idle, step == Step::Idle) {
            (true, false) => self.unsettled += 1,
            (false, true) => self.unsettled -= 1,
            (true, true) | (false, false) => {}
        }
    }

    /// The kvstore has the wanted state of this name.
    fn settled(&mut self, now: Instant, name: &KeyName) {
        let Some(own) = self.names.get_mut(name) else { return };
        if own.once.is_some() {
            let revision = own.known.written();
            return self.written_once(now, name, revision);
        }
        self.accepted(name);
        let Some(own) = self.names.get_mut(name) else { return };
        match &own.wish {
            Wish::Keep { .. } => {
                let revision = own.known.written();
                // A key that was only asked for was not damaged.
                let same = std::mem::replace(&mut own.stored, revision) == revision;
                let damage = own.damage.take().filter(|_| !same);
                if std::mem::replace(&mut own.presence, Presence::Stored) != Presence::Stored {
                    self.events.push_back(OwnEvent::Stored { name: name.clone(), revision });
                    if let Some(damage) = damage {
                        self.repairs += 1;
                        self.events.push_back(OwnEvent::Repaired { name: name.clone(), damage, revision });
                    }
                }
            }
            Wish::Delete(which) | Wish::Released(which) => {
                let result = match own.known.state {
                    Some(theirs) => Err(WriteError::NotOwned { lease: theirs.lease }),
                    // The revision may come from other prefixes: the cache need not reach the one at which nothing was
                    // found.
                    None if own.found_nothing => Ok(self.reached),
                    None => Ok(own.known.as_of),
                };
                own.unanswered_put_until = None;
                let (revision, released) = (own.known.as_of, Wish::Released(*which));
                let before = std::mem::replace(&mut own.wish, released);
                for ticket in std::mem::take(&mut own.deletes) {
                    self.done(ticket, result.clone());
                }
                if matches!(before, Wish::Delete(_)) {
                    self.events.push_back(OwnEvent::Released { name: name.clone(), revision });
                }
                self.retire(name);
            }
            Wish::Nothing => self.retire(name),
        }
    }

    /// The kvstore does not refuse the name's wish any more.
    fn accepted(&mut self, name: &KeyName) {
        self.aside.remove(name);
        let Some(own) = self.names.get_mut(name) else { return };
        if std::mem::take(&mut own.set_aside) != SetAside::No {
            self.events.push_back(OwnEvent::NoLongerSetAside { name: name.clone() });
        }
    }

    /// The synchronous write of a name is in the kvstore.
    pub(super) fn written_once(&mut self, now: Instant, name: &KeyName, revision: Revision) {
        let Some(own) = self.names.get_mut(name) else { return };
        // After its deadline it has timed out, although nobody has noticed yet: what the caller is told must be true.
        let Some(once) = own.once.take_if(|once| now < once.deadline) else { return };
        if once.kind == OnceKind::Adopt {
            own.give_wish(Wish::Keep { value: once.value, hash: once.hash }, &mut self.owned);
        }
        self.timeouts.remove(&(once.deadline, name.clone()));
        self.done(once.ticket, Ok(revision));
        // Now the wish of the name counts again.
        self.review(now, name);
    }

    fn conflict(&mut self, now: Instant, name: &KeyName, theirs: KeyState) {
        let policy = self.policy;
        self.step(name, Step::Idle);
        let Some(own) = self.names.get_mut(name) else { return };
        if own.conflict != Some(theirs.mod_revision) {
            own.conflict = Some(theirs.mod_revision);
            let (revision, lease) = (theirs.mod_revision, theirs.lease);
            self.events.push_back(OwnEvent::Conflict { name: name.clone(), revision, lease, policy });
        }
        if policy != ConflictPolicy::Overwrite
            && let Some(once) = own.once.take()
        {
            self.timeouts.remove(&(once.deadline, name.clone()));
            self.done(once.ticket, Err(WriteError::Conflict { lease: theirs.lease }));
        } else if policy == ConflictPolicy::Fail && own.presence != Presence::Never {
            // A delayed put of ours would take the key back: it is deleted, as for a name that was given up.
            own.give_wish(Wish::Released(Deletable::OnOwnLease), &mut self.owned);
            own.presence = Presence::Never;
            self.events.push_back(OwnEvent::Lost { name: name.clone() });
        } else if policy == ConflictPolicy::Yield && own.presence == Presence::Stored {
            // Once the name is free, or has the wanted value again, it is put and reported, at most once per back-off step.
            (own.presence, own.contested) = (Presence::Before, true);
        }
        // It is reported: with `Overwrite` it may be written now.
        self.review(now, name);
    }

    /// Drops a name without a wish, unless it is still needed (invariant 9).
    pub(super) fn retire(&mut self, name: &KeyName) {
        let Some(own) = self.names.get(name) else { return };
        let wanted = own.once.is_some() || matches!(own.wish, Wish::Keep { .. } | Wish::Delete(_));
        // A key that was put once stays on its lease.
        let stays = own.known.state.is_some_and(|seen| self.leases.is_alive(seen.lease));
        // Leaving says what became of each name.
        if wanted || own.step != Step::Idle || stays || self.closing.is_some() {
            return;
        }
        if let Some(at) = own.unanswered_put_until {
            self.unanswered_puts.insert((at, name.clone()));
        } else if own.known.as_of > self.reached {
            self.behind.insert((own.known.as_of, name.clone()));
        } else if let Some(own) = self.names.remove(name) {
            if let Some(lease) = own.lease {
                self.leases.release(lease);
            }
            self.aside.remove(name);
        }
    }
}
