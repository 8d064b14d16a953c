//! Reading one's own writes: writes that wait until they are shown, or told.

use shared_store::{BackendError, GetStatus, StoreError, Until, WriteError};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use tokio::task::LocalSet;

use super::observing::Stuck;
use super::owning::stored;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_write_that_is_answered_when_shown_can_be_read_at_once_and_one_when_told_was_told() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        store.subscribe(shadow.observer()).await.unwrap();
        for n in 0..20 {
            store.update_local_key_until(node("a", &n.to_string()), Until::Shown, PATIENCE).await.unwrap();
            assert_eq!(store.reader().get("a").unwrap().ip, n.to_string());
            store.update_local_key_until(node("b", &n.to_string()), Until::Told, PATIENCE).await.unwrap();
            assert_eq!(shadow.map()["b"], n.to_string());
        }
        store.delete_local_key_until("a", Until::Shown, PATIENCE).await.unwrap();
        assert!(store.reader().get("a").is_none());
        store.delete_local_key_until("b", Until::Told, PATIENCE).await.unwrap();
        assert!(shadow.map().is_empty());
    });
}

#[test]
fn a_write_that_is_not_shown_in_time_says_that_it_is_written() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let store = join(config(&memory).backend(faulty.clone())).on(StoreThread::current()).await.unwrap();
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        faulty.mute_watches();
        let start = tokio::time::Instant::now();
        let error = store.update_local_key_until(node("a", "2"), Until::Shown, SECOND).await.unwrap_err();
        assert_eq!(start.elapsed(), SECOND);
        let StoreError::NotYet { written, cause } = error else { panic!("{error}") };
        assert_eq!(written, memory.revision());
        assert!(cause.contains("not yet at"), "{cause}");
        faulty.unmute_watches();
        store.wait_until(written, Until::Told, PATIENCE).await.unwrap();
        assert_eq!(store.reader().get("a").unwrap().ip, "2");
    });
}

/// The kvstore does not answer: the timeout is for all of it, and not for what comes after the write.
#[test]
fn a_write_or_deletion_that_is_waited_for_ends_with_its_timeout() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let store = join(config(&memory).backend(faulty.clone())).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        faulty.hold(Op::Write, When::Before);
        let timed_out = |error| {
            let StoreError::Write(WriteError::TimedOut { after, .. }) = error else { panic!("{error}") };
            after
        };
        let start = tokio::time::Instant::now();
        let error = store.update_local_key_until(node("b", "1"), Until::Shown, SECOND).await.unwrap_err();
        assert_eq!((timed_out(error), start.elapsed()), (SECOND, SECOND));
        let error = store.delete_local_key_until("a", Until::Shown, SECOND).await.unwrap_err();
        assert_eq!((timed_out(error), start.elapsed()), (SECOND, 2 * SECOND));
        faulty.release(Op::Write);
        pass(PATIENCE).await;
        assert_eq!(stored(&memory, "a").await, None, "it is given up all the same");
        assert_eq!(store.status().await.unwrap().own, 0, "a write that timed out owns nothing");
        // A long timeout does not make the write timeout longer.
        let config = config(&memory).backend(faulty.clone()).write_timeout(SECOND);
        let store = join(config).on(StoreThread::current()).await.unwrap();
        faulty.hold(Op::Write, When::Before);
        let error = store.update_local_key_until(node("b", "1"), Until::Shown, PATIENCE).await.unwrap_err();
        assert_eq!(timed_out(error), SECOND);
    });
}

/// The actors run only while the test runs this set of tasks: until then the store is busy.
async fn on_a_set_of_tasks(config: Config) -> (LocalSet, SharedStore<Node>) {
    let tasks = LocalSet::new();
    let store = tasks.run_until(async { join(config).on(StoreThread::current()).await.unwrap() }).await;
    tasks.run_until(store.update_local_key_until(node("a", "1"), Until::Told, PATIENCE)).await.unwrap();
    (tasks, store)
}

