//! One name: what is wanted of it, what is known of it, and what follows.

use std::time::Instant;

use bytes::Bytes;

use super::known::Known;
use super::leases::Leases;
use super::repairs::Repairs;
use super::wish::{Deletable, Once, Wish};
use super::{Damage, KeyState, Lifetime, Ticket};
use crate::backend::Expect;
use crate::config::ConflictPolicy;
use crate::kv::{LeaseId, Revision};

/// One name. Its booleans are facts of their own: they come in every combination.
#[derive(Debug, Default)]
pub(super) struct OwnName {
    pub(super) wish: Wish,
    /// A synchronous write. It takes precedence over the wish until it is done or has failed.
    pub(super) once: Option<Box<Once>>,
    /// Who waits for the deletion.
    pub(super) deletes: Vec<Ticket>,
    /// Counts the commands: a refusal concerns only the value of the command that it was sent for.
    pub(super) version: u64,
    /// The kvstore has answered a request that was sent after the last command.
    pub(super) verified: bool,
    pub(super) known: Known,
    /// The newest revision at which the watch or a list showed the name.
    pub(super) watched: Revision,
    pub(super) step: Step,
    /// The lease on which room is reserved for the key.
    pub(super) lease: Option<LeaseId>,
    /// There was nothing to delete, and the cache does not show anything either.
    pub(super) found_nothing: bool,
    /// `known` may be incomplete: a write of ours may have been applied that it does not show, or the value is not
    /// known.
    pub(super) unsure: bool,
    /// The answer to the write under way may be outdated: the key may have changed since, without an event.
    pub(super) outdated: bool,
    /// Until when a put whose answer was lost may be applied.
    pub(super) unanswered_put_until: Option<Instant>,
    pub(super) set_aside: SetAside,
    pub(super) presence: Presence,
    /// The revision of the key when `Stored` was last emitted.
    pub(super) stored: Revision,
    /// What somebody else has done to the stored key, until the key is put back or is put for another reason.
    pub(super) damage: Option<Damage>,
    /// The foreign write that was reported last.
    pub(super) conflict: Option<Revision>,
    /// The last write was refused because somebody else had changed the key.
    pub(super) contested: bool,
    /// Most keys are never damaged.
    repairs: Option<Box<Repairs>>,
}

/// Whether the key was in the kvstore under a lease of ours since the wish was first given.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was not.
    #[default]
    Never,
    /// It was, and `Stored` is to be emitted when it is so again.
    Before,
    /// It was, `Stored` was emitted, and nothing was written since.
    Stored,
}

/// Whether the kvstore refuses the key, and what was emitted about that.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum SetAside {
    /// It does not.
    #[default]
    No,
    /// It does: `SetAside` was emitted.
    Refused(Refusal),
    /// It was `Refused(ForNow)` and is tried again.
    Retried,
    /// It was refused, and there is a new wish: `NoLongerSetAside` is emitted if that is accepted.
    NewWish,
}

/// Whether a refused write can be accepted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not as it is: it is too large, for example.
    ForGood,
    /// When somebody changes the roles of the user.
    ForNow,
}

/// The progress of the next write of a name.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There is none.
    #[default]
    Idle,
    /// In the queue.
    Queued,
    /// It waits for this time.
    Delayed(Instant),
    /// On its way to the kvstore.
    Sent,
}

/// What a name needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Settled,
    /// A write, not before this.
    Write(Instant),
    /// To wait for a change: a new value, or the other owner leaves.
    Wait,
    /// A report of a conflict.
    Conflict(KeyState),
}

/// The write that a name needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Put { value: Bytes, hash: u128, lifetime: Lifetime },
    Delete,
}

