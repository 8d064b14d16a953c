//! When a watch may have lost something although its stream goes on, and how that is proven.

use std::time::Instant;

use super::*;

fn several(at: u64, revisions: &[u64]) -> Outcome {
    events(at, revisions, true)
}

#[test]
fn a_watch_that_resumed_is_in_doubt_from_where_it_was_cut_once_it_is_in_step() {
    let mut watch = reading(10);
    assert_eq!(watch.take_gap(), None, "a list leaves no gap");
    breaks(&mut watch);
    let _ = watch.handle(Outcome::Opened(header(12)));
    assert_eq!(watch.take_gap(), None, "it has still to catch up");
    let _ = watch.handle(several(12, &[11, 12]));
    assert_eq!(watch.caught_up(), Some(Delivery::Live));
    assert_eq!((watch.take_gap(), watch.take_gap()), (Some(Gap::After(Revision(10))), None));
    breaks(&mut watch);
    assert_eq!(watch.handle(Outcome::Opened(header(12))), Some(Delivery::Live));
    assert_eq!(watch.take_gap(), Some(Gap::After(Revision(12))), "even if nothing was missed as far as etcd says");
}

#[test]
fn breaks_in_a_row_are_one_doubt_from_the_first_on_and_a_list_ends_it() {
    let mut watch = reading(10);
    breaks(&mut watch);
    let _ = watch.handle(Outcome::Opened(header(12)));
    let _ = watch.handle(several(12, &[11]));
    breaks(&mut watch);
    let _ = watch.handle(Outcome::Opened(header(12)));
    let _ = watch.handle(several(12, &[12]));
    assert_eq!(watch.caught_up(), Some(Delivery::Live));
    assert_eq!(watch.take_gap(), Some(Gap::After(Revision(10))));
    breaks(&mut watch);
    let _ = watch.handle(Outcome::Opened(header(13)));
    assert_eq!(watch.handle(Outcome::Silent), None);
    let _ = watch.handle(page(14, vec![], false));
    assert_eq!(watch.handle(Outcome::Opened(header(14))), Some(Delivery::Live));
    assert_eq!(watch.take_gap(), None);
}

#[test]
fn a_watch_that_falls_behind_is_in_doubt_and_one_that_keeps_up_is_not() {
    let mut watch = reading(10);
    let _ = watch.handle(several(11, &[11]));
    let _ = watch.handle(several(12, &[12, 12, 12]));
    assert_eq!(watch.take_gap(), None);
    let _ = watch.handle(several(14, &[13, 14]));
    assert_eq!(watch.take_gap(), Some(Gap::After(Revision(12))), "several revisions at once");
    let _ = watch.handle(several(20, &[15]));
    assert_eq!(watch.take_gap(), Some(Gap::After(Revision(14))), "the kvstore is ahead");
    watch.fell_behind(Revision(9));
    assert_eq!(watch.take_gap(), Some(Gap::After(Revision(9))), "the shell says so");
}

#[test]
fn a_watch_that_goes_back_in_time_is_in_strong_doubt_and_tells_nothing_twice() {
    let mut watch = reading(10);
    assert_eq!(delivered(watch.handle(several(13, &[13]))), [13]);
    assert_eq!(delivered(watch.handle(several(12, &[12]))), [] as [u64; 0]);
    assert_eq!(watch.take_gap(), Some(Gap::Strong));
}

#[test]
fn a_refresh_lists_what_changed_only_if_the_watch_is_in_step() {
    let mut watch = reading(10);
    watch.refresh();
    assert_eq!(values_since(&mut watch), Some(Revision(10)));
    let mut watch = reading(10);
    breaks(&mut watch);
    let action = watch.action();
    watch.refresh();
    assert_eq!(watch.action(), action);
}

struct Bench {
    proof: Proof,
    now: Instant,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self { proof: Proof::new(range(), seed), now: Instant::now() }
    }

    /// What is to be done when its time has come, and after how long that is.
    fn due(&mut self) -> (Duration, Option<Check>) {
        let at = self.proof.deadline().expect("there is a gap");
        assert!(at <= self.now || self.proof.poll(self.now, Some(header(20))).is_none(), "not before");
        let wait = at - self.now;
        self.now = at;
        (wait, self.proof.poll(at, Some(header(20))))
    }
}

fn asks(check: Option<Check>) -> ListRequest {
    match check {
        Some(Check::Ask(request)) => request,
        check => panic!("{check:?}"),
    }
}

