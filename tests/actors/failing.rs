//! Backends that panic where nothing catches it, and kvstores that do not answer.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shared_store::State;
use shared_store::publish;
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{
    Backend, BackendError, LeaseGrant, ListPage, ListRequest, WatchRequest, WatchResponse, WatchStream, Write,
    WriteAction, WriteOutcome,
};
use shared_store_core::{Header, LeaseId};

use super::owning::{meddle, stored};
use super::publishing::until;
use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A kvstore in memory behind a client with bugs. A clone is a handle.
#[derive(Debug, Clone, Default)]
struct Brittle {
    memory: MemoryBackend,
    /// How many watches panic before they say anything.
    watches: Arc<AtomicUsize>,
    watched: Arc<AtomicUsize>,
    /// How many writes panic before there is a future.
    writes: Arc<AtomicUsize>,
    /// Counts how often all open watches have ended.
    ends: tokio::sync::watch::Sender<usize>,
}

fn one_less(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Backend for Brittle {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        self.memory.list(request).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        self.watched.fetch_add(1, Ordering::Relaxed);
        let stream = self.memory.watch(request).await?;
        Ok(Box::new(BrittleWatch { stream, panics: one_less(&self.watches), ends: self.ends.subscribe() }))
    }

    fn write<'life, 'async_trait>(
        &'life self,
        writes: Vec<Write>,
    ) -> Pin<Box<dyn Future<Output = Result<WriteOutcome, BackendError>> + Send + 'async_trait>>
    where
        'life: 'async_trait,
        Self: 'async_trait,
    {
        assert!(!one_less(&self.writes), "a bug in writing");
        self.memory.write(writes)
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        self.memory.grant(lease, ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        self.memory.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        self.memory.revoke(lease).await
    }
}

#[derive(Debug)]
struct BrittleWatch {
    stream: Box<dyn WatchStream>,
    panics: bool,
    ends: tokio::sync::watch::Receiver<usize>,
}

#[async_trait]
impl WatchStream for BrittleWatch {
    fn header(&self) -> Header {
        assert!(!self.panics, "a bug in watching");
        self.stream.header()
    }

    async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        tokio::select! {
            response = self.stream.next() => response,
            _ = self.ends.changed() => Err(BackendError::unavailable("the end")),
        }
    }
}

async fn put(backend: &MemoryBackend, name: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, "1")).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

#[test]
fn a_watcher_that_panics_is_replaced_and_the_store_is_stale_until_the_next_one_watches() {
    paused(async {
        let (backend, shadow) = (Brittle::default(), Shadow::default());
        backend.watches.store(3, Ordering::Relaxed);
        let config = config(&backend.memory).backend(backend.clone());
        let store = join(config).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
        until(async || matches!(store.reader().state(), State::Stale { .. })).await;
        assert_eq!(store.reader().state().cause().map(|cause| &**cause), Some("the watcher ended"));
        let missed = put(&backend.memory, "missed").await;
        until(async || store.reader().state() == State::Synced).await;
        settled(&store, missed).await;
        assert_eq!(shadow.log(), ["synced 0", "missed=1"]);
        settled(&store, put(&backend.memory, "seen").await).await;
        assert_eq!(store.reader().len(), 2);
    });
}

