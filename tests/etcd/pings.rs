//! Keep-alive pings that etcd refuses, and connections that are not pinged.

use shared_store_core::BackendError;
use shared_store_core::backend::{WatchRequest, WatchResponse};

use super::backend::{everything, from_the_start, put};
use super::*;
use crate::actors::PATIENCE;
use crate::support::{DeliveryMode, Proxy};

async fn pings_that_etcd_refuses_become_rarer_until_it_lets_them_pass(version: Version) {
    let server = EtcdServer::start_with(version, &["--grpc-keepalive-min-time=1s"]);
    let (first, timeout) = (Duration::from_millis(300), Duration::from_secs(5));
    let config = EtcdConfig::new([server.endpoint()]).keep_alive(first, timeout);
    let backend = EtcdBackend::new(config).unwrap();
    let start = backend.list(everything()).await.unwrap().header.revision.next();
    let open = async || backend.watch(WatchRequest { start, ..from_the_start() }).await.unwrap();
    let mut said = Vec::new();
    let refused = async {
        // By then pings come rarely enough.
        while !said.iter().any(|error: &BackendError| error.to_string().contains("pings every 0.6 s")) {
            said.push(open().await.next().await.unwrap_err());
        }
    };
    assert!(tokio::time::timeout(PATIENCE, refused).await.is_ok(), "{said:?}");
    let words = |was, is| format!("it refuses keep-alive pings every {was} s: pinging every {is} s now");
    for (was, is) in [(0.3, 0.6), (0.6, 1.2)] {
        let expected = BackendError::unavailable(format_args!("etcd at {}: {}", server.endpoint(), words(was, is)));
        assert_eq!(said.iter().filter(|error| **error == expected).count(), 1, "{said:?}");
    }
    // etcd closes the connection after four of them.
    let mut watch = open().await;
    let silent = tokio::time::timeout(Duration::from_millis(1200 * 5), watch.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    backend.write(put(b"1")).await.unwrap();
    assert!(matches!(watch.next().await, Ok(WatchResponse::Events(_))));
}

/// Pings on a connection without a stream are refused by every etcd, whatever its flags.
async fn an_idle_connection_is_not_pinged_and_stays(version: Version) {
    let server = EtcdServer::start(version);
    let way = Proxy::to(&server.endpoint());
    let interval = Duration::from_millis(300);
    let config = EtcdConfig::new([way.endpoint()]).keep_alive(interval, Duration::from_secs(5));
    let backend = EtcdBackend::new(config).unwrap();
    for _ in 0..2 {
        backend.list(everything()).await.unwrap();
        let lease = backend.grant(LeaseId::NONE, PATIENCE).await.unwrap().lease;
        backend.revoke(lease).await.unwrap();
        assert_eq!(way.connections(), 2, "one for lists and writes, one for watches and leases");
        // etcd would close the connection after four pings.
        real_time(interval * 6).await;
    }
}

/// Over a connection that was idle nothing is sent before a ping was answered.
async fn a_connection_that_died_while_it_was_idle_is_left_before_anything_is_sent(version: Version) {
    let server = EtcdServer::start(version);
    let ways = [Proxy::to(&server.endpoint()), Proxy::to(&server.endpoint())];
    let interval = Duration::from_millis(300);
    let config =
        EtcdConfig::new(ways.iter().map(Proxy::endpoint)).keep_alive(interval, interval).connect_timeout(interval);
    let backend = EtcdBackend::new(config).unwrap();
    let lease = backend.grant(LeaseId::NONE, PATIENCE).await.unwrap().lease;
    backend.write(put(b"1")).await.unwrap();
    ways[0].set(DeliveryMode::BlackHole);
    // Until a ping would be due.
    real_time(interval * 2).await;
    backend.write(put(b"2")).await.unwrap();
    backend.keep_alive(lease).await.unwrap();
    // What the black hole held arrives now: a write sent there would be applied once more.
    let revision = backend.list(everything()).await.unwrap().header.revision;
    ways[0].set(DeliveryMode::Forward);
    backend.write(put(b"3")).await.unwrap();
    assert_eq!(backend.list(everything()).await.unwrap().header.revision, revision.next());
}

on_both! {
    pings_that_etcd_refuses_become_rarer_until_it_lets_them_pass
    an_idle_connection_is_not_pinged_and_stays
    a_connection_that_died_while_it_was_idle_is_left_before_anything_is_sent
}
