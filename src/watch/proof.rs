//! Finds out whether a watch that went on after a gap has lost events in it.

use std::time::{Duration, Instant};

use super::{Delivery, Page};
use crate::backend::{BackendError, ListPage, ListRequest};
use crate::backoff::Backoff;
use crate::kv::{Header, KeyRange, Revision};

/// How long a gap waits before it is examined, at least and at most: watches that were cut at once must not ask at
/// once.
const WAIT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// How long after a list of all names the next one may begin, however often the kvstore compacts.
const REST: Duration = Duration::from_secs(30);

/// Why a [`Watch`](super::Watch) may have lost events although its stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The watch was away or behind. Everything up to this revision is delivered, and everything after it too unless the
    /// kvstore has compacted its history beyond this revision.
    After(Revision),
    /// The stream repeated old events, or a compaction came while the watch was away or behind.
    Strong,
}

impl Gap {
    /// The gap that includes both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
            (Self::Strong, _) | (_, Self::Strong) => Self::Strong,
        }
    }
}

/// Ends the [`Gap`]s of a [`Watch`](super::Watch). A pure machine, run beside the watch.
///
/// Some versions of etcd lose events without an error. Before 3.4.34 and 3.5.16 a deletion is lost if its revision is
/// compacted and a watch begins at that revision (etcd #18089). Before 3.4.31 and 3.5.13 a compaction skips events of a
/// watch whose client reads too slowly (#17529). A member that comes back can send a watch back in time (#15271).
/// The first two need a compaction in the gap. So the proof asks for one name at the last revision before the gap: if
/// the kvstore still has that revision, nothing is lost. Otherwise a list of all names and of the values that changed
/// ([`Watch::refresh`](super::Watch::refresh)) finds what is.
///
/// # Costs
/// One request and one key name for each gap. If a compaction came in it: the list, whose names take about 100 bytes a
/// key, so about 10 MB in one request for 100,000 keys. The state of a store stays synced meanwhile.
#[derive(Debug)]
pub struct Proof {
    range: KeyRange,
    gap: Option<Gap>,
    /// Nothing is asked before.
    due: Option<Instant>,
    asked: Option<Asked>,
    /// No gap is looked into before this time.
    rest: Option<Instant>,
    backoff: Backoff,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Asked {
    at: Header,
    gap: Gap,
}

/// What to do about a [`Gap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Ask this, and take the answer to [`Proof::answer`].
    Ask(ListRequest),
    /// List what changed: [`Watch::refresh`](super::Watch::refresh).
    List,
}

impl Proof {
    /// A proof for watches of `range`.
    #[must_use]
    pub fn new(range: KeyRange, seed: u64) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed);
        Self { range, gap: None, due: None, asked: None, rest: None, backoff, rng: fastrand::Rng::with_seed(seed) }
    }

    /// Takes a gap that the watch reports.
    pub fn gap(&mut self, now: Instant, gap: Gap) {
        let wait = WAIT[0] + (WAIT[1] - WAIT[0]).mul_f64(self.rng.f64());
        self.due.get_or_insert(self.rest.map_or(now + wait, |rest| rest.max(now + wait)));
        self.add(gap);
    }

    /// Takes what the watch delivers: a complete list closes every gap.
    pub fn delivered(&mut self, delivery: &Delivery) {
        if let Delivery::Page(Page { last: true, .. }) | Delivery::Began { .. } = delivery {
            (self.gap, self.due, self.asked) = (None, None, None);
        }
    }

    /// What to do now, if something is to be done: `in_step` is [`Watch::in_step`](super::Watch::in_step).
    pub fn poll(&mut self, now: Instant, in_step: Option<Header>) -> Option<Check> {
        let at = in_step.filter(|_| self.asked.is_none() && self.due.is_some_and(|due| due <= now))?;
        match self.gap? {
            Gap::Strong => {
                self.rest = Some(now + REST);
                Some(Check::List)
            }
            gap @ Gap::After(revision) => {
                (self.gap, self.due, self.asked) = (None, None, Some(Asked { at, gap }));
                let mut request = ListRequest::new(KeyRange::one(&self.range.start));
                request.revision = Some(revision);
                request.limit = 1;
                request.keys_only = true;
                Some(Check::Ask(request))
            }
        }
    }

    /// Whether there is no gap and no request under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.gap.is_none() && self.asked.is_none()
    }

    /// When to poll again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.asked.is_none())
    }

    /// Takes what came of a request; the error if the history of the kvstore is another one, which is for
    /// [`Watch::history_changed`](super::Watch::history_changed).
    #[must_use]
    pub fn answer(&mut self, now: Instant, result: Result<ListPage, BackendError>) -> Option<BackendError> {
        let Asked { at, gap } = self.asked.take()?;
        match result {
            Ok(page) if page.header.cluster.differs(at.cluster) => {
                return Some(BackendError::unavailable("another cluster answers"));
            }
            Ok(page) if page.header.revision < at.revision => return Some(BackendError::FutureRevision),
            Ok(_) => self.backoff.reset(),
            Err(BackendError::FutureRevision) => return Some(BackendError::FutureRevision),
            Err(BackendError::Compacted { .. }) => {
                self.backoff.reset();
                self.due = Some(now);
                self.add(Gap::Strong);
            }
            Err(_) => {
                self.due = Some(now + self.backoff.fail());
                self.add(gap);
            }
        }
        None
    }

    fn add(&mut self, gap: Gap) {
        self.gap = Some(self.gap.map_or(gap, |old| old.and(gap)));
    }
}
