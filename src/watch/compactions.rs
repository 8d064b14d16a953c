//! Listing a kvstore that compacts its history faster than a list in pages ends.

use std::time::Duration;

use super::listing::{Limits, Listing};
use super::reading::{Follows, Reading, Target};
use super::{State, Watch};
use crate::kv::Revision;

/// After how many compactions in a row a list is asked for in one page.
const ONE_PAGE: u32 = 2;
/// After how many the watch is opened before the list, because none could be opened in time after it.
const WATCH_FIRST: u32 = 3;
/// At most how many bytes such a page has. Far below the limit of a message.
const WHOLE_BYTES: usize = 256 << 20;
/// The same for a list beside a watch that is in step, for which nothing is urgent.
const BESIDE_BYTES: usize = 32 << 20;

/// How often in a row a compaction overtook a list, or the watch after it.
///
/// 1. A first compaction may be chance: the list begins anew.
/// 2. After the second one the list has one page, or as few as [`WHOLE_BYTES`] allow: a page that is not pinned to a
///    revision cannot be overtaken.
/// 3. After the third one the watch is opened first. A list at a later revision then needs no other watch. It has all
///    values, so that it can be one request.
#[derive(Debug, Default)]
pub(super) struct Compactions {
    overtaken: u32,
    /// The sizes that the last list has shown.
    limits: Option<Limits>,
}

impl Compactions {
    /// A compaction overtook the list, or the watch after it.
    pub(super) fn overtaken(&mut self) {
        self.overtaken = self.overtaken.saturating_add(1);
    }

    /// Remembers how large a list is.
    pub(super) fn listed(&mut self, listing: &Listing) {
        if !listing.is_now() {
            let newer = listing.limits();
            self.limits = Some(self.limits.take().map_or_else(|| newer.clone(), |limits| limits.and(newer)));
        }
    }

    /// A watch has worked.
    pub(super) fn reset(&mut self) {
        self.overtaken = 0;
    }

    /// A list whose first pages are as large as the last list allows, if it is of the same history.
    pub(super) fn sized(&self, listing: Listing) -> Listing {
        match &self.limits {
            Some(limits) if listing.is_partial() => listing.limited(limits.of_changes()),
            Some(_) | None => listing,
        }
    }

    /// A list beside a watch that is open from this revision on and stays so.
    pub(super) fn beside(&self, listing: Listing, open: Revision) -> Listing {
        self.whole(listing, BESIDE_BYTES).beside(open)
    }

    fn whole(&self, listing: Listing, bytes: usize) -> Listing {
        match &self.limits {
            Some(limits) => listing.limited(limits.whole(bytes)),
            None => listing,
        }
    }
}

impl Watch {
    /// Begins a list, or goes on with it, as the number of compactions requires.
    pub(super) fn begin(&self, listing: Listing) -> State {
        if listing.is_now() || listing.has_begun() || self.compactions.overtaken < ONE_PAGE {
            return State::Listing(listing);
        }
        if self.compactions.overtaken < WATCH_FIRST {
            return State::Listing(self.compactions.whole(listing, WHOLE_BYTES));
        }
        // A full list: a list of the names and of what changed takes two requests.
        State::FindingStart(self.compactions.whole(self.whole(), WHOLE_BYTES))
    }

    /// What follows a complete list: its watch, unless one is open already.
    pub(super) fn after_list(&self, listing: &Listing) -> State {
        let revision = self.delivered();
        match listing.open {
            Some(open) if open <= revision.next() => {
                // The watch is live as soon as the list is taken in.
                let target = Some(Target { revision, patience: Duration::ZERO, follows: Follows::List });
                let mut reading = Reading::toward(target);
                reading.listed = revision;
                State::Reading(reading)
            }
            Some(_) | None => State::Opening(Follows::List),
        }
    }
}
