//! Names that two owners want.

use shared_store::{Conflict, ConflictPolicy, KeyName, StoreError, WriteError};
use shared_store_core::LeaseId;
use shared_store_core::backend::{Backend, WriteAction};

use super::owning::{meddle, stored};
use super::*;

const POLICIES: [ConflictPolicy; 3] = [ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail];

/// The process crashes and restarts with another address. Its old key stays until its old lease expires.
#[test]
fn a_key_of_an_earlier_process_of_the_same_owner_is_taken_over_at_once_with_any_policy() {
    for policy in POLICIES {
        paused(async move {
            let backend = MemoryBackend::new();
            let config = || config(&backend).conflict(policy).owner("node-1");
            let before = join(config()).on(StoreThread::current()).await.unwrap();
            before.update_local_key_sync(node("a", "1")).await.unwrap();
            drop(before);
            pass(Duration::from_secs(1)).await;
            let store = join(config()).on(StoreThread::current()).await.unwrap();
            let written = store.update_local_key_sync(node("a", "2")).await;
            assert!(written.is_ok(), "{policy:?}: {written:?}");
        });
    }
}

#[test]
fn a_key_of_another_owner_is_not_taken_over_unless_the_policy_says_so() {
    for policy in POLICIES {
        paused(async move {
            let backend = MemoryBackend::new();
            let config = |owner: &str| config(&backend).conflict(policy).owner(owner);
            let other = join(config("node-1")).on(StoreThread::current()).await.unwrap();
            other.update_local_key_sync(node("a", "1")).await.unwrap();
            other.release().await.unwrap();
            let store = join::<Node>(config("node-2")).on(StoreThread::current()).await.unwrap();
            let lease = stored(&backend, "a").await.unwrap().lease;
            let written = store.update_local_key_sync(node("a", "2")).await;
            match policy {
                ConflictPolicy::Overwrite => assert!(written.is_ok(), "{written:?}"),
                ConflictPolicy::Yield | ConflictPolicy::Fail => {
                    assert_eq!(written, Err(StoreError::Write(WriteError::Conflict { lease })), "{policy:?}");
                }
            }
        });
    }
}

impl Handler<Conflict> for Shadow {
    type Result = ();

    fn handle(&mut self, conflict: Conflict, _: &mut Self::Context) {
        self.0.send_modify(|told| told.log.push(format!("conflict {}", conflict.name)));
    }
}

/// An observer that is told conflicts, too.
fn told_conflicts(shadow: &Shadow) -> Observer<Node> {
    let addr = shadow.actor();
    let observer = Shadow::at(&addr).conflict(addr.clone().recipient());
    actix_rt::spawn(async move {
        let _kept = addr;
        std::future::pending::<()>().await;
    });
    observer
}

/// Two replicas that were given the same owner by mistake.
#[test]
fn two_live_processes_with_one_owner_are_told_the_conflict() {
    for policy in POLICIES {
        paused(async move {
            let (backend, shadows) = (MemoryBackend::new(), [Shadow::default(), Shadow::default()]);
            let config = |seed| config(&backend).conflict(policy).owner("node-1").seed(seed);
            let first = join(config(1)).observer(told_conflicts(&shadows[0])).on(StoreThread::current()).await.unwrap();
            first.update_local_key_sync(node("a", "1")).await.unwrap();
            let second =
                join(config(2)).observer(told_conflicts(&shadows[1])).on(StoreThread::current()).await.unwrap();
            second.update_local_key_sync(node("a", "2")).await.unwrap();
            pass(Duration::from_secs(60)).await;
            let told = |shadow: &Shadow| shadow.log().iter().filter(|line| line.starts_with("conflict")).count();
            let told = (told(&shadows[0]), told(&shadows[1]));
            match policy {
                ConflictPolicy::Overwrite => assert!(told.0 > 2 && told.1 > 2, "{told:?}: {:?}", shadows[0].log()),
                ConflictPolicy::Yield | ConflictPolicy::Fail => {
                    assert_eq!(told, (1, 0), "{policy:?}");
                    let value = stored(&backend, "a").await.unwrap().value;
                    assert_eq!(value, serde_json::to_vec(&node("a", "2")).unwrap());
                }
            }
        });
    }
}

#[test]
fn leaving_tells_no_deletion_of_a_key_that_another_owner_has() {
    paused(async {
        let (backend, shadow) = (MemoryBackend::new(), Shadow::default());
        let config = config(&backend).conflict(ConflictPolicy::Yield);
        let store = join(config).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        let lease = backend.grant(LeaseId::NONE, Duration::from_secs(900)).await.unwrap().lease;
        let value = serde_json::to_vec(&node("a", "theirs")).unwrap().into();
        settled(&store, meddle(&backend, "a", WriteAction::Put { value, lease }).await).await;
        store.close().await.unwrap();
        assert!(stored(&backend, "a").await.is_some());
        assert_eq!(shadow.log(), ["synced 0", "a=1", "a=theirs"]);
    });
}

#[test]
fn the_deletion_of_a_key_of_another_owner_says_whose_it_is() {
    paused(async {
        let backend = MemoryBackend::new();
        let (owner, other) = (joined(&backend).await, joined(&backend).await);
        settled(&other, owner.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        let lease = stored(&backend, "a").await.unwrap().lease;
        let name = KeyName::new("a").unwrap();
        let refused = other.delete_local_key(name.clone()).await;
        assert_eq!(refused, Err(StoreError::Write(WriteError::NotOwned { lease })));
        assert!(stored(&backend, "a").await.is_some());
        owner.delete_local_key(name).await.unwrap();
    });
}
