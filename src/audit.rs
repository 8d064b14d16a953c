//! When to compare which part of the cache with the kvstore.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::{BackendError, ListPage, ListRequest};
use crate::backoff::Backoff;
use crate::clock::bounded;
use crate::kv::{Header, KeyRange};
use crate::watch::{AuditKind, AuditPart, Delivery, PageLimit};

/// A part holds no more keys than this, so that comparing it holds up nobody.
const MAX_PART_KEYS: usize = 5000;

/// Compares the cache with the kvstore, a part at a time, beside the watch that feeds the cache. A pure machine. It
/// finds what the watch lost for good, which nothing else would ever show.
///
/// A part is a list at the revision that the cache shows when the part is requested. Keys that change before the
/// answer comes are remembered and left out, so the comparison is exact although neither side waits for the other.
///
/// [`Rolling`](AuditKind::Rolling) rounds compare names and revisions only and are spread over the interval; a round that was
/// [asked for](Self::ask) compares values, too, and goes at once.
#[derive(Debug)]
pub struct Audit {
    range: KeyRange,
    interval: Duration,
    kind: AuditKind,
    /// First path of the next part.
    start: Bytes,
    limit: PageLimit,
    /// How much of the interval is left for the rest of the round.
    left: Duration,
    /// The next part is not asked for before.
    next: Option<Instant>,
    part: Option<UnderWay>,
    /// How often in a row the revision of the cache was compacted.
    compacted: u32,
    backoff: Backoff,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct UnderWay {
    at: Header,
    /// What was delivered since.
    changed: HashSet<Bytes>,
    /// A list was delivered since: the part cannot be compared any more.
    void: bool,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing to compare: it is asked for again.
    Nothing,
    /// A part to compare.
    Part(AuditPart),
    /// The kvstore has compacted the revision the cache shows, as happens to a range in which nothing changes for long:
    /// [`Watch::refresh`](crate::watch::Watch::refresh) brings a newer one, and the part is asked for again.
    Compacted,
    /// The kvstore's history is another one: to [`Watch::history_changed`](crate::watch::Watch::history_changed).
    OtherHistory(BackendError),
}

impl Audit {
    /// An audit of `range` that takes `interval` for a round; with [`Duration::ZERO`] only when asked.
    #[must_use]
    pub fn new(range: KeyRange, interval: Duration, seed: u64) -> Self {
        Self {
            start: range.start.clone(),
            range,
            interval: bounded(interval),
            kind: AuditKind::Rolling,
            limit: PageLimit::first(),
            left: bounded(interval),
            next: None,
            part: None,
            compacted: 0,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Begins a round at once. A request under way is void: the shell drops it.
    pub fn ask(&mut self) {
        self.kind = AuditKind::Asked;
        self.begin();
        self.next = None;
        self.part = None;
    }

    /// The part to list now, if one is due: `in_step` is [`Watch::in_step`](crate::watch::Watch::in_step).
    pub fn poll_request(&mut self, now: Instant, in_step: Option<Header>) -> Option<ListRequest> {
        let at = in_step.filter(|_| self.part.is_none())?;
        if self.kind == AuditKind::Rolling {
            if self.interval.is_zero() {
                return None;
            }
            // The first part at a random time of the interval, so that not all stores of a cluster ask at once.
            let first = now + self.interval.mul_f64(self.rng.f64());
            self.next.get_or_insert(first);
        }
        if self.next.is_some_and(|next| next > now) {
            return None;
        }
        self.part = Some(UnderWay { at, changed: HashSet::new(), void: false });
        let mut request = ListRequest::new(KeyRange { start: self.start.clone(), end: self.range.end.clone() });
        request.revision = Some(at.revision);
        request.limit = self.limit.get().min(MAX_PART_KEYS);
        request.keys_only = self.kind == AuditKind::Rolling;
        Some(request)
    }

    /// When to ask for a request again.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next.filter(|_| self.part.is_none())
    }

    /// Takes what the watch delivers, before the cache does.
    pub fn delivered(&mut self, delivery: &Delivery) {
        let Some(part) = &mut self.part else { return };
        match delivery {
            Delivery::Events(events) => part.changed.extend(events.iter().map(|event| event.path().clone())),
            Delivery::Page(_) => part.void = true,
            Delivery::Progress(_)
            | Delivery::Began { .. }
            | Delivery::Live
            | Delivery::Broken(_)
            | Delivery::Audited(_) => {}
        }
    }

    /// Takes what came of the request.
    pub fn answer(&mut self, now: Instant, result: Result<ListPage, BackendError>) -> Found {
        let Some(UnderWay { at, changed, .. }) = self.part.take().filter(|part| !part.void) else {
            return Found::Nothing;
        };
        let page = match result {
            Ok(page) if page.header.cluster.differs(at.cluster) => {
                return Found::OtherHistory(BackendError::unavailable("another cluster answers an audit"));
            }
            Ok(page) if page.header.revision < at.revision => {
                return Found::OtherHistory(BackendError::FutureRevision);
            }
            Ok(page) => page,
            Err(BackendError::FutureRevision) => return Found::OtherHistory(BackendError::FutureRevision),
            Err(BackendError::Compacted { .. }) => return self.compacted(now),
            Err(error) => {
                self.limit.failed(&error);
                self.next = Some(now + self.backoff.fail());
                return Found::Nothing;
            }
        };
        self.backoff.reset();
        self.compacted = 0;
        let end = page.kvs.last().filter(|_| page.more).map(|last| KeyRange::one(&last.path).end);
        let first = self.start == self.range.start;
        let range = KeyRange { start: self.start.clone(), end: end.clone().unwrap_or_else(|| self.range.end.clone()) };
        let pause = self.share(&page);
        self.limit.took(&page, false);
        let (kind, last) = (self.kind, end.is_none());
        match end {
            Some(end) => self.start = end,
            None => {
                self.kind = AuditKind::Rolling;
                self.begin();
            }
        }
        self.next = (self.kind == AuditKind::Rolling && !pause.is_zero()).then(|| now + pause);
        Found::Part(AuditPart { kind, first, last, range, revision: at.revision, keys: page.kvs, changed })
    }

    /// The revision of the cache is compacted. A round that was asked for needs a newer revision now. A rolling round
    /// can wait: the watch's next progress brings a newer revision, unless that is compacted at once, too.
    fn compacted(&mut self, now: Instant) -> Found {
        self.compacted += 1;
        let patient = self.kind == AuditKind::Rolling;
        if patient {
            self.next = Some(now + (self.interval / 16).mul_f64(0.5 + self.rng.f64()));
        } else if self.compacted > 3 {
            // Somebody compacts faster than this can ask.
            self.next = Some(now + self.backoff.fail());
        }
        if patient && self.compacted < 3 { Found::Nothing } else { Found::Compacted }
    }

    /// How long to wait after a part, with jitter: its fraction of the remaining keys takes that fraction of the
    /// remaining time.
    fn share(&mut self, page: &ListPage) -> Duration {
        let share = if page.more { page.kvs.len() as f64 / page.count.max(1) as f64 } else { 1.0 };
        let pause = self.left.mul_f64(share.min(1.0));
        self.left -= pause;
        pause.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    fn begin(&mut self) {
        self.start = self.range.start.clone();
        self.limit = PageLimit::first();
        self.left = self.interval;
    }
}
