//! Keys of one etcd copied into another, by etcd-client and by a mirror.

use std::sync::Arc;

use actix_rt::task::JoinHandle;
use futures_util::{FutureExt, StreamExt, stream};
use shared_store::mirror::{Mirror, MirrorConfig, MirrorRule};
use shared_store_core::Prefix;
use shared_store_core::backend::etcd::served::client::{
    Client, Event, EventType, PutOptions, Txn, TxnOp, WatchOptions, WatchStream,
};

use crate::figures::{Figures, Meter};
use crate::node::{PREFIX, connect, kv};
use crate::raw::{self, pages};
use crate::store::{self, backend};

/// The endpoints of the source and of the target.
pub(crate) fn endpoints(both: &str) -> (&str, &str) {
    both.split_once(',').unwrap()
}

/// Pages of the source, each put in transactions of 128, four under way, 1000 keys a lease.
pub(crate) async fn raw_copy(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let (source, target) = endpoints(endpoint);
    let (source, target) = (connect(source).await, connect(target).await);
    let mut copied = 0;
    pages(&source, async |kvs| {
        copied += kvs.len();
        let mut batches = Vec::new();
        for thousand in kvs.chunks(1000) {
            let lease = target.lease_client().grant(900, None).await.unwrap().id();
            batches.extend(thousand.chunks(128).map(|batch| {
                let put = |kv: &shared_store_core::backend::etcd::served::client::KeyValue| {
                    TxnOp::put(kv.key(), kv.value(), Some(PutOptions::new().with_lease(lease)))
                };
                Txn::new().and_then(batch.iter().map(put).collect::<Vec<_>>())
            }));
        }
        let write = |txn| {
            let mut kv = kv(&target);
            async move { kv.txn(txn).await }
        };
        let mut written = stream::iter(batches).map(write).buffer_unordered(4);
        while let Some(answer) = written.next().await {
            assert!(answer.unwrap().succeeded());
        }
    })
    .await;
    assert_eq!(copied, count);
    meter.stop(count)
}

async fn started(endpoint: &str) -> Mirror {
    let (source, target) = endpoints(endpoint);
    let prefix = || Prefix::new(PREFIX).unwrap();
    let rule = MirrorRule::new("nodes", prefix(), prefix());
    let config = MirrorConfig::new("bench", vec![rule], Arc::new(backend(source)), Arc::new(backend(target)));
    let mirror = Mirror::start(config).unwrap();
    while !mirror.status().await.unwrap().ready {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    mirror
}

pub(crate) async fn copy(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let mirror = started(endpoint).await;
    let figures = meter.stop(count);
    assert_eq!(mirror.status().await.unwrap().copies[0].keys, count);
    figures
}

/// Every event of the source is put into the target, what has arrived together in one transaction, and seen there by a watch.
pub(crate) async fn raw_follow(endpoint: &str, count: usize) -> Figures {
    let (source, target) = endpoints(endpoint);
    let (from, to) = (connect(source).await, connect(target).await);
    raw_copy(endpoint, crate::writer::LIVE_KEYS).await;
    let mut events = watch(&from).await;
    let following: JoinHandle<()> = actix_rt::spawn(async move {
        loop {
            let mut puts = Vec::new();
            let mut response = events.message().await.unwrap();
            while let Some(message) = response {
                puts.extend(message.events().iter().filter(|event| event.event_type() == EventType::Put).map(put));
                response =
                    if puts.len() < 100 { events.message().now_or_never().and_then(Result::unwrap) } else { None };
            }
            kv(&to).txn(Txn::new().and_then(puts)).await.unwrap();
        }
    });
    let figures = raw::watch(target, count).await;
    following.abort();
    figures
}

fn put(event: &Event) -> TxnOp {
    let kv = event.kv().unwrap();
    TxnOp::put(kv.key(), kv.value(), None)
}

async fn watch(client: &Client) -> WatchStream {
    let options = WatchOptions::new().with_range(format!("{PREFIX}0"));
    let mut watch = client.watch_client().max_decoding_message_size(1 << 30);
    let mut watch = watch.watch(format!("{PREFIX}/"), Some(options)).await.unwrap();
    assert!(watch.message().await.unwrap().unwrap().created());
    watch
}

/// A mirror, and a store of the target whose observer is told each change by a message of its own.
pub(crate) async fn follow(endpoint: &str, count: usize) -> Figures {
    let _mirror = started(endpoint).await;
    store::run("store", "steady", endpoints(endpoint).1, count).await
}
