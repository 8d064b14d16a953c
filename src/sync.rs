//! Stub of types while the machine is under way.
#![allow(missing_docs)]
use crate::backend::BackendError;
use crate::config::ConflictPolicy;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use bytes::Bytes;
use std::sync::Arc;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Put { name: KeyName, value: Bytes },
    PutSync { ticket: Ticket, name: KeyName, value: Bytes },
    PutOnce { ticket: Ticket, name: KeyName, value: Bytes },
    Delete { name: KeyName, ticket: Option<Ticket> },
    Close { ticket: Ticket },
    Release { ticket: Ticket },
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub name: KeyName,
    pub revision: Revision,
    pub state: Option<Seen>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub hash: u128,
    pub mod_revision: Revision,
    pub lease: LeaseId,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    Closed,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncEvent {
    Done { ticket: Ticket, result: Result<Revision, WriteError> },
    Stored { name: KeyName, revision: Revision },
    Deleted { name: KeyName, revision: Revision },
    Conflict { name: KeyName, revision: Revision, lease: LeaseId, policy: ConflictPolicy },
    Lost { name: KeyName },
    SetAside { name: KeyName, cause: Arc<str> },
    LeaseLost { lease: LeaseId, cause: Arc<str> },
    BackendFailed(BackendError),
    Closed { ticket: Ticket, left: Vec<(KeyName, Arc<str>)> },
}
#[derive(Debug, Clone, Default)]
pub struct SyncStats {
    pub pending: usize,
    pub set_aside: Vec<(KeyName, Arc<str>)>,
}
