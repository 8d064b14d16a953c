#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the one answer it expects")]

mod rounds;

use super::*;
use crate::kv::{ClusterId, Event, KeyValue, LeaseId, Revision};
use crate::prefix::Prefix;
use crate::watch::{Page, PageKeys};

const HOUR: Duration = Duration::from_secs(3600);

fn header(revision: u64) -> Header {
    Header { cluster: ClusterId(7), revision: Revision(revision) }
}

fn kv(name: &str, revision: u64) -> KeyValue {
    let revision = Revision(revision);
    KeyValue {
        path: format!("p/{name}").into(),
        value: Bytes::new(),
        create_revision: revision,
        mod_revision: revision,
        lease: LeaseId::NONE,
    }
}

fn page(revision: u64, kvs: Vec<KeyValue>, more: bool) -> Result<ListPage, BackendError> {
    let count = if more { 2 * kvs.len() as u64 } else { kvs.len() as u64 };
    Ok(ListPage { header: header(revision), count, kvs, more })
}

fn part(found: Found) -> AuditPart {
    match found {
        Found::Part(part) => part,
        found => panic!("{found:?}"),
    }
}

struct Bench {
    audit: Audit,
    now: Instant,
}

impl Bench {
    fn new(interval: Duration) -> Self {
        Self { audit: Audit::new(Prefix::new("p").unwrap().range(), interval, 3), now: Instant::now() }
    }

    /// Asks, after what time is needed.
    fn request(&mut self, revision: u64) -> ListRequest {
        if let Some(request) = self.audit.poll_request(self.now, Some(header(revision))) {
            return request;
        }
        self.now = self.audit.deadline().expect("it waits for something");
        self.audit.poll_request(self.now, Some(header(revision))).expect("its time has come")
    }

    fn answer(&mut self, result: Result<ListPage, BackendError>) -> Found {
        self.audit.answer(self.now, result)
    }
}

#[test]
fn a_rolling_round_asks_for_names_at_the_revision_of_the_cache_and_takes_the_interval() {
    let mut bench = Bench::new(HOUR);
    let start = bench.now;
    let request = bench.request(5);
    assert!(bench.now < start + HOUR, "at any time of the first interval");
    assert_eq!((request.revision, request.keys_only, request.limit), (Some(Revision(5)), true, 500));
    let first = part(bench.answer(page(9, vec![kv("a", 2), kv("b", 3)], true)));
    assert_eq!((first.first, first.last, first.revision, first.kind), (true, false, Revision(5), AuditKind::Rolling));
    assert_eq!((&first.range.start[..], &first.range.end[..]), (&b"p/"[..], &b"p/b\0"[..]));
    let begun = bench.now;
    assert_eq!(&bench.request(9).range.start[..], b"p/b\0");
    let second = part(bench.answer(page(9, vec![kv("c", 4)], false)));
    assert_eq!((second.first, second.last, &second.range.end[..]), (false, true, &b"p0"[..]));
    assert_eq!(&bench.request(9).range.start[..], b"p/", "and again from the start");
    let round = bench.now - begun;
    assert!(round > HOUR.mul_f64(0.85) && round < HOUR.mul_f64(1.15), "two parts take an interval: {round:?}");
}

#[test]
fn what_changes_meanwhile_is_left_out_and_a_list_makes_the_part_void() {
    let mut bench = Bench::new(HOUR);
    bench.request(5);
    bench.audit.delivered(&Delivery::Events(vec![Event::Put(kv("a", 6))]));
    bench.audit.delivered(&Delivery::Progress(Revision(7)));
    assert_eq!(part(bench.answer(page(7, vec![kv("a", 2)], false))).changed, [Bytes::from("p/a")].into());

    bench.request(7);
    let (revision, keys, cluster) = (Revision(9), PageKeys::Full(vec![]), ClusterId(7));
    let list = Page { first: true, last: true, revision, cluster, same_history: true, keys };
    bench.audit.delivered(&Delivery::Page(list));
    assert_eq!(bench.answer(page(9, vec![], false)), Found::Nothing);
    assert_eq!(bench.request(9).revision, Some(Revision(9)), "at once, as of now");
}

