//! How large the pages of a list are.

use super::*;
use crate::backend::ListPage;
use crate::backend::memory::Mvcc;
use crate::backend::{Expect, Write, WriteAction};
use crate::key::KeyName;

/// What a list may carry before the network refuses it.
const MESSAGE_LIMIT: usize = 32 << 20;

/// A kvstore with keys in order, each with a value of this many bytes.
pub(in crate::watch) fn filled(sizes: impl IntoIterator<Item = usize>) -> Mvcc {
    let prefix = Prefix::new("p").unwrap();
    let mut kv = Mvcc::new();
    let mut writes = Vec::new();
    let mut bytes = 0;
    for (n, size) in sizes.into_iter().enumerate() {
        if writes.len() == 128 || bytes + size > 1 << 20 {
            kv.write(std::mem::take(&mut writes)).unwrap();
            bytes = 0;
        }
        bytes += size;
        writes.push(Write {
            path: prefix.path(&KeyName::new(format!("{n:08}")).unwrap()),
            expect: Expect::Any,
            action: WriteAction::Put { value: vec![b'x'; size].into(), lease: LeaseId::NONE },
        });
    }
    kv.write(writes).unwrap();
    kv
}

fn bytes(page: &ListPage) -> usize {
    page.kvs.iter().map(|kv| kv.value.len() + kv.path.len()).sum()
}

/// Performs the list of a watch over a network that refuses large messages. The limit and the size of each page.
fn list(watch: &mut Watch, kv: &Mvcc) -> Vec<(usize, Result<usize, usize>)> {
    let mut asked = Vec::new();
    loop {
        match watch.action() {
            Action::List(request) => {
                let page = kv.list(&request).unwrap();
                let size = bytes(&page);
                let fits = size <= MESSAGE_LIMIT;
                asked.push((request.limit, if fits { Ok(page.kvs.len()) } else { Err(size) }));
                let too_large = || Outcome::Failed(BackendError::rejected("message length too large"));
                let _ = watch.handle(if fits { Outcome::Listed(page) } else { too_large() });
            }
            Action::Wait(_) => assert_eq!(watch.handle(Outcome::Waited), None),
            Action::Open(_) | Action::Read(_) => return asked,
        }
        assert!(asked.len() < 1000, "it never ends: {asked:?}");
    }
}

#[test]
fn a_list_of_100k_keys_has_about_ten_pages() {
    let kv = filled(std::iter::repeat_n(200, 100_000));
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let asked = list(&mut watch, &kv);
    assert!(asked.len() <= 12, "{asked:?}");
}

#[test]
fn a_page_has_at_most_four_times_the_keys_of_the_one_before() {
    let kv = filled(std::iter::repeat_n(1, 50_000));
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let limits: Vec<_> = list(&mut watch, &kv).iter().map(|(limit, _)| *limit).collect();
    assert_eq!(limits[..4], [500, 2000, 5000, 5000], "{limits:?}");
}

#[test]
fn large_values_after_tiny_ones_do_not_run_through_the_limit_of_a_message() {
    let kv = filled(std::iter::repeat_n(1, 2500).chain(std::iter::repeat_n(100 << 10, 2000)));
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let asked = list(&mut watch, &kv);
    assert_eq!(asked.iter().filter_map(|(_, page)| page.ok()).sum::<usize>(), 4500);
    let failures = asked.iter().filter(|(_, page)| page.is_err()).count();
    assert!(failures <= 3, "{asked:?}");
}

#[test]
fn a_page_that_failed_and_may_be_too_large_is_asked_again_with_half_the_limit() {
    for error in [broken(), BackendError::rejected("message length too large")] {
        let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
        for limit in [500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1] {
            assert_eq!(listing(&watch).limit, limit, "after {error}");
            let _ = watch.handle(Outcome::Failed(error.clone()));
            let _ = watch.handle(Outcome::Waited);
        }
    }
    for error in [BackendError::unreachable("refused"), BackendError::misconfigured("no permission")] {
        let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
        let _ = watch.handle(Outcome::Failed(error));
        let _ = watch.handle(Outcome::Waited);
        assert_eq!(listing(&watch).limit, 500, "a request that was not answered with a page says nothing of its size");
    }
}