#[test]
fn a_read_that_waits_for_a_watcher_that_panics_is_answered_by_the_next_one() {
    paused(async {
        let backend = Brittle::default();
        let config = config(&backend.memory).backend(backend.clone());
        let store = join::<Node>(config).on(StoreThread::current()).await.unwrap();
        store.synced().await.unwrap();
        backend.watches.store(1, Ordering::Relaxed);
        backend.ends.send_modify(|ends| *ends += 1);
        until(async || store.reader().state() != State::Synced).await;
        let written = put(&backend.memory, "missed").await;
        assert_eq!(store.catch_up(HOUR).await, Ok(written));
        assert!(store.reader().get("missed").is_some());
        assert_eq!(backend.watched.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_watcher_that_always_panics_is_replaced_now_and_then() {
    paused(async {
        let backend = Brittle::default();
        backend.watches.store(usize::MAX, Ordering::Relaxed);
        let config = config(&backend.memory).backend(backend.clone());
        let store = join::<Node>(config).on(StoreThread::current()).await.unwrap();
        pass(HOUR).await;
        let watched = backend.watched.load(Ordering::Relaxed);
        assert!((100..=4000).contains(&watched), "{watched} times in an hour");
        assert!(matches!(store.reader().state(), State::Stale { .. }), "{}", store.reader().state());
        store.close().await.unwrap();
    });
}

#[test]
fn a_sync_that_panics_is_replaced_and_what_was_under_way_is_written_again() {
    paused(async {
        let backend = Brittle::default();
        let config = config(&backend.memory).backend(backend.clone());
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("before", "1")).await.unwrap();
        backend.writes.store(2, Ordering::Relaxed);
        store.update_local_key(node("a", "1")).await.unwrap();
        let mut causes = Vec::new();
        until(async || {
            let status = store.status().await.unwrap();
            causes.extend(status.pending_cause.map(|cause| cause.to_string()));
            status.pending_writes == 0
        })
        .await;
        assert!(causes.iter().all(|cause| cause == "the request was lost") && !causes.is_empty(), "{causes:?}");
        assert!(stored(&backend.memory, "a").await.is_some());
        // Keep-alives continue, too.
        pass(HOUR).await;
        assert!(stored(&backend.memory, "before").await.is_some());
    });
}

#[test]
fn a_publishers_sync_that_panics_is_replaced_and_what_was_under_way_is_written_again() {
    paused(async {
        let backend = Brittle::default();
        let config = config(&backend.memory).backend(backend.clone());
        let publisher = publish::<Node>(config).on(StoreThread::current()).start().unwrap();
        publisher.update_key(node("before", "1")).await.unwrap();
        publisher.synced().await.unwrap();
        backend.writes.store(2, Ordering::Relaxed);
        publisher.update_key(node("a", "1")).await.unwrap();
        publisher.synced().await.unwrap();
        pass(HOUR).await;
        assert!(stored(&backend.memory, "a").await.is_some() && stored(&backend.memory, "before").await.is_some());
    });
}

#[test]
fn a_publishers_watcher_that_always_panics_is_replaced_now_and_then_and_damage_is_mended_by_the_next_good_one() {
    paused(async {
        let backend = Brittle::default();
        let config = config(&backend.memory).backend(backend.clone());
        let publisher = publish::<Node>(config).on(StoreThread::current()).start().unwrap();
        publisher.update_key(node("a", "1")).await.unwrap();
        publisher.synced().await.unwrap();
        until(async || publisher.state() == State::Synced).await;
        backend.watches.store(usize::MAX, Ordering::Relaxed);
        backend.ends.send_modify(|ends| *ends += 1);
        pass(HOUR).await;
        let watched = backend.watched.load(Ordering::Relaxed);
        assert!((100..=4000).contains(&watched), "{watched} times in an hour");
        assert_eq!(publisher.state().cause().map(|cause| &**cause), Some("the watcher ended"));
        meddle(&backend.memory, "a", WriteAction::Delete).await;
        backend.watches.store(0, Ordering::Relaxed);
        until(async || publisher.state() == State::Synced).await;
        until(async || stored(&backend.memory, "a").await.is_some()).await;
    });
}

#[test]
fn a_store_can_be_closed_between_two_watchers() {
    paused(async {
        let backend = Brittle::default();
        backend.watches.store(usize::MAX, Ordering::Relaxed);
        let config = config(&backend.memory).backend(backend.clone());
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        until(async || matches!(store.reader().state(), State::Stale { .. })).await;
        store.close().await.unwrap();
        assert_eq!(stored(&backend.memory, "a").await, None);
        let watched = backend.watched.load(Ordering::Relaxed);
        pass(HOUR).await;
        assert_eq!(backend.watched.load(Ordering::Relaxed), watched);
    });
}

/// A store that checks its timers in a loop is never idle, and then the paused clock never moves: so this runs on a
/// thread of its own, and the test notices in real time.
#[test]
fn a_kvstore_that_swallows_a_request_leaves_the_store_idle() {
    let (done, idle) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        paused(async move {
            let memory = MemoryBackend::new();
            let backend = Faulty::new(memory.clone());
            let store = join(config(&memory).backend(backend.clone())).on(StoreThread::current()).await.unwrap();
            backend.fail(Op::Grant, 1, When::Before, BackendError::unreachable("down"));
            store.update_local_keys((0..2000).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
            backend.arrived(Op::Grant, 1).await;
            backend.hold(Op::Grant, When::Before);
            backend.arrived(Op::Grant, 2).await;
            pass(HOUR).await;
            assert_eq!((backend.calls(Op::Grant), backend.calls(Op::Write)), (2, 0));
            done.send(()).unwrap();
        });
    });
    idle.recv_timeout(PATIENCE).expect("the clock moves on");
}
