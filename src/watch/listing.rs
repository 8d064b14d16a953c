//! One list in pages, all at the revision of the first.

use bytes::Bytes;

use super::page_limit::PageLimit;
use super::{Page, PageKeys};
use crate::backend::{BackendError, ListPage, ListRequest};
use crate::kv::{ClusterId, KeyRange, Revision};

/// Where a list in pages has got to.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    phase: Phase,
    /// First path of the next page.
    start: Bytes,
    limit: PageLimit,
    /// Revision and cluster of the first page.
    pinned: Option<(Revision, ClusterId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but the revision and the cluster.
    Now,
    /// Every key with its value.
    Full,
    /// The keys written after this revision, then the names of all.
    Changes {
        since: Revision,
    },
    Names,
}

impl Listing {
    pub(super) fn full(range: &KeyRange) -> Self {
        Self { phase: Phase::Full, start: range.start.clone(), limit: PageLimit::first(), pinned: None }
    }

    /// No key: where to begin.
    pub(super) fn now(range: &KeyRange) -> Self {
        Self { phase: Phase::Now, ..Self::full(range) }
    }

    /// The names of all keys.
    pub(super) fn names(range: &KeyRange) -> Self {
        Self { phase: Phase::Names, ..Self::full(range) }
    }

    /// Only what changed after `since`, and the names of all keys: enough to know what was deleted.
    pub(super) fn changes(range: &KeyRange, since: Revision) -> Self {
        Self { phase: Phase::Changes { since }, ..Self::full(range) }
    }

    /// Whether it leaves out values the consumer is thought to have.
    pub(super) fn is_partial(&self) -> bool {
        !matches!(self.phase, Phase::Full | Phase::Now)
    }

    pub(super) fn is_now(&self) -> bool {
        self.phase == Phase::Now
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.pinned.map(|(_, cluster)| cluster).unwrap_or_default()
    }

    /// The next page.
    pub(super) fn request(&self, range: &KeyRange) -> ListRequest {
        let mut request = ListRequest::new(KeyRange { start: self.start.clone(), end: range.end.clone() });
        request.revision = self.pinned.map(|(revision, _)| revision);
        request.limit = if self.is_now() { 1 } else { self.limit.get() };
        match self.phase {
            Phase::Full => {}
            Phase::Changes { since } => request.min_mod_revision = Some(since.next()),
            Phase::Names | Phase::Now => request.keys_only = true,
        }
        request
    }

    /// The same page once more, after this failure.
    pub(super) fn again(mut self, error: &BackendError) -> Self {
        self.limit.failed(error);
        self
    }

    /// Takes a page and moves on; `None` if another cluster answered.
    pub(super) fn take(&mut self, page: ListPage, range: &KeyRange) -> Option<Page> {
        let first = self.pinned.is_none();
        let (revision, cluster) = *self.pinned.get_or_insert((page.header.revision, page.header.cluster));
        if cluster.differs(page.header.cluster) {
            return None;
        }
        let cluster = cluster.or(page.header.cluster);
        self.pinned = Some((revision, cluster));
        if let Some(last) = page.kvs.last() {
            self.start = KeyRange::one(&last.path).end;
        }
        self.limit.took(&page);
        // A page that is empty but promises more would repeat for ever.
        let more = page.more && !page.kvs.is_empty();
        let keys = if self.phase == Phase::Names { PageKeys::Names(page.kvs) } else { PageKeys::Full(page.kvs) };
        let last = match (self.phase, more) {
            (Phase::Now, _) => true,
            (_, true) => false,
            (Phase::Changes { .. }, false) => {
                self.phase = Phase::Names;
                self.start = range.start.clone();
                self.limit = PageLimit::first();
                false
            }
            (Phase::Full | Phase::Names, false) => true,
        };
        Some(Page { first, last, revision, cluster, same_history: true, keys })
    }
}
