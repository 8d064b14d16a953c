//! The history that a watch follows, and its end.

use super::{Delivery, Watch};
use crate::backend::BackendError;
use crate::kv::{ClusterId, Revision};

/// The kvstore history everything delivered so far belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History {
    pub(super) cluster: ClusterId,
    /// All changes up to and including this revision are delivered.
    pub(super) revision: Revision,
}

impl History {
    /// A history that has ended: no list continues it, whatever its revision.
    pub(super) fn ended(self) -> Self {
        Self { revision: Revision(u64::MAX), ..self }
    }
}

impl Watch {
    /// An answer to a write proves that the history has ended, although this watch may not have got far enough in it
    /// to notice. The next list is delivered as one of another history, whatever its revision. Drop what is open and
    /// ask for the action.
    #[must_use]
    pub fn ended(&mut self) -> Option<Delivery> {
        self.history = self.history.map(History::ended);
        self.other_history(BackendError::FutureRevision)
    }
}

impl Delivery {
    /// Whether it says that what was delivered before means nothing any more.
    #[must_use]
    pub fn is_of_another_history(&self) -> bool {
        match self {
            Self::Page(page) => page.last && !page.same_history,
            Self::Began { same_history, .. } => !same_history,
            Self::Events(_) | Self::Progress(_) | Self::Live | Self::Broken(_) | Self::Audited(_) => false,
        }
    }
}
