//! One list in pages, all at the revision of the first.

use super::page_limit::PageLimit;
use super::{Page, PageKeys};
use crate::backend::{BackendError, ListPage, ListRequest};
use crate::kv::{ClusterId, KeyRange, Revision};

/// Where a list in pages has got to.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    phase: Phase,
    /// The phase it began with.
    begins: Phase,
    /// What the next page is to be of.
    rest: KeyRange,
    /// From the first to the last key whose value is to be listed, as the names so far say.
    changed: Option<KeyRange>,
    limits: Limits,
    /// Revision and cluster of the first page.
    pinned: Option<(Revision, ClusterId)>,
    /// A watch has been open from this revision on since before the list.
    pub(super) open: Option<Revision>,
}

/// The limits of pages with values, and of pages with names.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    values: PageLimit,
    names: PageLimit,
}

impl Limits {
    pub(super) fn first() -> Self {
        Self { values: PageLimit::first(), names: PageLimit::first_of_names() }
    }

    /// The first limits of a list of names and of the values that changed, by what these have shown.
    pub(super) fn of_changes(&self) -> Self {
        let names = if self.names.is_known() { &self.names } else { &self.values };
        Self { values: self.values.like_these(), names: names.all_names() }
    }

    /// As few pages as this number of bytes a page allows. Both kinds of pages have the same keys.
    pub(super) fn whole(&self, bytes: usize) -> Self {
        let names = if self.names.is_known() { &self.names } else { &self.values };
        Self { values: self.values.whole(bytes), names: names.whole(bytes) }
    }

    /// The limits of a newer list, completed by those that only this list has shown.
    pub(super) fn and(self, newer: &Self) -> Self {
        let pick = |old: PageLimit, new: &PageLimit| if new.is_known() { new.clone() } else { old };
        Self { values: pick(self.values, &newer.values), names: pick(self.names, &newer.names) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing but the revision and the cluster.
    Now,
    /// Every key with its value.
    Full,
    /// The names of all keys.
    Names {
        /// After them the values of the keys written after this revision.
        values_since: Option<Revision>,
    },
    /// The keys written after this revision.
    Changes { since: Revision },
}

impl Listing {
    pub(super) fn full(range: &KeyRange) -> Self {
        Self::of(Phase::Full, range)
    }

    fn of(phase: Phase, range: &KeyRange) -> Self {
        let (rest, limits) = (range.clone(), Limits::first());
        Self { phase, begins: phase, rest, changed: None, limits, pinned: None, open: None }
    }

    /// No key: where to begin.
    pub(super) fn now(range: &KeyRange) -> Self {
        Self::of(Phase::Now, range)
    }

    /// The names of all keys.
    pub(super) fn names(range: &KeyRange) -> Self {
        Self::of(Phase::Names { values_since: None }, range)
    }

    /// The names of all keys, which tell what was deleted and what is new, and then only the values written after
    /// `since`. In etcd a list of changes costs as much as a list of all keys, so there is none if nothing changed, and
    /// else only from the first key that changed to the last one.
    pub(super) fn changes(range: &KeyRange, since: Revision) -> Self {
        Self::of(Phase::Names { values_since: Some(since) }, range)
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
    pub(super) fn request(&self) -> ListRequest {
        let mut request = ListRequest::new(self.rest.clone());
        request.revision = self.pinned.map(|(revision, _)| revision);
        match self.phase {
            Phase::Full => request.limit = self.limits.values.get(),
            Phase::Changes { since } => {
                request.limit = self.limits.values.get();
                request.min_mod_revision = Some(since.next());
            }
            Phase::Names { .. } => (request.limit, request.keys_only) = (self.limits.names.get(), true),
            Phase::Now => (request.limit, request.keys_only) = (1, true),
        }
        request
    }

    /// The same page again, after this failure, which has also ended the watch.
    pub(super) fn again(mut self, error: &BackendError) -> Self {
        self.limit().failed(error);
        self.open = None;
        self
    }

    /// The same list from its beginning.
    pub(super) fn anew(&self, range: &KeyRange) -> Self {
        Self::of(self.begins, range)
    }

    pub(super) fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With a watch that has been open from this revision on since before the list.
    pub(super) fn beside(self, open: Revision) -> Self {
        Self { open: Some(open), ..self }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a page has come.
    pub(super) fn has_begun(&self) -> bool {
        self.pinned.is_some()
    }

    fn limit(&mut self) -> &mut PageLimit {
        match self.phase {
            Phase::Full | Phase::Changes { .. } => &mut self.limits.values,
            Phase::Names { .. } | Phase::Now => &mut self.limits.names,
        }
    }

    /// Takes a page and moves on; `None` if another cluster answered.
    pub(super) fn take(&mut self, page: ListPage) -> Option<Page> {
        let first = self.pinned.is_none();
        let (revision, cluster) = *self.pinned.get_or_insert((page.header.revision, page.header.cluster));
        if cluster.differs(page.header.cluster) {
            return None;
        }
        let cluster = cluster.or(page.header.cluster);
        self.pinned = Some((revision, cluster));
        if let Some(last) = page.kvs.last() {
            self.rest.start = KeyRange::one(&last.path).end;
        }
        let only_names = matches!(self.phase, Phase::Names { .. } | Phase::Now);
        self.limit().took(&page, only_names);
        if let Phase::Names { values_since: Some(since) } = self.phase {
            self.add_changed(&page, since);
        }
        // A page that is empty but promises more would repeat for ever.
        let more = page.more && !page.kvs.is_empty();
        let keys = match self.phase {
            Phase::Names { .. } => PageKeys::Names(page.kvs),
            Phase::Now | Phase::Full | Phase::Changes { .. } => PageKeys::Full(page.kvs),
        };
        let last = match (self.phase, self.changed.take()) {
            (Phase::Now, _) => true,
            (_, changed) if more => {
                self.changed = changed;
                false
            }
            (Phase::Names { values_since: Some(since) }, Some(changed)) => {
                (self.phase, self.rest) = (Phase::Changes { since }, changed);
                false
            }
            (Phase::Full | Phase::Names { .. } | Phase::Changes { .. }, _) => true,
        };
        Some(Page { first, last, revision, cluster, same_history: true, keys })
    }

    fn add_changed(&mut self, page: &ListPage, since: Revision) {
        let mut changed = page.kvs.iter().filter(|kv| kv.mod_revision > since);
        let Some(first) = changed.next() else { return };
        let end = KeyRange::one(&changed.next_back().unwrap_or(first).path).end;
        self.changed.get_or_insert_with(|| KeyRange::one(&first.path)).end = end;
    }
}
