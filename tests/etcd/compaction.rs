//! Compactions that come while a watch is away, and faster than a list.

use std::sync::Arc;

use shared_store::{Config, SharedStore, State, join};

use super::*;
use crate::actors::{Shadow, node};
use crate::support::{DeliveryMode, Proxy};

async fn put(backend: &EtcdBackend, name: &str, ip: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, ip)).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

pub(super) async fn synced(store: &SharedStore<Node>) {
    let synced = async {
        let mut state = store.reader().state();
        while state != State::Synced {
            state = store.reader().state_changed(&state).await;
        }
    };
    tokio::time::timeout(PATIENCE, synced).await.expect("the store is synced in the end");
}

/// etcd #18089: the watch begins at the deletion's revision, which is accepted, and does not get it.
async fn a_deletion_whose_revision_is_compacted_while_the_watch_is_away_is_told_in_seconds(version: Version) {
    let server = EtcdServer::start(version);
    let (direct, way) = (server.backend(), Proxy::to(&server.endpoint()));
    put(&direct, "goes", "1").await;
    put(&direct, "stays", "1").await;
    let shadow = Shadow::default();
    let backend = EtcdBackend::new(EtcdConfig::new([way.endpoint()])).unwrap();
    let config = Config::new(prefix()).backend(backend).audit_interval(Duration::ZERO);
    let store = join::<Node>(config).observer(shadow.observer()).await.unwrap();
    synced(&store).await;
    way.set(DeliveryMode::Refuse);
    way.cut();
    store.reader().state_changed(&State::Synced).await;
    let deleted = meddle(&direct, "goes", WriteAction::Delete).await;
    put(&direct, "stays", "2").await;
    direct.compact(deleted).await.unwrap();
    way.set(DeliveryMode::Forward);
    synced(&store).await;
    println!("lost by {version:?}: {}", shadow.map().contains_key("goes"));
    let mended = std::time::Instant::now();
    let told = async {
        while shadow.map().contains_key("goes") {
            store.reader().clone().changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the deletion is told in seconds");
    println!("told after {:?}", mended.elapsed());
    assert_eq!(shadow.map().get("stays").map(String::as_str), Some("2"));
    assert_eq!(store.status().await.unwrap().relists.other_histories, 0);
    store.close().await.unwrap();
}

/// k/k #136950: no list in pages can end, and after a list of one page the watch would begin in the compacted past.
async fn a_kvstore_that_is_compacted_faster_than_it_is_listed_is_joined(version: Version) {
    const KEYS: usize = 30_000;
    let server = Arc::new(EtcdServer::start(version));
    let direct = server.backend();
    for chunk in (0..KEYS).collect::<Vec<_>>().chunks(100) {
        let writes = chunk.iter().map(|n| {
            let value = serde_json::to_vec(&node(&format!("{n:05}"), "1")).unwrap().into();
            let path = prefix().path(&KeyName::new(format!("{n:05}")).unwrap());
            Write { path, expect: Expect::Any, action: WriteAction::Put { value, lease: LeaseId::NONE } }
        });
        direct.write(writes.collect()).await.unwrap();
    }
    // On a thread of its own, as fast as it can: a few times for each page.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (began, begun) = std::sync::mpsc::channel::<()>();
    let compactor = std::thread::spawn({
        let server = Arc::clone(&server);
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for round in 0_u64.. {
                let last = runtime.block_on(put(&direct, "00000", &round.to_string()));
                // Not as the backend does, which waits until all is deleted.
                server.etcdctl(&["compaction", &last.to_string()]);
                // Nobody waits for it but once.
                let _ = began.send(());
                if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                    return;
                }
            }
        }
    });
    begun.recv().unwrap();
    let config = Config::new(prefix()).backend(server.backend()).list_timeout(PATIENCE);
    let joining = std::time::Instant::now();
    let store = join::<Node>(config).await.unwrap();
    println!("joined {version:?} after {:?} at {}", joining.elapsed(), store.reader().revision());
    synced(&store).await;
    println!("synced {version:?} after {:?} at {}", joining.elapsed(), store.reader().revision());
    assert_eq!(store.reader().len(), KEYS);
    drop(stop);
    compactor.join().unwrap();
    store.close().await.unwrap();
}

on_both! {
    a_kvstore_that_is_compacted_faster_than_it_is_listed_is_joined
    a_deletion_whose_revision_is_compacted_while_the_watch_is_away_is_told_in_seconds
}
