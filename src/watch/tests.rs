#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one answer it expects")]

mod compactions;
mod gaps;
mod pages;
mod proxies;
mod relists;
mod reopening;

use super::*;
use crate::backend::{Events, ListRequest};
use crate::kv::{Event, KeyValue, LeaseId};
use crate::prefix::Prefix;

const CLUSTER: ClusterId = ClusterId(7);

fn range() -> KeyRange {
    Prefix::new("p").unwrap().range()
}

fn header(revision: u64) -> Header {
    Header { cluster: CLUSTER, revision: Revision(revision) }
}

fn put(name: &str, revision: u64) -> KeyValue {
    KeyValue {
        path: format!("p/{name}").into(),
        value: "{}".into(),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        lease: LeaseId::NONE,
    }
}

fn page(revision: u64, kvs: Vec<KeyValue>, more: bool) -> Outcome {
    Outcome::Listed(ListPage { header: header(revision), count: kvs.len() as u64, kvs, more })
}

fn events(at: u64, revisions: &[u64], complete: bool) -> Outcome {
    let events = revisions.iter().map(|revision| Event::Put(put("a", *revision))).collect();
    Outcome::Read(WatchResponse::Events(Events { header: header(at), events, complete }))
}

fn broken() -> BackendError {
    BackendError::unavailable("cut")
}

/// A watch that has listed at `revision` and is reading.
fn reading(revision: u64) -> Watch {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    assert!(matches!(watch.handle(page(revision, vec![], false)), Some(Delivery::Page(Page { last: true, .. }))));
    assert_eq!(watch.handle(Outcome::Opened(header(revision))), Some(Delivery::Live));
    watch
}

fn start(watch: &Watch) -> u64 {
    match watch.action() {
        Action::Open(request) => request.start.0,
        action => panic!("{action:?}"),
    }
}

fn listing(watch: &Watch) -> ListRequest {
    match watch.action() {
        Action::List(request) => request,
        action => panic!("{action:?}"),
    }
}

/// The revision after which it lists values, once it is told that a key changed.
fn values_since(watch: &mut Watch) -> Option<Revision> {
    let names = listing(watch);
    assert_eq!((names.keys_only, names.revision, names.min_mod_revision), (true, None, None));
    assert!(watch.handle(page(9000, vec![put("b", 9000)], false)).is_some());
    listing(watch).min_mod_revision.map(|first| Revision(first.0 - 1))
}

/// Its watch begins in the compacted past.
fn compacted(watch: &mut Watch) {
    let gone = BackendError::Compacted { oldest: Revision(50) };
    assert_eq!(watch.handle(Outcome::Failed(gone.clone())), Some(Delivery::Broken(gone)));
    waits(watch);
}

/// It does not list at the same moment as others.
fn waits(watch: &mut Watch) {
    assert!(matches!(watch.action(), Action::Wait(_)), "{:?}", watch.action());
    assert_eq!(watch.handle(Outcome::Waited), None);
}

fn breaks(watch: &mut Watch) {
    assert_eq!(watch.handle(Outcome::Failed(broken())), Some(Delivery::Broken(broken())));
    assert!(matches!(watch.action(), Action::Wait(delay) if delay > Duration::ZERO));
    assert_eq!(watch.handle(Outcome::Waited), None);
}

fn waits_and_lists_in_full(watch: &mut Watch, outcome: Outcome) {
    assert!(matches!(watch.handle(outcome), Some(Delivery::Broken(_))));
    assert!(matches!(watch.action(), Action::Wait(_)));
    assert_eq!(watch.handle(Outcome::Waited), None);
    assert_eq!((listing(watch).min_mod_revision, listing(watch).keys_only), (None, false));
}

