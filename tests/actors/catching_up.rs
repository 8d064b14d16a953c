//! Reads that show every write of any client that was acknowledged before them.

use futures_util::future::join_all;
use shared_store::{BackendError, CatchUp, CatchUpError, GetStatus, State};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::memory::Mvcc;
use shared_store_core::backend::{Backend, Expect, Write, WriteAction, WriteOutcome};
use shared_store_core::{DeletionGuard, LeaseId};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::owning::meddle;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

async fn put(backend: &MemoryBackend, name: &str, ip: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, ip)).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

/// A write that no event of the store tells.
async fn put_elsewhere(backend: &MemoryBackend) -> Revision {
    let action = WriteAction::Put { value: "1".into(), lease: LeaseId::NONE };
    let write = Write { path: "elsewhere".into(), expect: Expect::Any, action };
    match backend.write(vec![write]).await {
        Ok(WriteOutcome::Committed { revision }) => revision,
        other => panic!("{other:?}"),
    }
}

async fn joined_with(config: Config) -> SharedStore<Node> {
    let store = join(config.audit_interval(Duration::ZERO)).on(StoreThread::current()).await.unwrap();
    store.synced().await.unwrap();
    store
}

async fn faulty() -> (MemoryBackend, Faulty, SharedStore<Node>) {
    let memory = MemoryBackend::new();
    let faulty = Faulty::new(memory.clone());
    let store = joined_with(config(&memory).backend(faulty.clone())).await;
    (memory, faulty, store)
}

fn ip(store: &SharedStore<Node>, name: &str) -> Option<String> {
    store.reader().get(name).map(|node| node.ip.clone())
}

#[test]
fn a_write_of_another_client_that_was_acknowledged_before_the_call_can_be_read_after_it() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        let (start, lists) = (Instant::now(), faulty.calls(Op::List));
        for n in 0..100 {
            let written = put(&memory, "a", &n.to_string()).await;
            assert_eq!(store.catch_up(SECOND).await, Ok(written));
            assert_eq!(ip(&store, "a"), Some(n.to_string()));
        }
        assert_eq!((start.elapsed(), faulty.calls(Op::List) - lists), (Duration::ZERO, 100));
        assert_eq!(faulty.progress_requests(), 0);
        meddle(&memory, "a", WriteAction::Delete).await;
        store.addr().send(CatchUp { timeout: SECOND }).await.unwrap().unwrap();
        assert_eq!(ip(&store, "a"), None);
    });
}

#[test]
fn a_write_elsewhere_in_the_kvstore_costs_a_request_for_progress_and_no_list() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        let (start, lists) = (Instant::now(), faulty.calls(Op::List));
        for n in 1..=10 {
            put(&memory, "a", &n.to_string()).await;
            let elsewhere = put_elsewhere(&memory).await;
            assert_eq!(store.catch_up(SECOND).await, Ok(elsewhere));
            assert_eq!((ip(&store, "a"), store.reader().revision()), (Some(n.to_string()), elsewhere));
            assert_eq!((faulty.progress_requests(), faulty.calls(Op::List) - lists), (n, n));
        }
        assert!(start.elapsed() < 100 * MILLISECOND, "{:?}", start.elapsed());
        assert_eq!(store.status().await.unwrap().relists.lists, 1);
    });
}

#[test]
fn a_watch_that_cannot_be_asked_for_its_progress_is_refreshed_by_one_list_and_stays_synced() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        faulty.without_progress();
        let elsewhere = put_elsewhere(&memory).await;
        let (start, lists, opened) = (Instant::now(), faulty.calls(Op::List), faulty.calls(Op::Watch));
        let reader = store.reader().clone();
        let stale = async { tokio::time::timeout(SECOND, reader.state_changed(&State::Synced)).await };
        let read = async {
            assert_eq!(store.catch_up(SECOND).await, Ok(elsewhere));
            start.elapsed()
        };
        let (stale, took) = futures_util::future::join(stale, read).await;
        assert!(stale.is_err() && took < 30 * MILLISECOND, "{stale:?}, {took:?}");
        // The newest revision, and the names.
        assert_eq!((faulty.calls(Op::List) - lists, faulty.calls(Op::Watch) - opened), (2, 0));
    });
}

