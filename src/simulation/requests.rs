//! Requests on their way to the kvstore, and answers on their way back.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Instant;

use super::item::Dice;
use super::seeds::Trace;
use super::world::World;
use crate::backend::{Applied, BackendError, Write, WriteAction, WriteOutcome};
use crate::config::ConflictPolicy;
use crate::kv::{KeyValue, LeaseId};
use crate::own::{Answer, Request};

/// Requests and answers of one process, each delayed at will.
pub(super) struct Requests<Id> {
    sent: Vec<(Id, Request)>,
    answers: Vec<(Id, Answer)>,
    /// One request in so many fails; 0 for none.
    pub(super) faults: u32,
    /// Every lease it was granted.
    pub(super) granted: BTreeSet<LeaseId>,
    policy: ConflictPolicy,
    trace: Trace,
}

impl<Id: Debug> Requests<Id> {
    pub(super) fn new(dice: &mut Dice, policy: ConflictPolicy, trace: Trace) -> Self {
        let faults = dice.of(&[0, 4, 10]);
        Self { sent: Vec::new(), answers: Vec::new(), faults, granted: BTreeSet::new(), policy, trace }
    }

    pub(super) fn send(&mut self, id: Id, request: Request) {
        self.trace.say(|| format!("    {id:?} {request:?}"));
        self.sent.push((id, request));
    }

    /// One of the requests that are under way to the kvstore.
    pub(super) fn pick(&mut self, dice: &mut Dice) -> Option<(Id, Request)> {
        (!self.sent.is_empty()).then(|| self.sent.swap_remove(dice.0.usize(..self.sent.len())))
    }

    /// A request reaches the kvstore, or does not. `ours` says which leases are of this owner.
    pub(super) fn perform(
        &mut self,
        (id, request): (Id, Request),
        world: &mut World,
        dice: &mut Dice,
        now: Instant,
        ours: impl Fn(LeaseId) -> bool,
    ) -> bool {
        let fails = dice.one_in(self.faults);
        let error = |applied| BackendError::Unavailable { cause: "fault".into(), applied };
        let answer = match request {
            Request::Write(writes) if fails => {
                let applied = dice.of(&[None, Some(false), Some(true)]);
                match applied {
                    Some(true) if !world.frozen => drop(world.transact(writes)),
                    Some(_) => world.delayed_writes.push(writes),
                    None => {}
                }
                Answer::Written(Err(error(if applied.is_some() { Applied::Maybe } else { Applied::No })))
            }
            Request::Write(writes) if world.frozen => match world.mvcc.clone().write(writes.clone()) {
                Ok(refused @ WriteOutcome::Refused { .. }) => Answer::Written(Ok(refused)),
                _ => {
                    // Until the watches have noticed, nothing changes.
                    self.sent.push((id, Request::Write(writes)));
                    return false;
                }
            },
            Request::Write(writes) => {
                let before: Vec<_> = writes.iter().map(|write| (write.clone(), world.get(&write.path))).collect();
                let outcome = world.transact(writes);
                if let Ok(WriteOutcome::Committed { .. }) = outcome {
                    before.iter().for_each(|(write, was)| self.is_allowed(write, was.as_ref(), &ours));
                }
                Answer::Written(outcome)
            }
            Request::Grant { .. } if fails => Answer::Granted(Err(error(Applied::Maybe))),
            Request::Grant { lease, ttl } => {
                let granted = world.mvcc.grant(lease, ttl, now);
                self.granted.extend(granted.iter().map(|grant| grant.lease));
                Answer::Granted(granted)
            }
            Request::KeepAlive(_) if fails => Answer::KeptAlive(Err(error(Applied::Maybe))),
            Request::KeepAlive(lease) => Answer::KeptAlive(world.mvcc.keep_alive(lease, now)),
            Request::Revoke(lease) if world.frozen => {
                self.sent.push((id, Request::Revoke(lease)));
                return false;
            }
            Request::Revoke(lease) => {
                let applied = !fails || dice.one_in(2);
                if applied {
                    world.mvcc.revoke(lease);
                    world.note();
                }
                Answer::Revoked(if fails { Err(error(Applied::Maybe)) } else { Ok(()) })
            }
        };
        self.trace.say(|| format!("{id:?} {answer:?} is on its way"));
        self.answers.push((id, answer));
        true
    }

    /// A key of another live owner is never deleted, and overwritten with another value only if the policy says so.
    fn is_allowed(&self, write: &Write, was: Option<&KeyValue>, ours: &impl Fn(LeaseId) -> bool) {
        let Some(was) = was.filter(|was| was.lease != LeaseId::NONE && !ours(was.lease)) else { return };
        match &write.action {
            WriteAction::Delete => panic!("{:?} is another owner's and was deleted", write.path),
            WriteAction::Put { value, .. } => {
                let allowed = self.policy == ConflictPolicy::Overwrite || *value == was.value;
                assert!(allowed, "{:?} is another owner's and was overwritten", write.path);
            }
        }
    }

    /// The next answer that comes back.
    pub(super) fn answer(&mut self, dice: &mut Dice) -> Option<(Id, Answer)> {
        if self.answers.is_empty() {
            return None;
        }
        let (id, answer) = self.answers.swap_remove(dice.0.usize(..self.answers.len()));
        self.trace.say(|| format!("{id:?} is answered"));
        Some((id, answer))
    }

    /// The process has ended: answers are dropped, and some requests still arrive.
    pub(super) fn lose(&mut self, world: &mut World, dice: &mut Dice) {
        for (_, request) in std::mem::take(&mut self.sent) {
            if let Request::Write(writes) = request
                && dice.one_in(2)
            {
                world.delayed_writes.push(writes);
            }
        }
        self.answers.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.answers.is_empty()
    }
}
