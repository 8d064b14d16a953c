//! The etcd backend on an etcd that fails.

use shared_store_core::BackendError;
use shared_store_core::backend::{Applied, WatchRequest};

use super::*;

fn backend(endpoints: &[String]) -> EtcdBackend {
    let config = EtcdConfig::new(endpoints)
        .call_timeout(Duration::from_secs(1))
        .keep_alive(Duration::from_millis(300), Duration::from_millis(300));
    EtcdBackend::new(config).unwrap()
}

pub(super) fn everything() -> ListRequest {
    ListRequest::new(prefix().range())
}

pub(super) fn put(value: &[u8]) -> Vec<Write> {
    let action = WriteAction::Put { value: value.to_vec().into(), lease: LeaseId::NONE };
    vec![Write { path: prefix().path(&KeyName::new("a").unwrap()), expect: Expect::Any, action }]
}

/// The whole prefix, from its first revision on.
pub(super) fn from_the_start() -> WatchRequest {
    WatchRequest { range: prefix().range(), start: Revision(1) }
}

/// An address where nothing listens.
pub(super) fn dead_endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn nobody_listening_is_told_with_endpoint_and_cause_and_nothing_was_applied() {
    let endpoint = dead_endpoint();
    let error = backend(std::slice::from_ref(&endpoint)).write(put(b"1")).await.unwrap_err();
    let expected = format!("cannot reach etcd at {endpoint}: connection refused");
    assert_eq!(error, BackendError::Unavailable { cause: expected.into(), applied: Applied::No });
}

#[tokio::test]
async fn one_dead_endpoint_of_two_is_never_noticed() {
    let server = EtcdServer::start(Version::V35);
    for endpoints in [[dead_endpoint(), server.endpoint()], [server.endpoint(), dead_endpoint()]] {
        for _ in 0..10 {
            let backend = backend(&endpoints);
            backend.write(put(b"1")).await.unwrap();
            backend.watch(from_the_start()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_kvstore_that_is_killed_ends_the_watch_and_serves_again_after_a_restart() {
    let mut server = EtcdServer::start(Version::V34);
    let backend = backend(&[server.endpoint()]);
    backend.write(put(b"1")).await.unwrap();
    let request = WatchRequest { range: prefix().range(), start: Revision(100) };
    let mut watch = backend.watch(request).await.unwrap();
    server.kill();
    assert!(matches!(watch.next().await, Err(BackendError::Unavailable { .. })));
    assert!(matches!(watch.next().await, Err(BackendError::Unavailable { .. })), "and it stays dead");
    assert!(matches!(backend.list(everything()).await, Err(BackendError::Unavailable { .. })));
    server.restart();
    assert_eq!(backend.list(everything()).await.unwrap().kvs.len(), 1);
}

#[tokio::test]
async fn a_kvstore_that_stands_still_is_noticed_by_calls_and_by_the_watch() {
    let server = EtcdServer::start(Version::V35);
    let backend = backend(&[server.endpoint()]);
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    backend.list(everything()).await.unwrap();
    server.pause();
    let error = tokio::time::timeout(Duration::from_secs(10), backend.write(put(b"1"))).await.unwrap().unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { applied: Applied::Maybe, .. }), "{error:?}");
    let ended = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert!(matches!(ended, Err(BackendError::Unavailable { .. })), "{ended:?}");
    // Nothing is sent before the connection is established.
    let error = tokio::time::timeout(Duration::from_secs(10), backend.write(put(b"1"))).await.unwrap().unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { applied: Applied::No, .. }), "{error:?}");
    server.go_on();
    backend.list(everything()).await.unwrap();
}

#[tokio::test]
async fn a_value_too_large_is_rejected_for_good() {
    let server = EtcdServer::start(Version::V34);
    let backend = backend(&[server.endpoint()]);
    for size in [2 << 20, 20 << 20] {
        let error = backend.write(put(&vec![b'x'; size])).await.unwrap_err();
        assert!(matches!(error, BackendError::Rejected { .. }), "{size}: {error:?}");
    }
}

/// Up to etcd's limit, about 285 years.
#[tokio::test]
async fn a_lease_ttl_above_etcds_limit_is_rejected_with_the_limit() {
    for version in [Version::V34, Version::V35] {
        let server = EtcdServer::start(version);
        let backend = backend(&[server.endpoint()]);
        let most = Duration::from_secs(9_000_000_000);
        assert_eq!(backend.grant(LeaseId::NONE, most).await.unwrap().ttl, most);
        let error = backend.grant(LeaseId::NONE, most + Duration::from_nanos(1)).await.unwrap_err();
        let words = "etcdserver: too large lease TTL: at most 9,000,000,000 s are allowed";
        assert_eq!(error, BackendError::rejected(words));
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_is_rejected_for_good() {
    let server = EtcdServer::start(Version::V35);
    let mut writes = put(b"1");
    writes[0].path = "".into();
    let error = server.backend().write(writes).await.unwrap_err();
    assert_eq!(error, BackendError::rejected("etcdserver: key is not provided"));
}

#[test]
fn a_backend_outlives_the_runtime_that_used_it_first_and_may_be_dropped_inside_one() {
    let server = EtcdServer::start(Version::V35);
    let backend = backend(&[server.endpoint()]);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(backend.write(put(b"1"))).unwrap();
    assert_eq!(runtime().block_on(backend.list(everything())).unwrap().kvs.len(), 1);
    runtime().block_on(async move { drop(backend) });
}

#[tokio::test]
async fn a_watch_goes_on_without_the_backend_that_opened_it() {
    let server = EtcdServer::start(Version::V35);
    let mut watch = server.backend().watch(from_the_start()).await.unwrap();
    server.backend().write(put(b"1")).await.unwrap();
    watch.next().await.unwrap();
}

/// Far more than gRPC's usual 4 MiB, in one page and in one catch-up.
#[tokio::test]
async fn large_pages_and_large_catch_ups_are_read() {
    let server = EtcdServer::start(Version::V35);
    let backend = server.backend();
    let start = backend.list(everything()).await.unwrap().header.revision.next();
    for batch in 0..80 {
        let write = |n: u32| {
            let path = prefix().path(&KeyName::new(format!("{batch:03}/{n:03}")).unwrap());
            let action = WriteAction::Put { value: vec![b'x'; 1000].into(), lease: LeaseId::NONE };
            Write { path, expect: Expect::Absent, action }
        };
        backend.write((0..128).map(write).collect()).await.unwrap();
    }
    assert_eq!(backend.list(everything()).await.unwrap().kvs.len(), 80 * 128);
    let mut watch = backend.watch(WatchRequest { range: prefix().range(), start }).await.unwrap();
    let mut events = 0;
    while events < 80 * 128 {
        if let shared_store_core::backend::WatchResponse::Events(response) = watch.next().await.unwrap() {
            events += response.events.len();
        }
    }
}
