//! Reads as the consumer of a watch asks for them.

use super::*;
use crate::kv::ClusterId;

const CLUSTER: ClusterId = ClusterId(7);
const MINUTE: Duration = Duration::from_secs(60);

fn header(revision: u64) -> Header {
    Header { cluster: CLUSTER, revision: Revision(revision) }
}

fn page(revision: u64) -> Result<ListPage, BackendError> {
    Ok(ListPage { header: header(revision), kvs: Vec::new(), more: false, count: 0 })
}

fn outage() -> BackendError {
    BackendError::unavailable("down")
}

/// The number of a read, and what became of it.
type Ended = (u64, Result<Revision, BackendError>);

/// A consumer that shows `at`, with a watch in step there.
struct Bench {
    index: ReadIndex,
    now: Instant,
    at: u64,
    asked: u64,
}

impl Bench {
    fn new(at: u64) -> Self {
        let range = KeyRange { start: "p/".into(), end: "p0".into() };
        let mut bench = Self { index: ReadIndex::new(&range, 1), now: Instant::now(), at: 0, asked: 0 };
        bench.shows(at);
        bench
    }

    fn shows(&mut self, revision: u64) {
        self.at = revision;
        self.index.reached(self.now, Reached::Revision(Revision(revision)));
    }

    fn lists(&mut self, revision: u64) {
        self.at = revision;
        self.index.reached(self.now, Reached::List(Revision(revision)));
    }

    /// Another read that waits for so long.
    fn read(&mut self, patience: Duration) {
        self.asked += 1;
        self.index.wait(Reads { last: self.asked, until: self.now + patience });
    }

    fn poll(&mut self) -> Option<Needed> {
        self.index.poll(self.now, Some(header(self.at)))
    }

    fn asks(&mut self) -> bool {
        match self.poll() {
            Some(Needed::Ask(request)) => {
                assert_eq!((request.revision, request.limit, request.keys_only), (None, 1, true));
                assert_eq!(request.range, KeyRange::one(&"p/".into()));
                true
            }
            None => false,
            needed => panic!("{needed:?}"),
        }
    }

    fn answer(&mut self, result: Result<ListPage, BackendError>) -> Option<BackendError> {
        self.index.answer(self.now, result)
    }

    /// A read for which the kvstore has named this revision.
    fn read_at(&mut self, revision: u64) {
        self.read(MINUTE);
        assert!(self.asks());
        assert_eq!(self.answer(page(revision)), None);
    }

    /// What is needed when its time has come, and after how many milliseconds.
    fn due(&mut self) -> (u128, Option<Needed>) {
        let at = self.index.deadline().expect("something is to come");
        assert!(at <= self.now || self.poll().is_none(), "not before");
        let wait = at.saturating_duration_since(self.now);
        self.now += wait;
        (wait.as_millis(), self.poll())
    }

    fn answered(&mut self) -> Vec<Ended> {
        std::iter::from_fn(|| self.index.poll_answered()).map(|answered| (answered.last, answered.result)).collect()
    }
}

fn ok(last: u64, revision: u64) -> Vec<Ended> {
    vec![(last, Ok(Revision(revision)))]
}

#[test]
fn a_read_of_a_cache_that_shows_the_newest_revision_costs_one_request() {
    let mut bench = Bench::new(10);
    assert!(!bench.asks());
    bench.read_at(10);
    assert_eq!((bench.answered(), bench.poll(), bench.index.deadline()), (ok(1, 10), None, None));
}

#[test]
fn events_that_arrive_answer_a_read_when_they_reach_its_revision() {
    let mut bench = Bench::new(10);
    bench.read_at(12);
    bench.shows(11);
    assert_eq!(bench.answered(), []);
    bench.shows(12);
    assert_eq!((bench.answered(), bench.index.deadline()), (ok(1, 12), None));
}

/// Invariant 1.
#[test]
fn a_thousand_reads_during_a_request_share_the_next_one() {
    let mut bench = Bench::new(10);
    bench.read(MINUTE);
    assert!(bench.asks());
    for _ in 0..1000 {
        bench.read(MINUTE);
        assert!(!bench.asks());
    }
    assert_eq!((bench.answer(page(10)), bench.answered()), (None, ok(1, 10)));
    assert!(bench.asks());
    assert_eq!((bench.answer(page(10)), bench.answered(), bench.poll()), (None, ok(1001, 10), None));
}

#[test]
fn a_revision_of_a_key_elsewhere_is_reached_by_the_progress_of_the_watch() {
    let mut bench = Bench::new(10);
    bench.read_at(15);
    assert_eq!(bench.due(), (5, Some(Needed::Progress)));
    // The member of the watch is behind: it is asked again.
    bench.index.reached(bench.now, Reached::Progress(Revision(14)));
    assert_eq!((bench.answered(), bench.due()), (vec![], (5, Some(Needed::Progress))));
    bench.index.reached(bench.now, Reached::Progress(Revision(15)));
    assert_eq!((bench.answered(), bench.index.deadline()), (ok(1, 15), None));
}

/// Invariant 4.
#[test]
fn a_watch_that_does_not_answer_or_cannot_be_asked_is_refreshed_by_one_list() {
    for can in [true, false] {
        let mut bench = Bench::new(10);
        bench.read_at(15);
        assert_eq!(bench.due(), (5, Some(Needed::Progress)));
        if !can {
            bench.index.without_progress(bench.now);
        }
        assert_eq!(bench.due(), (if can { 95 } else { 20 }, Some(Needed::List)));
        assert_eq!(bench.poll(), None);
        // The watch lists meanwhile.
        bench.now += MINUTE / 2;
        assert_eq!(bench.index.poll(bench.now, None), None);
        bench.lists(16);
        assert_eq!((bench.answered(), bench.index.deadline()), (ok(1, 15), None));
    }
}

