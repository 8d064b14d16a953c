//! Endpoints that change, that never answer, and that close connections.

use std::net::TcpListener;
use std::time::Instant;

use shared_store_core::backend::{Applied, Events, WatchRequest, WatchResponse};
use shared_store_core::{BackendError, EtcdConfigError};

use super::backend::{dead_endpoint, everything, from_the_start, put};
use super::*;
use crate::support::{DeliveryMode, Proxy};

/// Two names of one member.
fn two_names(server: &EtcdServer) -> [String; 2] {
    [server.endpoint(), server.endpoint().replace("127.0.0.1", "localhost")]
}

fn backend(endpoints: &[String]) -> EtcdBackend {
    EtcdBackend::new(EtcdConfig::new(endpoints)).unwrap()
}

/// A short connect timeout.
fn impatient(endpoint: &str) -> EtcdBackend {
    EtcdBackend::new(EtcdConfig::new([endpoint]).connect_timeout(Duration::from_millis(500))).unwrap()
}

/// The error with which a watch ends.
async fn end(watch: &mut dyn shared_store_core::backend::WatchStream) -> BackendError {
    let end = async {
        loop {
            if let Err(error) = watch.next().await {
                return error;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap()
}

async fn a_watch_on_a_removed_endpoint_ends_and_is_resumed_on_another(version: Version) {
    let server = EtcdServer::start(version);
    let [first, second] = two_names(&server);
    let backend = backend(std::slice::from_ref(&first));
    backend.write(put(b"1")).await.unwrap();
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    backend.clone().set_endpoints([&second]).unwrap();
    let error = end(&mut *watch).await;
    assert_eq!(error, BackendError::unavailable(format_args!("etcd at {first}: the endpoint was removed")));
    backend.write(put(b"2")).await.unwrap();
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    backend.set_endpoints([dead_endpoint()]).unwrap();
    let error = end(&mut *watch).await;
    assert_eq!(error, BackendError::unavailable(format_args!("etcd at {second}: the endpoint was removed")));
}

async fn a_watch_on_an_endpoint_that_stays_listed_goes_on(version: Version) {
    let server = EtcdServer::start(version);
    let [first, second] = two_names(&server);
    let backend = backend(std::slice::from_ref(&first));
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    backend.set_endpoints([&second, &first]).unwrap();
    backend.write(put(b"1")).await.unwrap();
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(next, Ok(WatchResponse::Events(Events { .. }))), "{next:?}");
}

async fn a_call_under_way_goes_on_when_its_endpoint_is_removed(version: Version) {
    let server = EtcdServer::start(version);
    let way = Proxy::to(&server.endpoint());
    let (backend, direct) = (backend(&[way.endpoint()]), backend(&[server.endpoint()]));
    let before = backend.list(everything()).await.unwrap().header.revision;
    let range = everything().range;
    let mut applied = direct.watch(WatchRequest { range, start: before.next() }).await.unwrap();
    way.set(DeliveryMode::StallAnswers);
    let caller = backend.clone();
    let write = tokio::spawn(async move { caller.write(put(b"1")).await });
    while !matches!(applied.next().await.unwrap(), WatchResponse::Events(_)) {}
    assert!(!write.is_finished(), "it is applied, and its answer waits");
    backend.set_endpoints([server.endpoint()]).unwrap();
    way.set(DeliveryMode::Forward);
    write.await.unwrap().unwrap();
}

async fn endpoints_that_cannot_work_change_nothing(version: Version) {
    let server = EtcdServer::start(version);
    let backend = backend(&[server.endpoint()]);
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    let error = backend.set_endpoints([dead_endpoint(), "http://nowhere".to_owned()]).unwrap_err();
    assert!(matches!(error, EtcdConfigError::Endpoint { endpoint, .. } if endpoint == "http://nowhere"));
    assert!(matches!(backend.set_endpoints([] as [&str; 0]), Err(EtcdConfigError::NoEndpoints)));
    backend.write(put(b"1")).await.unwrap();
    watch.next().await.unwrap();
}

async fn calls_work_again_once_the_right_endpoint_is_given(version: Version) {
    let server = EtcdServer::start(version);
    let backend = backend(&[dead_endpoint()]);
    backend.write(put(b"1")).await.unwrap_err();
    backend.set_endpoints([server.endpoint()]).unwrap();
    backend.write(put(b"1")).await.unwrap();
    backend.watch(from_the_start()).await.unwrap();
}

/// Takes connections and never answers.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

/// Takes connections and closes them, until the process ends.
fn hanging_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    endpoint
}

/// The error of each kind of call.
async fn all_calls(backend: &EtcdBackend) -> Vec<Result<(), BackendError>> {
    vec![
        backend.list(everything()).await.map(drop),
        backend.write(put(b"1")).await.map(drop),
        backend.watch(from_the_start()).await.map(drop),
        backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.map(drop),
        backend.keep_alive(LeaseId(1)).await.map(drop),
        backend.revoke(LeaseId(1)).await,
    ]
}

#[tokio::test]
async fn a_silent_endpoint_is_left_after_the_connect_timeout_and_nothing_was_applied() {
    let silent = Silent::new();
    for endpoint in [silent.endpoint(), silent.endpoint().replace("http", "https")] {
        let backend = impatient(&endpoint);
        let begun = Instant::now();
        let expected = format!("cannot reach etcd at {endpoint}: no answer within 0.5 s");
        for result in all_calls(&backend).await {
            assert_eq!(result, Err(BackendError::unreachable(&expected)));
        }
        // Six calls; with the timeout of a call they would take a minute.
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn calls_made_at_once_share_one_attempt_to_connect() {
    let silent = Silent::new();
    let backend = impatient(&silent.endpoint());
    let begun = Instant::now();
    let calls = (0..20).map(|_| backend.list(everything()));
    for result in futures_util::future::join_all(calls).await {
        assert!(matches!(result, Err(BackendError::Unavailable { applied: Applied::No, .. })), "{result:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "one after the other: {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_endpoint_that_closes_connections_is_reported_at_once() {
    let endpoint = hanging_up();
    for endpoint in [endpoint.clone(), endpoint.replace("http", "https")] {
        for result in all_calls(&backend(std::slice::from_ref(&endpoint))).await {
            let error = result.unwrap_err();
            assert!(matches!(error, BackendError::Unavailable { applied: Applied::No, .. }), "{error:?}");
            let words = error.to_string();
            assert!(words.starts_with(&format!("cannot reach etcd at {endpoint}: ")), "{words}");
            assert!(["closed", "eof", "reset"].iter().any(|word| words.contains(word)), "{words}");
        }
    }
}

async fn with_a_good_endpoint_calls_go_there_from_the_first_on(version: Version) {
    let server = EtcdServer::start(version);
    let silent = Silent::new();
    let tls_only = server.endpoint().replace("http", "https");
    for bad in [silent.endpoint(), hanging_up(), dead_endpoint(), tls_only] {
        let backend = backend(&[bad.clone(), server.endpoint()]);
        for result in all_calls(&backend).await {
            assert!(matches!(result, Ok(()) | Err(BackendError::LeaseNotFound { .. })), "{bad}: {result:?}");
        }
    }
}

/// With one endpoint misconfigured and the other down, an operator has to repair the first.
#[tokio::test]
async fn a_misconfigured_endpoint_is_reported_rather_than_one_that_is_down() {
    let server = EtcdServer::start(Version::V35);
    let wrong = server.endpoint().replace("http", "https");
    for endpoints in [[dead_endpoint(), wrong.clone()], [wrong.clone(), dead_endpoint()]] {
        let error = backend(&endpoints).write(put(b"1")).await.unwrap_err();
        let expected = format!("etcd at {wrong}: it does not speak TLS: write http://");
        assert_eq!(error, BackendError::misconfigured(expected));
    }
}

on_both! {
    a_watch_on_a_removed_endpoint_ends_and_is_resumed_on_another
    a_watch_on_an_endpoint_that_stays_listed_goes_on
    a_call_under_way_goes_on_when_its_endpoint_is_removed
    endpoints_that_cannot_work_change_nothing
    calls_work_again_once_the_right_endpoint_is_given
    with_a_good_endpoint_calls_go_there_from_the_first_on
}
