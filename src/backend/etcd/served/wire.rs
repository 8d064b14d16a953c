//! Faults on the wire, which no backend can have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Status;

use crate::backend::faulty::Op;

/// What is to happen on the wire.
#[derive(Debug, Default)]
pub(super) struct Wire(Mutex<Script>);

#[derive(Debug, Default)]
struct Script {
    refusals: BTreeMap<Op, VecDeque<Status>>,
    event_type: Option<i32>,
}

impl Wire {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refuse(&self, op: Op, calls: usize, status: Status) {
        self.script().refusals.entry(op).or_default().extend(std::iter::repeat_n(status, calls));
    }

    pub(super) fn event_type(&self, number: Option<i32>) {
        self.script().event_type = number;
    }

    /// The number of an event's type as it is sent.
    pub(super) fn type_of(&self, number: i32) -> i32 {
        self.script().event_type.unwrap_or(number)
    }

    /// Lets a call through, or the refusal that is next.
    pub(super) fn pass(&self, op: Op) -> Result<(), Status> {
        self.script().refusals.get_mut(&op).and_then(VecDeque::pop_front).map_or(Ok(()), Err)
    }
}
