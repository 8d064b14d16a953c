//! What comes out of a [`Publisher`](super::Publisher).

use std::sync::Arc;

use crate::key::KeyName;
use crate::kv::Revision;
use crate::own::{OwnEvent, RequestId, Ticket};
use crate::status::State;

/// Names a request, for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublishRequestId {
    /// For the own keys.
    Keys(RequestId),
    /// For the canary.
    Canary(RequestId),
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishEvent {
    /// To the own keys; never [`OwnEvent::Closed`].
    Keys(OwnEvent),
    /// To the canary; never [`OwnEvent::Closed`].
    Canary(OwnEvent),
    /// All keys given before the question are in the kvstore or refused, and so is the canary, if there is to be one.
    Synced {
        /// Of the question.
        ticket: Ticket,
    },
    /// It has stopped.
    Closed {
        /// What could not be deleted (Close) or written (Release), and why. The canary goes by its prefix.
        left: Vec<(KeyName, Arc<str>)>,
    },
}

/// How a publisher is.
///
/// serde writes one flat object: the fields of [`State`], then `own`, `pending_writes` (here `pending`), `set_aside` (here
/// `refused`: a list of `{"name":..,"cause":..}`), `repairs`, `leases`, and `canary`: `unasked`, `waiting`, `writing`,
/// `written`, or null if there is to be none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherStatus {
    /// How far what is known of own keys can be trusted: synced while damage would be seen.
    pub state: State,
    /// How many keys it takes care of.
    pub own: usize,
    /// How many of them are not in the kvstore as they should be, yet.
    pub pending: usize,
    /// Own keys that are not in the kvstore and why: it refuses them for good, or they are left to another owner.
    pub refused: Vec<(KeyName, Arc<str>)>,
    /// How often a key that somebody else had deleted or overwritten was put back.
    pub repairs: u64,
    /// How many leases it holds for them.
    pub leases: usize,
    /// How the canary is, if there is to be one.
    pub canary: Option<CanaryState>,
}

/// How a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanaryState {
    /// Nobody has said that all keys are given.
    Unasked,
    /// It waits for keys.
    Waiting {
        /// How many are not in the kvstore yet.
        keys: usize,
    },
    /// It is being written.
    Writing,
    /// It is in the kvstore.
    Written {
        /// The revision that wrote it.
        revision: Revision,
    },
}
