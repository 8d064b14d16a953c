//! Own keys, and joining.

use shared_store::{BackendError, JoinError, KeyError, State, StateChanged, StoreError, SubscribeState};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, Expect, ListRequest, Write, WriteAction};
use shared_store_core::{KeyName, KeyRange, LeaseId};

use shared_store::Lifetime;

use super::*;

pub(super) async fn meddle(backend: &MemoryBackend, name: &str, action: WriteAction) -> Revision {
    let path = Prefix::new("nodes").unwrap().path(&KeyName::new(name).unwrap());
    let outcome = backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap();
    let shared_store_core::backend::WriteOutcome::Committed { revision } = outcome else {
        panic!("it expects nothing")
    };
    revision
}

pub(super) async fn stored(backend: &MemoryBackend, name: &str) -> Option<shared_store_core::KeyValue> {
    let path = Prefix::new("nodes").unwrap().path(&KeyName::new(name).unwrap());
    backend.list(ListRequest::new(KeyRange::one(&path))).await.unwrap().kvs.pop()
}

#[test]
fn joining_an_empty_prefix_is_synced_with_no_entries() {
    paused(async {
        let (backend, shadow) = (MemoryBackend::new(), Shadow::default());
        let store = join(config(&backend)).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
        assert_eq!(shadow.log(), ["synced 0"]);
        assert!(store.reader().is_empty());
        store.close().await.unwrap();
    });
}

#[test]
fn joining_answers_when_every_observer_has_been_told_everything() {
    paused(async {
        let backend = MemoryBackend::new();
        let first = joined(&backend).await;
        for n in 0..1000 {
            first.update_local_key(node(&format!("{n:04}"), "1")).await.unwrap();
        }
        let last = first.update_local_key_sync(node("z", "1")).await.unwrap();
        first.reader().at_least(last, PATIENCE).await.unwrap();
        let shadows = [Shadow::default(), Shadow::default()];
        let joining = join(config(&backend)).on(StoreThread::current());
        let second = joining.observer(shadows[0].observer()).observer(shadows[1].observer()).await.unwrap();
        for shadow in &shadows {
            assert_eq!((shadow.map().len(), shadow.log().last().map(String::as_str)), (1001, Some("synced 1001")));
        }
        assert_eq!(second.reader().len(), 1001);
    });
}

#[test]
fn joining_a_dead_kvstore_fails_at_the_list_timeout_with_the_cause() {
    paused(async {
        let backend = Faulty::new(MemoryBackend::new());
        backend.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("down"));
        let config = config(&MemoryBackend::new()).backend(backend).list_timeout(Duration::from_secs(30));
        let start = tokio::time::Instant::now();
        let error = join::<Node>(config).on(StoreThread::current()).await.unwrap_err();
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        let JoinError::ListTimeout { cause, .. } = &error else { panic!("{error}") };
        assert!(!cause.is_empty() && error.to_string().contains(&**cause), "{error}");
    });
}

#[test]
fn joining_answers_when_the_watch_is_open_or_has_failed_and_not_before() {
    paused(async {
        for fails in [false, true] {
            let memory = MemoryBackend::new();
            let backend = Faulty::new(memory.clone());
            backend.hold(Op::Watch, When::Before);
            let config = config(&memory).backend(backend.clone());
            let joining = actix_rt::spawn(join::<Node>(config).on(StoreThread::current()).into_future());
            backend.arrived(Op::Watch, 1).await;
            pass(PATIENCE).await;
            assert!(!joining.is_finished(), "its state would be Listing");
            if fails {
                backend.fail(Op::Watch, usize::MAX, When::After, BackendError::unreachable("down"));
            }
            backend.release(Op::Watch);
            let state = joining.await.unwrap().unwrap().reader().state();
            let stale = matches!(&state, State::Stale { cause, .. } if &**cause == "down");
            assert!(if fails { stale } else { state == State::Synced }, "{state}");
        }
    });
}

