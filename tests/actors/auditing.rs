//! Comparing the cache with the kvstore, and deletions that are held back.

use shared_store::{AuditError, BackendError, DifferenceKind, State};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, ListRequest, WriteAction};
use shared_store_core::{DeletionGuard, KeyName, LeaseId};

use super::owning::meddle;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A store that is in step, its observer's map, and a kvstore that can lose events.
async fn watching(set: impl FnOnce(Config) -> Config) -> (MemoryBackend, Faulty, SharedStore<Node>, Shadow) {
    let (memory, shadow) = (MemoryBackend::new(), Shadow::default());
    for n in 0..10 {
        put(&memory, &n.to_string()).await;
    }
    let backend = Faulty::new(memory.clone());
    let config = set(config(&memory).backend(backend.clone()));
    let store = join::<Node>(config).observer(shadow.observer()).on(StoreThread::current()).await.unwrap();
    synced(&store).await;
    (memory, backend, store, shadow)
}

async fn put(backend: &MemoryBackend, name: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, "1")).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

async fn synced(store: &SharedStore<Node>) {
    let mut state = store.reader().state();
    while state != State::Synced {
        state = store.reader().state_changed(&state).await;
    }
}

#[test]
fn what_a_watch_lost_is_found_by_the_rolling_audit_and_mended() {
    paused(async {
        let (memory, backend, store, shadow) = watching(|config| config.audit_interval(60 * MINUTE)).await;
        backend.lose_events();
        put(&memory, "lost").await;
        meddle(&memory, "3", WriteAction::Delete).await;
        pass(MINUTE / 60).await;
        backend.heal();
        let last = put(&memory, "seen").await;
        settled(&store, last).await;
        assert!(!shadow.map().contains_key("lost") && shadow.map().contains_key("3"), "nobody noticed");
        pass(125 * MINUTE).await;
        synced(&store).await;
        assert!(shadow.map().contains_key("lost") && !shadow.map().contains_key("3"), "{:?}", shadow.log());
        let status = store.status().await.unwrap();
        assert_eq!((status.audits.differences, status.relists.lists), (2, 2));
        assert!(status.audits.rounds >= 1);
    });
}

#[test]
fn an_audit_on_demand_says_what_differs_and_the_next_one_finds_nothing() {
    paused(async {
        let (memory, backend, store, _shadow) = watching(|config| config.audit_interval(Duration::ZERO)).await;
        let clean = store.audit(MINUTE).await.unwrap();
        assert_eq!((clean.keys, clean.differences.len()), (10, 0));
        backend.lose_events();
        let lost = put(&memory, "lost").await;
        pass(MINUTE).await;
        backend.heal();
        let next = put(&memory, "seen").await;
        settled(&store, next).await;
        let report = store.audit(MINUTE).await.unwrap();
        let found: Vec<_> = report.unexplained().map(|found| (found.name.as_str(), found.kind)).collect();
        assert_eq!(found, [("lost", DifferenceKind::Missing { kvstore: lost })]);
        synced(&store).await;
        assert_eq!(store.audit(MINUTE).await.unwrap().unexplained().count(), 0);
        assert_eq!(store.reader().len(), 12);
    });
}

#[test]
fn an_audit_that_hangs_holds_up_no_event_and_ends_at_its_timeout() {
    paused(async {
        let (memory, backend, store, shadow) = watching(|config| config).await;
        backend.hold(Op::List, When::After);
        let asked = actix_rt::spawn({
            let store = store.clone();
            async move { store.audit(MINUTE).await }
        });
        backend.arrived(Op::List, 2).await;
        let last = put(&memory, "a").await;
        settled(&store, last).await;
        assert!(shadow.map().contains_key("a"));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error, AuditError::TimedOut { after: MINUTE, cause: "no answer".into() });
        backend.release(Op::List);
        for keys in [10, 11] {
            // The first is the one that hung, to which the new key came too late.
            let report = store.audit(MINUTE).await.unwrap();
            assert_eq!((report.keys, report.differences.len()), (keys, 0));
        }
    });
}

