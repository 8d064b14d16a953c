//! Observers: complete, isolated, pruned.

use bytes::Bytes;
use shared_store::{
    Codec, CodecError, DeliveryMode, Filter, GetQuarantined, GetStatus, Index, KeyError, KeyName, LeaseId, Origin,
    StoreError,
};
use shared_store_core::backend::WriteAction;
use shared_store_core::backend::faulty::{Faulty, Op};

use super::*;

/// Never finishes handling a message.
pub(super) struct Stuck;

impl Actor for Stuck {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Stuck {
    type Result = ();

    fn handle(&mut self, _: Update<Node>, ctx: &mut Self::Context) {
        ctx.wait(std::future::pending::<()>().into_actor(self));
    }
}

impl Handler<Delete<Node>> for Stuck {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {}
}

/// Panics when it is told anything.
struct Panicking;

impl Actor for Panicking {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Panicking {
    type Result = ();

    fn handle(&mut self, _: Update<Node>, _: &mut Self::Context) {
        panic!("as it must");
    }
}

impl Handler<Delete<Node>> for Panicking {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {}
}

#[test]
fn a_late_subscriber_is_told_what_is_there_then_synced_then_what_changes() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        for name in ["b", "a"] {
            settled(&store, store.update_local_key_sync(node(name, "1")).await.unwrap()).await;
        }
        store.subscribe(shadow.observer()).await.unwrap();
        settled(&store, store.update_local_key_sync(node("a", "2")).await.unwrap()).await;
        assert_eq!(shadow.log(), ["a=1", "b=1", "synced 2", "a=2"]);
    });
}

#[test]
fn a_stuck_and_a_panicking_observer_disturb_no_other() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        let (stuck, panicking) = (Stuck.start(), Panicking.start());
        store.subscribe(Observer::new(&stuck)).await.unwrap();
        store.subscribe(Observer::new(&panicking)).await.unwrap();
        store.subscribe(shadow.observer()).await.unwrap();
        let mut last = Revision::ZERO;
        for n in 0..100 {
            last = store.update_local_key_sync(node(&format!("{:02}", n % 10), &n.to_string())).await.unwrap();
        }
        store.reader().at_least(last, PATIENCE).await.unwrap();
        while shadow.map().values().filter(|ip| ip.len() == 2 && ip.starts_with('9')).count() < 10 {
            tokio::task::yield_now().await;
        }
        let lags = store.status().await.unwrap().observers;
        assert_eq!(lags.len(), 2, "the one that panicked is gone: {lags:?}");
        assert!(lags[0].1.pending <= 1 + 10, "at most one change a key: {lags:?}");
    });
}

#[test]
fn an_observer_that_stops_is_forgotten_and_a_subscription_keeps_none_alive() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let stuck = Stuck.start();
        store.subscribe(Observer::new(&stuck)).await.unwrap();
        drop(stuck);
        tokio::task::yield_now().await;
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        settled(&store, written).await;
        assert!(store.status().await.unwrap().observers.is_empty());
    });
}

#[test]
fn unsubscribed_means_silence() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        let id = store.subscribe(shadow.observer()).await.unwrap();
        store.update_local_key(node("a", "1")).await.unwrap();
        store.unsubscribe(id).await;
        let told = shadow.log();
        settled(&store, store.update_local_key_sync(node("b", "1")).await.unwrap()).await;
        assert_eq!(shadow.log(), told);
    });
}

#[test]
fn unsubscribing_does_not_wait_for_an_observer_and_what_it_has_not_begun_is_cancelled() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        let (gate, open) = tokio::sync::oneshot::channel::<()>();
        let gated = Gated { shadow: shadow.actor(), open: Some(open) }.start();
        let id = store.subscribe(Observer::batched(&gated)).await.unwrap();
        for ip in ["1", "2"] {
            let written = store.update_local_key_sync(node("a", ip)).await.unwrap();
            store.reader().at_least(written, PATIENCE).await.unwrap();
            tokio::task::yield_now().await;
        }
        let start = tokio::time::Instant::now();
        store.unsubscribe(id).await;
        assert_eq!((start.elapsed(), store.status().await.unwrap().observers.len()), (Duration::ZERO, 0));
        gate.send(()).unwrap();
        settled(&store, store.update_local_key_sync(node("a", "3")).await.unwrap()).await;
        pass(PATIENCE).await;
        assert_eq!(shadow.log(), ["a=1"], "which it was handling already");
    });
}

#[test]
fn one_by_one_and_in_batches_the_same_is_told() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let (single, batched) = (Shadow::default(), Shadow::default());
        store.subscribe(single.observer()).await.unwrap();
        let addr = batched.actor();
        store.subscribe(Observer::batched(&addr)).await.unwrap();
        for n in 0..1000 {
            store.update_local_key(node(&format!("{}", n % 300), &n.to_string())).await.unwrap();
        }
        settled(&store, store.update_local_key_sync(node("last", "1")).await.unwrap()).await;
        assert_eq!((single.map(), batched.map().len()), (batched.map(), 301));
    });
}

#[test]
fn filters_by_glob_origin_and_predicate_tell_which_keys_enter_and_leave() {
    paused(async {
        let backend = MemoryBackend::new();
        let (store, other) = (joined(&backend).await, joined(&backend).await);
        let (globbed, remote, even) = (Shadow::default(), Shadow::default(), Shadow::default());
        let filter = |shadow: &Shadow, filter| store.subscribe(shadow.observer().filter(filter));
        filter(&globbed, Filter::new().glob("eu/*")).await.unwrap();
        filter(&remote, Filter::new().origin(Origin::Remote)).await.unwrap();
        filter(&even, Filter::new().keys(|_, node: &Node| node.ip.ends_with('2'))).await.unwrap();
        settled(&store, store.update_local_key_sync(node("eu/a", "1")).await.unwrap()).await;
        settled(&store, other.update_local_key_sync(node("us/b", "2")).await.unwrap()).await;
        settled(&store, other.update_local_key_sync(node("us/b", "3")).await.unwrap()).await;
        assert_eq!(globbed.log(), ["synced 0", "eu/a=1"]);
        assert_eq!(remote.log(), ["synced 0", "us/b=2", "us/b=3"]);
        assert_eq!(even.log(), ["synced 0", "us/b=2", "-us/b"]);
    });
}