#[test]
fn dropping_a_join_that_has_not_answered_stops_everything() {
    paused(async {
        let backend = Faulty::new(MemoryBackend::new());
        backend.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("down"));
        let config = config(&MemoryBackend::new()).backend(backend.clone());
        let joining = join::<Node>(config).on(StoreThread::current()).into_future();
        assert!(tokio::time::timeout(Duration::from_secs(10), joining).await.is_err());
        // Tasks that were told to stop have stopped once every task waits.
        pass(Duration::from_secs(10)).await;
        let calls = backend.calls(Op::List);
        assert!(calls > 1, "it did try");
        pass(Duration::from_secs(3600)).await;
        assert_eq!(backend.calls(Op::List), calls);
    });
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_once() {
    paused(async {
        let config = config(&MemoryBackend::new()).sync_interval(Duration::ZERO);
        let error = join::<Node>(config).await.unwrap_err();
        assert!(matches!(error, JoinError::Config(_)), "{error}");
    });
}

#[test]
fn what_was_written_can_be_read_once_the_cache_has_caught_up() {
    paused(async {
        let backend = MemoryBackend::new();
        let (alpha, beta) = (joined(&backend).await, joined(&backend).await);
        let written = alpha.update_local_key_sync(node("a", "1")).await.unwrap();
        beta.reader().at_least(written, PATIENCE).await.unwrap();
        assert_eq!(*beta.reader().get("a").unwrap(), node("a", "1"));
        let gone = alpha.delete_local_key(KeyName::new("a").unwrap()).await.unwrap();
        beta.reader().at_least(gone, PATIENCE).await.unwrap();
        assert_eq!(beta.reader().get("a"), None);
    });
}

#[test]
fn a_key_without_a_name_is_refused_and_nothing_is_owned() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let error = store.update_local_key(node("", "1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Key(KeyError::Name(_))), "{error}");
        let error = store.update_local_keys(vec![node("a", "1"), node("", "1")]).await.unwrap_err();
        assert!(matches!(error, StoreError::Key(KeyError::Name(_))), "{error}");
        assert_eq!(store.status().await.unwrap().own, 0);
    });
}

#[test]
fn an_own_key_that_a_stranger_deletes_comes_back_and_only_others_hear_of_it() {
    paused(async {
        let (backend, mine, theirs) = (MemoryBackend::new(), Shadow::default(), Shadow::default());
        let owner = join(config(&backend)).observer(mine.observer()).on(StoreThread::current()).await.unwrap();
        let other = join(config(&backend)).observer(theirs.observer()).on(StoreThread::current()).await.unwrap();
        let written = owner.update_local_key_sync(node("a", "1")).await.unwrap();
        settled(&owner, written).await;
        let deleted = meddle(&backend, "a", WriteAction::Delete).await;
        let back = Revision(deleted.0 + 1);
        settled(&owner, back).await;
        settled(&other, back).await;
        assert!(stored(&backend, "a").await.is_some());
        assert_eq!(mine.log(), ["synced 0", "a=1"]);
        assert_eq!(theirs.log(), ["synced 0", "a=1", "-a", "a=1"]);
    });
}

