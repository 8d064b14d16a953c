//! Close and Release.

use shared_store::KeyName;
use shared_store::backend::faulty::{Faulty, Op, When};
use shared_store_actors::{BackendError, State, StoreError};

use super::owning::stored;
use super::*;

#[test]
fn close_deletes_own_keys_everywhere_and_nothing_is_told_after_it() {
    paused(async {
        let (backend, mine, theirs) = (MemoryBackend::new(), Shadow::default(), Shadow::default());
        let owner = join(config(&backend)).observer(mine.observer()).on(StoreThread::current()).await.unwrap();
        let other = join(config(&backend)).observer(theirs.observer()).on(StoreThread::current()).await.unwrap();
        for name in ["a", "b"] {
            settled(&owner, owner.update_local_key_sync(node(name, "1")).await.unwrap()).await;
        }
        let last = other.update_local_key_sync(node("c", "1")).await.unwrap();
        settled(&owner, last).await;
        owner.close().await.unwrap();
        assert_eq!(mine.map().into_keys().collect::<Vec<_>>(), ["c"]);
        let told = mine.log();
        assert_eq!(told.iter().filter(|line| line.starts_with('-')).count(), 2, "one deletion a key: {told:?}");
        let revision = other.update_local_key_sync(node("d", "1")).await.unwrap();
        settled(&other, revision).await;
        assert_eq!(mine.log(), told);
        assert_eq!(theirs.map().into_keys().collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!((stored(&backend, "a").await, stored(&backend, "b").await), (None, None));
        assert!(matches!(owner.reader().state(), State::Closed { .. }));
    });
}

#[test]
fn release_leaves_own_keys_to_their_lease() {
    paused(async {
        let backend = MemoryBackend::new();
        let config = config(&backend).lease_ttl(Duration::from_secs(10));
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key(node("a", "1")).await.unwrap();
        store.release().await.unwrap();
        assert!(stored(&backend, "a").await.is_some(), "what was pending was flushed");
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(stored(&backend, "a").await, None);
    });
}

#[test]
fn leaving_twice_is_leaving_once() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        let (first, second) = tokio::join!(store.close(), store.close());
        assert_eq!((first, second), (Ok(()), Ok(())));
        assert_eq!((store.close().await, store.release().await), (Ok(()), Ok(())));
        assert_eq!(store.update_local_key(node("a", "1")).await, Err(StoreError::Closed));
        let name = KeyName::new("a").unwrap();
        assert_eq!(store.delete_local_key(name).await, Err(StoreError::Closed));
    });
}

#[test]
fn close_names_what_it_could_not_delete_within_its_timeout() {
    paused(async {
        let backend = Faulty::new(MemoryBackend::new());
        let config = config(&MemoryBackend::new()).backend(backend.clone()).close_timeout(Duration::from_secs(5));
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        backend.fail(Op::Revoke, usize::MAX, When::Before, BackendError::unreachable("down"));
        let start = tokio::time::Instant::now();
        let error = store.close().await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert_eq!(error.left[0].0.as_str(), "a");
        assert!(error.to_string().contains("first a: down"), "{error}");
    });
}

#[test]
fn an_observer_that_is_stuck_does_not_hold_up_leaving_for_ever() {
    paused(async {
        let backend = MemoryBackend::new();
        let stuck = observing::Stuck.start();
        let config = config(&backend).close_timeout(Duration::from_secs(5));
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.subscribe(Observer::new(&stuck)).await.unwrap();
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        store.reader().at_least(written, PATIENCE).await.unwrap();
        let start = tokio::time::Instant::now();
        store.close().await.unwrap();
        assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
    });
}

#[test]
fn when_every_handle_is_dropped_the_store_stops() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        let mut reader = store.reader().clone();
        drop(store);
        assert!(reader.changed().await.is_err());
        assert!(matches!(reader.state(), State::Closed { .. }));
    });
}

/// actix-web stops the System on SIGTERM, and every arbiter with it.
#[test]
fn a_store_can_be_closed_after_the_system_has_stopped_its_arbiters() {
    let backend = MemoryBackend::new();
    actix_rt::System::new().block_on(async {
        let store = join(config(&backend)).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        let arbiter = Arbiter::new();
        System::current().stop();
        // The arbiter has ended when its thread has.
        tokio::task::spawn_blocking(move || arbiter.join()).await.unwrap().unwrap();
        tokio::time::timeout(PATIENCE, store.close()).await.unwrap().unwrap();
        assert_eq!(stored(&backend, "a").await, None);
    });
}
