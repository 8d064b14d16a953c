//! Close and Release.

use shared_store::{BackendError, State, StoreError};
use shared_store_core::KeyName;
use shared_store_core::backend::faulty::{Faulty, Op, When};

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
        pass(Duration::from_secs(11)).await;
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

/// Close waits for the last message, however long an earlier one takes.
#[test]
fn close_is_answered_when_the_last_thing_is_handled_and_not_when_an_earlier_one_is() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let ((go_on, until), (at_last, pause)) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        let busy = subscribing::Busy::pausing(pause).start();
        store.subscribe(Observer::new(&busy)).await.unwrap();
        busy.send(subscribing::StandStill(until)).await.unwrap();
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        store.reader().at_least(written, PATIENCE).await.unwrap();
        let mut close = std::pin::pin!(store.close());
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, &mut close).await.is_err(), "the deletion is on its way");
        go_on.send(()).unwrap();
        assert!(tokio::time::timeout(second, &mut close).await.is_err(), "only the update is handled");
        at_last.send(()).unwrap();
        close.await.unwrap();
        assert_eq!(busy.send(subscribing::Told).await, Ok(2));
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

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn a_store_with_a_snapshot_stops_too_when_its_handles_are_dropped() {
    paused(async {
        let (backend, directory) = (MemoryBackend::new(), tempfile::tempdir().unwrap());
        let config = config(&backend).lease_ttl(Duration::from_secs(30)).state_dir(directory.path());
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        let reader = store.reader().clone();
        drop(store);
        pass(HOUR).await;
        assert_eq!(stored(&backend, "a").await, None, "its key is kept alive, and it is {}", reader.state());
    });
}

#[test]
fn an_observer_that_is_stuck_does_not_keep_a_store_alive_whose_handles_are_dropped() {
    paused(async {
        let (backend, stuck) = (MemoryBackend::new(), observing::Stuck.start());
        let config = config(&backend).lease_ttl(Duration::from_secs(30));
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.subscribe(Observer::new(&stuck)).await.unwrap();
        for ip in ["1", "2", "3"] {
            let written = store.update_local_key_sync(node("a", ip)).await.unwrap();
            store.reader().at_least(written, PATIENCE).await.unwrap();
        }
        drop(store);
        pass(HOUR).await;
        assert_eq!(stored(&backend, "a").await, None, "its key is kept alive");
    });
}

#[test]
fn an_address_does_not_keep_a_store_alive() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        let (addr, mut reader) = (store.addr().clone(), store.reader().clone());
        drop(store);
        assert!(reader.changed().await.is_err());
        tokio::task::yield_now().await;
        assert!(!addr.connected());
    });
}

#[test]
fn a_close_of_a_store_whose_arbiter_has_ended_is_an_error_that_says_so() {
    let backend = MemoryBackend::new();
    actix_rt::System::new().block_on(async {
        let arbiter = Arbiter::new();
        let store = join(config(&backend)).on(StoreThread::arbiter(arbiter.handle())).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        arbiter.stop();
        tokio::task::spawn_blocking(move || arbiter.join()).await.unwrap().unwrap();
        let error = store.close().await.unwrap_err();
        assert!(error.ended.is_some() && error.to_string().starts_with("store ended before it could leave"), "{error}");
        assert_eq!(store.update_local_key(node("a", "2")).await, Err(StoreError::Closed));
        assert!(matches!(store.reader().state(), State::Closed { .. }), "{}", store.reader().state());
        assert!(stored(&backend, "a").await.is_some(), "it goes with its lease");
    });
}

#[test]
fn a_close_without_a_deadline_closes() {
    paused(async {
        let backend = MemoryBackend::new();
        let config = config(&backend).close_timeout(Duration::MAX);
        let store = join(config).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        tokio::time::timeout(PATIENCE, store.close()).await.unwrap().unwrap();
        assert_eq!(stored(&backend, "a").await, None);
    });
}

/// As in a service that outlives its web server.
#[test]
fn a_store_can_be_closed_when_its_system_is_gone() {
    let backend = MemoryBackend::new();
    let store = actix_rt::System::new().block_on(async {
        let store = join(config(&backend)).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        System::current().stop();
        store
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, store.close()).await.unwrap().unwrap();
        assert_eq!(stored(&backend, "a").await, None);
    });
}

/// What an observer handles until the store has answered.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    Nothing,
    Anything,
}

/// Closes the store as soon as it is told of a key.
struct Closer {
    store: SharedStore<Node>,
    told: Arc<Mutex<Vec<String>>>,
    answer: Option<tokio::sync::oneshot::Sender<Duration>>,
    meanwhile: Meanwhile,
}

impl Closer {
    /// What the observer is told until the store has answered and for an hour more, and when the store answers.
    async fn closes(store: SharedStore<Node>, meanwhile: Meanwhile) -> (Vec<String>, Duration) {
        let told = Arc::default();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let closer = Self { store: store.clone(), told: Arc::clone(&told), answer: Some(answer), meanwhile }.start();
        store.subscribe(Observer::new(&closer)).await.unwrap();
        let after = answered.await.unwrap();
        let then = told.lock().unwrap().clone();
        pass(HOUR).await;
        assert_eq!(*told.lock().unwrap(), then, "nothing is told after the answer");
        (then, after)
    }
}

impl Actor for Closer {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Closer {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, ctx: &mut Self::Context) {
        self.told.lock().unwrap().push(update.name.to_string());
        let Some(answer) = self.answer.take() else { return };
        let (store, start) = (self.store.clone(), tokio::time::Instant::now());
        let close = async move {
            store.close().await.unwrap();
            answer.send(start.elapsed()).unwrap();
        };
        if self.meanwhile == Meanwhile::Nothing {
            ctx.wait(close.into_actor(self));
        } else {
            ctx.spawn(close.into_actor(self));
        }
    }
}

impl Handler<Delete<Node>> for Closer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Node>, _: &mut Self::Context) {
        self.told.lock().unwrap().push(format!("-{}", delete.name));
    }
}

#[test]
fn an_observer_that_closes_the_store_in_its_handler_is_answered_at_once_and_told_nothing_afterwards() {
    paused(async {
        let backend = MemoryBackend::new();
        let (store, owner) = (joined(&backend).await, joined(&backend).await);
        settled(&store, owner.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        settled(&store, owner.update_local_key_sync(node("b", "1")).await.unwrap()).await;
        let (told, after) = Closer::closes(store, Meanwhile::Nothing).await;
        assert_eq!((told, after), (vec!["a".to_owned()], Duration::ZERO), "b was in its mailbox and is cancelled");
        let (told, after) = Closer::closes(owner, Meanwhile::Anything).await;
        assert_eq!((told, after), (["a", "b", "-a", "-b"].map(str::to_owned).to_vec(), Duration::ZERO));
    });
}

/// The store cannot know whether the observer waits for it or for something else.
#[test]
fn an_observer_that_waits_for_its_close_and_has_own_keys_to_hear_of_is_answered_at_the_close_timeout() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        let (told, after) = Closer::closes(store, Meanwhile::Nothing).await;
        assert_eq!((told, after), (vec!["a".to_owned()], Duration::from_secs(10)));
    });
}
