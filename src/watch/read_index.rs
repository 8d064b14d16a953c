//! Finds out when the consumer of a watch has everything that the kvstore had acknowledged before a read.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Delivery;
use crate::backend::{BackendError, ListPage, ListRequest};
use crate::backoff::Backoff;
use crate::kv::{Header, KeyRange, Revision};

/// After how long without the revision the watch is asked for its progress. The event of a write comes half a
/// millisecond after it, about when its answer does. So what has not come by then is probably elsewhere in the kvstore.
const EVENTS: Duration = Duration::from_millis(5);
/// How long a watch that cannot be asked has then, before a list: that costs the kvstore more than waiting for a member
/// that lags a little.
const UNASKED: Duration = Duration::from_millis(20);
/// How long a watch that was asked has, before a list: a watch that is behind and etcd's own proxy do not answer.
const PROGRESS: Duration = Duration::from_millis(100);

/// Raft's read index for a cache that a [`Watch`](super::Watch) feeds. A pure machine, run beside the watch.
///
/// It asks for the kvstore's newest revision, which a linearizable request answers with, and says when the consumer
/// shows that revision. A read after that is linearizable: it shows every write that was acknowledged before the read
/// was asked for. As Kubernetes: consistent reads from a cache (KEP-2340).
///
/// # Invariants
/// 1. Only a request that began after a read was asked for counts for it. Reads that are asked for during a request
///    share the next one.
/// 2. What was asked or answered in a history that has ended counts for nothing: it is asked for again.
/// 3. Nothing is asked while the watch is not in step, and one request at a time otherwise.
/// 4. A list is the last resort, and there is one at a time.
/// 5. A revision that a later list has not reached was lost with its history, which others may not have noticed.
///
/// # Costs
/// One request without a value for all reads that wait. If the newest revision is of a key elsewhere in the kvstore:
/// one request for progress, or one [`Watch::refresh`](super::Watch::refresh) where that cannot be asked for.
#[derive(Debug)]
pub struct ReadIndex {
    range: KeyRange,
    /// The reads for which no request has begun.
    waiting: Option<Reads>,
    asked: Option<Asked>,
    known: Option<Known>,
    /// What the consumer shows.
    shown: Revision,
    /// No request before this time.
    retry: Option<Instant>,
    backoff: Backoff,
    ended: VecDeque<Answered>,
}

/// Reads that wait. They are numbered in the order in which they were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// All up to this one.
    pub last: u64,
    /// None of them waits any longer.
    pub until: Instant,
}

/// What became of reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// All up to this one.
    pub last: u64,
    /// The kvstore's newest revision after they were asked for, which the consumer shows now; or why the kvstore refuses
    /// to tell.
    pub result: Result<Revision, BackendError>,
}

/// What is needed next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needed {
    /// Ask this, and take the answer to [`ReadIndex::answer`].
    Ask(ListRequest),
    /// Call [`request_progress`](crate::backend::WatchStream::request_progress); if it cannot be asked for, call
    /// [`ReadIndex::without_progress`].
    Progress,
    /// List what changed: [`Watch::refresh`](super::Watch::refresh).
    List,
    /// The history that the kvstore told of has ended: [`Watch::ended`](super::Watch::ended).
    Ended,
}

/// What a delivery means for reads once the consumer has taken it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Nothing.
    Nothing,
    /// The consumer shows this revision.
    Revision(Revision),
    /// The consumer shows a list at this revision.
    List(Revision),
    /// The watch has told its progress, and the consumer shows this revision.
    Progress(Revision),
    /// The consumer shows this revision of another history.
    OtherHistory(Revision),
}

#[derive(Debug)]
struct Asked {
    /// What was delivered then.
    at: Header,
    reads: Reads,
}

/// A revision that is still to be shown.
#[derive(Debug)]
struct Known {
    revision: Revision,
    reads: Reads,
    /// When to ask for progress, if that is of use.
    ask: Option<Instant>,
    /// When to list.
    list: Instant,
    /// A list has begun since it is known.
    listing: bool,
    /// That list has not reached it.
    ended: bool,
}

impl Reads {
    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { last: self.last.max(other.last), until: self.until.max(other.until) }
    }
}

impl Reached {
    /// What this delivery means.
    #[must_use]
    pub fn by(delivery: &Delivery) -> Self {
        let list = if delivery.is_of_another_history() { Self::OtherHistory } else { Self::List };
        match delivery {
            Delivery::Events(events) => events.last().map_or(Self::Nothing, |last| Self::Revision(last.revision())),
            Delivery::Page(page) if page.last => list(page.revision),
            Delivery::Began { revision, .. } => list(*revision),
            Delivery::Progress(revision) => Self::Progress(*revision),
            Delivery::Page(_) | Delivery::Live | Delivery::Broken(_) | Delivery::Audited(_) => Self::Nothing,
        }
    }
}

