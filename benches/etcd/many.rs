//! Many stores or publishers in one process, each of a prefix of its own with ten keys, and one own key each.

use std::time::Duration;

use futures_util::future::join_all;
use shared_store::{Config, join, publish};
use shared_store_core::backend::etcd::served::client::{Client, GetOptions, PutOptions, TxnOp, WatchOptions};
use shared_store_core::{EtcdBackend, Prefix};

use crate::figures::{Figures, Meter, Phase};
use crate::node::{Node, connect, encoded, kv, named};
use crate::store::backend;
use crate::writer::transactions;

const KEYS: usize = 10;

fn prefix(store: usize) -> String {
    format!("bench/many/{store:05}")
}

fn key(n: usize) -> Node {
    named(format!("node-{n}"), n)
}

/// The keys that are there before.
pub(crate) async fn load(client: &Client, stores: usize) {
    transactions(client, stores * KEYS, 128, |n| {
        TxnOp::put(format!("{}/node-{}", prefix(n / KEYS), n % KEYS), encoded(&key(n % KEYS)), None)
    })
    .await;
}

/// All over one connection: a list, a watch, a lease and a put each.
pub(crate) async fn raw(endpoint: &str, count: usize) -> Figures {
    let client = connect(endpoint).await;
    let meter = Meter::start();
    let one = async |store: usize| {
        let prefix = prefix(store);
        let answer = kv(&client).get(format!("{prefix}/"), Some(GetOptions::new().with_prefix())).await.unwrap();
        let keys: Vec<Node> = answer.kvs().iter().map(|kv| serde_json::from_slice(kv.value()).unwrap()).collect();
        assert_eq!(keys.len(), KEYS);
        let options = WatchOptions::new().with_prefix().with_start_revision(answer.header().unwrap().revision() + 1);
        let mut watch = client.watch_client().watch(format!("{prefix}/"), Some(options)).await.unwrap();
        assert!(watch.message().await.unwrap().unwrap().created());
        let lease = client.lease_client().grant(900, None).await.unwrap().id();
        let options = PutOptions::new().with_lease(lease);
        kv(&client).put(format!("{prefix}/own"), encoded(&key(KEYS)), Some(options)).await.unwrap();
        assert_eq!(watch.message().await.unwrap().unwrap().events().len(), 1);
        (keys, watch)
    };
    finish(join_all((0..count).map(one)).await, &meter).await
}

/// What was used until now, and what is used while nothing happens.
async fn finish<T>(all: Vec<T>, meter: &Meter) -> Figures {
    let figures = meter.stop(all.len());
    let idle = Phase::measure(Duration::from_secs(10)).await;
    drop(all);
    Figures { phases: vec![idle], ..figures }
}

fn config(store: usize, backend: &EtcdBackend) -> Config {
    Config::new(Prefix::new(prefix(store)).unwrap()).backend(backend.clone())
}

fn own() -> Node {
    named("own".to_owned(), KEYS)
}

/// All over one backend, until each shows all keys and its own.
pub(crate) async fn stores(endpoint: &str, count: usize) -> Figures {
    let backend = backend(endpoint);
    let meter = Meter::start();
    let one = async |store: usize| {
        let store = join::<Node>(config(store, &backend)).await.unwrap();
        store.update_local_key(own()).await.unwrap();
        let mut reader = store.reader().clone();
        while reader.len() <= KEYS {
            reader.changed().await.unwrap();
        }
        store
    };
    finish(join_all((0..count).map(one)).await, &meter).await
}

/// The same without caches.
pub(crate) async fn publishers(endpoint: &str, count: usize) -> Figures {
    let backend = backend(endpoint);
    let meter = Meter::start();
    let one = async |store: usize| {
        let publisher = publish::<Node>(config(store, &backend)).start().unwrap();
        publisher.update_key(own()).await.unwrap();
        assert_eq!(publisher.synced().await.unwrap().pending, 0);
        publisher
    };
    finish(join_all((0..count).map(one)).await, &meter).await
}
