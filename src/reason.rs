//! Why an observer is told a change.

use std::fmt;

/// Why an observer is told a change.
///
/// | reason | as an update | as a deletion |
/// | --- | --- | --- |
/// | [`FirstState`](Self::FirstState) | the cache as it was when the observer was added | |
/// | [`Event`](Self::Event) | the watch saw a put | the watch saw a deletion, or a lease that expired |
/// | [`Listed`](Self::Listed) | a list has the value, the cache had another or none | a list lacks the key |
/// | [`OtherHistory`](Self::OtherHistory) | as `Listed`, and the kvstore was restored, wiped or exchanged | likewise |
/// | [`Attached`](Self::Attached) | as `Listed`, in the first list after `Attach` | likewise |
/// | [`EnteredFilter`](Self::EnteredFilter) | the key passes the observer's filter now | |
/// | [`LeftFilter`](Self::LeftFilter) | | the key is there, and passes the observer's filter no longer |
/// | [`Undecodable`](Self::Undecodable) | | the new value cannot be decoded ([`OnUndecodable::Remove`]) |
/// | [`GivenUp`](Self::GivenUp) | | an own key that this store deleted, or does not own any more |
/// | [`Closed`](Self::Closed) | | an own key that Close deleted |
/// | [`HeldBack`](Self::HeldBack) | | deleted earlier, held back until now ([`Config::delete_delay`], [`DeletionGuard`]) |
/// | [`Drained`](Self::Drained) | | `Drain` emptied the cache |
///
/// An observer that is slower than the changes is told several changes of a key as one: the reason is that of the newest.
///
/// [`OnUndecodable::Remove`]: crate::OnUndecodable::Remove
/// [`Config::delete_delay`]: crate::Config::delete_delay
/// [`DeletionGuard`]: crate::DeletionGuard
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The key was in the cache when the observer was added, or it is in the first list.
    FirstState,
    /// An event of the watch.
    Event,
    /// A list differs from the cache: the watch could not be resumed, or an audit found a difference.
    Listed,
    /// A list of another history differs from the cache: the kvstore was restored or wiped, or another one answers.
    OtherHistory,
    /// The first list of the kvstore or the prefix that the store was attached to differs from the cache.
    Attached,
    /// The key has come into the observer's filter: by its value, or because it changed hands.
    EnteredFilter,
    /// The key has left the observer's filter: by its value, or because it changed hands.
    LeftFilter,
    /// The new value cannot be decoded, and undecodable keys are removed.
    Undecodable,
    /// An own key that this store has given up: it was deleted by a command, or lost to another owner.
    GivenUp,
    /// An own key that was deleted by Close.
    Closed,
    /// The key was deleted before, and has not come back while the deletion was held back.
    HeldBack,
    /// The cache was drained.
    Drained,
}

impl Reason {
    /// The reason's name in snake case, as it is in JSON: `first_state`, `event`, `listed`, ...
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstState => "first_state",
            Self::Event => "event",
            Self::Listed => "listed",
            Self::OtherHistory => "other_history",
            Self::Attached => "attached",
            Self::EnteredFilter => "entered_filter",
            Self::LeftFilter => "left_filter",
            Self::Undecodable => "undecodable",
            Self::GivenUp => "given_up",
            Self::Closed => "closed",
            Self::HeldBack => "held_back",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
