//! Answers that a proxy makes up: without a cluster id, and with a revision that is not the kvstore's.

use super::*;

/// What etcd's grpc-proxy says when it gives a watch a part of one it has already: it names the watch's own start.
fn made_up(revision: u64) -> Header {
    Header { cluster: ClusterId::NOT_TOLD, revision: Revision(revision) }
}

#[test]
fn a_watch_behind_a_proxy_is_live_after_its_list_and_lists_once() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let _ = watch.handle(page(10, vec![], false));
    assert_eq!(watch.handle(Outcome::Opened(made_up(11))), Some(Delivery::Live));
    assert_eq!(watch.in_step(), Some(header(10)));
    assert_eq!(delivered(watch.handle(events(12, &[11, 12], true))), [11, 12]);
}

#[test]
fn an_opening_that_tells_no_cluster_proves_neither_another_history_nor_being_caught_up() {
    for revision in [3, 10, 11, 4000] {
        let mut watch = reading(10);
        breaks(&mut watch);
        assert_eq!(watch.handle(Outcome::Opened(made_up(revision))), None, "nothing is known: a list tells");
        waits(&mut watch);
        assert!(listing(&watch).keys_only, "of what changed, in the same history");
        let delivery = watch.handle(page(10, vec![], false));
        assert!(matches!(delivery, Some(Delivery::Page(Page { same_history: true, .. }))), "{delivery:?}");
        assert_eq!(watch.handle(Outcome::Opened(made_up(11))), Some(Delivery::Live));
    }
}

#[test]
fn a_response_that_tells_no_cluster_is_not_foreign_and_its_progress_counts_for_nothing() {
    let mut watch = reading(10);
    assert_eq!(watch.handle(Outcome::Read(WatchResponse::Progress(made_up(3)))), None);
    assert_eq!(watch.handle(Outcome::Read(WatchResponse::Progress(made_up(30)))), None);
    assert_eq!(watch.in_step(), Some(header(10)));
    let events = vec![Event::Put(put("a", 12))];
    let events = Outcome::Read(WatchResponse::Events(Events { header: made_up(12), events, complete: true }));
    assert_eq!(delivered(watch.handle(events)), [12]);
}

#[test]
fn a_cluster_that_is_told_late_is_known_from_then_on() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let first = Outcome::Listed(ListPage { header: made_up(10), count: 0, kvs: vec![put("a", 3)], more: true });
    let _ = watch.handle(first);
    let Some(Delivery::Page(last)) = watch.handle(page(10, vec![], false)) else { panic!("a page") };
    assert_eq!(last.cluster, CLUSTER);
    assert_eq!(watch.handle(Outcome::Opened(made_up(11))), Some(Delivery::Live));
    let foreign = Header { cluster: ClusterId(8), revision: Revision(20) };
    waits_and_lists_in_full(&mut watch, Outcome::Read(WatchResponse::Progress(foreign)));

    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let _ = watch.handle(Outcome::Listed(ListPage { header: made_up(10), count: 0, kvs: vec![], more: false }));
    assert_eq!(watch.handle(Outcome::Opened(header(10))), Some(Delivery::Live));
    assert_eq!(watch.in_step(), Some(header(10)));
    waits_and_lists_in_full(&mut watch, Outcome::Read(WatchResponse::Progress(foreign)));
}