#[test]
fn a_slow_watch_is_waited_for_and_one_that_stays_silent_is_refreshed() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        for (slow, lists) in [(3 * MILLISECOND, 1), (50 * MILLISECOND, 1), (SECOND, 3)] {
            faulty.mute_watches();
            let before = faulty.calls(Op::List);
            let written = put(&memory, "a", &format!("{slow:?}")).await;
            let unmuted = async {
                pass(slow).await;
                faulty.unmute_watches();
            };
            let read = async {
                assert_eq!(store.catch_up(SECOND).await, Ok(written));
                ip(&store, "a")
            };
            let (ip, ()) = futures_util::future::join(read, unmuted).await;
            assert_eq!((ip, faulty.calls(Op::List) - before), (Some(format!("{slow:?}")), lists));
        }
        let status = store.status().await.unwrap();
        assert_eq!((status.state, status.relists.other_histories), (State::Synced, 0));
    });
}

#[test]
fn a_thousand_calls_at_once_cost_two_requests() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        let asked = faulty.calls(Op::List) + 1;
        faulty.hold(Op::List, When::After);
        let first = actix_rt::spawn({
            let store = store.clone();
            async move { store.catch_up(SECOND).await }
        });
        faulty.arrived(Op::List, asked).await;
        // The request under way may have been answered before this write.
        let written = put(&memory, "a", "1").await;
        let others = join_all((0..1000).map(|_| store.catch_up(SECOND)));
        let released = async {
            pass(MILLISECOND).await;
            faulty.release(Op::List);
        };
        let (others, ()) = futures_util::future::join(others, released).await;
        assert!(others.iter().all(|answer| *answer == Ok(written)), "{others:?}");
        assert!(first.await.unwrap().unwrap() < written);
        assert_eq!(faulty.calls(Op::List), asked + 1);
    });
}

#[test]
fn during_an_outage_a_call_waits_until_its_timeout_and_asks_nothing_and_after_it_is_answered() {
    paused(async {
        let (memory, faulty, store) = faulty().await;
        let shown = store.reader().revision();
        faulty.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("down"));
        faulty.fail(Op::Watch, usize::MAX, When::Before, BackendError::unreachable("down"));
        faulty.break_watches(BackendError::unavailable("cut"));
        store.reader().state_changed(&State::Synced).await;
        let (start, lists) = (Instant::now(), faulty.calls(Op::List));
        let answers = join_all((0..10).map(|_| store.catch_up(SECOND))).await;
        for answer in answers {
            let Err(CatchUpError::TimedOut { after, reached, state: State::Stale { .. } }) = &answer else {
                panic!("{answer:?}")
            };
            assert_eq!((*after, *reached), (SECOND, shown));
        }
        assert_eq!((start.elapsed(), faulty.calls(Op::List)), (SECOND, lists));
        let written = put(&memory, "a", "1").await;
        let (answer, ()) = futures_util::future::join(store.catch_up(PATIENCE), async {
            pass(SECOND).await;
            faulty.heal();
        })
        .await;
        assert_eq!((answer, ip(&store, "a")), (Ok(written), Some("1".into())));
    });
}

#[test]
fn requests_that_fail_while_the_watch_works_are_made_again_with_pauses() {
    paused(async {
        let (_, faulty, store) = faulty().await;
        faulty.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("down"));
        let lists = faulty.calls(Op::List);
        let error = store.catch_up(10 * SECOND).await.unwrap_err();
        let words = "cache was not seen to be up to date within 10 s: it is at revision ";
        assert!(error.to_string().starts_with(words), "{error}");
        let asked = faulty.calls(Op::List) - lists;
        assert!((3..20).contains(&asked), "{asked}");
        pass(PATIENCE).await;
        assert_eq!(faulty.calls(Op::List) - lists, asked, "nobody waits any longer");
    });
}

