//! How the etcd backend reports each fault.

use std::time::Duration;

use shared_store_core::backend::conformance::{Space, put};
use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::backend::faulty::{Op, When};
use shared_store_core::backend::{
    Applied, Backend, Events, Expect, WatchRequest, WatchResponse, WatchStream, Write, WriteAction,
};
use shared_store_core::{BackendError, LeaseId, MemoryBackend, Revision};

use super::impatient;

const PATIENCE: Duration = Duration::from_secs(20);

// gRPC's status codes.
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAUTHENTICATED: i32 = 16;

fn served() -> (ServedEtcd, Space) {
    let served = ServedEtcd::start().unwrap();
    let space = Space::new(served.memory());
    (served, space)
}

async fn watch(served: &ServedEtcd, space: &Space, start: Revision) -> Box<dyn WatchStream> {
    impatient(served).watch(WatchRequest { range: space.range(), start }).await.unwrap()
}

async fn next(watch: &mut Box<dyn WatchStream>) -> Result<WatchResponse, BackendError> {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch says something")
}

async fn events(watch: &mut Box<dyn WatchStream>) -> Events {
    match next(watch).await.unwrap() {
        WatchResponse::Events(events) => events,
        progress @ WatchResponse::Progress(_) => panic!("{progress:?}"),
    }
}

fn words(error: &BackendError, expected: Applied) -> &str {
    let BackendError::Unavailable { cause, applied } = error else { panic!("{error:?}") };
    assert_eq!(*applied, expected, "{cause}");
    cause
}

#[tokio::test]
async fn a_leader_that_is_lost_may_have_applied_the_write() {
    let (served, space) = served();
    let backend = impatient(&served);
    for message in ["etcdserver: leader changed", "etcdserver: request timed out"] {
        served.refuse(Op::Write, 1, UNAVAILABLE, message);
        let error = backend.write(vec![put(space.path("a"), "1")]).await.unwrap_err();
        assert_eq!(words(&error, Applied::Maybe), format!("etcd at {}: {message}", served.endpoint()));
    }
    // A member without a leader says so before it does anything: it is asked again.
    served.refuse(Op::Write, 1, UNAVAILABLE, "etcdserver: no leader");
    backend.write(vec![put(space.path("a"), "1")]).await.unwrap();
}

