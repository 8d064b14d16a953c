//! A kvstore that compacts its history faster than it is listed.

use super::pages::filled;
use super::*;
use crate::backend::memory::Mvcc;
use crate::backend::{Expect, Write, WriteAction};

/// A kvstore in which somebody writes and compacts whenever it has answered.
struct Busy {
    kv: Mvcc,
    /// Where the open watch reads next.
    stream: Option<Revision>,
    /// The limit and the number of keys of each list.
    lists: Vec<(usize, usize)>,
    names: std::collections::BTreeSet<bytes::Bytes>,
    waited: Duration,
}

impl Busy {
    fn new(keys: usize) -> Self {
        let (kv, names) = (filled(std::iter::repeat_n(200, keys)).cluster(CLUSTER), std::collections::BTreeSet::new());
        Self { kv, stream: None, lists: Vec::new(), names, waited: Duration::ZERO }
    }

    /// So many writes, and a compaction up to the last one.
    fn compact(&mut self, writes: u32) {
        for n in 0..writes {
            let action = WriteAction::Put { value: n.to_string().into(), lease: LeaseId::NONE };
            let path = "p/00000001".into();
            self.kv.write(vec![Write { path, expect: Expect::Any, action }]).unwrap();
        }
        if writes > 0 {
            self.kv.compact(self.kv.header().revision).unwrap();
        }
    }

    /// Performs the action, after which a list and an opening cost so many writes.
    fn perform(&mut self, action: Action, list: u32, open: u32) -> Outcome {
        match action {
            Action::List(request) => {
                let answer = self.kv.list(&request);
                self.lists.push((request.limit, answer.as_ref().map_or(0, |page| page.kvs.len())));
                self.compact(if request.limit == 1 { 0 } else { list });
                answer.map_or_else(Outcome::Failed, Outcome::Listed)
            }
            Action::Open(request) => match self.kv.events_since(&request.range, request.start, 1) {
                Ok(_) => {
                    self.stream = Some(request.start);
                    let header = self.kv.header();
                    self.compact(open);
                    Outcome::Opened(header)
                }
                Err(error) => Outcome::Failed(error),
            },
            Action::Read(_) => panic!("it reads"),
            Action::Wait(wait) => {
                self.waited += wait;
                self.stream = None;
                Outcome::Waited
            }
        }
    }

    /// Until the watch is live.
    fn run(&mut self, watch: &mut Watch, list: u32, open: u32) {
        for _ in 0..100 {
            let outcome = self.perform(watch.action(), list, open);
            let mut next = watch.handle(outcome);
            while let Some(delivery) = next {
                match delivery {
                    Delivery::Live => return,
                    Delivery::Page(page) => {
                        if page.first {
                            self.names.clear();
                        }
                        let (PageKeys::Full(keys) | PageKeys::Names(keys)) = page.keys;
                        self.names.extend(keys.into_iter().map(|kv| kv.path));
                    }
                    _ => {}
                }
                next = watch.caught_up();
            }
        }
        panic!("it is never live: {:?}", self.lists);
    }
}

#[test]
fn a_list_in_pages_that_compaction_overtakes_has_one_page_in_the_end() {
    let mut busy = Busy::new(30_000);
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    // The watch after the list is opened in time.
    busy.run(&mut watch, 1, 0);
    assert_eq!(busy.names.len(), 30_000);
    assert_eq!(busy.lists.last().map(|(_, keys)| *keys), Some(30_000));
    assert_eq!(busy.lists.iter().filter(|(_, keys)| *keys == 0).count(), 2, "twice in vain: {:?}", busy.lists);
    assert!(busy.waited < Duration::from_secs(1), "{:?}", busy.waited);
}

#[test]
fn a_watch_that_compaction_overtakes_after_each_list_is_opened_before_it() {
    let mut busy = Busy::new(30_000);
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    busy.run(&mut watch, 5, 0);
    assert_eq!(busy.names.len(), 30_000);
    assert!(matches!(watch.action(), Action::Read(_)), "the watch that was open before goes on");
    let (stream, listed) = (busy.stream.expect("it is open"), watch.in_step().expect("it is live").revision);
    assert!(stream <= listed.next() && listed < busy.kv.header().revision);
    let told = watch.handle(several(busy.kv.header().revision.0, &[listed.0 - 1, listed.0, listed.0 + 1]));
    assert_eq!(delivered(told), [listed.0 + 1], "what the list has shown is not told again");
    assert!(busy.waited < Duration::from_secs(3), "{:?}", busy.waited);
}