#[test]
fn an_audit_of_a_broken_store_waits_for_it_and_says_why_it_waited_in_vain() {
    paused(async {
        let (_, backend, store, _shadow) = watching(|config| config).await;
        backend.fail(Op::Watch, usize::MAX, When::Before, BackendError::unreachable("down"));
        backend.break_watches(BackendError::unavailable("cut"));
        store.reader().state_changed(&State::Synced).await;
        let error = store.audit(MINUTE).await.unwrap_err();
        assert!(matches!(&error, AuditError::TimedOut { cause, .. } if cause.contains("down")), "{error}");
        backend.heal();
        assert_eq!(store.audit(MINUTE).await.unwrap().keys, 10);
        store.close().await.unwrap();
        assert_eq!(store.audit(MINUTE).await, Err(AuditError::Closed));
    });
}

#[test]
fn an_audit_that_is_never_due_does_not_end_the_watch() {
    paused(async {
        let (memory, _, store, _shadow) = watching(|config| config.audit_interval(Duration::MAX)).await;
        let put = put(&memory, "b").await;
        store.reader().at_least(put, MINUTE).await.unwrap();
    });
}

#[test]
fn an_audit_asked_for_while_the_store_is_detached_is_done_when_it_is_attached_and_holds_up_no_other() {
    paused(async {
        let (memory, _, store, _shadow) = watching(|config| config).await;
        store.detach().await.unwrap();
        let ask = |timeout| {
            let store = store.clone();
            actix_rt::spawn(async move { store.audit(timeout).await })
        };
        let (brief, patient) = (ask(MINUTE), ask(60 * MINUTE));
        assert!(matches!(brief.await.unwrap(), Err(AuditError::TimedOut { .. })));
        store.attach(Arc::new(memory.clone()), Prefix::new("nodes").unwrap()).await.unwrap();
        synced(&store).await;
        assert_eq!(store.audit(10 * MINUTE).await.unwrap().keys, 10);
        assert_eq!(patient.await.unwrap().unwrap().keys, 10);
    });
}

#[test]
fn a_restored_kvstore_behind_a_silent_watch_is_found_by_the_audit() {
    paused(async {
        let set = |config: Config| config.audit_interval(10 * MINUTE).watch_timeout(1000 * MINUTE);
        let (memory, backend, store, shadow) = watching(set).await;
        let backup = memory.backup();
        let last = put(&memory, "later").await;
        settled(&store, last).await;
        backend.mute_watches();
        memory.restore(&backup);
        pass(20 * MINUTE).await;
        backend.unmute_watches();
        synced(&store).await;
        assert!(!shadow.map().contains_key("later"), "{:?}", shadow.log());
        assert_eq!(store.status().await.unwrap().relists.other_histories, 1);
    });
}

/// A guard for few keys.
fn guard(config: Config) -> Config {
    config.deletion_guard(DeletionGuard { percent: 50, min_keys: 5, hold: MINUTE })
}

#[test]
fn a_restored_kvstore_behind_a_silent_watch_is_found_by_a_write() {
    paused(async {
        let (memory, backend, store, _shadow) = watching(|config| config.audit_interval(Duration::ZERO)).await;
        let backup = memory.backup();
        put(&memory, "lost").await;
        settled(&store, put(&memory, "x").await).await;
        // Any doubt about a gap has been settled by then.
        pass(MINUTE).await;
        backend.mute_watches();
        memory.restore(&backup);
        store.update_local_key_sync(node("mine", "1")).await.unwrap();
        pass(MINUTE).await;
        let status = store.status().await.unwrap();
        assert_eq!((status.relists.other_histories, store.reader().get("lost")), (1, None));
    });
}

#[test]
fn a_write_that_finds_what_the_watch_has_found_already_costs_no_other_list() {
    paused(async {
        let (memory, backend, store, _shadow) = watching(|config| config.audit_interval(Duration::ZERO)).await;
        let backup = memory.backup();
        put(&memory, "lost").await;
        settled(&store, put(&memory, "x").await).await;
        let lists = backend.calls(Op::List);
        backend.hold(Op::List, When::Before);
        memory.restore(&backup);
        backend.break_watches(BackendError::unavailable("cut"));
        backend.arrived(Op::List, lists + 1).await;
        store.update_local_key_sync(node("mine", "1")).await.unwrap();
        backend.release(Op::List);
        pass(MINUTE).await;
        let status = store.status().await.unwrap();
        assert_eq!((status.relists.other_histories, status.relists.lists), (1, 2));
    });
}