#[test]
fn a_kvstore_that_refuses_to_be_asked_is_told_at_once() {
    paused(async {
        let (_, faulty, store) = faulty().await;
        let refusal = BackendError::forbidden("permission denied");
        faulty.fail(Op::List, 1, When::Before, refusal.clone());
        let start = Instant::now();
        assert_eq!(store.catch_up(SECOND).await, Err(CatchUpError::Refused(refusal)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        store.catch_up(SECOND).await.unwrap();
    });
}

#[test]
fn a_store_that_closes_or_has_closed_says_so() {
    paused(async {
        let (_, faulty, store) = faulty().await;
        faulty.hold(Op::List, When::Before);
        let closed = async {
            pass(SECOND).await;
            store.close().await
        };
        let (answer, closed) = futures_util::future::join(store.catch_up(PATIENCE), closed).await;
        assert_eq!((answer, closed), (Err(CatchUpError::Closed), Ok(())));
        assert_eq!(store.catch_up(PATIENCE).await, Err(CatchUpError::Closed));
    });
}

#[test]
fn a_kvstore_that_was_set_back_is_noticed_and_its_present_state_can_be_read() {
    paused(async {
        let (memory, _, store) = faulty().await;
        put(&memory, "a", "1").await;
        let backup: Mvcc = memory.backup();
        put(&memory, "a", "2").await;
        store.catch_up(SECOND).await.unwrap();
        memory.restore(&backup);
        assert_eq!(ip(&store, "a"), Some("2".into()), "the watch is silent");
        assert_eq!(store.catch_up(PATIENCE).await, Ok(memory.revision()));
        assert_eq!(ip(&store, "a"), Some("1".into()));
        assert_eq!(store.status().await.unwrap().relists.other_histories, 1);
    });
}

#[test]
fn a_store_that_is_detached_answers_once_it_is_attached_again() {
    paused(async {
        let (memory, other) = (MemoryBackend::new(), MemoryBackend::new());
        put(&other, "b", "1").await;
        let store = joined_with(config(&memory).deletion_guard(DeletionGuard::OFF)).await;
        store.detach().await.unwrap();
        let error = store.catch_up(SECOND).await.unwrap_err();
        assert!(matches!(error, CatchUpError::TimedOut { after: SECOND, .. }), "{error:?}");
        let attached = async {
            pass(SECOND).await;
            store.attach(other.clone(), Prefix::new("nodes").unwrap()).await
        };
        let (answer, attached) = futures_util::future::join(store.catch_up(PATIENCE), attached).await;
        assert_eq!((answer, attached, ip(&store, "b")), (Ok(other.revision()), Ok(()), Some("1".into())));
    });
}

#[test]
fn a_store_that_is_busy_until_the_timeout_has_not_caught_up() {
    paused(async {
        let memory = MemoryBackend::new();
        let tasks = LocalSet::new();
        let store = tasks.run_until(joined_with(config(&memory))).await;
        while store.addr().try_send(GetStatus).is_ok() {}
        let start = Instant::now();
        let error = store.catch_up(SECOND).await.unwrap_err();
        assert!(matches!(error, CatchUpError::TimedOut { after: SECOND, state: State::Synced, .. }), "{error:?}");
        assert_eq!(start.elapsed(), SECOND);
    });
}

#[test]
fn a_watch_that_has_died_silently_is_found_out_although_reads_interrupt_it() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let store = joined_with(config(&memory).backend(faulty.clone()).watch_timeout(10 * SECOND)).await;
        faulty.mute_watches();
        let reads = async {
            loop {
                put_elsewhere(&memory).await;
                // Too short for a list.
                store.catch_up(50 * MILLISECOND).await.unwrap_err();
            }
        };
        let start = Instant::now();
        let reader = store.reader().clone();
        let died = reader.state_changed(&State::Synced);
        tokio::select! {
            () = reads => {}
            _ = tokio::time::timeout(PATIENCE, died) => {}
        }
        assert!(start.elapsed() < 11 * SECOND, "{:?}", start.elapsed());
    });
}
