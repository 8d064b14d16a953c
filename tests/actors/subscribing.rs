//! Subscriptions that end: by themselves, by their observers, and with their recipients.

use shared_store::{Filter, ObserverId, Undecodable};
use shared_store_core::LeaseId;
use shared_store_core::backend::WriteAction;

use super::owning::meddle;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Takes values that cannot be decoded.
struct Counter;

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Undecodable> for Counter {
    type Result = ();

    fn handle(&mut self, _: Undecodable, _: &mut Self::Context) {}
}

#[test]
fn an_observer_outlives_the_recipient_of_its_undecodable_values() {
    paused(async {
        let (backend, shadow) = (MemoryBackend::new(), Shadow::default());
        let counter = Counter.start();
        let observer = shadow.observer().undecodable(counter.clone().recipient());
        let store = join(config(&backend)).observer(observer).on(StoreThread::current()).await.unwrap();
        drop(counter);
        pass(MINUTE).await;
        let put = async |name, value| {
            settled(&store, meddle(&backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await).await;
        };
        put("bad", "?".into()).await;
        put("good", serde_json::to_vec(&node("good", "1")).unwrap().into()).await;
        assert_eq!(shadow.map().into_keys().collect::<Vec<_>>(), ["good"]);
        assert_eq!(store.status().await.unwrap().observers.len(), 1);
    });
}

/// Unsubscribes as soon as it is told something.
struct Once {
    store: SharedStore<Node>,
    id: Arc<Mutex<Option<ObserverId>>>,
    told: usize,
    done: Option<tokio::sync::oneshot::Sender<usize>>,
}

impl Actor for Once {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Once {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Update<Node>, _: &mut Self::Context) -> Self::Result {
        self.told += 1;
        let (store, id, told, done) = (self.store.clone(), *self.id.lock().unwrap(), self.told, self.done.take());
        let unsubscribe = async move {
            store.unsubscribe(id.expect("it is known before the first update")).await;
            done.map(|done| done.send(told));
        };
        AtomicResponse::new(Box::pin(unsubscribe.into_actor(self)))
    }
}

impl Handler<Delete<Node>> for Once {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {}
}

#[test]
fn an_observer_can_unsubscribe_itself_while_it_is_told() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let id = Arc::new(Mutex::new(None));
        let once = Once { store: store.clone(), id: Arc::clone(&id), told: 0, done: Some(sender) }.start();
        *id.lock().unwrap() = Some(store.subscribe(Observer::new(&once)).await.unwrap());
        let start = tokio::time::Instant::now();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        assert_eq!(receiver.await, Ok(1));
        assert_eq!((start.elapsed(), store.status().await.unwrap().observers.len()), (Duration::ZERO, 0));
    });
}

/// Counts what it is told, and blocks when it is asked to.
#[derive(Default)]
pub(super) struct Busy {
    told: usize,
    /// After the next update it blocks until this comes.
    pause: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Busy {
    pub(super) fn pausing(until: tokio::sync::oneshot::Receiver<()>) -> Self {
        Self { told: 0, pause: Some(until) }
    }
}

impl Actor for Busy {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Busy {
    type Result = ();

    fn handle(&mut self, _: Update<Node>, ctx: &mut Self::Context) {
        self.told += 1;
        if let Some(until) = self.pause.take() {
            ctx.wait(until.into_actor(self).map(|_, _, _| ()));
        }
    }
}

impl Handler<Delete<Node>> for Busy {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {
        self.told += 1;
    }
}

/// Handle nothing before this comes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StandStill(pub(super) tokio::sync::oneshot::Receiver<()>);

impl Handler<StandStill> for Busy {
    type Result = ();

    fn handle(&mut self, StandStill(until): StandStill, ctx: &mut Self::Context) {
        ctx.wait(until.into_actor(self).map(|_, _, _| ()));
    }
}

#[derive(Message)]
#[rtype(result = "usize")]
pub(super) struct Told;

impl Handler<Told> for Busy {
    type Result = usize;

    fn handle(&mut self, _: Told, _: &mut Self::Context) -> usize {
        self.told
    }
}

#[test]
fn what_an_observer_has_not_begun_to_handle_is_never_told_after_it_has_unsubscribed() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let busy = Busy::default().start();
        let id = store.subscribe(Observer::new(&busy)).await.unwrap();
        for (unsubscribes, told) in [(false, 1), (true, 1)] {
            let (go_on, until) = tokio::sync::oneshot::channel();
            busy.send(StandStill(until)).await.unwrap();
            let revision = store.update_local_key_sync(node(&format!("{unsubscribes}"), "1")).await.unwrap();
            store.reader().at_least(revision, PATIENCE).await.unwrap();
            // It is in its mailbox by now.
            assert_eq!(store.status().await.unwrap().observers[0].1.pending, 1);
            if unsubscribes {
                store.unsubscribe(id).await;
            }
            go_on.send(()).unwrap();
            assert_eq!(busy.send(Told).await, Ok(told));
        }
    });
}

/// Clients come and go, as streams to browsers do, and nothing changes meanwhile.
#[test]
fn observers_that_are_gone_are_forgotten_though_nothing_changes() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        let kept = Shadow::default().actor();
        store.subscribe(Shadow::at(&kept)).await.unwrap();
        let each = Arc::new(());
        for _ in 0..100 {
            let (addr, kept) = (Shadow::default().actor(), Arc::clone(&each));
            let filter = Filter::new().keys(move |_, _| Arc::strong_count(&kept) > 0);
            store.subscribe(Shadow::at(&addr).filter(filter)).await.unwrap();
            pass(MINUTE).await;
        }
        assert!(Arc::strong_count(&each) < 20, "{} are kept", Arc::strong_count(&each));
        pass(MINUTE).await;
        assert_eq!(store.status().await.unwrap().observers.len(), 1);
    });
}

/// Joins a store in `ctx.wait`, and is its observer.
struct Waiting {
    joined: Option<tokio::sync::oneshot::Sender<String>>,
    backend: MemoryBackend,
}

impl Actor for Waiting {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let config = config(&self.backend).list_timeout(Duration::from_secs(30));
        let join = join(config).observer(Observer::new(&ctx.address())).on(StoreThread::current()).into_future();
        ctx.wait(join.into_actor(self).map(|joined, actor, _| {
            actor.joined.take().map(|sender| sender.send(joined.unwrap_err().to_string()));
        }));
    }
}

impl Handler<Update<Node>> for Waiting {
    type Result = ();

    fn handle(&mut self, _: Update<Node>, _: &mut Self::Context) {}
}

impl Handler<Delete<Node>> for Waiting {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {}
}

#[test]
fn an_actor_that_waits_for_a_join_it_observes_itself_is_told_why_that_fails() {
    paused(async {
        let backend = MemoryBackend::new();
        let owner = joined(&backend).await;
        owner.update_local_key_sync(node("a", "1")).await.unwrap();
        let (sender, joined) = tokio::sync::oneshot::channel();
        let start = tokio::time::Instant::now();
        let _waiting = Waiting { joined: Some(sender), backend }.start();
        let error = joined.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        assert!(error.contains("observers have not handled it (1: ") && error.contains("ctx.wait"), "{error}");
    });
}