#[test]
fn a_mass_deletion_is_told_when_the_hold_is_over_and_until_then_its_keys_are_shown() {
    paused(async {
        let (memory, _, store, shadow) = watching(guard).await;
        let writes = (0..9).map(|n| {
            let path = Prefix::new("nodes").unwrap().path(&KeyName::new(n.to_string()).unwrap());
            shared_store_core::backend::Write {
                path,
                expect: shared_store_core::backend::Expect::Any,
                action: WriteAction::Delete,
            }
        });
        memory.write(writes.collect()).await.unwrap();
        settled(&store, memory.revision()).await;
        let status = store.status().await.unwrap();
        assert_eq!((shadow.map().len(), status.entries, status.held_back), (10, 10, 9));
        assert_eq!(status.state, State::Synced, "the cache is in step, and says what it holds back");
        let back = put(&memory, "3").await;
        settled(&store, back).await;
        pass(MINUTE).await;
        settled(&store, back).await;
        let status = store.status().await.unwrap();
        assert_eq!((shadow.map().into_keys().collect::<Vec<_>>(), status.held_back), (vec!["3".into(), "9".into()], 0));
        assert_eq!(status.relists.lists, 1, "nobody asked again");
    });
}

#[test]
fn owners_fill_an_empty_kvstore_before_anybody_is_told_that_it_was_empty() {
    paused(async {
        let (memory, theirs) = (MemoryBackend::new(), Shadow::default());
        let empty = memory.backup();
        let owner = join(guard(config(&memory))).on(StoreThread::current()).await.unwrap();
        let keys = (0..10).map(|n| node(&n.to_string(), "1")).collect();
        owner.update_local_keys(keys).await.unwrap();
        while owner.reader().len() < 10 {
            owner.reader().clone().changed().await.unwrap();
        }
        let other = join(guard(config(&memory))).observer(theirs.observer()).on(StoreThread::current()).await.unwrap();
        synced(&other).await;
        // Otherwise the revisions are reached again before anybody can notice.
        for _ in 0..10 {
            put(&memory, "x").await;
            meddle(&memory, "x", WriteAction::Delete).await;
        }
        settled(&other, memory.revision()).await;
        let told = theirs.log().len();
        memory.restore(&empty);
        // Progress at an older revision shows it.
        other.reader().state_changed(&State::Synced).await;
        synced(&other).await;
        pass(2 * MINUTE).await;
        let page = memory.list(ListRequest::new(Prefix::new("nodes").unwrap().range())).await.unwrap();
        assert_eq!((page.kvs.len(), other.reader().len()), (10, 10));
        assert_eq!(theirs.log()[told..], ["resynced"], "nothing was ever gone");
    });
}

#[test]
fn an_audit_of_a_quiet_prefix_in_a_busy_and_often_compacted_kvstore_ends() {
    paused(async {
        let (memory, backend, store, _shadow) = watching(|config| config.audit_interval(Duration::ZERO)).await;
        let busy = |n: u32| {
            let memory = memory.clone();
            async move {
                let action = WriteAction::Put { value: n.to_string().into(), lease: LeaseId::NONE };
                let path = "elsewhere".into();
                let write =
                    shared_store_core::backend::Write { path, expect: shared_store_core::backend::Expect::Any, action };
                memory.write(vec![write]).await.unwrap();
                // The watch sees that this does not concern it.
                pass(MINUTE / 6000).await;
                memory.compact(memory.revision()).unwrap();
            }
        };
        for n in 0..100 {
            busy(n).await;
        }
        let lists = backend.calls(Op::List);
        let report = store.audit(MINUTE / 10).await.unwrap();
        assert_eq!((report.keys, report.differences.len(), report.revision), (10, 0, memory.revision()));
        assert_eq!(backend.calls(Op::List) - lists, 3, "in vain, the names, the keys");
        assert_eq!(store.reader().state(), State::Synced);
    });
}