impl ReadIndex {
    /// For reads of what a watch of `range` delivers.
    #[must_use]
    pub fn new(range: &KeyRange, seed: u64) -> Self {
        Self {
            range: KeyRange::one(&range.start),
            waiting: None,
            asked: None,
            known: None,
            shown: Revision::ZERO,
            retry: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed),
            ended: VecDeque::new(),
        }
    }

    /// Somebody wants to read.
    pub fn wait(&mut self, reads: Reads) {
        self.waiting = Some(self.waiting.map_or(reads, |waiting| waiting.and(reads)));
    }

    /// Takes what a delivery means. Call it when the consumer has taken it in.
    pub fn reached(&mut self, now: Instant, reached: Reached) {
        match reached {
            Reached::Nothing => return,
            Reached::Revision(revision) => self.shown = revision,
            Reached::List(revision) => {
                self.shown = revision;
                if let Some(known) = &mut self.known {
                    known.ended = known.listing && known.revision > revision;
                }
            }
            Reached::Progress(revision) => {
                self.shown = revision;
                if let Some(known) = &mut self.known {
                    // The member of the watch is behind the one that was asked.
                    known.ask.get_or_insert(now + EVENTS);
                }
            }
            Reached::OtherHistory(revision) => {
                self.shown = revision;
                let (asked, known) = (self.asked.take(), self.known.take());
                let void = asked.map(|asked| asked.reads).into_iter().chain(known.map(|known| known.reads));
                void.for_each(|reads| self.wait(reads));
            }
        }
        self.end();
    }

    /// What is needed now, if anything: `in_step` is [`Watch::in_step`](super::Watch::in_step).
    pub fn poll(&mut self, now: Instant, in_step: Option<Header>) -> Option<Needed> {
        self.waiting = self.waiting.filter(|reads| reads.until > now);
        self.known.take_if(|known| known.reads.until <= now);
        let at = in_step?;
        if let Some(known) = self.known.take_if(|known| known.ended) {
            self.wait(known.reads);
            return Some(Needed::Ended);
        }
        if let Some(known) = &mut self.known {
            if known.ask.take_if(|ask| *ask <= now).is_some() {
                return Some(Needed::Progress);
            }
            if known.list > now {
                return None;
            }
            (known.list, known.listing) = (now + PROGRESS, true);
            return Some(Needed::List);
        }
        if self.asked.is_some() || self.retry.is_some_and(|retry| retry > now) {
            return None;
        }
        self.asked = Some(Asked { at, reads: self.waiting.take()? });
        let mut request = ListRequest::new(self.range.clone());
        (request.limit, request.keys_only) = (1, true);
        Some(Needed::Ask(request))
    }

    /// When to poll again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.known {
            Some(known) => Some(known.ask.map_or(known.list, |ask| ask.min(known.list))),
            None => self.retry.filter(|_| self.asked.is_none() && self.waiting.is_some()),
        }
    }

    /// The watch cannot be asked for its progress.
    pub fn without_progress(&mut self, now: Instant) {
        if let Some(known) = &mut self.known {
            known.list = known.list.min(now + UNASKED);
        }
    }

    /// Whether a request is under way. If not, drop what is.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes what came of the request; the error if the history of the kvstore is another one, which is for
    /// [`Watch::history_changed`](super::Watch::history_changed).
    #[must_use]
    pub fn answer(&mut self, now: Instant, result: Result<ListPage, BackendError>) -> Option<BackendError> {
        let Asked { at, reads } = self.asked.take()?;
        let other_history = match result {
            Ok(page) if page.header.cluster.differs(at.cluster) => BackendError::unavailable("another cluster answers"),
            Ok(page) if page.header.revision < at.revision => BackendError::FutureRevision,
            Ok(page) => {
                self.backoff.reset();
                self.retry = None;
                let revision = page.header.revision;
                let (ask, list) = (Some(now + EVENTS), now + PROGRESS);
                self.known = Some(Known { revision, reads, ask, list, listing: false, ended: false });
                self.end();
                return None;
            }
            Err(
                error @ (BackendError::Rejected { .. }
                | BackendError::Forbidden { .. }
                | BackendError::Misconfigured { .. }),
            ) => {
                self.ended.push_back(Answered { last: reads.last, result: Err(error) });
                return None;
            }
            Err(
                BackendError::Unavailable { .. }
                | BackendError::Compacted { .. }
                | BackendError::FutureRevision
                | BackendError::LeaseNotFound { .. }
                | BackendError::LeaseExists { .. },
            ) => {
                self.retry = Some(now + self.backoff.fail());
                self.wait(reads);
                return None;
            }
        };
        self.wait(reads);
        Some(other_history)
    }

    /// What became of reads, in their order.
    pub fn poll_answered(&mut self) -> Option<Answered> {
        self.ended.pop_front()
    }

    fn end(&mut self) {
        if let Some(Known { revision, reads, .. }) = self.known.take_if(|known| known.revision <= self.shown) {
            self.ended.push_back(Answered { last: reads.last, result: Ok(revision) });
        }
    }
}