fn delivered(delivery: Option<Delivery>) -> Vec<u64> {
    match delivery {
        Some(Delivery::Events(events)) => events.iter().map(|event| event.revision().0).collect(),
        None => vec![],
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn it_resumes_after_the_last_event_and_not_after_the_header() {
    let mut watch = reading(10);
    assert_eq!(delivered(watch.handle(events(5000, &[11, 12], true))), [11, 12]);
    breaks(&mut watch);
    assert_eq!(start(&watch), 13);
}

#[test]
fn progress_moves_the_cursor_and_an_idle_watch_resumes_from_it() {
    let mut watch = reading(10);
    let progress = Outcome::Read(WatchResponse::Progress(header(40)));
    assert_eq!(watch.handle(progress), Some(Delivery::Progress(Revision(40))));
    breaks(&mut watch);
    assert_eq!(start(&watch), 41);
}

#[test]
fn a_revision_cut_into_fragments_is_delivered_whole() {
    let mut watch = reading(10);
    assert_eq!(delivered(watch.handle(events(12, &[11, 12, 12], false))), [11]);
    assert_eq!(delivered(watch.handle(events(12, &[12, 13], true))), [12, 12, 12, 13]);
}

#[test]
fn a_revision_whose_last_fragment_is_lost_is_read_again() {
    let mut watch = reading(10);
    assert_eq!(delivered(watch.handle(events(12, &[11, 12], false))), [11]);
    breaks(&mut watch);
    assert_eq!(start(&watch), 12);
}

#[test]
fn events_before_the_cursor_are_not_delivered_again() {
    let mut watch = reading(10);
    assert_eq!(delivered(watch.handle(events(12, &[9, 10, 11], true))), [11]);
    assert_eq!(delivered(watch.handle(events(12, &[11], true))), [] as [u64; 0]);
}

#[test]
fn every_page_is_asked_at_the_revision_of_the_first() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    assert_eq!(listing(&watch).revision, None);
    let first = watch.handle(page(10, vec![put("a", 3)], true));
    assert!(matches!(first, Some(Delivery::Page(Page { first: true, last: false, .. }))));
    let request = listing(&watch);
    assert_eq!((request.revision, &request.range.start[..]), (Some(Revision(10)), &b"p/a\0"[..]));
    let Some(Delivery::Page(last)) = watch.handle(page(99, vec![put("b", 4)], false)) else { panic!("no page") };
    assert_eq!((last.first, last.last, last.revision), (false, true, Revision(10)));
    assert_eq!(start(&watch), 11);
}

#[test]
fn a_failed_page_is_asked_again_and_a_compacted_list_begins_anew() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let _ = watch.handle(page(10, vec![put("a", 3)], true));
    breaks(&mut watch);
    assert_eq!(listing(&watch).revision, Some(Revision(10)));
    let gone = BackendError::Compacted { oldest: Revision(50) };
    assert_eq!(watch.handle(Outcome::Failed(gone.clone())), Some(Delivery::Broken(gone)));
    assert_eq!(watch.handle(Outcome::Waited), None);
    assert_eq!(listing(&watch).revision, None);
    assert!(matches!(
        watch.handle(page(60, vec![], false)),
        Some(Delivery::Page(Page { first: true, last: true, .. }))
    ));
}

#[test]
fn another_cluster_in_the_middle_of_a_list_starts_it_anew() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let _ = watch.handle(page(10, vec![put("a", 3)], true));
    let foreign = Header { cluster: ClusterId(8), revision: Revision(10) };
    let page = Outcome::Listed(ListPage { header: foreign, kvs: vec![], more: false, count: 0 });
    waits_and_lists_in_full(&mut watch, page);
    assert_eq!(listing(&watch).revision, None);
}

#[test]
fn history_that_went_backwards_or_is_foreign_means_a_full_list() {
    for answer in [header(9), Header { cluster: ClusterId(8), revision: Revision(20) }] {
        let mut watch = reading(10);
        breaks(&mut watch);
        waits_and_lists_in_full(&mut watch, Outcome::Opened(answer));
        let Some(Delivery::Page(page)) =
            watch.handle(Outcome::Listed(ListPage { header: answer, kvs: vec![], more: false, count: 0 }))
        else {
            panic!("no page")
        };
        assert!(!page.same_history);
    }
    let mut watch = reading(10);
    waits_and_lists_in_full(&mut watch, Outcome::Read(WatchResponse::Progress(header(9))));
    let foreign = Header { cluster: ClusterId(8), revision: Revision(20) };
    let mut watch = reading(10);
    waits_and_lists_in_full(&mut watch, Outcome::Read(WatchResponse::Progress(foreign)));
    let mut watch = reading(10);
    let events = vec![Event::Put(put("a", 20))];
    let events = Outcome::Read(WatchResponse::Events(Events { header: foreign, events, complete: true }));
    waits_and_lists_in_full(&mut watch, events);
}

#[test]
fn a_member_that_lags_for_long_is_not_asked_for_list_after_list_at_once() {
    let mut watch = reading(10);
    breaks(&mut watch);
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        assert!(matches!(watch.handle(Outcome::Opened(header(9))), Some(Delivery::Broken(_))));
        let Action::Wait(delay) = watch.action() else { panic!("it does not wait") };
        waited += delay;
        assert_eq!(watch.handle(Outcome::Waited), None);
        let Some(Delivery::Page(page)) = watch.handle(page(10, vec![], false)) else { panic!("no page") };
        assert!(page.same_history);
    }
    assert!(waited > Duration::from_secs(20), "{waited:?}");
}