#[test]
fn a_list_that_failed_is_followed_by_another_once_the_watch_is_in_step() {
    let mut bench = Bench::new(10);
    bench.read_at(15);
    bench.now += Duration::from_secs(1);
    assert_eq!((bench.poll(), bench.poll()), (Some(Needed::Progress), Some(Needed::List)));
    bench.now += Duration::from_secs(1);
    bench.shows(12);
    assert_eq!(bench.poll(), Some(Needed::List));
}

/// Invariant 3.
#[test]
fn nothing_is_asked_during_an_outage_and_after_it_one_request() {
    let mut bench = Bench::new(10);
    bench.read(MINUTE);
    for _ in 0..100 {
        assert_eq!((bench.index.poll(bench.now, None), bench.index.deadline()), (None, None));
    }
    assert!(bench.asks());
    assert_eq!(bench.answer(page(10)), None);
    assert_eq!(bench.answered(), ok(1, 10));
}

#[test]
fn a_request_that_fails_is_made_again_after_a_pause_that_grows() {
    let mut bench = Bench::new(10);
    bench.read(MINUTE);
    assert!(bench.asks());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert_eq!(bench.answer(Err(outage())), None);
        let (pause, needed) = bench.due();
        assert!(matches!(needed, Some(Needed::Ask(_))));
        pauses.push(pause);
    }
    assert!(pauses[0] > 0 && pauses[4] > 2 * pauses[0], "{pauses:?}");
    assert_eq!((bench.answer(page(10)), bench.answered()), (None, ok(1, 10)));
}

#[test]
fn a_kvstore_that_refuses_ends_the_reads_that_asked_and_no_other() {
    let mut bench = Bench::new(10);
    bench.read(MINUTE);
    assert!(bench.asks());
    bench.read(MINUTE);
    let refusal = BackendError::forbidden("no");
    assert_eq!(bench.answer(Err(refusal.clone())), None);
    assert_eq!(bench.answered(), [(1, Err(refusal))]);
    assert!(bench.asks());
}

#[test]
fn reads_whose_time_is_over_cost_nothing_more() {
    let mut bench = Bench::new(10);
    bench.read(MINUTE / 2);
    bench.read(MINUTE);
    bench.read(MINUTE / 2);
    bench.now += MINUTE / 2;
    assert!(bench.asks(), "one of them still waits");
    assert_eq!(bench.answer(page(15)), None);
    bench.read(MINUTE / 2);
    bench.now += MINUTE / 2;
    assert_eq!((bench.poll(), bench.index.deadline()), (None, None));
    bench.shows(20);
    assert_eq!(bench.answered(), []);
}

#[test]
fn an_answer_that_is_behind_what_was_delivered_or_of_another_cluster_shows_that_the_history_changed() {
    let foreign = Header { cluster: ClusterId(8), revision: Revision(30) };
    let other = Ok(ListPage { header: foreign, kvs: vec![], more: false, count: 0 });
    for result in [page(9), other] {
        let mut bench = Bench::new(10);
        bench.read(MINUTE);
        assert!(bench.asks());
        assert!(bench.answer(result).is_some());
        assert_eq!(bench.answered(), []);
        bench.index.reached(bench.now, Reached::OtherHistory(Revision(9)));
        bench.at = 9;
        assert!(bench.asks(), "it waits for the new history");
        assert_eq!((bench.answer(page(9)), bench.answered()), (None, ok(1, 9)));
    }
}

/// Invariant 2.
#[test]
fn what_was_asked_or_answered_before_the_history_changed_is_asked_again() {
    let mut bench = Bench::new(10);
    bench.read_at(15);
    bench.index.reached(bench.now, Reached::OtherHistory(Revision(40)));
    bench.at = 40;
    assert_eq!(bench.answered(), []);
    assert!(bench.asks());
    bench.index.reached(bench.now, Reached::OtherHistory(Revision(5)));
    bench.at = 5;
    assert!(!bench.index.is_asking());
    assert_eq!((bench.answer(page(40)), bench.answered()), (None, vec![]), "the answer to the earlier request");
    assert!(bench.asks());
    assert_eq!((bench.answer(page(5)), bench.answered()), (None, ok(1, 5)));
}

/// Invariant 5. The watch has not seen the writes that the kvstore has lost since, so it notices nothing.
#[test]
fn a_revision_that_a_later_list_does_not_reach_shows_that_its_history_has_ended() {
    let mut bench = Bench::new(10);
    bench.read_at(15);
    // This list may have begun before the answer.
    bench.lists(12);
    bench.now += MINUTE / 2;
    assert_eq!((bench.poll(), bench.poll(), bench.poll()), (Some(Needed::Progress), Some(Needed::List), None));
    bench.lists(14);
    assert_eq!((bench.answered(), bench.poll()), (vec![], Some(Needed::Ended)));
    bench.index.reached(bench.now, Reached::OtherHistory(Revision(14)));
    assert!(bench.asks(), "it waits for the new history");
    assert_eq!((bench.answer(page(14)), bench.answered()), (None, ok(1, 14)));
}
