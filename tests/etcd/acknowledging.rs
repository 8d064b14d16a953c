//! What is acknowledged is in etcd. The cache, which is always a little late, does not decide.

use shared_store::{Config, SharedStore, join};
use shared_store_core::KeyRange;

use super::*;
use crate::actors::node;

const ROUNDS: usize = 200;

on_both! {
    a_value_written_once_is_in_etcd_when_that_is_answered
    an_own_key_is_in_etcd_when_that_is_answered
    a_deleted_key_is_gone_from_etcd_when_that_is_answered
}

/// An etcd, and a store on it.
async fn joined(version: Version) -> (EtcdServer, EtcdBackend, SharedStore<Node>) {
    let server = EtcdServer::start(version);
    let backend = EtcdBackend::new(EtcdConfig::new([server.endpoint()])).unwrap();
    let store = join::<Node>(Config::new(prefix()).backend(backend.clone())).await.unwrap();
    (server, backend, store)
}

async fn is_there(backend: &EtcdBackend, name: &KeyName) -> bool {
    let page = backend.list(ListRequest::new(KeyRange::one(&prefix().path(name)))).await.unwrap();
    !page.kvs.is_empty()
}

async fn a_value_written_once_is_in_etcd_when_that_is_answered(version: Version) {
    let ((_server, backend, store), name) = (joined(version).await, KeyName::new("a").unwrap());
    for round in 0..ROUNDS {
        store.update_key_sync(node("a", "1")).await.unwrap();
        assert!(is_there(&backend, &name).await, "round {round}");
        store.delete_local_key(name.clone()).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn an_own_key_is_in_etcd_when_that_is_answered(version: Version) {
    let ((_server, backend, store), name) = (joined(version).await, KeyName::new("a").unwrap());
    for round in 0..ROUNDS {
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        assert!(is_there(&backend, &name).await, "round {round}");
        store.delete_local_key(name.clone()).await.unwrap();
    }
    store.close().await.unwrap();
}

async fn a_deleted_key_is_gone_from_etcd_when_that_is_answered(version: Version) {
    let ((_server, backend, store), name) = (joined(version).await, KeyName::new("a").unwrap());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            store.update_key_sync(node("a", "once")).await.unwrap();
        }
        // Often the put is still under way.
        store.update_local_key(node("a", &round.to_string())).await.unwrap();
        store.delete_local_key(name.clone()).await.unwrap();
        assert!(!is_there(&backend, &name).await, "round {round}");
    }
    store.close().await.unwrap();
}
