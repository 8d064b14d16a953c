//! etcd-client used directly: the least a program must do that wants decoded values in a map.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use shared_store_core::backend::etcd::served::client::{
    Client, Error, EventType, GetOptions, KeyValue, PutOptions, Txn, TxnOp, WatchOptions, WatchStream,
};

use crate::figures::{Delays, Figures, Meter};
use crate::node::{LAST, Node, PREFIX, connect, encoded, kv, node, now, path};
use crate::{idle, many, mirror};

pub(crate) async fn run(work: &str, endpoint: &str, count: usize) -> Figures {
    match work {
        // Without a store there is no relist that is less than a list.
        "join" | "relist" => join(endpoint, count).await,
        "publish" => publish(endpoint, count).await,
        "mirror" => mirror::raw_copy(endpoint, count).await,
        "mirror-steady" => Box::pin(mirror::raw_follow(endpoint, count)).await,
        "stores" => many::raw(endpoint, count).await,
        "idle" => idle::raw(endpoint, count).await,
        "steady" | "singles" | "batches" => watch(endpoint, count).await,
        _ => panic!("raw does not know {work}"),
    }
}

type Map = HashMap<String, Arc<Node>>;

fn name(path: &[u8]) -> String {
    str::from_utf8(&path[PREFIX.len() + 1..]).unwrap().to_owned()
}

/// Pages at one revision, decoded into a map.
pub(crate) async fn list(client: &Client) -> (Map, i64) {
    let mut map = Map::new();
    let decode = async |kvs: &[KeyValue]| {
        map.extend(kvs.iter().map(|kv| (name(kv.key()), Arc::new(serde_json::from_slice(kv.value()).unwrap()))));
    };
    let revision = pages(client, decode).await;
    (map, revision)
}

/// Pages at one revision, which is answered.
pub(crate) async fn pages(client: &Client, mut page: impl AsyncFnMut(&[KeyValue])) -> i64 {
    let mut revision = 0;
    let mut start = format!("{PREFIX}/").into_bytes();
    loop {
        let options = GetOptions::new().with_range(format!("{PREFIX}0")).with_limit(10_000).with_revision(revision);
        let answer = kv(client).get(start, Some(options)).await.unwrap();
        if revision == 0 {
            revision = answer.header().unwrap().revision();
        }
        page(answer.kvs()).await;
        match answer.kvs().last() {
            Some(last) if answer.more() => start = [last.key(), &[0]].concat(),
            _ => return revision,
        }
    }
}

async fn join(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let client = Client::connect([endpoint], None).await.unwrap();
    let (map, _) = list(&client).await;
    let figures = meter.stop(count);
    assert_eq!(map.len(), count);
    figures
}

async fn publish(endpoint: &str, count: usize) -> Figures {
    let client = connect(endpoint).await;
    let nodes: Vec<_> = (0..count).map(node).collect();
    let meter = Meter::start();
    put_all(&client, &nodes, put).await;
    meter.stop(count)
}

pub(crate) fn put(node: &Node, options: Option<PutOptions>) -> TxnOp {
    TxnOp::put(path(node), encoded(node), options)
}

/// Transactions of 128 puts, four under way, 1000 keys a lease.
pub(crate) async fn put_all<T>(client: &Client, keys: &[T], put: impl Fn(&T, Option<PutOptions>) -> TxnOp) {
    let mut batches = Vec::new();
    for thousand in keys.chunks(1000) {
        let lease = client.lease_client().grant(900, None).await.unwrap().id();
        batches.extend(thousand.chunks(128).map(|batch| (lease, batch)));
    }
    let write = |(lease, batch): (i64, &[T])| {
        let put = |key| put(key, Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().and_then(batch.iter().map(put).collect::<Vec<_>>());
        let mut kv = kv(client);
        async move { kv.txn(txn).await }
    };
    let mut written = stream::iter(batches).map(write).buffer_unordered(4);
    while let Some(answer) = written.next().await {
        assert!(answer.unwrap().succeeded());
    }
}

/// A watch of all keys, begun already.
pub(crate) async fn watch_from(client: &Client, revision: i64) -> WatchStream {
    let mut watch = try_watch(client, revision).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    watch
}

pub(crate) async fn try_watch(client: &Client, revision: i64) -> Result<WatchStream, Error> {
    let options = WatchOptions::new().with_range(format!("{PREFIX}0")).with_start_revision(revision);
    let mut watch = client.watch_client().max_decoding_message_size(1 << 30);
    watch.watch(format!("{PREFIX}/"), Some(options)).await
}

/// A list, and then a watch whose events are decoded into the map.
pub(crate) async fn watch(endpoint: &str, count: usize) -> Figures {
    let client = connect(endpoint).await;
    let (mut map, revision) = list(&client).await;
    let mut watch = watch_from(&client, revision + 1).await;
    println!("ready");
    let (meter, mut first, mut told) = (Meter::start(), None, 0);
    let mut delays = Vec::with_capacity(count);
    loop {
        let response = watch.message().await.unwrap().unwrap();
        let first = first.get_or_insert_with(Instant::now);
        for event in response.events().iter().filter(|event| event.event_type() == EventType::Put) {
            let kv = event.kv().unwrap();
            let node: Node = serde_json::from_slice(kv.value()).unwrap();
            if node.name == LAST {
                let seconds = first.elapsed().as_secs_f64();
                return Figures { seconds, told, delays: Delays::of(delays), ..meter.stop(count) };
            }
            delays.push(now().saturating_sub(node.sent));
            told += 1;
            map.insert(name(kv.key()), Arc::new(node));
        }
    }
}
