//! Owning keys without a cache.

use shared_store::{
    BackendError, CanaryState, ConflictPolicy, Damage, JoinError, KeyError, PublishEvent, Publisher, State, StoreError,
    Trouble, publish,
};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, ListRequest, WriteAction};
use shared_store_core::own::OwnEvent;
use shared_store_core::{KeyName, KeyValue, LeaseId};

use super::owning::{meddle, stored};
use super::*;

fn start(config: Config) -> Publisher<Node> {
    publish::<Node>(config).canary(Prefix::canaries("c1").unwrap()).on(StoreThread::current()).start().unwrap()
}

pub(super) async fn canary(backend: &MemoryBackend) -> Option<KeyValue> {
    let canaries = Prefix::canaries("c1").unwrap();
    backend.list(ListRequest::new(canaries.range())).await.unwrap().kvs.pop()
}

/// Waits until the condition holds, and moves the paused clock while it waits.
pub(super) async fn until(mut happened: impl AsyncFnMut() -> bool) {
    let all = async {
        while !happened().await {
            pass(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("it happens");
}

/// Writes down the events it is told.
#[derive(Default, Clone)]
struct Troubles(Arc<Mutex<Vec<PublishEvent>>>);

impl Actor for Troubles {
    type Context = Context<Self>;
}

impl Handler<Trouble> for Troubles {
    type Result = ();

    fn handle(&mut self, Trouble(event): Trouble, _: &mut Self::Context) {
        self.0.lock().unwrap().push(event);
    }
}

#[test]
fn a_publisher_lists_nothing_and_keeps_its_keys() {
    paused(async {
        let memory = MemoryBackend::new();
        let other = joined(&memory).await;
        other.update_local_keys((0..500).map(|n| node(&format!("other/{n}"), "1")).collect()).await.unwrap();
        let last = other.update_local_key_sync(node("other/last", "1")).await.unwrap();
        other.reader().at_least(last, PATIENCE).await.unwrap();

        let backend = Faulty::new(memory.clone());
        let troubles = Troubles::default();
        let told = troubles.clone().start();
        let publishing = publish::<Node>(config(&memory).backend(backend.clone())).observer(told.clone().recipient());
        let publisher = publishing.on(StoreThread::current()).start().unwrap();
        publisher.update_keys(vec![node("a", "1"), node("b", "1")]).await.unwrap();
        let status = publisher.synced().await.unwrap();
        assert_eq!((status.own, status.pending, status.refused.len(), status.leases), (2, 0, 0, 1));
        meddle(&memory, "a", WriteAction::Delete).await;
        let value = serde_json::to_vec(&node("b", "theirs")).unwrap().into();
        let put = meddle(&memory, "b", WriteAction::Put { value, lease: LeaseId::NONE }).await;
        until(async || stored(&memory, "b").await.is_some_and(|kv| kv.mod_revision > put)).await;
        for name in ["a", "b"] {
            let kv = stored(&memory, name).await.unwrap();
            assert_eq!(kv.value, serde_json::to_vec(&node(name, "1")).unwrap());
            assert_ne!(kv.lease, LeaseId::NONE);
        }
        until(async || troubles.0.lock().unwrap().len() == 2).await;
        for (event, expected) in troubles.0.lock().unwrap().iter().zip([Damage::Deleted, Damage::Overwritten]) {
            let told = matches!(event, PublishEvent::Keys(OwnEvent::Repaired { damage, .. }) if *damage == expected);
            assert!(told, "{event:?}");
        }
        assert_eq!(publisher.status().await.unwrap().repairs, 2);
        assert_eq!((backend.calls(Op::List), backend.calls(Op::Watch)), (1, 1));
        // A store that joins sees them as they are.
        assert_eq!(joined(&memory).await.reader().len(), 503);
        publisher.delete_key(KeyName::new("a").unwrap()).await.unwrap();
        assert!(stored(&memory, "a").await.is_none());
        publisher.close().await.unwrap();
        assert!(stored(&memory, "b").await.is_none() && canary(&memory).await.is_none());
    });
}

#[test]
fn the_canary_says_when_all_keys_were_in_and_is_written_once() {
    paused(async {
        let backend = MemoryBackend::new();
        let publisher = start(config(&backend));
        publisher.update_keys((0..300).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
        assert!(canary(&backend).await.is_none());
        let (first, second) = tokio::join!(publisher.synced(), publisher.synced());
        let kv = canary(&backend).await.unwrap();
        let written = Some(CanaryState::Written { revision: kv.mod_revision });
        assert_eq!((first.unwrap().canary, second.unwrap().canary), (written, written));
        assert_eq!(kv.path, "cilium/synced/c1/nodes");
        let text = std::str::from_utf8(&kv.value).unwrap();
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00Z", "RFC 3339");
        publisher.update_key(node("later", "1")).await.unwrap();
        publisher.synced().await.unwrap();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(canary(&backend).await, Some(kv));
        publisher.release().await.unwrap();
        assert!(canary(&backend).await.is_some() && stored(&backend, "later").await.is_some());
        assert!(matches!(publisher.state(), State::Closed { .. }));
        assert_eq!(publisher.update_key(node("x", "1")).await, Err(StoreError::Closed));
    });
}

#[test]
fn after_a_lost_lease_the_keys_come_back_and_then_the_canary() {
    paused(async {
        let (backend, troubles) = (MemoryBackend::new(), Troubles::default());
        let told = troubles.clone().start();
        let config = config(&backend).lease_ttl(Duration::from_secs(30));
        let publisher = publish::<Node>(config)
            .canary(Prefix::canaries("c1").unwrap())
            .observer(told.clone().recipient())
            .on(StoreThread::current())
            .start()
            .unwrap();
        publisher.update_keys((0..300).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
        publisher.synced().await.unwrap();
        let before = canary(&backend).await.unwrap();
        let lease = stored(&backend, "7").await.unwrap().lease;
        backend.revoke(lease).await.unwrap();
        until(async || canary(&backend).await.is_some_and(|kv| kv.mod_revision > before.mod_revision)).await;
        let after = canary(&backend).await.unwrap();
        let keys = backend.list(ListRequest::new(Prefix::new("nodes").unwrap().range())).await.unwrap().kvs;
        assert_eq!(keys.len(), 300);
        assert!(keys.iter().all(|kv| kv.lease != lease && kv.mod_revision < after.mod_revision));
        let lost = |event: &PublishEvent| matches!(event, PublishEvent::Keys(OwnEvent::LeaseLost { lease: of, .. }) if *of == lease);
        assert_eq!(troubles.0.lock().unwrap().iter().filter(|event| lost(event)).count(), 1);
    });
}

#[test]
fn what_others_own_or_the_kvstore_refuses_is_told_and_delays_no_other_key() {
    paused(async {
        let (memory, troubles) = (MemoryBackend::new(), Troubles::default());
        let told = troubles.clone().start();
        let other = joined(&memory).await;
        other.update_local_key_sync(node("theirs", "1")).await.unwrap();
        let publisher = publish::<Node>(config(&memory).conflict(ConflictPolicy::Yield))
            .canary(Prefix::canaries("c1").unwrap())
            .observer(told.clone().recipient())
            .on(StoreThread::current())
            .start()
            .unwrap();
        publisher.update_keys(vec![node("a", "1"), node("theirs", "2"), node("z", "1")]).await.unwrap();
        let status = publisher.synced().await.unwrap();
        assert_eq!(status.refused.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["theirs"]);
        assert!(canary(&memory).await.is_some() && stored(&memory, "z").await.is_some());
        until(async || !troubles.0.lock().unwrap().is_empty()).await;
        assert!(matches!(troubles.0.lock().unwrap()[..], [PublishEvent::Keys(OwnEvent::Conflict { .. })]));
        let error = publisher.update_keys(vec![node("b", "1"), node("", "1")]).await.unwrap_err();
        assert!(matches!(error, StoreError::Key(KeyError::Name(_))), "{error}");
        assert_eq!(publisher.status().await.unwrap().own, 3);
    });
}

#[test]
fn keys_given_while_the_kvstore_is_away_are_written_when_it_is_back() {
    paused(async {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        backend.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("down"));
        let publisher = start(config(&memory).backend(backend.clone()));
        publisher.update_key(node("a", "1")).await.unwrap();
        let state = publisher.state_changed(&State::Connecting { cause: None }).await;
        assert_eq!(state, State::Connecting { cause: Some("down".into()) });
        pass(Duration::from_secs(600)).await;
        assert_eq!(
            (backend.calls(Op::Write), publisher.status().await.unwrap().canary),
            (0, Some(CanaryState::Unasked))
        );
        backend.heal();
        publisher.synced().await.unwrap();
        assert!(stored(&memory, "a").await.is_some());
        // An outage later on: it is stale, and says why.
        let mut state = publisher.state();
        while state != State::Synced {
            state = publisher.state_changed(&state).await;
        }
        backend.fail(Op::Watch, usize::MAX, When::Before, BackendError::unreachable("down"));
        backend.break_watches(BackendError::unavailable("broken"));
        let stale = publisher.state_changed(&state).await;
        assert!(matches!(stale, State::Stale { .. }), "{stale}");
    });
}

#[test]
fn a_restored_kvstore_behind_a_silent_watch_is_found_by_a_write() {
    paused(async {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        let publisher = start(config(&memory).backend(backend.clone()));
        publisher.update_key(node("first", "1")).await.unwrap();
        publisher.synced().await.unwrap();
        // The backup has the keys' lease: a lost lease would show the restore, too.
        let backup = memory.backup();
        publisher.update_keys(vec![node("a", "1"), node("b", "1")]).await.unwrap();
        publisher.synced().await.unwrap();
        for _ in 0..10 {
            meddle(&memory, "theirs", WriteAction::Delete).await;
            meddle(&memory, "theirs", WriteAction::Put { value: "1".into(), lease: LeaseId::NONE }).await;
        }
        // Any doubt about a gap has been settled by then.
        pass(Duration::from_secs(60)).await;
        backend.mute_watches();
        memory.restore(&backup);
        assert!(stored(&memory, "a").await.is_none());
        publisher.update_key(node("c", "1")).await.unwrap();
        pass(Duration::from_secs(60)).await;
        for name in ["first", "a", "b", "c"] {
            assert!(stored(&memory, name).await.is_some(), "{name}");
        }
    });
}

#[test]
fn when_all_handles_are_dropped_nothing_goes_on() {
    paused(async {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        let publisher = start(config(&memory).backend(backend.clone()).lease_ttl(Duration::from_secs(30)));
        publisher.update_key(node("a", "1")).await.unwrap();
        let clone = publisher.clone();
        publisher.synced().await.unwrap();
        drop(publisher);
        pass(Duration::from_secs(300)).await;
        assert!(stored(&memory, "a").await.is_some(), "there is still a handle");
        drop(clone);
        pass(Duration::from_secs(300)).await;
        assert!(stored(&memory, "a").await.is_none() && canary(&memory).await.is_none(), "they went with their lease");
    });
}

#[test]
fn on_a_thread_of_its_own_it_serves_any_thread() {
    actix_rt::System::new().block_on(async {
        let backend = MemoryBackend::new();
        let publisher = publish::<Node>(config(&backend)).start().unwrap();
        let from_afar = publisher.clone();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { from_afar.update_key(node("a", "1")).await })
        });
        other.join().unwrap().unwrap();
        assert_eq!(publisher.synced().await.unwrap().canary, None);
        assert!(stored(&backend, "a").await.is_some());
        publisher.close().await.unwrap();
        publisher.close().await.unwrap();
        let error = publish::<Node>(config(&backend).max_inflight(0)).start().unwrap_err();
        assert!(matches!(error, JoinError::Config(_)), "{error}");
    });
}
