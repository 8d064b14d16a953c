//! How many keys the next page of a list asks for.

use crate::backend::{Applied, BackendError, ListPage};
use crate::kv::KeyValue;

/// The first page is small: it tells how many keys there are and how large they are.
const FIRST_PAGE: usize = 500;
/// Names are small, and two of them differ little in size.
const FIRST_PAGE_OF_NAMES: usize = 5000;
/// etcd walks the rest of the range for every page, so a list has few pages: this many, within the bounds below.
const PAGES: usize = 10;
const MAX_PAGE_KEYS: usize = 20_000;
const MAX_PAGE_NAMES: usize = 100_000;
const MAX_PAGE_BYTES: usize = 16 << 20;
/// By how much a page may be larger than the one before, in keys: the values after it may be larger.
const GROWTH: usize = 4;

/// The limit of the pages of one list.
#[derive(Debug, Clone)]
pub(crate) struct PageLimit {
    limit: usize,
    /// How many keys the list has, as its first page says.
    total: Option<u64>,
    /// How many bytes a key takes, on the page where they are largest.
    size: usize,
    /// The same without its value.
    name_size: usize,
    /// The bytes of a page of a list in few pages, because the kvstore compacts faster than it lists pages.
    few_pages: Option<usize>,
}

impl PageLimit {
    /// The limit of a first page with values.
    pub(crate) fn first() -> Self {
        Self { limit: FIRST_PAGE, total: None, size: 0, name_size: 0, few_pages: None }
    }

    /// The limit of a first page of names.
    pub(crate) fn first_of_names() -> Self {
        Self { limit: FIRST_PAGE_OF_NAMES, ..Self::first() }
    }

    /// How many keys the next page asks for.
    pub(crate) fn get(&self) -> usize {
        self.limit
    }

    /// Whether it knows how many keys there are.
    pub(crate) fn is_known(&self) -> bool {
        self.total.is_some()
    }

    /// Takes a page: the next one has a tenth of all keys, or all names, but not more than fit into the bounds at this page's size.
    pub(crate) fn took(&mut self, page: &ListPage, only_names: bool) {
        let average = |bytes: fn(&KeyValue) -> usize| page.kvs.iter().map(bytes).sum::<usize>() / page.kvs.len().max(1);
        let size = average(|kv| kv.path.len() + kv.value.len() + 64);
        self.size = self.size.max(size);
        self.name_size = self.name_size.max(average(|kv| kv.path.len() + 64));
        let size = size.max(1);
        let total = usize::try_from(*self.total.get_or_insert(page.count)).unwrap_or(usize::MAX);
        if let Some(bytes) = self.few_pages {
            self.limit = self.limit.min((bytes / size).max(1));
            return;
        }
        let wanted = if only_names { total.min(MAX_PAGE_NAMES) } else { (total / PAGES).min(MAX_PAGE_KEYS) };
        let wanted = wanted.max(FIRST_PAGE);
        self.limit = wanted.min(self.limit.saturating_mul(GROWTH)).min((MAX_PAGE_BYTES / size).max(1));
    }

    /// The limit of a first page of names, if this list has shown how many there are and how long they are: all of them,
    /// within the bounds.
    pub(crate) fn all_names(&self) -> Self {
        let Some(total) = self.total else { return Self::first_of_names() };
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        // There may be more by now.
        let wanted = total.saturating_add(total / 8).clamp(FIRST_PAGE_OF_NAMES, MAX_PAGE_NAMES);
        Self { limit: wanted.min((MAX_PAGE_BYTES / self.name_size.max(1)).max(1)), ..Self::first() }
    }

    /// The limit of a first page with values, if this list has shown how large they are: values that have changed since may
    /// be larger.
    pub(crate) fn like_these(&self) -> Self {
        let known = (MAX_PAGE_BYTES / GROWTH).checked_div(self.size).unwrap_or(FIRST_PAGE);
        Self { limit: known.clamp(1, MAX_PAGE_KEYS), ..Self::first() }
    }

    /// The limit of a list that is to have one page, if what is known of it says that it takes at most so many bytes, or
    /// else as few pages as that allows.
    pub(crate) fn whole(&self, bytes: usize) -> Self {
        let Some(total) = self.total else { return Self::first() };
        let total = usize::try_from(total).unwrap_or(usize::MAX);
        // There may be more by now.
        let limit = total.saturating_add(total / 8).saturating_add(FIRST_PAGE).min((bytes / self.size.max(1)).max(1));
        Self { limit, total: None, few_pages: Some(bytes), ..*self }
    }

    /// Takes a failure: if the page may have been too large for a message or for the time it has, the next one has half
    /// the keys.
    pub(crate) fn failed(&mut self, error: &BackendError) {
        match error {
            BackendError::Rejected { .. } | BackendError::Unavailable { applied: Applied::Maybe, .. } => {
                self.limit = (self.limit / 2).max(1);
            }
            BackendError::Unavailable { applied: Applied::No, .. }
            | BackendError::Compacted { .. }
            | BackendError::FutureRevision
            | BackendError::LeaseNotFound { .. }
            | BackendError::LeaseExists { .. }
            | BackendError::Forbidden { .. }
            | BackendError::Misconfigured { .. } => {}
        }
    }
}
