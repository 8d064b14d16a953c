//! Who writes what the others list and watch.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use shared_store_core::backend::etcd::served::client::{Client, Txn, TxnOp};
use tokio::sync::mpsc;

use crate::many;
use crate::node::{Node, connect, encoded, kv, last, node, path, sent_now};

/// How many keys events are of, each in turn.
pub(crate) const LIVE_KEYS: usize = 10_000;
/// Puts a second of `steady`.
pub(crate) const RATE: usize = 2000;

pub(crate) async fn run(work: &str, endpoint: &str, count: usize) {
    // Those of a mirror write to its source.
    let client = connect(endpoint.split(',').next().unwrap()).await;
    match work {
        "load" => return transactions(&client, count, 128, |n| put_now(node(n))).await,
        "load-stores" => return many::load(&client, count).await,
        "steady" | "mirror-steady" => steady(&client, count).await,
        "singles" => {
            let mut written = stream::iter(0..count).map(|n| put(&client, live(n))).buffer_unordered(64);
            while written.next().await.is_some() {}
        }
        "batches" => transactions(&client, count, 100, |n| put_now(live(n))).await,
        _ => panic!("nobody writes {work}"),
    }
    put(&client, last()).await;
}

fn live(n: usize) -> Node {
    sent_now(node(n % LIVE_KEYS))
}

async fn put(client: &Client, node: Node) {
    kv(client).put(path(&node), encoded(&node), None).await.unwrap();
}

fn put_now(node: Node) -> TxnOp {
    let node = sent_now(node);
    TxnOp::put(path(&node), encoded(&node), None)
}

/// Four at a time.
pub(crate) async fn transactions(client: &Client, count: usize, size: usize, put: impl Fn(usize) -> TxnOp) {
    let write = |first: usize| {
        let puts: Vec<_> = (first..count.min(first + size)).map(&put).collect();
        let mut kv = kv(client);
        async move { kv.txn(Txn::new().and_then(puts)).await }
    };
    let mut written = stream::iter((0..count).step_by(size)).map(write).buffer_unordered(4);
    while let Some(answer) = written.next().await {
        assert!(answer.unwrap().succeeded());
    }
}

/// [`RATE`] puts a second, whether those before are answered or not.
async fn steady(client: &Client, count: usize) {
    let (due, mut next) = mpsc::unbounded_channel();
    // tokio's timers have steps of a millisecond.
    std::thread::spawn(move || {
        let start = Instant::now();
        for n in 0..count {
            let at = Duration::from_secs(1) * n as u32 / RATE as u32;
            std::thread::sleep(at.saturating_sub(start.elapsed()));
            due.send(n).unwrap();
        }
    });
    let mut puts = Vec::new();
    while let Some(n) = next.recv().await {
        let client = client.clone();
        puts.push(actix_rt::spawn(async move { put(&client, live(n)).await }));
    }
    for put in puts {
        put.await.unwrap();
    }
}
