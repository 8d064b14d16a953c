//! What is acknowledged is in the kvstore.

use shared_store_core::backend::WriteAction;
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, Expect, Write, WriteOutcome};
use shared_store_core::{KeyName, LeaseId};

use super::owning::{meddle, stored};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

/// A store whose watch is late from now on, and the kvstore. The key `a` was written, shown and deleted again, and the
/// cache still shows it.
async fn late() -> (MemoryBackend, SharedStore<Node>) {
    let memory = MemoryBackend::new();
    let backend = Faulty::new(memory.clone());
    let store = join(config(&memory).backend(backend.clone())).on(StoreThread::current()).await.unwrap();
    settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
    backend.mute_watches();
    store.delete_local_key(name("a")).await.unwrap();
    assert_eq!((stored(&memory, "a").await, store.reader().len()), (None, 1));
    (memory, store)
}

#[test]
fn a_key_written_once_after_its_deletion_is_there_though_the_cache_shows_it_already() {
    paused(async {
        let (memory, store) = late().await;
        let written = store.update_key_sync(node("a", "1")).await.unwrap();
        assert_eq!(stored(&memory, "a").await.map(|kv| kv.mod_revision), Some(written));
    });
}

#[test]
fn a_key_owned_after_its_deletion_is_there_though_the_cache_shows_it_already() {
    paused(async {
        let (memory, store) = late().await;
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        assert_eq!(stored(&memory, "a").await.map(|kv| kv.mod_revision), Some(written));
    });
}

#[test]
fn a_value_written_once_is_there_though_somebody_has_just_deleted_it() {
    paused(async {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        let store = join(config(&memory).backend(backend.clone())).on(StoreThread::current()).await.unwrap();
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        backend.mute_watches();
        meddle(&memory, "a", WriteAction::Delete).await;
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        assert!(stored(&memory, "a").await.is_some());
    });
}

#[test]
fn a_good_value_after_one_that_the_kvstore_refuses_is_written() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        store.update_local_key_sync(node("other", "1")).await.unwrap();
        store.update_local_key(node("a", &"x".repeat(2 << 20))).await.unwrap();
        store.update_local_key(node("a", "good")).await.unwrap();
        pass(MINUTE).await;
        assert!(stored(&backend, "a").await.is_some());
        assert_eq!(store.status().await.unwrap().set_aside, []);
    });
}

/// The second value is given while the write of the first is under way. The refusal of the first must not count for
/// the second.
#[test]
fn a_refusal_concerns_only_the_value_that_was_refused() {
    paused(async {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        let store = join(config(&memory).backend(backend.clone())).on(StoreThread::current()).await.unwrap();
        backend.hold(Op::Write, When::After);
        store.update_local_key(node("a", &"x".repeat(2 << 20))).await.unwrap();
        backend.arrived(Op::Write, 1).await;
        store.update_local_key(node("a", "good")).await.unwrap();
        backend.release(Op::Write);
        pass(MINUTE).await;
        assert!(stored(&memory, "a").await.is_some());
        assert_eq!(store.status().await.unwrap().set_aside, []);
    });
}

/// A write waits for the rate limit. Meanwhile the key is deleted by others, and then owned with its older value.
#[test]
fn an_own_key_is_written_whatever_was_known_when_an_earlier_write_was_asked_for() {
    paused(async {
        let backend = MemoryBackend::new();
        let config = config(&backend).qps(1).bootstrap_qps(1);
        let store = join(config).on(StoreThread::current()).await.unwrap();
        settled(&store, store.update_key_sync(node("a", "3")).await.unwrap()).await;
        let waiting = tokio::task::spawn_local({
            let store = store.clone();
            async move { store.update_key_sync(node("a", "5")).await }
        });
        pass(Duration::from_millis(10)).await;
        settled(&store, meddle(&backend, "a", WriteAction::Delete).await).await;
        store.update_local_key(node("a", "3")).await.unwrap();
        waiting.await.unwrap().unwrap_err();
        pass(MINUTE).await;
        let status = store.status().await.unwrap();
        assert!(stored(&backend, "a").await.is_some(), "own {}, pending {}", status.own, status.pending_writes);
    });
}

#[test]
fn the_revision_a_deletion_is_answered_with_is_reached_by_the_cache() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        // Others are busy elsewhere in the kvstore, which this watch does not see.
        for n in 0..100 {
            let (path, action) =
                (format!("elsewhere/{n}").into(), WriteAction::Put { value: "1".into(), lease: LeaseId::NONE });
            let Ok(WriteOutcome::Committed { .. }) =
                backend.write(vec![Write { path, expect: Expect::Any, action }]).await
            else {
                panic!("it expects nothing");
            };
        }
        let deleted = store.delete_local_key(name("never")).await.unwrap();
        store.reader().at_least(deleted, MINUTE).await.unwrap();
    });
}