fn answer(revision: u64) -> Result<ListPage, BackendError> {
    Ok(ListPage { header: header(revision), kvs: vec![], more: false, count: 0 })
}

fn compaction() -> Result<ListPage, BackendError> {
    Err(BackendError::Compacted { oldest: Revision(15) })
}

#[test]
fn a_doubt_asks_for_one_name_before_the_gap_and_is_gone_if_that_is_still_there() {
    let mut bench = Bench::new(1);
    assert_eq!((bench.proof.poll(bench.now, Some(header(20))), bench.proof.deadline()), (None, None));
    bench.proof.gap(bench.now, Gap::After(Revision(12)));
    bench.proof.gap(bench.now, Gap::After(Revision(10)));
    let (wait, check) = bench.due();
    assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
    let request = asks(check);
    assert_eq!((request.revision, request.limit, request.keys_only), (Some(Revision(10)), 1, true));
    assert_eq!(request.range, KeyRange::one(&range().start));
    assert_eq!(bench.proof.answer(bench.now, answer(20)), None);
    assert!(bench.proof.is_idle());
}

#[test]
fn a_compaction_in_the_gap_means_a_list_at_once_which_ends_the_doubt() {
    let mut bench = Bench::new(1);
    bench.proof.gap(bench.now, Gap::After(Revision(10)));
    asks(bench.due().1);
    assert_eq!(bench.proof.answer(bench.now, compaction()), None);
    assert_eq!(bench.proof.poll(bench.now, None), None, "not while the watch is out of step");
    assert_eq!(bench.proof.poll(bench.now, Some(header(20))), Some(Check::List));
    assert_eq!(bench.proof.poll(bench.now, Some(header(20))), Some(Check::List), "until a list is complete");
    let (revision, keys, cluster) = (Revision(21), PageKeys::Names(vec![]), CLUSTER);
    let page = |last| Page { first: true, last, revision, cluster, same_history: true, keys: keys.clone() };
    bench.proof.delivered(&Delivery::Page(page(false)));
    assert!(!bench.proof.is_idle());
    bench.proof.delivered(&Delivery::Page(page(true)));
    assert!(bench.proof.is_idle());
}

#[test]
fn a_doubt_that_comes_while_another_is_asked_for_is_asked_for_as_well() {
    let mut bench = Bench::new(1);
    bench.proof.gap(bench.now, Gap::After(Revision(10)));
    asks(bench.due().1);
    bench.proof.gap(bench.now, Gap::After(Revision(18)));
    assert_eq!(bench.proof.answer(bench.now, answer(20)), None);
    assert_eq!(asks(bench.due().1).revision, Some(Revision(18)));
}

#[test]
fn a_question_that_failed_is_asked_again_and_a_strong_doubt_asks_nothing() {
    let mut bench = Bench::new(1);
    bench.proof.gap(bench.now, Gap::After(Revision(10)));
    asks(bench.due().1);
    assert_eq!(bench.proof.answer(bench.now, Err(broken())), None);
    let (wait, check) = bench.due();
    assert!(wait > Duration::ZERO);
    assert_eq!(asks(check).revision, Some(Revision(10)));
    assert_eq!(bench.proof.answer(bench.now, answer(20)), None);
    bench.proof.gap(bench.now, Gap::Strong);
    assert_eq!(bench.due().1, Some(Check::List));
}

#[test]
fn a_kvstore_that_is_behind_or_another_is_told_from_one_that_compacted() {
    let foreign = Header { cluster: ClusterId(8), revision: Revision(30) };
    let other = Ok(ListPage { header: foreign, kvs: vec![], more: false, count: 0 });
    for result in [answer(19), Err(BackendError::FutureRevision), other] {
        let mut bench = Bench::new(1);
        bench.proof.gap(bench.now, Gap::After(Revision(10)));
        asks(bench.due().1);
        assert!(bench.proof.answer(bench.now, result).is_some());
    }
}

#[test]
fn a_hundred_watches_cut_at_once_do_not_prove_themselves_at_once() {
    let mut waits: Vec<_> = (0..100)
        .map(|seed| {
            let mut bench = Bench::new(seed);
            bench.proof.gap(bench.now, Gap::After(Revision(10)));
            bench.due().0
        })
        .collect();
    waits.sort();
    assert!(waits[90] - waits[10] > Duration::from_millis(500), "{waits:?}");
}
