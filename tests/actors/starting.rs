//! Starting without waiting for the kvstore, and stopping without leaving.

use shared_store::{BackendError, State, StoreError, publish};
use shared_store_core::backend::faulty::{Faulty, Op, When};

use super::logging::Log;
use super::owning::stored;
use super::*;

/// A backend that cannot be reached.
fn away(memory: &MemoryBackend) -> Faulty {
    let faulty = Faulty::new(memory.clone());
    for op in [Op::List, Op::Watch, Op::Write, Op::Grant] {
        faulty.fail(op, usize::MAX, When::Before, BackendError::unreachable("down"));
    }
    faulty
}

#[test]
fn a_store_that_is_started_answers_at_once_and_does_all_when_the_kvstore_is_there() {
    paused(async {
        let (memory, shadow) = (MemoryBackend::new(), Shadow::default());
        let faulty = away(&memory);
        let start = tokio::time::Instant::now();
        let config = config(&memory).backend(faulty.clone()).list_timeout(Duration::from_secs(10));
        let store = join::<Node>(config).observer(shadow.observer()).on(StoreThread::current()).start().await.unwrap();
        assert_eq!((start.elapsed(), store.status().await.unwrap().entries), (Duration::ZERO, 0));
        store.update_local_key(node("a", "1")).await.unwrap();
        // Far longer than joining may take.
        pass(Duration::from_secs(3600)).await;
        assert!(matches!(store.reader().state(), State::Connecting { cause: Some(cause) } if cause.contains("down")));
        assert_eq!((store.status().await.unwrap().pending_writes, shadow.log()), (1, vec![]));
        let waiting = actix_rt::spawn({
            let store = store.clone();
            async move { store.synced().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        faulty.heal();
        waiting.await.unwrap().unwrap();
        let mut reader = store.reader().clone();
        while reader.get("a").is_none() {
            reader.changed().await.unwrap();
        }
        assert!(stored(&memory, "a").await.is_some());
        settled(&store, reader.revision()).await;
        assert_eq!(shadow.map().len(), 1);
        store.close().await.unwrap();
        assert_eq!(store.synced().await, Err(StoreError::Closed));
    });
}

#[test]
fn waiting_for_a_started_store_fails_when_it_closes() {
    paused(async {
        let memory = MemoryBackend::new();
        let config = config(&memory).backend(away(&memory));
        let store = join::<Node>(config).on(StoreThread::current()).start().await.unwrap();
        let (synced, closed) = futures_util::future::join(store.synced(), store.close()).await;
        assert_eq!((synced, closed), (Err(StoreError::Closed), Ok(())));
    });
}

#[test]
fn the_last_handle_of_an_owner_that_is_dropped_without_leaving_is_told_in_the_log() {
    let (log, _guard) = Log::from(tracing::Level::WARN);
    paused(async {
        let backend = MemoryBackend::new();
        let reads = joined(&backend).await;
        let owns = joined(&backend).await;
        owns.update_local_key_sync(node("a", "1")).await.unwrap();
        let released = joined(&backend).await;
        released.update_local_key_sync(node("b", "1")).await.unwrap();
        released.release().await.unwrap();
        drop((reads, released));
        drop(owns.clone());
        pass(Duration::from_secs(1)).await;
        assert_eq!(log.lines(), Vec::<String>::new());
        drop(owns);
        let publisher = publish::<Node>(config(&backend)).on(StoreThread::current()).start().unwrap();
        publisher.update_key(node("c", "1")).await.unwrap();
        drop(publisher);
        pass(Duration::from_secs(1)).await;
    });
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert!(line.contains("store{prefix=nodes}") && line.contains("without close") && line.contains("own=1"));
    }
}
