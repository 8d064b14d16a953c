//! Observers by name: in the log and in the status; and the progress they are told.

use shared_store::{Filter, Progress};
use shared_store_core::LeaseId;
use shared_store_core::backend::WriteAction;

use super::logging::Log;
use super::observing::Stuck;
use super::owning::meddle;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_slow_observer_is_named_in_the_log_once_a_parcel_and_in_the_status() {
    let (log, _guard) = Log::from(tracing::Level::INFO);
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        let stuck = Stuck.start();
        store.subscribe(Observer::new(&stuck).named("routes")).await.unwrap();
        let other = Stuck.start();
        store.subscribe(Observer::new(&other).slow_after(60 * SECOND)).await.unwrap();
        store.subscribe(shadow.observer().named("shadow")).await.unwrap();
        let slow = || log.with("has not handled what it was told");
        // The first update counts as handled, and no other is.
        for ip in ["1", "2"] {
            settled_but(&store, store.update_local_key_sync(node("a", ip)).await.unwrap(), 2).await;
        }
        pass(4 * SECOND).await;
        assert_eq!(slow(), Vec::<String>::new());
        pass(2 * SECOND).await;
        assert_eq!(slow().len(), 1, "{:?}", slow());
        assert!(slow()[0].contains("WARN") && slow()[0].contains("observer=routes") && slow()[0].contains("for 5 s"));
        pass(100 * SECOND).await;
        assert_eq!(slow().len(), 2, "{:?}", slow());
        assert!(slow()[1].contains("observer=ObserverId(1)") && slow()[1].contains("for 60 s"), "{:?}", slow());
        let status = store.status().await.unwrap();
        let names: Vec<_> = status.observers.iter().map(|(_, lag)| lag.name.as_deref()).collect();
        assert_eq!(names, [Some("routes"), None, Some("shadow")]);
        store.close().await.unwrap();
        assert!(log.with("left observers behind")[0].ends_with("observers=routes, ObserverId(1)"), "{:?}", log.lines());
    });
}

/// Waits until the cache shows the revision and all observers but so many have handled everything.
async fn settled_but(store: &SharedStore<Node>, revision: Revision, stuck: usize) {
    store.reader().at_least(revision, PATIENCE).await.unwrap();
    while store.status().await.unwrap().observers.iter().filter(|(_, lag)| lag.pending > 0).count() > stuck {
        tokio::task::yield_now().await;
    }
}

#[test]
fn an_observer_that_handles_each_parcel_in_time_is_never_called_slow() {
    let (log, _guard) = Log::from(tracing::Level::INFO);
    paused(async {
        let (store, shadow) = (joined(&MemoryBackend::new()).await, Shadow::default());
        store.subscribe(shadow.observer()).await.unwrap();
        for n in 0..20 {
            settled(&store, store.update_local_key_sync(node("a", &n.to_string())).await.unwrap()).await;
            pass(SECOND).await;
        }
        store.close().await.unwrap();
    });
    assert_eq!(log.with("has not handled"), Vec::<String>::new());
}

#[test]
fn an_observer_that_is_gone_is_named_in_the_log() {
    let (log, _guard) = Log::from(tracing::Level::INFO);
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let stuck = Stuck.start();
        store.subscribe(Observer::new(&stuck).named("routes")).await.unwrap();
        tokio::task::yield_now().await;
        drop(stuck);
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        store.close().await.unwrap();
    });
    assert!(log.with("observer is gone")[0].contains("observer=routes"), "{:?}", log.lines());
}

/// Writes down what progress it is told.
struct Position(Arc<Mutex<Vec<u64>>>);

impl Actor for Position {
    type Context = Context<Self>;
}

impl Handler<Progress> for Position {
    type Result = ();

    fn handle(&mut self, Progress { revision }: Progress, _: &mut Self::Context) {
        self.0.lock().unwrap().push(revision.0);
    }
}

#[test]
fn progress_tells_revisions_that_change_nothing_the_observer_sees() {
    paused(async {
        let (backend, shadow) = (MemoryBackend::new().progress_interval(60 * SECOND), Shadow::default());
        let store = joined(&backend).await;
        let told = Arc::new(Mutex::new(Vec::new()));
        let position = Position(Arc::clone(&told)).start();
        let observer = shadow.observer().filter(Filter::new().prefix("eu/")).progress(position.clone().recipient());
        store.subscribe(observer).await.unwrap();
        let seen = store.update_local_key_sync(node("eu/a", "1")).await.unwrap();
        settled(&store, seen).await;
        let unseen = store.update_local_key_sync(node("us/a", "1")).await.unwrap();
        settled(&store, unseen).await;
        assert_eq!(
            (shadow.log(), told.lock().unwrap().clone()),
            (vec!["synced 0".into(), "eu/a=1".into()], vec![seen.0, unseen.0])
        );
        // Of another prefix: the kvstore says that this watch has nothing new.
        let path = bytes::Bytes::from_static(b"elsewhere/x");
        let action = WriteAction::Put { value: "1".into(), lease: LeaseId::NONE };
        let expect = shared_store_core::backend::Expect::Any;
        let write = shared_store_core::backend::Write { path, expect, action };
        shared_store_core::Backend::write(&backend, vec![write]).await.unwrap();
        pass(120 * SECOND).await;
        assert_eq!(*told.lock().unwrap(), [seen.0, unseen.0, unseen.0 + 1]);
        let put = WriteAction::Put { value: "?".into(), lease: LeaseId::NONE };
        settled(&store, meddle(&backend, "eu/b", put).await).await;
        store.close().await.unwrap();
    });
}