#[test]
fn a_round_that_was_asked_for_goes_at_once_with_values_and_then_all_is_as_before() {
    let mut bench = Bench::new(Duration::ZERO);
    assert_eq!(bench.audit.poll_request(bench.now, Some(header(5))), None, "never by itself");
    bench.audit.ask();
    assert_eq!(bench.audit.poll_request(bench.now, None), None, "not while the watch is out of step");
    assert!(!bench.audit.poll_request(bench.now, Some(header(5))).unwrap().keys_only);
    assert!(!part(bench.answer(page(5, vec![kv("a", 2)], true))).last);
    assert_eq!(&bench.audit.poll_request(bench.now, Some(header(6))).unwrap().range.start[..], b"p/a\0");
    let last = part(bench.answer(page(6, vec![], false)));
    assert_eq!((last.kind, last.last, last.revision), (AuditKind::Asked, true, Revision(6)));
    assert_eq!((bench.audit.poll_request(bench.now, Some(header(6))), bench.audit.deadline()), (None, None));
}

#[test]
fn asking_voids_what_is_under_way_and_begins_anew() {
    let mut bench = Bench::new(HOUR);
    bench.request(5);
    bench.answer(page(5, vec![kv("a", 2)], true));
    bench.request(5);
    bench.audit.ask();
    let request = bench.audit.poll_request(bench.now, Some(header(5))).unwrap();
    assert_eq!((&request.range.start[..], request.keys_only), (&b"p/"[..], false));
}

#[test]
fn a_failure_is_asked_again_later() {
    let mut bench = Bench::new(HOUR);
    bench.request(5);
    assert_eq!(bench.answer(Err(BackendError::unavailable("down"))), Found::Nothing);
    let wait = bench.audit.deadline().unwrap() - bench.now;
    assert!(wait > Duration::ZERO && wait < Duration::from_secs(5), "{wait:?}");
}

fn compacted() -> Result<ListPage, BackendError> {
    Err(BackendError::Compacted { oldest: Revision(8) })
}

#[test]
fn a_round_that_was_asked_for_at_a_compacted_revision_asks_for_a_newer_one_and_then_at_that() {
    let mut bench = Bench::new(HOUR);
    bench.audit.ask();
    for _ in 0..3 {
        bench.audit.poll_request(bench.now, Some(header(5))).unwrap();
        assert_eq!(bench.answer(compacted()), Found::Compacted);
    }
    assert_eq!(bench.audit.poll_request(bench.now, Some(header(9))).unwrap().revision, Some(Revision(9)));
    assert_eq!(bench.answer(compacted()), Found::Compacted);
    assert!(bench.audit.deadline() > Some(bench.now), "somebody compacts faster than it asks");
    bench.request(10);
    assert!(part(bench.answer(page(10, vec![kv("a", 2)], false))).last);
}

#[test]
fn a_rolling_round_at_a_compacted_revision_waits_for_progress_and_asks_for_a_newer_one_after_three_times() {
    let mut bench = Bench::new(HOUR);
    for found in [Found::Nothing, Found::Nothing, Found::Compacted] {
        bench.request(5);
        assert_eq!(bench.answer(compacted()), found);
        let wait = bench.audit.deadline().unwrap() - bench.now;
        assert!(wait > HOUR / 40 && wait < HOUR / 8, "{wait:?}");
    }
    bench.request(9);
    part(bench.answer(page(9, vec![kv("a", 2)], false)));
    bench.request(9);
    assert_eq!(bench.answer(compacted()), Found::Nothing, "it counts anew");
}

#[test]
fn a_kvstore_that_is_behind_or_another_is_another_history() {
    let mut bench = Bench::new(HOUR);
    bench.request(5);
    assert!(matches!(bench.answer(page(4, vec![], false)), Found::OtherHistory(_)), "it is behind");
    bench.request(5);
    assert!(matches!(bench.answer(Err(BackendError::FutureRevision)), Found::OtherHistory(_)), "it says so");
    bench.request(5);
    let mut other = page(9, vec![], false).unwrap();
    other.header.cluster = ClusterId(8);
    assert!(matches!(bench.answer(Ok(other)), Found::OtherHistory(_)), "another cluster");
}