#[tokio::test]
async fn a_quota_that_is_used_up_may_be_mended_and_nothing_was_applied() {
    let (served, space) = served();
    let backend = impatient(&served);
    served.refuse(Op::Write, 1, RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    served.refuse(Op::Grant, 1, RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    let put = backend.write(vec![put(space.path("a"), "1")]).await.unwrap_err();
    let grant = backend.grant(LeaseId::NONE, Duration::from_secs(5)).await.unwrap_err();
    for error in [put, grant] {
        assert!(words(&error, Applied::No).contains("space exceeded"), "{error}");
    }
    assert!(backend.grant(LeaseId::NONE, Duration::from_secs(5)).await.is_ok());
}

#[tokio::test]
async fn a_token_that_has_run_out_is_renewed_once_and_then_told() {
    let (served, space) = served();
    let backend = impatient(&served);
    served.refuse(Op::List, 1, UNAUTHENTICATED, "etcdserver: invalid auth token");
    assert!(backend.list(space.all()).await.is_ok(), "renewed");
    served.refuse(Op::List, 2, UNAUTHENTICATED, "etcdserver: invalid auth token");
    let error = backend.list(space.all()).await.unwrap_err();
    assert!(matches!(error, BackendError::Misconfigured { .. }) && error.to_string().contains("invalid auth token"));
    assert_eq!(served.faults().calls(Op::List), 1);
}

#[tokio::test]
async fn a_put_on_a_lease_that_is_gone_says_so_in_a_transaction_that_applies_nothing() {
    let (served, space) = served();
    let lease = served.memory().grant(LeaseId::NONE, Duration::from_secs(5)).await.unwrap().lease;
    served.memory().revoke(lease).await.unwrap();
    let action = WriteAction::Put { value: "1".into(), lease };
    let leased = Write { path: space.path("a"), expect: Expect::Any, action };
    let answer = impatient(&served).write(vec![put(space.path("b"), "1"), leased]).await;
    assert!(matches!(answer, Err(BackendError::LeaseNotFound { .. })), "{answer:?}");
    assert_eq!(space.state().await, []);
}

#[tokio::test]
async fn a_put_is_applied_although_its_answer_is_an_error_or_never_comes() {
    let (served, space) = served();
    let backend = impatient(&served);
    served.faults().fail(Op::Write, 1, When::After, BackendError::unavailable("etcdserver: request timed out"));
    let error = backend.write(vec![put(space.path("a"), "1")]).await.unwrap_err();
    assert!(words(&error, Applied::Maybe).contains("request timed out"));
    served.faults().hold(Op::Write, When::After);
    let error = backend.write(vec![put(space.path("b"), "2")]).await.unwrap_err();
    assert!(words(&error, Applied::Maybe).ends_with("no answer within 0.5 s"), "{error}");
    served.faults().heal();
    assert_eq!(space.state().await.len(), 2);
    backend.write(vec![put(space.path("c"), "3")]).await.unwrap();
}

#[tokio::test]
async fn a_cut_catch_up_names_the_newest_revision_and_goes_on_from_its_last_event() {
    let (served, space) = served();
    let mut written = vec![space.put("a", "0").await];
    for n in 1..2500 {
        written.push(space.put("a", &n.to_string()).await);
    }
    let mut watch = watch(&served, &space, written[0]).await;
    let mut told = Vec::new();
    while told.len() < written.len() {
        let response = events(&mut watch).await;
        assert!(response.events.len() <= 1000 && response.header.revision == written[2499]);
        told.extend(response.events.iter().map(shared_store_core::Event::revision));
    }
    assert_eq!(told, written);
}

#[tokio::test]
async fn fragments_inside_a_revision_are_flagged_until_the_last() {
    let (served, space) = served();
    served.faults().fragment(2);
    let at = space.commit(["a", "b", "c"].map(|name| put(space.path(name), "1")).into()).await;
    let mut watch = watch(&served, &space, at).await;
    // Those that have arrived are handed on together.
    let mut seen = 0;
    loop {
        let events = events(&mut watch).await;
        seen += events.events.len();
        assert_eq!(events.complete, seen == 3, "{events:?}");
        if events.complete {
            break;
        }
    }
}

#[tokio::test]
async fn a_watch_is_cancelled_for_compaction_and_its_open_silent_stream_delays_nothing() {
    let (served, space) = served();
    let at = space.put("a", "1").await;
    let mut open = watch(&served, &space, at).await;
    events(&mut open).await;
    served.faults().break_watches(BackendError::Compacted { oldest: Revision(7) });
    assert_eq!(next(&mut open).await, Err(BackendError::Compacted { oldest: Revision(7) }));
    assert!(matches!(next(&mut open).await, Err(BackendError::Unavailable { .. })), "and it stays dead");
    // Without a revision only the words say it.
    let mut open = watch(&served, &space, at).await;
    events(&mut open).await;
    served.faults().break_watches(BackendError::Compacted { oldest: Revision::ZERO });
    assert_eq!(next(&mut open).await, Err(BackendError::Compacted { oldest: Revision::ZERO }));
}

#[tokio::test]
async fn a_watch_that_loses_its_permission_ends_with_forbidden() {
    let (served, space) = served();
    let mut open = watch(&served, &space, Revision(2)).await;
    served.faults().break_watches(BackendError::forbidden("denied"));
    let error = next(&mut open).await.unwrap_err();
    assert!(matches!(&error, BackendError::Forbidden { cause } if cause.contains("permission denied")), "{error:?}");
}

#[tokio::test]
async fn a_stream_that_ends_in_an_error_ends_the_watch_with_its_words() {
    let (served, space) = served();
    let mut open = watch(&served, &space, Revision(2)).await;
    served.faults().break_watches(BackendError::unavailable("etcdserver: no leader"));
    assert!(words(&next(&mut open).await.unwrap_err(), Applied::No).contains("no leader"));
    served.refuse(Op::Watch, 1, INTERNAL, "etcdserver: broken");
    let request = WatchRequest { range: space.range(), start: Revision(2) };
    let error = impatient(&served).watch(request).await.unwrap_err();
    assert!(words(&error, Applied::Maybe).contains("broken"));
}

#[tokio::test]
async fn an_event_of_an_unknown_type_ends_the_watch_instead_of_the_process() {
    let (served, space) = served();
    let at = space.put("a", "1").await;
    served.event_type(Some(7));
    let mut open = watch(&served, &space, at).await;
    let error = next(&mut open).await.unwrap_err();
    assert!(words(&error, Applied::Maybe).contains("unknown type 7"), "{error}");
    served.event_type(None);
    let mut open = watch(&served, &space, at).await;
    assert_eq!(events(&mut open).await.events.len(), 1);
}

#[tokio::test]
async fn an_answer_and_a_catch_up_far_beyond_grpcs_usual_limit_are_read() {
    let (served, space) = served();
    let large = "x".repeat(1 << 20);
    let at = space.put("0", &large).await;
    for n in 1..9 {
        space.put(&n.to_string(), &large).await;
    }
    assert_eq!(impatient(&served).list(space.all()).await.unwrap().kvs.len(), 9);
    assert_eq!(events(&mut watch(&served, &space, at).await).await.events.len(), 9);
}

#[tokio::test]
async fn connections_cut_in_the_middle_of_everything_are_made_again() {
    let (mut served, space) = served();
    let backend = impatient(&served);
    let at = space.put("a", "1").await;
    let mut open = backend.watch(WatchRequest { range: space.range(), start: at }).await.unwrap();
    events(&mut open).await;
    served.faults().hold(Op::Write, When::After);
    let writing = tokio::spawn({
        let (backend, path) = (backend.clone(), space.path("b"));
        async move { backend.write(vec![put(path, "2")]).await }
    });
    served.faults().arrived(Op::Write, 1).await;
    served.kill();
    words(&writing.await.unwrap().unwrap_err(), Applied::Maybe);
    assert_eq!(events(&mut open).await.events[0].path(), &space.path("b"), "it was applied, only its answer is lost");
    words(&next(&mut open).await.unwrap_err(), Applied::Maybe);
    words(&backend.list(space.all()).await.unwrap_err(), Applied::No);
    served.restart().unwrap();
    served.faults().heal();
    assert_eq!(backend.list(space.all()).await.unwrap().kvs.len(), 2);
    let mut open = backend.watch(WatchRequest { range: space.range(), start: at.next() }).await.unwrap();
    assert_eq!(events(&mut open).await.events[0].path(), &space.path("b"));
}

#[tokio::test]
async fn a_muted_watch_says_nothing_and_loses_nothing() {
    let (served, space) = served();
    let at = space.put("a", "1").await;
    served.faults().mute_watches();
    let mut open = watch(&served, &space, at).await;
    let later = space.put("b", "2").await;
    impatient(&served).list(space.all()).await.unwrap();
    served.faults().unmute_watches();
    let told = events(&mut open).await.events;
    assert_eq!(told.iter().map(shared_store_core::Event::revision).collect::<Vec<_>>(), [at, later]);
}

#[tokio::test]
async fn a_quiet_watch_gets_progress() {
    let memory = MemoryBackend::new().progress_interval(Duration::from_millis(50));
    let served = ServedEtcd::serve(memory).unwrap();
    let space = Space::new(served.memory());
    let at = space.put("a", "1").await;
    let mut open = watch(&served, &space, at.next()).await;
    let WatchResponse::Progress(header) = next(&mut open).await.unwrap() else { panic!("nothing happened") };
    assert_eq!(header.revision, at);
}

#[tokio::test]
async fn a_muted_watch_tells_its_progress_after_its_events() {
    let (served, space) = served();
    let at = space.put("a", "1").await;
    let mut open = watch(&served, &space, at).await;
    assert_eq!(events(&mut open).await.events.len(), 1);
    served.faults().mute_watches();
    let later = space.put("b", "2").await;
    assert!(open.request_progress(), "the version of the server is one that can be asked");
    served.faults().asked_for_progress(1).await;
    impatient(&served).list(space.all()).await.unwrap();
    served.faults().unmute_watches();
    assert_eq!(events(&mut open).await.events[0].revision(), later);
    let WatchResponse::Progress(header) = next(&mut open).await.unwrap() else { panic!("nothing else happened") };
    assert_eq!(header.revision, later);
}

#[tokio::test]
async fn a_keep_alive_tells_an_outage_from_a_lease_that_is_gone() {
    let (served, _) = served();
    let backend = impatient(&served);
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    served.refuse(Op::KeepAlive, 1, UNAVAILABLE, "etcdserver: leader changed");
    words(&backend.keep_alive(lease).await.unwrap_err(), Applied::Maybe);
    assert_eq!(backend.keep_alive(lease).await, Ok(Duration::from_secs(60)));
    let gone = LeaseId(lease.0 + 1);
    assert_eq!(backend.keep_alive(gone).await, Err(BackendError::LeaseNotFound { lease: gone }));
    served.faults().fail(Op::KeepAlive, 1, When::Before, BackendError::LeaseNotFound { lease });
    assert_eq!(backend.keep_alive(lease).await, Err(BackendError::LeaseNotFound { lease }));
}