impl OwnName {
    /// Whether the key is put again when somebody deletes it.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.wish, Wish::Keep { .. }) && !self.waits()
    }

    /// What is to be written, if anything is.
    pub(super) fn target(&self) -> Option<Target> {
        if let Some(once) = &self.once {
            return Some(Target::Put { value: once.value.clone(), hash: once.hash, lifetime: once.lifetime() });
        }
        match &self.wish {
            Wish::Nothing => None,
            Wish::Keep { value, hash } => {
                Some(Target::Put { value: value.clone(), hash: *hash, lifetime: Lifetime::Store })
            }
            Wish::Delete(_) | Wish::Released(_) => Some(Target::Delete),
        }
    }

    /// Whether a put of it has to reserve a place on a lease.
    pub(super) fn needs_lease(&self) -> bool {
        let lifetime = self.once.as_deref().map_or(Lifetime::Store, Once::lifetime);
        let put = self.once.is_some() || matches!(self.wish, Wish::Keep { .. });
        put && self.lease.is_none() && lifetime == Lifetime::Store
    }

    /// The lease that the key is to be under, once that is known.
    fn wanted_lease(&self) -> Option<LeaseId> {
        match self.once.as_deref().map(Once::lifetime) {
            Some(Lifetime::Unlimited) => Some(LeaseId::NONE),
            Some(Lifetime::Store) | None => self.lease,
        }
    }

    pub(super) fn verdict(&self, now: Instant, policy: ConflictPolicy, leases: &Leases) -> Verdict {
        let known = self.known;
        let wanted = match (&self.once, &self.wish) {
            (Some(once), _) => once.hash,
            (None, Wish::Keep { hash, .. }) => *hash,
            (None, Wish::Nothing) => return Verdict::Settled,
            (None, Wish::Delete(which) | Wish::Released(which)) => {
                let ours = |seen: KeyState| match which {
                    Deletable::OnOwnLease => seen.lease != LeaseId::NONE && !leases.is_foreign(seen.lease),
                    Deletable::OnOwnOrNoLease => !leases.is_foreign(seen.lease),
                };
                return match known.state {
                    _ if self.waits() => Verdict::Wait,
                    _ if self.unsure => self.write(now),
                    Some(seen) if ours(seen) => self.write(now),
                    Some(_) => Verdict::Settled,
                    None if self.verified || self.deletes.is_empty() && known.as_of > Revision::ZERO => {
                        Verdict::Settled
                    }
                    // Never seen, or known from before the command: ask.
                    None => self.write(now),
                };
            }
        };
        if self.waits() {
            return Verdict::Wait;
        }
        let Some(seen) = known.state else { return self.write(now) };
        let foreign = leases.is_foreign(seen.lease);
        let right_lease = match self.once.as_deref().map(Once::lifetime) {
            Some(Lifetime::Unlimited) => seen.lease == LeaseId::NONE,
            Some(Lifetime::Store) | None => leases.is_alive(seen.lease),
        };
        match (seen.hash == wanted, foreign) {
            (true, false) if right_lease && !self.unsure => match &self.once {
                // Known from before the command: ask whether it is still so.
                Some(_) if !self.verified => self.write(now),
                Some(_) | None => Verdict::Settled,
            },
            // Another owner wants the same and has written it after us.
            (true, true) if self.presence == Presence::Stored && self.once.is_none() => Verdict::Settled,
            (true, _) | (false, false) => self.write(now),
            (false, true) => {
                let told = self.conflict == Some(seen.mod_revision);
                // A key from before the wish may be of an earlier process of ours, whose lease ends.
                let was_ours = self.presence != Presence::Never;
                match policy {
                    ConflictPolicy::Overwrite if told || !was_ours => self.write(now),
                    ConflictPolicy::Yield if told && self.once.is_none() => Verdict::Wait,
                    ConflictPolicy::Fail if told && !was_ours && self.once.is_none() => Verdict::Wait,
                    ConflictPolicy::Overwrite | ConflictPolicy::Yield | ConflictPolicy::Fail => Verdict::Conflict(seen),
                }
            }
        }
    }

    /// Whether the kvstore refuses it, and it is not tried again now.
    pub(super) fn waits(&self) -> bool {
        matches!(self.set_aside, SetAside::Refused(_))
    }

    /// The lease of another live process with the same owner, if one has just overwritten the stored key. An earlier
    /// process cannot: its writes are compared with the states that it knew. (Unless somebody has deleted the key, and that
    /// was not seen.)
    pub(super) fn rival(&self, leases: &Leases) -> Option<LeaseId> {
        let overwritten = self.presence == Presence::Stored && self.damage.is_none() && self.once.is_none();
        let lease = self.known.state.filter(|_| overwritten)?.lease;
        leases.is_of_another_process(lease).then_some(lease)
    }

    /// Remembers that somebody else has just damaged the stored key, so that its repair is reported.
    pub(super) fn note_damage(&mut self) {
        if self.presence == Presence::Stored && self.once.is_none() && matches!(self.wish, Wish::Keep { .. }) {
            // A list without values has shown that the key exists.
            let deleted = self.known.state.is_none() && !self.unsure;
            self.damage.get_or_insert(if deleted { Damage::Deleted } else { Damage::Overwritten });
        }
    }

    /// A key that another owner has made right again is no damage.
    pub(super) fn is_made_right(&mut self, leases: &Leases) {
        if let (Wish::Keep { hash, .. }, Some(seen)) = (&self.wish, self.known.state)
            && seen.hash == *hash
            && leases.is_foreign(seen.lease)
        {
            self.damage = None;
        }
    }

    /// A write now, or at the end of the back-off step if others keep damaging the key.
    fn write(&self, now: Instant) -> Verdict {
        let deleted = self.known.state.is_none();
        Verdict::Write(self.repairs.as_ref().map_or(now, |repairs| repairs.repair_at(now, deleted)))
    }

    /// A write is sent. Repairs, and writes that others refused, wait longer each time.
    pub(super) fn sent(&mut self, now: Instant) {
        (self.step, self.outdated) = (Step::Sent, false);
        let (presence, contested) = (self.presence, std::mem::take(&mut self.contested));
        self.not_stored();
        if presence == Presence::Stored || contested {
            self.repairs.get_or_insert_default().repaired(now, self.known.state.is_none());
        }
    }

    /// Whether the write is sure to be refused if the key exists, so that the refusal tells its state: a deletion of a key
    /// whose state is uncertain, or a synchronous write of the value that seems to be there already.
    pub(super) fn is_probe(&self, target: &Target) -> bool {
        match target {
            Target::Delete => self.unsure,
            Target::Put { hash, .. } => {
                let there =
                    self.known.state.is_some_and(|seen| seen.hash == *hash && Some(seen.lease) == self.wanted_lease());
                there && self.once.is_some() && !self.verified
            }
        }
    }

    /// What a write is compared with. For a name never seen: that the key does not exist; a refusal then tells its
    /// state.
    ///
    /// The lease is compared as well where the write could otherwise hit another owner's key, which in another history
    /// can have the same revision.
    pub(super) fn expect(&self, target: &Target, policy: ConflictPolicy) -> Expect {
        match self.known.state.filter(|_| !self.is_probe(target)) {
            None => Expect::Absent,
            Some(seen) if *target == Target::Delete || policy != ConflictPolicy::Overwrite => {
                Expect::Is { revision: seen.mod_revision, lease: seen.lease }
            }
            Some(seen) => Expect::Revision(seen.mod_revision),
        }
    }

    /// Whether this state cannot follow from the known one, nor lead to it: it is of another history.
    pub(super) fn contradicts(&self, as_of: Revision, state: Option<KeyState>) -> bool {
        !self.unsure && self.known.contradicts(as_of, state)
    }

    /// The same of a list without values.
    pub(super) fn contradicts_names(&self, as_of: Revision, written: Option<Revision>) -> bool {
        !self.unsure && self.known.contradicts_names(as_of, written)
    }

    /// Takes what the watch saw; whether it was newer.
    pub(super) fn observe(&mut self, as_of: Revision, state: Option<KeyState>) -> bool {
        let newer = self.learn(as_of, state);
        self.watched = self.watched.max(as_of);
        // This is the write of ours whose outcome was unknown.
        let wanted =
            self.target().and_then(|target| if let Target::Put { hash, .. } = target { Some(hash) } else { None });
        if newer && state.is_some_and(|seen| Some(seen.hash) == wanted && Some(seen.lease) == self.wanted_lease()) {
            self.unsure = false;
        }
        newer
    }

    /// Takes what a list without values says: the revision that wrote the key, or that the key does not exist. Returns
    /// whether that is new.
    pub(super) fn listed(&mut self, as_of: Revision, written: Option<Revision>) -> bool {
        let Some(written) = written else { return self.observe(as_of, None) };
        self.watched = self.watched.max(as_of);
        if as_of <= self.known.as_of {
            return false;
        }
        if self.known.state.is_some_and(|seen| seen.mod_revision == written) {
            self.known.as_of = as_of;
            return false;
        }
        // The key exists, and its value is not known. A write that expects no key is refused and tells the value.
        self.known = Known { as_of, state: None };
        self.unsure = true;
        true
    }

    /// What is known of the key may be outdated: if the key is wanted, its state is asked for.
    pub(super) fn mark_unsure(&mut self) {
        if matches!(self.wish, Wish::Keep { .. }) {
            self.known.state = None;
            self.unsure = true;
            self.outdated = self.step == Step::Sent;
        }
    }

    /// Takes a newer state; whether it was newer.
    pub(super) fn learn(&mut self, as_of: Revision, state: Option<KeyState>) -> bool {
        let newer = as_of > self.known.as_of;
        if newer {
            self.known = Known { as_of, state };
        }
        newer
    }

    /// Takes back the synchronous write and the deletion: the tickets that are to be told so.
    pub(super) fn supersede(&mut self) -> Vec<Ticket> {
        let mut tickets = self.once_ticket();
        tickets.append(&mut self.deletes);
        tickets
    }

    /// Takes back the synchronous write: the ticket that is to be told so.
    pub(super) fn once_ticket(&mut self) -> Vec<Ticket> {
        self.once.take().map(|once| once.ticket).into_iter().collect()
    }

    /// There is a new wish. It does not wait for a back-off.
    pub(super) fn wished(&mut self) {
        self.version += 1;
        (self.verified, self.found_nothing) = (false, false);
        // A conflict is reported for each wish.
        self.conflict = None;
        self.set_aside = if self.set_aside == SetAside::No { SetAside::No } else { SetAside::NewWish };
        self.not_stored();
        (self.contested, self.damage, self.repairs) = (false, None, None);
    }

    /// What was known of the key is void, and so is the back-off.
    pub(super) fn clear_known(&mut self) {
        if matches!(self.wish, Wish::Released(_)) {
            self.wish = Wish::Nothing;
        }
        (self.known, self.watched, self.verified) = (Known::default(), Revision::ZERO, false);
        (self.unsure, self.lease, self.conflict, self.unanswered_put_until) = (false, None, None, None);
        self.stored = Revision::ZERO;
        // Nobody else did this: putting it again is no repair.
        self.not_stored();
        (self.contested, self.damage, self.repairs) = (false, None, None);
    }

    /// Whether the key is, or may be, under this lease.
    pub(super) fn is_under(&self, lease: LeaseId) -> bool {
        self.lease == Some(lease) || self.known.state.is_some_and(|seen| seen.lease == lease)
    }

    /// Replaces its wish, and keeps the number of names that are owned. Returns the wish before.
    pub(super) fn give_wish(&mut self, wish: Wish, owned: &mut usize) -> Wish {
        let before = std::mem::replace(&mut self.wish, wish);
        *owned += usize::from(matches!(self.wish, Wish::Keep { .. }));
        *owned -= usize::from(matches!(before, Wish::Keep { .. }));
        before
    }

    pub(super) fn give_up(&mut self, owned: &mut usize) {
        let wish = Wish::Delete(match self.wish {
            Wish::Keep { .. } if self.presence != Presence::Never => Deletable::OnOwnOrNoLease,
            Wish::Keep { .. } | Wish::Nothing => Deletable::OnOwnLease,
            Wish::Delete(which) | Wish::Released(which) => which,
        });
        self.give_wish(wish, owned);
        self.presence = Presence::Never;
    }

    /// Something was written since the key was stored, or its state is not known any more.
    pub(super) fn not_stored(&mut self) {
        if self.presence == Presence::Stored {
            self.presence = Presence::Before;
        }
    }
}
