//! Host names with several addresses, of which some are silent, and which change.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use shared_store_core::BackendError;

use super::backend::{everything, from_the_start, put};
use super::*;

fn address(server: &EtcdServer) -> SocketAddr {
    server.endpoint().trim_start_matches("http://").parse().unwrap()
}

/// A listener that takes connections and never answers: the system does that by itself.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn behind_a_name_the_address_that_answers_is_found(version: Version) {
    let server = EtcdServer::start(version);
    let (_first, first) = silent();
    let (_second, second) = silent();
    for addresses in [vec![first, address(&server)], vec![first, second, address(&server)]] {
        // To the system it has the first one only.
        let config = EtcdConfig::new([format!("http://localhost:{}", first.port())])
            .connect_timeout(Duration::from_secs(2))
            .resolver(move |_| addresses.clone());
        let backend = EtcdBackend::new(config).unwrap();
        backend.write(put(b"1")).await.unwrap();
        backend.watch(from_the_start()).await.unwrap();
    }
}

async fn a_name_whose_addresses_change_is_followed(version: Version) {
    let (mut before, after) = (EtcdServer::start(version), EtcdServer::start(version));
    let (_silent, silent) = silent();
    let addresses = Arc::new(Mutex::new(vec![silent, address(&before)]));
    let known = Arc::clone(&addresses);
    // Only its resolver knows this name.
    let config = EtcdConfig::new(["http://etcd.invalid:2379"])
        .connect_timeout(Duration::from_secs(2))
        .resolver(move |_| known.lock().unwrap().clone());
    let backend = EtcdBackend::new(config).unwrap();
    backend.write(put(b"1")).await.unwrap();
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    before.kill();
    while watch.next().await.is_ok() {}
    *addresses.lock().unwrap() = vec![silent, address(&after)];
    // A list that is under way when the connection ends may fail.
    let listed = async {
        loop {
            match backend.list(everything()).await {
                Ok(page) => return page,
                Err(error) => assert!(matches!(error, BackendError::Unavailable { .. }), "{error:?}"),
            }
        }
    };
    let page = tokio::time::timeout(PATIENCE, listed).await.expect("the name is followed");
    assert_eq!(page.kvs, [], "it is the other one");
    backend.watch(from_the_start()).await.unwrap();
}

on_both! {
    behind_a_name_the_address_that_answers_is_found
    a_name_whose_addresses_change_is_followed
}