#[test]
fn a_store_that_is_busy_until_the_timeout_has_not_taken_the_command_and_never_does() {
    for full in [false, true] {
        paused(async move {
            let memory = MemoryBackend::new();
            let (tasks, store) = on_a_set_of_tasks(config(&memory)).await;
            while full && store.addr().try_send(GetStatus).is_ok() {}
            let busy = StoreError::Busy { after: SECOND };
            let start = tokio::time::Instant::now();
            let deleted = store.delete_local_key_until("a", Until::Shown, SECOND).await;
            assert_eq!((deleted, start.elapsed()), (Err(busy.clone()), SECOND));
            let written = store.update_local_key_until(node("b", "1"), Until::Shown, SECOND).await;
            assert_eq!((written, start.elapsed()), (Err(busy), 2 * SECOND));
            tasks.run_until(pass(PATIENCE)).await;
            assert!(stored(&memory, "a").await.is_some() && stored(&memory, "b").await.is_none());
            assert_eq!(tasks.run_until(store.status()).await.unwrap().own, 1);
        });
    }
}

#[test]
fn a_store_that_has_taken_the_command_and_is_busy_then_says_that_it_was_not_confirmed_and_that_is_so() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let (tasks, store) = on_a_set_of_tasks(config(&memory).backend(faulty.clone())).await;
        faulty.hold(Op::Write, When::After);
        let (start, sent) = (tokio::time::Instant::now(), faulty.calls(Op::Write) + 1);
        let mut written = std::pin::pin!(store.update_local_key_until(node("b", "1"), Until::Shown, SECOND));
        let taken = tasks.run_until(async {
            tokio::select! {
                biased;
                written = &mut written => panic!("{written:?}"),
                () = faulty.arrived(Op::Write, sent) => {}
            }
        });
        taken.await;
        let error = written.await.unwrap_err();
        assert_eq!(error, WriteError::TimedOut { after: SECOND, cause: None }.into());
        assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
        // The answer of the kvstore is there before the store notices that the time is over.
        faulty.release(Op::Write);
        let status = tasks.run_until(async {
            pass(PATIENCE).await;
            store.status().await.unwrap()
        });
        assert_eq!(status.await.own, 1, "the value is not kept");
    });
}

#[test]
fn a_write_that_times_out_says_why() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let store = join(config(&memory).backend(faulty.clone())).on(StoreThread::current()).await.unwrap();
        faulty.fail(Op::Write, usize::MAX, When::Before, BackendError::unreachable("down"));
        let error = store.update_local_key_until(node("a", "1"), Until::Shown, SECOND).await.unwrap_err();
        let StoreError::Write(WriteError::TimedOut { cause: Some(cause), .. }) = error else { panic!("{error}") };
        assert_eq!(&*cause, "down");
    });
}

#[test]
fn waiting_for_observers_ends_with_the_time_or_with_the_observer_that_does_not_handle_it() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let stuck = Stuck.start();
        let id = store.subscribe(Observer::new(&stuck)).await.unwrap();
        // The first update counts as handled, and no other is.
        store.update_local_key_until(node("a", "0"), Until::Told, SECOND).await.unwrap();
        let start = tokio::time::Instant::now();
        let error = store.update_local_key_until(node("a", "1"), Until::Told, SECOND).await.unwrap_err();
        assert_eq!(start.elapsed(), SECOND);
        assert!(error.to_string().ends_with("but observers have not handled it within 1 s"), "{error}");
        let waiting = actix_rt::spawn({
            let store = store.clone();
            async move { store.update_local_key_until(node("a", "2"), Until::Told, PATIENCE).await }
        });
        pass(SECOND).await;
        assert!(!waiting.is_finished());
        store.unsubscribe(id).await;
        waiting.await.unwrap().unwrap();
        assert_eq!(start.elapsed(), 2 * SECOND);
    });
}

#[test]
fn a_write_that_waits_for_observers_fails_when_the_store_closes() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let stuck = Stuck.start();
        store.subscribe(Observer::new(&stuck)).await.unwrap();
        store.update_local_key_until(node("a", "0"), Until::Told, SECOND).await.unwrap();
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        let waits = store.wait_until(written, Until::Told, PATIENCE);
        let (waited, closed) = futures_util::future::join(waits, store.close()).await;
        assert_eq!((waited, closed), (Err(StoreError::Closed), Ok(())));
    });
}
