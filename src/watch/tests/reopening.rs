//! When a watch that ended is opened again, and when it is live.

use super::*;

/// How long it waits after a failure.
fn failed(watch: &mut Watch) -> Duration {
    assert!(matches!(watch.handle(Outcome::Failed(broken())), Some(Delivery::Broken(_))));
    let Action::Wait(delay) = watch.action() else { panic!("it does not wait") };
    assert_eq!(watch.handle(Outcome::Waited), None);
    delay
}

/// The longest wait after a first failure.
const FIRST: Duration = Duration::from_millis(100);

#[test]
fn a_watch_that_ends_right_after_it_was_opened_is_opened_less_and_less_often() {
    for seed in 0..20 {
        let mut watch = Watch { backoff: Backoff::new(FIRST, Duration::from_secs(5), seed), ..reading(10) };
        let waits: Vec<_> = (0..20)
            .map(|_| {
                let wait = failed(&mut watch);
                assert_eq!(watch.handle(Outcome::Opened(header(10))), Some(Delivery::Live));
                wait
            })
            .collect();
        // Drawn, so not each one is longer than the one before.
        let sum = |waits: &[Duration]| waits.iter().sum::<Duration>();
        assert!(sum(&waits[..4]) < Duration::from_secs(2), "{waits:?}");
        assert!(sum(&waits[10..]) > Duration::from_secs(10), "{waits:?}");
    }
}

#[test]
fn a_response_or_some_time_proves_a_watch_and_the_next_failure_is_the_first_one() {
    let proofs: [fn(&mut Watch); 3] = [
        |watch| assert_eq!(delivered(watch.handle(events(11, &[11], true))), [11]),
        |watch| assert!(watch.handle(Outcome::Read(WatchResponse::Progress(header(10)))).is_some()),
        |watch| {
            assert!(matches!(watch.action(), Action::Read(wait) if wait >= Duration::from_secs(5)));
            assert_eq!(watch.handle(Outcome::Silent), None);
            assert!(matches!(watch.action(), Action::Read(_)), "the same watch goes on");
        },
    ];
    for proof in proofs {
        let mut watch = reading(10);
        for _ in 0..10 {
            failed(&mut watch);
            let _ = watch.handle(Outcome::Opened(header(10)));
        }
        proof(&mut watch);
        assert!(failed(&mut watch) <= FIRST);
    }
}

#[test]
fn a_watch_that_catches_up_by_progress_alone_says_that_it_is_live() {
    let mut watch = reading(10);
    failed(&mut watch);
    assert_eq!(watch.handle(Outcome::Opened(header(12))), None, "it has still to catch up");
    let progress = |revision| Outcome::Read(WatchResponse::Progress(header(revision)));
    for (revision, then) in [(11, None), (12, Some(Delivery::Live)), (13, None)] {
        assert_eq!(watch.handle(progress(revision)), Some(Delivery::Progress(Revision(revision))));
        assert_eq!(watch.caught_up(), then);
    }
}

/// When watches of an idle range that were cut at once ask for a list, since they were opened again.
fn lists_after(kvstore: u64) -> Vec<Duration> {
    let mut after: Vec<_> = (0..100)
        .map(|seed| {
            let mut watch = Watch::new(range(), Duration::from_secs(1200), seed);
            let _ = watch.handle(page(10, vec![], false));
            let _ = watch.handle(Outcome::Opened(header(10)));
            breaks(&mut watch);
            assert_eq!(watch.handle(Outcome::Opened(header(kvstore))), None);
            match watch.action() {
                Action::Wait(wait) => wait,
                Action::Read(wait) => {
                    assert_eq!(watch.handle(Outcome::Silent), None);
                    assert!(matches!(watch.action(), Action::List(_)));
                    wait
                }
                action => panic!("{action:?}"),
            }
        })
        .collect();
    after.sort();
    after
}

#[test]
fn a_hundred_watches_of_an_idle_range_cut_at_once_do_not_list_at_once() {
    for kvstore in [11, 10 + REPLAY_LIMIT + 1] {
        let after = lists_after(kvstore);
        let spread = after[90] - after[10];
        assert!(spread > Duration::from_millis(500), "{after:?}");
        let most = (0..100).map(|n| after.iter().filter(|at| **at >= after[n] && **at < after[n] + FIRST / 2).count());
        assert!(most.max() < Some(20), "in 50 ms: {after:?}");
        assert!(after[99] <= Duration::from_secs(2), "{after:?}");
    }
}

#[test]
fn a_hundred_watches_that_begin_in_the_compacted_past_do_not_list_at_once() {
    let mut waits: Vec<_> = (0..100)
        .map(|seed| {
            let mut watch = Watch::new(range(), Duration::from_secs(1200), seed);
            let _ = watch.handle(page(10, vec![], false));
            let _ = watch.handle(Outcome::Opened(header(10)));
            let _ = watch.handle(Outcome::Failed(BackendError::Compacted { oldest: Revision(50) }));
            let Action::Wait(wait) = watch.action() else { panic!("{:?}", watch.action()) };
            wait
        })
        .collect();
    waits.sort();
    assert!(waits[90] - waits[10] > Duration::from_millis(500) && waits[99] <= Duration::from_secs(1), "{waits:?}");
}

#[test]
fn a_watch_opened_a_little_after_its_list_is_live_at_once() {
    let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
    let _ = watch.handle(page(10, vec![], false));
    assert_eq!(watch.handle(Outcome::Opened(header(10 + REPLAY_LIMIT))), Some(Delivery::Live));
}

#[test]
fn a_watch_opened_long_after_its_list_is_live_when_it_has_caught_up() {
    let far = 10 + REPLAY_LIMIT + 1;
    let opened = || {
        let mut watch = Watch::new(range(), Duration::from_secs(60), 1);
        let _ = watch.handle(page(10, vec![], false));
        assert_eq!(watch.handle(Outcome::Opened(header(far))), None, "what lies between is not here yet");
        assert!(matches!(watch.action(), Action::Read(_)), "and it does not list again for that");
        watch
    };
    let mut watch = opened();
    assert_eq!(delivered(watch.handle(events(far, &[11, 12], true))), [11, 12]);
    assert_eq!(watch.caught_up(), None);
    assert_eq!(delivered(watch.handle(events(far, &[far], true))), [far]);
    assert_eq!(watch.caught_up(), Some(Delivery::Live));
    let mut watch = opened();
    assert_eq!(watch.handle(Outcome::Silent), Some(Delivery::Live), "others wrote, and nothing happened here");
    assert!(matches!(watch.action(), Action::Read(_)), "the same watch goes on");
}

/// As answers to requests for progress that were on their way during a refresh, or of a member that lags.
#[test]
fn progress_that_a_list_beside_the_watch_has_overtaken_means_nothing() {
    let progress = |revision| Outcome::Read(WatchResponse::Progress(header(revision)));
    let mut watch = reading(10);
    watch.refresh();
    let _ = watch.handle(page(20, vec![], false));
    assert_eq!(watch.caught_up(), Some(Delivery::Live));
    assert_eq!(watch.handle(progress(12)), None);
    assert_eq!(watch.in_step(), Some(header(20)));
    assert_eq!(watch.handle(progress(21)), Some(Delivery::Progress(Revision(21))));
    waits_and_lists_in_full(&mut watch, progress(20));
}
