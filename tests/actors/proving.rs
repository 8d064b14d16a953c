//! Events that a kvstore loses when it compacts while a watch is away or behind, as some versions of etcd do.

use shared_store::{BackendError, State, publish};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, ListRequest, WriteAction};
use shared_store_core::{KeyName, LeaseId};

use super::owning::meddle;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

async fn put(backend: &MemoryBackend, name: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, "1")).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

async fn delete(backend: &MemoryBackend, name: &str) -> Revision {
    meddle(backend, name, WriteAction::Delete).await
}

async fn watching() -> (MemoryBackend, Faulty, SharedStore<Node>, Shadow) {
    let (memory, shadow) = (MemoryBackend::new(), Shadow::default());
    for n in 0..10 {
        put(&memory, &n.to_string()).await;
    }
    let faulty = Faulty::new(memory.clone());
    let config = config(&memory).backend(faulty.clone()).audit_interval(Duration::ZERO);
    let store =
        join::<Node>(config).observer(shadow.observer()).on(shared_store::StoreThread::current()).await.unwrap();
    synced(&store).await;
    (memory, faulty, store, shadow)
}

async fn synced(store: &SharedStore<Node>) {
    let mut state = store.reader().state();
    while state != State::Synced {
        state = store.reader().state_changed(&state).await;
    }
}

/// Cuts the watch, lets `happens` run, and loses its events to the watch that is opened next.
async fn lost_in_a_gap(faulty: &Faulty, happens: impl Future<Output = ()>) {
    let opened = faulty.calls(Op::Watch);
    faulty.hold(Op::Watch, When::Before);
    faulty.break_watches(BackendError::unavailable("cut"));
    faulty.arrived(Op::Watch, opened + 1).await;
    happens.await;
    faulty.lose_events();
    faulty.release(Op::Watch);
    pass(SECOND / 10).await;
    faulty.heal();
}

#[test]
fn a_deletion_lost_to_a_compaction_in_a_gap_is_told_in_seconds() {
    paused(async {
        let (memory, faulty, store, shadow) = watching().await;
        lost_in_a_gap(&faulty, async {
            let revision = delete(&memory, "3").await;
            memory.compact(revision).unwrap();
        })
        .await;
        let seen = put(&memory, "seen").await;
        settled(&store, seen).await;
        synced(&store).await;
        assert!(shadow.map().contains_key("3"), "the watch does not know");
        pass(3 * SECOND).await;
        assert!(!shadow.map().contains_key("3"), "{:?}", shadow.log());
        let status = store.status().await.unwrap();
        assert_eq!((status.state, status.relists.lists, status.relists.other_histories), (State::Synced, 2, 0));
    });
}

#[test]
fn a_gap_without_a_compaction_costs_one_request_and_the_store_stays_synced() {
    paused(async {
        let (memory, faulty, store, _shadow) = watching().await;
        let lists = faulty.calls(Op::List);
        faulty.break_watches(BackendError::unavailable("cut"));
        store.reader().state_changed(&State::Synced).await;
        synced(&store).await;
        put(&memory, "seen").await;
        let changed = store.reader().clone();
        let stale = tokio::time::timeout(MINUTE, changed.state_changed(&State::Synced)).await;
        assert!(stale.is_err(), "{stale:?}");
        assert_eq!(faulty.calls(Op::List) - lists, 1);
        assert_eq!(store.status().await.unwrap().relists.lists, 1);
    });
}

#[test]
fn events_skipped_by_a_compaction_while_the_watch_is_behind_are_told_after_the_hold() {
    paused(async {
        let (memory, faulty, store, shadow) = watching().await;
        faulty.lose_events();
        put(&memory, "lost").await;
        let revision = delete(&memory, "3").await;
        pass(SECOND / 10).await;
        faulty.heal();
        faulty.mute_watches();
        put(&memory, "a").await;
        memory.compact(revision).unwrap();
        let last = put(&memory, "b").await;
        faulty.unmute_watches();
        settled(&store, last).await;
        assert!(shadow.map().contains_key("3"), "the watch does not know");
        // The event does not fit the cache, so all is listed as another history, and its deletions are held for 30 s.
        pass(45 * SECOND).await;
        synced(&store).await;
        assert!(!shadow.map().contains_key("3") && shadow.map().contains_key("lost"), "{:?}", shadow.log());
    });
}

#[test]
fn an_own_key_whose_deletion_is_lost_in_a_gap_is_put_again_in_seconds_without_a_cache_too() {
    paused(async {
        let memory = MemoryBackend::new();
        let faulty = Faulty::new(memory.clone());
        let config = config(&memory).backend(faulty.clone());
        let publisher = publish::<Node>(config).on(shared_store::StoreThread::current()).start().unwrap();
        publisher.update_keys((0..10).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
        publisher.synced().await.unwrap();
        lost_in_a_gap(&faulty, async {
            let revision = delete(&memory, "3").await;
            memory.compact(revision).unwrap();
        })
        .await;
        // The watch sees this and takes itself for up to date.
        put(&memory, "seen").await;
        pass(5 * SECOND).await;
        let path = Prefix::new("nodes").unwrap().path(&KeyName::new("3").unwrap());
        let page = memory.list(ListRequest::new(shared_store_core::KeyRange::one(&path))).await.unwrap();
        assert_eq!(page.kvs.len(), 1, "it is back");
        publisher.close().await.unwrap();
    });
}
