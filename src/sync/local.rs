//! One name: what is wanted of it, what is known of it, and what follows.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::leases::Leases;
use super::{Seen, Ticket};
use crate::backend::Expect;
use crate::config::ConflictPolicy;
use crate::kv::{LeaseId, Revision};

const REPAIR_BASE: Duration = Duration::from_millis(100);
const REPAIR_CAP: Duration = Duration::from_secs(30);

/// One name.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) want: Want,
    /// A synchronous write, which counts before `want` until it is done or has failed.
    pub(super) once: Option<Once>,
    /// Who waits for the deletion.
    pub(super) deletes: Vec<Ticket>,
    pub(super) known: Known,
    /// The lease the key is, or will be, attached to.
    pub(super) lease: Option<LeaseId>,
    pub(super) flight: bool,
    pub(super) queued: bool,
    pub(super) delayed: Option<Instant>,
    pub(super) unsettled: bool,
    /// The kvstore refuses the value for good.
    pub(super) aside: bool,
    /// It has been in the kvstore under a lease of ours.
    pub(super) held: bool,
    /// That it is there now has been told.
    pub(super) stored: bool,
    /// The foreign write that was reported last.
    pub(super) conflict: Option<Revision>,
    /// A write may have been applied without an answer: what is known may be older than what we did ourselves.
    pub(super) unsure: bool,
    /// The lease of a put whose answer was lost, over nothing or over another's key: it may still be applied, even after
    /// the name was given up, which changes nothing that it is compared with.
    pub(super) late: Option<LeaseId>,
    /// That it is deleted but may return has been told.
    pub(super) haunts: bool,
    /// The last write was refused because somebody else had changed the key.
    pub(super) resisted: bool,
    /// Writes against the resistance of others, lately.
    strikes: u32,
    last_strike: Option<Instant>,
}

/// What is wanted of a name for good.
#[derive(Debug, Default)]
pub(super) enum Want {
    #[default]
    Nothing,
    Put {
        value: Bytes,
        hash: u128,
    },
    /// Gone, if it is ours: under a lease of ours, or, if we owned it, under none.
    Delete {
        owned: bool,
    },
}

impl Want {
    pub(super) fn is_delete(&self) -> bool {
        matches!(self, Self::Delete { .. })
    }
}

/// A synchronous write.
#[derive(Debug)]
pub(super) struct Once {
    pub(super) ticket: Ticket,
    pub(super) value: Bytes,
    pub(super) hash: u128,
    pub(super) adopt: bool,
    pub(super) deadline: Instant,
}

/// The best known state of a name in the kvstore.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    /// The revision at which it was so; 0 if nothing is known.
    pub(super) as_of: Revision,
    pub(super) state: Option<Seen>,
}

impl Known {
    /// The revision that wrote the key.
    pub(super) fn written(&self) -> Revision {
        self.state.map_or(self.as_of, |seen| seen.mod_revision)
    }

    /// What a write of the key is compared with; 0 for one that does not exist.
    pub(super) fn expected(&self) -> Revision {
        self.state.map_or(Revision::ZERO, |seen| seen.mod_revision)
    }
}

/// What a name needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Settled,
    /// A write, not before this.
    Write(Instant),
    /// That something changes: a new value, or the other owner's going.
    Wait,
    /// That a conflict is told.
    Conflict(Seen),
}

/// The write a name needs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Put { value: Bytes, hash: u128 },
    Delete,
}

impl Local {
    /// What is to be written, if anything is.
    pub(super) fn target(&self) -> Option<Target> {
        if let Some(once) = &self.once {
            return Some(Target::Put { value: once.value.clone(), hash: once.hash });
        }
        match &self.want {
            Want::Nothing => None,
            Want::Put { value, hash } => Some(Target::Put { value: value.clone(), hash: *hash }),
            Want::Delete { .. } => Some(Target::Delete),
        }
    }

    pub(super) fn verdict(&self, now: Instant, policy: ConflictPolicy, leases: &Leases) -> Verdict {
        let known = self.known;
        let wanted = match (&self.once, &self.want) {
            (Some(once), _) => once.hash,
            (None, Want::Put { hash, .. }) => *hash,
            (None, Want::Nothing) => return Verdict::Settled,
            (None, Want::Delete { owned }) => {
                let ours = |seen: Seen| leases.ever_ours(seen.lease) || (*owned && seen.lease == LeaseId::NONE);
                return match known.state {
                    _ if self.unsure => self.write(now),
                    Some(seen) if ours(seen) => self.write(now),
                    Some(_) => Verdict::Settled,
                    None if known.as_of > Revision::ZERO => Verdict::Settled,
                    // Never seen: ask.
                    None => self.write(now),
                };
            }
        };
        if self.aside {
            return Verdict::Wait;
        }
        let Some(seen) = known.state else { return self.write(now) };
        let foreign = seen.lease != LeaseId::NONE && !leases.ever_ours(seen.lease);
        match (seen.hash == wanted, foreign) {
            (true, false) if leases.is_alive(seen.lease) && !self.unsure => Verdict::Settled,
            // Another owner wants the same. If it is our own past, its lease will end: take it over, once.
            (true, true) if self.held => Verdict::Settled,
            (true, _) | (false, false) => self.write(now),
            (false, true) => {
                let told = self.conflict == Some(seen.mod_revision);
                match policy {
                    ConflictPolicy::Overwrite if told || !self.held => self.write(now),
                    ConflictPolicy::Yield if told && self.once.is_none() => Verdict::Wait,
                    ConflictPolicy::Overwrite | ConflictPolicy::Yield | ConflictPolicy::Fail => Verdict::Conflict(seen),
                }
            }
        }
    }

