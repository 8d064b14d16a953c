//! Stores that start when their canaries are seen.

use shared_store::{CanaryGate, GateProgress, GateStatus, GatedStore, OnTimeout, State, publish};

use super::publishing::until;
use super::*;

fn canaries(backend: &MemoryBackend) -> Config {
    config(backend).prefix(Prefix::canaries("c1").unwrap())
}

fn gate(backend: &MemoryBackend) -> CanaryGate {
    CanaryGate::start_on(&canaries(backend), StoreThread::current()).unwrap()
}

/// Registers a store that says when it starts.
async fn register(gate: &CanaryGate, awaited: GatedStore, started: &Arc<Mutex<Vec<String>>>) {
    let (prefix, started) = (awaited.prefix.to_string(), Arc::clone(started));
    gate.register(awaited, move || async move { started.lock().unwrap().push(prefix) }).await.unwrap();
}

fn awaited(prefix: &str) -> GatedStore {
    GatedStore::new(Prefix::new(prefix).unwrap()).timeout(Duration::from_secs(30))
}

fn passages(status: &GateStatus) -> Vec<String> {
    status.stores.iter().map(|(prefix, passage)| format!("{prefix}: {passage}")).collect()
}

#[test]
fn a_store_is_joined_when_its_publisher_has_given_everything() {
    paused(async {
        let backend = MemoryBackend::new();
        let (gate, shadow) = (gate(&backend), Shadow::default());
        let (config, observer) = (config(&backend), shadow.observer());
        let (sender, joined) = tokio::sync::oneshot::channel();
        let nodes = awaited("nodes");
        gate.register(nodes, move || async move {
            let store = join::<Node>(config).observer(observer).on(StoreThread::current()).await.unwrap();
            sender.send(store).unwrap();
        })
        .await
        .unwrap();
        let publisher = publish::<Node>(super::config(&backend)).canary(Prefix::canaries("c1").unwrap());
        let publisher = publisher.on(StoreThread::current()).start().unwrap();
        for n in 0..10 {
            publisher.update_key(node(&n.to_string(), "1")).await.unwrap();
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(passages(&gate.status().await.unwrap()), ["nodes: waiting for its canary since 10 s"]);
        publisher.synced().await.unwrap();
        let store = joined.await.unwrap();
        assert_eq!((store.reader().len(), shadow.map().len()), (10, 10), "the observer never saw a part of the keys");
        let status = gate.status().await.unwrap();
        assert_eq!((&status.state, passages(&status)), (&State::Synced, vec!["nodes: started after 10 s".to_owned()]));
        // Its canary may go.
        publisher.close().await.unwrap();
        until(async || store.reader().is_empty()).await;
        assert!(matches!(gate.status().await.unwrap().stores[0].1, GateProgress::Started { .. }));
    });
}

#[test]
fn a_canary_that_never_comes_is_seen_as_such_and_the_policy_decides() {
    paused(async {
        let (backend, started) = (MemoryBackend::new(), Arc::default());
        let gate = gate(&backend);
        register(&gate, awaited("waits"), &started).await;
        register(&gate, awaited("starts").on_timeout(OnTimeout::Start), &started).await;
        pass(Duration::from_secs(45)).await;
        let expected = ["waits: canary not seen for 45 s", "starts: started without its canary after 30 s"];
        assert_eq!(passages(&gate.status().await.unwrap()), expected);
        assert_eq!(*started.lock().unwrap(), ["starts"]);
        let late = config(&backend).prefix(Prefix::new("waits").unwrap());
        let late = publish::<Node>(late).canary(Prefix::canaries("c1").unwrap()).on(StoreThread::current());
        let late = late.start().unwrap();
        late.synced().await.unwrap();
        until(async || started.lock().unwrap().len() == 2).await;
        assert_eq!(*started.lock().unwrap(), ["starts", "waits"]);
    });
}

#[test]
fn a_store_whose_start_panics_holds_up_no_other_and_a_dropped_gate_starts_nothing() {
    paused(async {
        let (backend, started) = (MemoryBackend::new(), Arc::default());
        let gate = gate(&backend);
        let panics = awaited("panics").timeout(Duration::from_secs(1)).on_timeout(OnTimeout::Start);
        gate.register(panics, || async { panic!("as planned") }).await.unwrap();
        register(&gate, awaited("starts").on_timeout(OnTimeout::Start), &started).await;
        register(&gate, awaited("never").timeout(Duration::from_secs(60)).on_timeout(OnTimeout::Start), &started).await;
        pass(Duration::from_secs(45)).await;
        assert_eq!(*started.lock().unwrap(), ["starts"]);
        drop(gate);
        pass(Duration::from_secs(45)).await;
        assert_eq!(*started.lock().unwrap(), ["starts"]);
        let error = CanaryGate::start(&canaries(&backend).watch_timeout(Duration::ZERO)).unwrap_err();
        assert!(error.to_string().contains("watch_timeout"), "{error}");
    });
}
