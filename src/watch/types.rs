//! What a watch asks for, is answered, and tells.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use crate::backend::{BackendError, ListPage, ListRequest, WatchRequest, WatchResponse};
use crate::kv::{ClusterId, Event, Header, KeyRange, KeyValue, Revision};

/// What the shell is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask for a page; answer [`Outcome::Listed`]. A watch that is open stays open.
    List(ListRequest),
    /// Open the watch instead of the one that is open; answer [`Outcome::Opened`].
    Open(WatchRequest),
    /// Read one response of the open watch; answer [`Outcome::Read`], or [`Outcome::Silent`] after so long.
    Read(Duration),
    /// Drop the watch and wait; answer [`Outcome::Waited`].
    Wait(Duration),
}

/// What came of an [`Action`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The page asked for.
    Listed(ListPage),
    /// The watch is open; the header of the answer that said so.
    Opened(Header),
    /// One response.
    Read(WatchResponse),
    /// No response within the time given. The shell keeps the watch.
    Silent,
    /// The time has passed.
    Waited,
    /// It failed. The shell drops the watch if it was reading.
    Failed(BackendError),
}

/// What the consumer is told, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A part of a list.
    Page(Page),
    /// Changes since the last delivery, whole revisions, in order, never empty.
    Events(Vec<Event>),
    /// Nothing else changed up to and including this revision.
    Progress(Revision),
    /// The watch begins here ([`Watch::from_now`](super::Watch::from_now)): it says nothing of earlier changes.
    Began {
        /// Every change after this revision will be delivered.
        revision: Revision,
        /// Whether earlier deliveries are of the same history; if not, all of them are void.
        same_history: bool,
    },
    /// The watch is open and nothing is missing.
    Live,
    /// The connection is lost: what was delivered may be out of date from now on.
    Broken(BackendError),
    /// A part of the kvstore to compare with what was delivered. It comes not from the watch but from an
    /// [`Audit`](crate::audit::Audit) beside it.
    Audited(AuditPart),
}

impl Delivery {
    /// How many values and events it has.
    #[must_use]
    pub fn values(&self) -> usize {
        match self {
            Self::Page(Page { keys: PageKeys::Full(kvs), .. }) => kvs.len(),
            Self::Events(events) => events.len(),
            Self::Page(Page { keys: PageKeys::Names(_), .. })
            | Self::Progress(_)
            | Self::Began { .. }
            | Self::Live
            | Self::Broken(_)
            | Self::Audited(_) => 0,
        }
    }
}

/// A part of a list, all of whose parts show one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The first part: parts of an earlier, unfinished list are void.
    pub first: bool,
    /// The last part: the list is complete, and what it did not name does not exist.
    pub last: bool,
    /// The revision the list shows.
    pub revision: Revision,
    /// The cluster that answered.
    pub cluster: ClusterId,
    /// Whether revisions seen before this list still mean something: same cluster, and history did not go backwards.
    pub same_history: bool,
    /// The keys.
    pub keys: PageKeys,
}

/// The keys of a [`Page`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageKeys {
    /// Keys with their values.
    Full(Vec<KeyValue>),
    /// Keys without values: those whose `mod_revision` is not what the consumer has come in a [`Full`](Self::Full) part
    /// after all names. If one does not, the consumer lost something and must ask for a [`relist`](super::Watch::relist).
    Names(Vec<KeyValue>),
}

/// What the consumer has from before the watch began, and how much of it is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The cluster it is from.
    pub cluster: ClusterId,
    /// The revision it shows.
    pub revision: Revision,
    /// The first list has values only of keys written after this revision; `None` for all values. A little before
    /// `revision`: what both have must be equal, or the history is another.
    pub since: Option<Revision>,
}

/// A part of the kvstore to compare the cache with, as an [`Audit`](crate::audit::Audit) has listed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPart {
    /// Why.
    pub kind: AuditKind,
    /// Whether a round begins with it.
    pub first: bool,
    /// Whether a round ends with it.
    pub last: bool,
    /// The paths it covers.
    pub range: KeyRange,
    /// The revision it shows.
    pub revision: Revision,
    /// All keys of the range at that revision, in path order; without values in a rolling round.
    pub keys: Vec<KeyValue>,
    /// Paths that have changed since the revision: they are not compared.
    pub changed: HashSet<Bytes>,
}

/// Why a round of an audit is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditKind {
    /// It is always under way, slowly: names and revisions.
    Rolling,
    /// Somebody asked: values, too, and at once.
    Asked,
}