    /// A write now, or at the end of the back-off step if others undo what we do.
    fn write(&self, now: Instant) -> Verdict {
        let Some(last) = self.last_strike else { return Verdict::Write(now) };
        Verdict::Write((last + self.delay()).max(now))
    }

    /// At once the first two times, then longer and longer.
    fn delay(&self) -> Duration {
        match self.strikes {
            0 | 1 => Duration::ZERO,
            strikes => REPAIR_BASE.saturating_mul(1 << (strikes - 2).min(16)).min(REPAIR_CAP),
        }
    }

    /// A write was needed that was not the owner's wish.
    pub(super) fn strike(&mut self, now: Instant) {
        let calm = |last: Instant| now.saturating_duration_since(last) > 2 * REPAIR_CAP;
        self.strikes = if self.last_strike.is_none_or(calm) { 1 } else { self.strikes.saturating_add(1) };
        self.last_strike = Some(now);
    }

    /// What a write is compared with. Of a name never seen: that it does not exist; a refusal teaches better. A deletion
    /// that is unsure expects that, too: so it changes nothing, and learns.
    pub(super) fn expect(&self, target: &Target) -> Expect {
        let probe = self.unsure && *target == Target::Delete;
        self.known.state.filter(|_| !probe).map_or(Expect::Absent, |seen| Expect::Revision(seen.mod_revision))
    }

    /// Takes what the watch saw; whether it was newer.
    pub(super) fn observe(&mut self, as_of: Revision, state: Option<Seen>) -> bool {
        let newer = self.learn(as_of, state);
        // It is what we wrote without knowing.
        let wanted =
            self.target().and_then(|target| if let Target::Put { hash, .. } = target { Some(hash) } else { None });
        if newer && state.is_some_and(|seen| Some(seen.hash) == wanted && Some(seen.lease) == self.lease) {
            self.unsure = false;
        }
        newer
    }

    /// Takes what a list without values says: when the key was written, or that it does not exist. Whether that is news.
    pub(super) fn listed(&mut self, as_of: Revision, written: Option<Revision>) -> bool {
        let Some(written) = written else { return self.observe(as_of, None) };
        if as_of <= self.known.as_of {
            return false;
        }
        if self.known.state.is_some_and(|seen| seen.mod_revision == written) {
            self.known.as_of = as_of;
            return false;
        }
        // It is there, and nobody knows what it holds. A write that expects nothing there is refused, and learns; until
        // then nothing is said of it, least of all that it is another's.
        self.known = Known { as_of, state: None };
        self.unsure = true;
        true
    }

    /// Takes a newer state; whether it was newer.
    pub(super) fn learn(&mut self, as_of: Revision, state: Option<Seen>) -> bool {
        let newer = as_of > self.known.as_of;
        if newer {
            self.known = Known { as_of, state };
        }
        newer
    }

    /// Takes back the synchronous write and the deletion: who is to be told so.
    pub(super) fn supersede(&mut self) -> Vec<Ticket> {
        let mut tickets = self.once_ticket();
        tickets.append(&mut self.deletes);
        tickets
    }

    /// Takes back the synchronous write: who is to be told so.
    pub(super) fn once_ticket(&mut self) -> Vec<Ticket> {
        self.once.take().map(|once| once.ticket).into_iter().collect()
    }

    /// A wish of the owner does not wait out a back-off.
    pub(super) fn wish(&mut self) {
        self.haunts = false;
        // Whether it can be had is told for each wish.
        self.conflict = None;
        self.aside = false;
        self.stored = false;
        self.resisted = false;
        self.strikes = 0;
        self.last_strike = None;
    }

    /// What was known of the key is void, and nobody resists in another history.
    pub(super) fn forget(&mut self) {
        self.known = Known::default();
        (self.unsure, self.lease, self.late, self.conflict) = (false, None, None, None);
        // Nobody else did this: putting it again is no repair.
        self.stored = false;
        (self.resisted, self.strikes, self.last_strike) = (false, 0, None);
    }

    pub(super) fn give_up(&mut self) {
        self.want = match std::mem::take(&mut self.want) {
            Want::Put { .. } => Want::Delete { owned: true },
            Want::Nothing => Want::Delete { owned: false },
            delete @ Want::Delete { .. } => delete,
        };
    }
}