#[test]
fn a_resumed_watch_is_live_only_when_it_has_seen_what_it_missed() {
    let mut watch = reading(10);
    breaks(&mut watch);
    assert_eq!(watch.handle(Outcome::Opened(header(12))), None);
    assert!(matches!(watch.action(), Action::Read(wait) if wait < Duration::from_secs(3)));
    assert_eq!(delivered(watch.handle(events(12, &[11], true))), [11]);
    assert_eq!(watch.caught_up(), None);
    assert_eq!(delivered(watch.handle(events(12, &[12], true))), [12]);
    assert_eq!((watch.caught_up(), watch.caught_up()), (Some(Delivery::Live), None));
    assert_eq!(watch.action(), Action::Read(Duration::from_secs(60)));
}

#[test]
fn a_resumed_watch_that_says_nothing_proves_itself_by_a_relist() {
    let mut watch = reading(10);
    breaks(&mut watch);
    assert_eq!(watch.handle(Outcome::Opened(header(12))), None);
    assert_eq!(watch.handle(Outcome::Silent), None);
    assert_eq!(values_since(&mut watch), Some(Revision(10)));
}

#[test]
fn a_watch_refused_right_after_its_list_waits_before_it_lists_again() {
    for error in [BackendError::Compacted { oldest: Revision(50) }, BackendError::FutureRevision] {
        let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
        let _ = watch.handle(page(10, vec![], false));
        assert_eq!(watch.handle(Outcome::Failed(error.clone())), Some(Delivery::Broken(error)));
        assert!(matches!(watch.action(), Action::Wait(_)), "or it would list for ever without a pause");
        assert_eq!(watch.handle(Outcome::Waited), None);
        assert_eq!(values_since(&mut watch), Some(Revision(10)));
    }
}

#[test]
fn a_relist_the_consumer_asks_for_is_of_another_history_however_far_that_has_got() {
    let mut watch = reading(5);
    watch.relist();
    assert_eq!(listing(&watch), ListRequest { limit: 500, ..ListRequest::new(range()) });
    let delivered = watch.handle(page(9, vec![put("a", 3)], false));
    assert!(matches!(delivered, Some(Delivery::Page(Page { same_history: false, last: true, .. }))), "{delivered:?}");
    assert_eq!(start(&watch), 10);
}

#[test]
fn a_live_watch_that_says_nothing_for_too_long_is_opened_anew() {
    let mut watch = reading(10);
    let Action::Read(first) = watch.action() else { panic!("it reads") };
    assert_eq!(watch.handle(Outcome::Silent), None);
    assert_eq!(watch.action(), Action::Read(Duration::from_secs(60) - first));
    assert!(matches!(watch.handle(Outcome::Silent), Some(Delivery::Broken(_))));
    assert!(matches!(watch.action(), Action::Wait(_)));
    assert_eq!(watch.handle(Outcome::Waited), None);
    assert_eq!(start(&watch), 11);
}

#[test]
fn progress_inside_a_revision_breaks_the_watch_and_the_revision_is_read_again() {
    let mut watch = reading(5);
    assert_eq!(watch.handle(events(6, &[6], false)), None);
    let progress = Outcome::Read(WatchResponse::Progress(header(6)));
    assert!(matches!(watch.handle(progress), Some(Delivery::Broken(_))));
    assert_eq!(watch.handle(Outcome::Waited), None);
    assert_eq!(start(&watch), 6);
}

#[test]
fn a_kvstore_at_the_last_revision_there_is_overflows_nothing() {
    let mut watch = reading(u64::MAX);
    breaks(&mut watch);
    assert_eq!(start(&watch), u64::MAX);
}

fn resumed(since: Option<u64>) -> Watch {
    let resume = Resume { cluster: CLUSTER, revision: Revision(10), since: since.map(Revision) };
    Watch::resume(range(), Duration::from_secs(60), 1, resume)
}

#[test]
fn a_resumed_watch_lists_all_names_and_the_values_written_since_at_one_revision() {
    let mut watch = resumed(Some(8));
    let request = listing(&watch);
    assert_eq!((request.min_mod_revision, request.revision, request.keys_only), (None, None, true));
    let Some(Delivery::Page(page)) = watch.handle(page(12, vec![put("b", 9)], false)) else { panic!("no page") };
    assert_eq!((page.first, page.last, page.cluster, page.same_history), (true, false, CLUSTER, true));
    let request = listing(&watch);
    let expected = (Some(Revision(9)), Some(Revision(12)), false);
    assert_eq!((request.min_mod_revision, request.revision, request.keys_only), expected);
}

#[test]
fn a_resumed_watch_that_lacks_a_value_lists_in_full() {
    let watch = resumed(None);
    assert_eq!((listing(&watch).min_mod_revision, listing(&watch).keys_only), (None, false));
}