fn several(at: u64, revisions: &[u64]) -> Outcome {
    events(at, revisions, true)
}

#[test]
fn a_relist_that_compaction_overtakes_asks_for_names_and_changes_in_one_page_each_and_then_for_all_in_one() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let kvs = |keys| vec![put("a", 3); keys];
    let answer = |keys, more| Outcome::Listed(ListPage { header: header(60), count: 30_000, kvs: kvs(keys), more });
    let _ = watch.handle(answer(500, true));
    let _ = watch.handle(answer(500, false));
    assert_eq!(watch.handle(Outcome::Opened(header(60))), Some(Delivery::Live));
    let asked = |watch: &Watch| (listing(watch).limit, listing(watch).keys_only, listing(watch).revision.is_some());
    compacted(&mut watch);
    for limits in [[33_750, 20_000], [33_750, 20_000], [34_250, 34_250]] {
        assert_eq!(asked(&watch), (limits[0], true, false));
        let names = vec![put("a", 3), put("b", 61)];
        let _ = watch.handle(Outcome::Listed(ListPage { header: header(61), count: 30_000, kvs: names, more: false }));
        assert_eq!(asked(&watch), (limits[1], false, true));
        compacted(&mut watch);
    }
    assert_eq!(asked(&watch), (1, true, false), "where to open the watch");
    assert_eq!(watch.handle(answer(1, true)), None);
    assert_eq!(start(&watch), 61);
    assert_eq!(watch.handle(Outcome::Opened(header(60))), None);
    assert_eq!(asked(&watch), (34_250, false, false));
    assert!(matches!(watch.handle(answer(500, false)), Some(Delivery::Page(Page { first: true, last: true, .. }))));
    assert_eq!((watch.caught_up(), watch.in_step()), (Some(Delivery::Live), Some(header(60))));
}

#[test]
fn a_list_beside_a_watch_that_is_open_leaves_it_open() {
    let mut watch = reading(10);
    watch.refresh();
    let _ = watch.handle(page(12, vec![put("a", 11)], false));
    let _ = watch.handle(page(12, vec![put("a", 11)], false));
    assert!(matches!(watch.action(), Action::Read(_)), "{:?}", watch.action());
    assert_eq!((watch.caught_up(), watch.in_step()), (Some(Delivery::Live), Some(header(12))));
    assert_eq!(delivered(watch.handle(several(13, &[11, 13]))), [13]);
    watch.refresh();
    breaks(&mut watch);
    let _ = watch.handle(page(14, vec![], false));
    assert_eq!(start(&watch), 15, "the wait has ended it");
}

#[test]
fn a_list_in_few_pages_is_bounded_in_bytes() {
    let large = KeyValue { value: vec![b'x'; 1 << 20].into(), ..put("b", 55) };
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    for _ in 0..2 {
        let kvs = vec![large.clone(); 10];
        let _ = watch.handle(Outcome::Listed(ListPage { header: header(60), count: 100_000, kvs, more: true }));
        let _ = watch.handle(Outcome::Failed(BackendError::Compacted { oldest: Revision(61) }));
        let _ = watch.handle(Outcome::Waited);
    }
    assert_eq!(listing(&watch).limit, 255, "256 MiB of such values");
}

#[test]
fn a_watch_that_has_proven_itself_lists_in_pages_again() {
    let mut busy = Busy::new(30_000);
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    busy.run(&mut watch, 5, 0);
    let revision = busy.kv.header().revision.0;
    let _ = watch.handle(several(revision, &[revision]));
    compacted(&mut watch);
    assert_eq!(listing(&watch).limit, 33_750, "as many names as there were, and an eighth more");
    let kvs = vec![put("a", revision + 1); 10];
    let header = header(revision + 1);
    let _ = watch.handle(Outcome::Listed(ListPage { header, count: 30_000, kvs, more: false }));
    assert_eq!(listing(&watch).limit, 15_363, "a quarter of 16 MiB of the values of the last list");
}