#[test]
fn an_own_key_that_a_stranger_overwrites_is_put_right() {
    paused(async {
        let (backend, mine) = (MemoryBackend::new(), Shadow::default());
        let owner = join(config(&backend)).observer(mine.observer()).on(StoreThread::current()).await.unwrap();
        settled(&owner, owner.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        let value = serde_json::to_vec(&node("a", "theirs")).unwrap().into();
        let put = meddle(&backend, "a", WriteAction::Put { value, lease: LeaseId::NONE }).await;
        settled(&owner, Revision(put.0 + 1)).await;
        assert_eq!(mine.log(), ["synced 0", "a=1", "a=theirs", "a=1"]);
        assert_ne!(stored(&backend, "a").await.unwrap().lease, LeaseId::NONE);
        let put = meddle(&backend, "a", WriteAction::Put { value: "garbage".into(), lease: LeaseId::NONE }).await;
        settled(&owner, Revision(put.0 + 1)).await;
        assert_eq!((mine.log().len(), owner.status().await.unwrap().undecodable), (4, 0));
    });
}

#[test]
fn own_keys_stay_as_long_as_their_owner_does() {
    paused(async {
        let backend = MemoryBackend::new();
        let config = config(&backend).lease_ttl(Duration::from_secs(10));
        let store = join(config).on(StoreThread::current()).await.unwrap();
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(stored(&backend, "a").await.unwrap().mod_revision, written, "kept alive, never written again");
    });
}

#[test]
fn a_broken_watch_is_stale_with_its_cause_and_synced_again_when_it_is_back() {
    paused(async {
        let backend = Faulty::new(MemoryBackend::new());
        let config = config(&MemoryBackend::new()).backend(backend.clone());
        let store = join::<Node>(config).on(StoreThread::current()).await.unwrap();
        let mut state = store.reader().state();
        while state != State::Synced {
            state = store.reader().state_changed(&state).await;
        }
        backend.fail(Op::Watch, usize::MAX, When::Before, BackendError::unreachable("down"));
        backend.break_watches(BackendError::unavailable("broken"));
        let stale = store.reader().state_changed(&state).await;
        assert!(matches!(stale, State::Stale { .. }) && stale.cause().is_some(), "{stale}");
        backend.heal();
        let mut state = stale;
        while state != State::Synced {
            state = store.reader().state_changed(&state).await;
        }
    });
}

/// Writes down the states it is told.
#[derive(Default)]
struct States(Arc<Mutex<Vec<String>>>);

impl Actor for States {
    type Context = Context<Self>;
}

impl Handler<StateChanged> for States {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        self.0.lock().unwrap().push(state.to_string());
    }
}

#[test]
fn a_subscriber_of_the_state_is_told_every_state_from_the_start_to_the_end() {
    paused(async {
        let backend = Faulty::new(MemoryBackend::new());
        backend.fail(Op::List, 1, When::Before, BackendError::unreachable("down"));
        let (log, late) = (Arc::default(), Arc::default());
        let states = States(Arc::clone(&log)).start();
        let config = config(&MemoryBackend::new()).backend(backend.clone());
        let joining = join::<Node>(config).state_observer(states.clone().recipient());
        let store = joining.on(StoreThread::current()).await.unwrap();
        while store.reader().state() != State::Synced {
            store.reader().state_changed(&store.reader().state()).await;
        }
        let late_states = States(Arc::clone(&late)).start();
        store.addr().send(SubscribeState(late_states.clone().recipient())).await.unwrap();
        backend.break_watches(BackendError::unavailable("cut"));
        let stale = store.reader().state_changed(&State::Synced).await;
        store.reader().state_changed(&stale).await;
        store.close().await.unwrap();
        tokio::task::yield_now().await;
        let told: Vec<_> = log.lock().unwrap().clone();
        let end = ["stale: cut", "synced", "closed: closed"];
        let start = ["connecting", "connecting: down", "listing, 0 keys so far", "synced"];
        assert_eq!(told, [&start[..], &end].concat());
        assert_eq!(*late.lock().unwrap(), [&["synced"][..], &end].concat());
    });
}

#[test]
fn a_key_that_is_written_once_goes_with_the_store_or_stays_for_good() {
    paused(async {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        store.write_once(node("store", "1"), Lifetime::Store).await.unwrap();
        store.update_key_sync(node("synced", "1")).await.unwrap();
        store.write_once(node("unlimited", "1"), Lifetime::Unlimited).await.unwrap();
        store.close().await.unwrap();
        assert!(stored(&backend, "store").await.is_none() && stored(&backend, "synced").await.is_none());
        assert_eq!(stored(&backend, "unlimited").await.unwrap().lease, LeaseId::NONE);
        let store = joined(&backend).await;
        store.write_once(node("store", "1"), Lifetime::Store).await.unwrap();
        store.release().await.unwrap();
        assert!(stored(&backend, "store").await.is_some());
        pass(Duration::from_secs(3600)).await;
        assert!(stored(&backend, "store").await.is_none(), "its lease has expired");
        assert!(stored(&backend, "unlimited").await.is_some());
    });
}