#[test]
fn too_many_events_for_an_observer_merge_and_it_is_told_so() {
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        let capacity = std::num::NonZeroUsize::new(5).unwrap();
        // A parcel is under way while the rest comes.
        let (gate, open) = tokio::sync::oneshot::channel::<()>();
        let addr = shadow.actor();
        let gated = Gated { shadow: addr.clone(), open: Some(open) }.start();
        let observer = Observer::batched(&gated).mode(DeliveryMode::EveryEvent { capacity }).resynced(addr.recipient());
        store.subscribe(observer).await.unwrap();
        let mut last = Revision::ZERO;
        for n in 0..50 {
            last = store.update_local_key_sync(node("a", &n.to_string())).await.unwrap();
        }
        store.reader().at_least(last, PATIENCE).await.unwrap();
        gate.send(()).unwrap();
        settled(&store, last).await;
        let log = shadow.log();
        assert!(log.contains(&"resynced".to_owned()) && log.len() < 20, "{log:?}");
        assert_eq!(log.last().map(String::as_str), Some("a=49"));
    });
}

/// Passes batches on, the first one only when the gate opens.
struct Gated {
    shadow: Addr<Shadow>,
    open: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Actor for Gated {
    type Context = Context<Self>;
}

impl Handler<Changes<Node>> for Gated {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, changes: Changes<Node>, _: &mut Self::Context) -> Self::Result {
        let (open, shadow) = (self.open.take(), self.shadow.clone());
        let pass = async move {
            if let Some(open) = open {
                open.await.unwrap();
            }
            shadow.send(changes).await.unwrap();
        };
        AtomicResponse::new(Box::pin(pass.into_actor(self)))
    }
}

/// A codec, a filter and an index that panic on a value of `!`.
#[derive(Debug, Clone)]
struct Touchy(String);

impl Key for Touchy {
    type Codec = Careless;

    fn name(&self) -> String {
        assert_ne!(self.0, "!", "a name that panics");
        self.0.clone()
    }
}

enum Careless {}

impl Codec<Touchy> for Careless {
    const TAG: &'static str = "careless";

    fn encode(key: &Touchy) -> Result<Bytes, CodecError> {
        Ok(key.0.clone().into())
    }

    fn decode(_: &KeyName, value: &Bytes) -> Result<Touchy, CodecError> {
        assert_ne!(&value[..], b"!", "a value that panics");
        Ok(Touchy(String::from_utf8_lossy(value).into_owned()))
    }
}

#[test]
fn panics_in_codec_index_and_filter_are_contained_and_counted() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = join::<Touchy>(config(&backend))
            .index(Index::new("first", |key: &Touchy| vec![key.0[2..].to_owned()]))
            .on(StoreThread::current())
            .await
            .unwrap();
        assert!(matches!(
            store.update_local_key(Touchy("!".into())).await,
            Err(StoreError::Key(KeyError::Panicked(_)))
        ));
        super::owning::meddle(&backend, "bad", WriteAction::Put { value: "!".into(), lease: LeaseId::NONE }).await;
        // Too short for the index function, which panics.
        let put =
            super::owning::meddle(&backend, "x", WriteAction::Put { value: "x".into(), lease: LeaseId::NONE }).await;
        store.reader().at_least(put, PATIENCE).await.unwrap();
        let status = store.status().await.unwrap();
        assert_eq!((status.panics, status.undecodable, status.entries), (3, 1, 1));
        let bytes = store.addr().send(GetQuarantined(KeyName::new("bad").unwrap())).await.unwrap();
        assert_eq!(bytes.as_deref(), Some(&b"!"[..]));
        assert_eq!(store.reader().lookup("first", "x").unwrap().entries.len(), 0);
    });
}

/// Real threads and a real clock: what is waited for are keep-alives, not time.
#[test]
fn a_foreign_thread_that_floods_the_store_stops_neither_keep_alives_nor_the_watch() {
    actix_rt::System::new().block_on(async {
        let (memory, counted) = (MemoryBackend::new(), Shadow::default());
        let backend = Faulty::new(memory.clone());
        let config = config(&memory).backend(backend.clone()).lease_ttl(Duration::from_secs(1));
        let store = join(config).observer(counted.observer()).await.unwrap();
        let written = store.update_local_key_sync(node("mine", "1")).await.unwrap();
        let (addr, stop) = (store.addr().clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let flood = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                // The flood fills the mailbox: an error says that it is full.
                let _ = addr.try_send(GetStatus);
            }
        });
        // Over several lifetimes of the lease.
        backend.arrived(Op::KeepAlive, 8).await;
        let put = super::owning::meddle(
            &memory,
            "theirs",
            WriteAction::Put { value: serde_json::to_vec(&node("theirs", "1")).unwrap().into(), lease: LeaseId::NONE },
        )
        .await;
        store.reader().at_least(put, PATIENCE).await.unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        flood.join().unwrap();
        let mine = super::owning::stored(&memory, "mine").await.unwrap();
        assert_eq!(mine.mod_revision, written, "its lease never ended");
        store.close().await.unwrap();
    });
}
