//! A read-only store that leaves one kvstore or prefix for another.

use shared_store::{Backend, State, StoreError};
use shared_store_core::backend::WriteAction;
use shared_store_core::{KeyName, LeaseId};

use super::owning::meddle;
use super::publishing::until;
use super::*;

fn prefix(prefix: &str) -> Prefix {
    Prefix::new(prefix).unwrap()
}

async fn reader_of(backend: &MemoryBackend) -> (SharedStore<Node>, Shadow) {
    let shadow = Shadow::default();
    let store = join(config(backend)).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
    (store, shadow)
}

/// A kvstore with these nodes below a prefix.
async fn filled(below: &str, nodes: &[(&str, &str)]) -> MemoryBackend {
    let backend = MemoryBackend::new();
    let owner = join::<Node>(config(&backend).prefix(prefix(below))).on(StoreThread::current()).await.unwrap();
    for (name, ip) in nodes {
        owner.update_local_key_sync(node(name, ip)).await.unwrap();
    }
    owner.release().await.unwrap();
    backend
}

async fn is_synced(store: &SharedStore<Node>) {
    until(async || store.reader().state() == State::Synced).await;
    until(async || store.status().await.unwrap().observers.iter().all(|(_, lag)| lag.pending == 0)).await;
}

#[test]
fn another_kvstore_and_prefix_are_told_as_the_true_difference() {
    paused(async {
        let first = filled("nodes", &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]).await;
        // The revisions are equal by chance, which must not matter.
        let second = filled("cilium/cache/nodes", &[("a", "1"), ("b", "2"), ("e", "1"), ("d", "1")]).await;
        let (store, shadow) = reader_of(&first).await;
        store.detach().await.unwrap();
        store.attach(Arc::new(second.clone()), prefix("cilium/cache/nodes")).await.unwrap();
        is_synced(&store).await;
        let mut told: Vec<_> = shadow.log().into_iter().skip(5).filter(|line| line != "resynced").collect();
        told.sort();
        assert_eq!(told, ["-c", "b=2", "e=1"]);
        assert_eq!(store.reader().len(), 4);
        // From now on it follows the second and no longer the first.
        meddle(&first, "x", WriteAction::Delete).await;
        let owner = join::<Node>(config(&second).prefix(prefix("cilium/cache/nodes")));
        let owner = owner.on(StoreThread::current()).await.unwrap();
        settled(&store, owner.update_local_key_sync(node("f", "1")).await.unwrap()).await;
        assert_eq!(shadow.log().last().map(String::as_str), Some("f=1"));
    });
}

#[test]
fn a_detached_store_is_stale_and_hears_nothing_until_it_is_attached_again() {
    paused(async {
        let backend = filled("nodes", &[("a", "1"), ("b", "1")]).await;
        let (store, shadow) = reader_of(&backend).await;
        store.detach().await.unwrap();
        store.detach().await.unwrap();
        let state = store.reader().state();
        assert!(
            matches!(state, State::Stale { .. }) && state.cause().is_some_and(|cause| &**cause == "detached"),
            "{state}"
        );
        meddle(&backend, "a", WriteAction::Delete).await;
        let value = serde_json::to_vec(&node("b", "2")).unwrap().into();
        meddle(&backend, "b", WriteAction::Put { value, lease: LeaseId::NONE }).await;
        pass(Duration::from_secs(3600)).await;
        assert_eq!((shadow.log().len(), store.reader().len()), (3, 2));
        store.attach(Arc::new(backend.clone()), prefix("nodes")).await.unwrap();
        is_synced(&store).await;
        assert_eq!(shadow.map().into_iter().collect::<Vec<_>>(), [("b".to_owned(), "2".to_owned())]);
    });
}

#[test]
fn a_drained_store_has_told_every_key_as_deleted_and_can_be_filled_again() {
    paused(async {
        let backend = filled("nodes", &[("a", "1"), ("b", "1")]).await;
        meddle(&backend, "bad", WriteAction::Put { value: "garbage".into(), lease: LeaseId::NONE }).await;
        let (store, shadow) = reader_of(&backend).await;
        assert_eq!(store.drain().await, Err(StoreError::Attached));
        store.detach().await.unwrap();
        store.drain().await.unwrap();
        is_drained(&store, &shadow).await;
        assert_eq!(store.status().await.unwrap().undecodable, 0);
        let late = Shadow::default();
        store.subscribe(late.observer()).await.unwrap();
        until(async || late.log() == ["synced 0"]).await;
        store.attach(Arc::new(backend.clone()), prefix("nodes")).await.unwrap();
        is_synced(&store).await;
        assert_eq!((shadow.map().len(), late.map().len(), store.reader().len()), (2, 2, 2));
        store.close().await.unwrap();
        assert_eq!(store.detach().await, Err(StoreError::Closed));
    });
}

async fn is_drained(store: &SharedStore<Node>, shadow: &Shadow) {
    until(async || shadow.map().is_empty()).await;
    assert!(store.reader().is_empty());
    let mut told = shadow.log().split_off(3);
    told.sort();
    assert_eq!(told, ["-a", "-b"]);
}

#[test]
fn a_change_that_is_meant_is_not_doubted_however_much_it_removes() {
    paused(async {
        let nodes: Vec<_> = (0..200).map(|n| n.to_string()).collect();
        let nodes: Vec<_> = nodes.iter().map(|name| (name.as_str(), "1")).collect();
        let (full, empty) = (filled("nodes", &nodes).await, MemoryBackend::new());
        let (store, shadow) = reader_of(&full).await;
        assert_eq!(shadow.map().len(), 200);
        store.detach().await.unwrap();
        store.attach(Arc::new(empty), prefix("nodes")).await.unwrap();
        is_synced(&store).await;
        assert_eq!((shadow.map().len(), store.status().await.unwrap().held_back), (0, 0));
    });
}

#[test]
fn only_a_store_that_owns_nothing_can_be_detached_and_then_it_can_own_nothing() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        let backend: Arc<dyn Backend> = Arc::new(backend);
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        assert_eq!(store.detach().await, Err(StoreError::Owner));
        assert_eq!(store.attach(Arc::clone(&backend), prefix("nodes")).await, Err(StoreError::Attached));
        let gone = store.delete_local_key(KeyName::new("a").unwrap()).await.unwrap();
        settled(&store, gone).await;
        store.detach().await.unwrap();
        for answer in [
            store.update_local_key(node("a", "1")).await,
            store.update_local_keys(vec![node("a", "1")]).await,
            store.update_local_key_sync(node("a", "1")).await.map(drop),
            store.update_key_sync(node("a", "1")).await.map(drop),
            store.delete_local_key(KeyName::new("a").unwrap()).await.map(drop),
        ] {
            assert_eq!(answer, Err(StoreError::ReadOnly));
        }
        store.attach(backend, prefix("nodes")).await.unwrap();
        assert_eq!(store.update_local_key(node("a", "1")).await, Err(StoreError::ReadOnly), "for good");
    });
}
