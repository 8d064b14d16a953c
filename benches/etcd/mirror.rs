//! Keys of one etcd copied into another, by etcd-client and by a mirror.

use std::sync::Arc;

use actix_rt::task::JoinHandle;
use futures_util::FutureExt;
use shared_store::mirror::{Mirror, MirrorConfig, MirrorRule};
use shared_store_core::Prefix;
use shared_store_core::backend::etcd::served::client::{Event, EventType, Txn, TxnOp};

use crate::figures::{Figures, Meter};
use crate::node::{PREFIX, connect, kv};
use crate::raw::{self, pages, put_all, watch_from};
use crate::store::{self, backend};

/// The endpoints of the source and of the target.
pub(crate) fn endpoints(both: &str) -> (&str, &str) {
    both.split_once(',').unwrap()
}

/// Pages of the source, each put into the target.
pub(crate) async fn raw_copy(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let (source, target) = endpoints(endpoint);
    let (source, target) = (connect(source).await, connect(target).await);
    let mut copied = 0;
    pages(&source, async |kvs| {
        copied += kvs.len();
        put_all(&target, kvs, |kv, options| TxnOp::put(kv.key(), kv.value(), options)).await;
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
    // From now on.
    let mut events = watch_from(&from, 0).await;
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

/// A mirror, and a store of the target whose observer is told each change by a message of its own.
pub(crate) async fn follow(endpoint: &str, count: usize) -> Figures {
    let _mirror = started(endpoint).await;
    store::run("store", "steady", endpoints(endpoint).1, count).await
}
