//! A watch for a consumer that keeps no values: it begins now, and lists names after a gap.

use std::time::Duration;

use super::listing::Listing;
use super::reading::Follows;
use super::{Delivery, History, Page, State, Watch};
use crate::kv::{ClusterId, KeyRange};

/// What the consumer needs to know of what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// All keys with their values.
    Values,
    /// Nothing at first; after a gap, the names.
    Names,
}

impl Watch {
    /// A watch for a consumer that keeps no values: it begins with the changes after now, and tells what it missed by
    /// the names of all keys.
    #[must_use]
    pub fn from_now(range: KeyRange, silence: Duration, seed: u64) -> Self {
        let state = State::Listing(Listing::now(&range));
        Self { state, lists: Lists::Names, ..Self::new(range, silence, seed) }
    }

    /// The list that the consumer needs.
    pub(super) fn whole(&self) -> Listing {
        match (self.lists, self.history) {
            (Lists::Values, _) => Listing::full(&self.range),
            (Lists::Names, Some(_)) => Listing::names(&self.range),
            (Lists::Names, None) => Listing::now(&self.range),
        }
    }

    pub(super) fn began(&mut self, cluster: ClusterId, page: &Page) -> Option<Delivery> {
        let Page { revision, same_history, .. } = *page;
        if same_history && self.history.is_some() {
            // It is the same history: the names tell what was missed.
            self.state = State::Listing(self.whole());
            return None;
        }
        self.history = Some(History { cluster, revision });
        self.state = State::Opening(Follows::List);
        Some(Delivery::Began { revision, same_history })
    }
}