#[test]
fn the_names_begin_with_a_page_limit_of_their_own() {
    let mut watch = reading(10);
    compacted(&mut watch);
    let large = KeyValue { value: vec![b'x'; 1 << 20].into(), ..put("b", 55) };
    let page = |kvs, more| Outcome::Listed(ListPage { header: header(60), count: 100_000, kvs, more });
    let asked = |watch: &Watch| (listing(watch).limit, listing(watch).keys_only);
    assert_eq!(asked(&watch), (5000, true), "names are small");
    let _ = watch.handle(page(vec![put("a", 3)], true));
    assert_eq!(asked(&watch), (20_000, true));
    let _ = watch.handle(page(vec![put("b", 55)], true));
    assert_eq!(asked(&watch), (80_000, true));
    let _ = watch.handle(page(vec![put("c", 3)], true));
    assert_eq!(asked(&watch), (100_000, true), "as many as there are");
    let _ = watch.handle(page(vec![put("d", 3)], false));
    assert_eq!(asked(&watch), (500, false), "values may be large");
    let _ = watch.handle(page(vec![large; 10], true));
    assert_eq!(asked(&watch), (15, false), "16 MiB of such values");
}

#[test]
fn a_kvstore_set_back_while_it_is_listed_has_another_history() {
    let mut watch = reading(4);
    watch.refresh();
    let part = watch.handle(page(12, vec![put("a", 10)], true));
    assert!(matches!(part, Some(Delivery::Page(Page { same_history: true, last: false, .. }))), "{part:?}");
    // The revision of the list is not there any more. What the watch had seen before it still is.
    assert!(matches!(watch.handle(Outcome::Failed(BackendError::FutureRevision)), Some(Delivery::Broken(_))));
    assert_eq!(watch.handle(Outcome::Waited), None);
    for (more, name) in [(true, "a"), (false, "b")] {
        let listed = watch.handle(page(4, vec![put(name, 3)], more));
        assert!(matches!(listed, Some(Delivery::Page(Page { same_history: false, .. }))), "{listed:?}");
    }
    // That is told once.
    assert_eq!(watch.handle(Outcome::Opened(header(4))), Some(Delivery::Live));
    watch.refresh();
    let listed = watch.handle(page(5, vec![put("a", 3)], true));
    assert!(matches!(listed, Some(Delivery::Page(Page { same_history: true, .. }))), "{listed:?}");
}

#[test]
fn names_are_listed_in_one_page_if_the_last_list_says_that_they_fit() {
    for (length, limit) in [(20, 56_250), (4000, 4126)] {
        let long = |n: usize| put(&format!("{n:0length$}"), 3);
        let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
        let kvs = (0..500).map(long).collect();
        let _ = watch.handle(Outcome::Listed(ListPage { header: header(10), count: 50_000, kvs, more: true }));
        let _ = watch.handle(page(10, vec![put("z", 3)], false));
        let _ = watch.handle(Outcome::Opened(header(10)));
        compacted(&mut watch);
        assert_eq!((listing(&watch).limit, listing(&watch).keys_only), (limit, true), "16 MiB of such names");
    }
}

#[test]
fn a_list_of_changes_begins_with_few_values_if_the_last_list_says_that_they_are_large() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let large = KeyValue { value: vec![b'x'; 1 << 20].into(), ..put("b", 5) };
    let _ = watch.handle(Outcome::Listed(ListPage { header: header(10), count: 9, kvs: vec![large; 9], more: false }));
    let _ = watch.handle(Outcome::Opened(header(10)));
    compacted(&mut watch);
    let _ = watch.handle(page(60, vec![put("b", 55)], false));
    assert_eq!((listing(&watch).limit, listing(&watch).keys_only), (3, false), "4 MiB of such values");
}