#[test]
fn a_watch_resumed_on_another_history_lists_in_full_and_says_so() {
    for (cluster, revision) in [(CLUSTER, 9), (ClusterId(8), 12)] {
        let header = Header { cluster, revision: Revision(revision) };
        let answer = || Outcome::Listed(ListPage { header, count: 1, kvs: vec![put("a", 2)], more: false });
        let mut watch = resumed(Some(8));
        assert_eq!(watch.handle(answer()), None);
        assert_eq!((listing(&watch).min_mod_revision, listing(&watch).keys_only), (None, false));
        let Some(Delivery::Page(page)) = watch.handle(answer()) else { panic!("no page") };
        assert_eq!((page.first, page.last, page.same_history, page.cluster), (true, true, false, cluster));
    }
}

#[test]
fn a_resumed_watch_that_cannot_list_asks_the_same_again() {
    let mut watch = resumed(Some(8));
    let request = watch.action();
    assert!(watch.handle(Outcome::Failed(BackendError::unreachable("down"))).is_some());
    assert_eq!(watch.handle(Outcome::Waited), None);
    assert_eq!(watch.action(), request);
}

/// A watch from now that has begun at `revision` and is reading.
fn begun(revision: u64) -> Watch {
    let mut watch = Watch::from_now(range(), Duration::from_secs(60), 1);
    let began = Delivery::Began { revision: Revision(revision), same_history: true };
    assert_eq!(watch.handle(page(revision, vec![put("a", 1)], true)), Some(began));
    assert_eq!(watch.handle(Outcome::Opened(header(revision))), Some(Delivery::Live));
    watch
}

#[test]
fn a_watch_from_now_asks_for_one_name_and_begins_after_the_revision_of_the_answer() {
    let watch = Watch::from_now(range(), Duration::from_secs(60), 1);
    assert_eq!((listing(&watch).limit, listing(&watch).keys_only), (1, true));
    let mut watch = begun(10);
    assert_eq!(delivered(watch.handle(events(11, &[10, 11], true))), [11]);
    breaks(&mut watch);
    assert_eq!(start(&watch), 12);
}

#[test]
fn a_watch_from_now_finds_what_it_missed_by_all_names_and_no_values() {
    let mut watch = begun(10);
    compacted(&mut watch);
    assert_eq!((listing(&watch).keys_only, listing(&watch).min_mod_revision), (true, None));
    assert!(listing(&watch).limit > 1);
    let Some(Delivery::Page(first)) = watch.handle(page(30, vec![put("a", 1)], true)) else { panic!("a page") };
    assert_eq!((first.first, first.last, &first.keys), (true, false, &PageKeys::Names(vec![put("a", 1)])));
    assert_eq!(listing(&watch).revision, Some(Revision(30)));
    let Some(Delivery::Page(last)) = watch.handle(page(31, vec![put("b", 2)], false)) else { panic!("a page") };
    assert_eq!((last.first, last.last, last.revision), (false, true, Revision(30)));
    assert_eq!(start(&watch), 31);
}

#[test]
fn a_watch_from_now_begins_anew_in_another_history_and_never_lists_values() {
    let mut watch = begun(10);
    // Restored from a backup: it lags, or it is another history. The names tell.
    assert!(matches!(watch.handle(Outcome::Failed(BackendError::FutureRevision)), Some(Delivery::Broken(_))));
    waits(&mut watch);
    assert!(listing(&watch).keys_only);
    assert_eq!(watch.handle(page(5, vec![put("a", 1)], false)), None, "they mean nothing here");
    assert_eq!((listing(&watch).limit, listing(&watch).keys_only), (1, true));
    let began = Delivery::Began { revision: Revision(6), same_history: false };
    assert_eq!(watch.handle(page(6, vec![put("a", 1)], false)), Some(began));
    assert_eq!(start(&watch), 7);
}

#[test]
fn a_watch_from_now_that_finds_its_old_history_again_lists_the_names() {
    let mut watch = begun(10);
    assert!(matches!(watch.handle(Outcome::Failed(BackendError::FutureRevision)), Some(Delivery::Broken(_))));
    waits(&mut watch);
    assert_eq!(watch.handle(page(5, vec![], false)), None);
    // A member that lagged has caught up: what happened between is not known.
    assert_eq!(watch.handle(page(12, vec![], false)), None);
    assert!(listing(&watch).limit > 1);
    assert!(matches!(watch.handle(page(13, vec![], false)), Some(Delivery::Page(Page { last: true, .. }))));
    assert_eq!(start(&watch), 14);
}
