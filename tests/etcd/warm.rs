//! A restart from a snapshot, on a real etcd that changed meanwhile.

use shared_store::{Config, DeletionGuard, SharedStore, Status, join};
use tempfile::TempDir;

use super::three::PATIENCE;
use super::*;
use crate::actors::{Shadow, node};

/// An etcd with the keys a, b and c, and the snapshot of a store that has left.
struct LeftBehind {
    server: EtcdServer,
    directory: TempDir,
}

impl LeftBehind {
    async fn new(version: Version) -> Self {
        let left = Self { server: EtcdServer::start(version), directory: tempfile::tempdir().unwrap() };
        left.put(&["a", "b", "c"], "1").await;
        let (store, shadow) = left.join().await;
        synced(&shadow).await;
        store.release().await.unwrap();
        left
    }

    async fn join(&self) -> (SharedStore<Node>, Shadow) {
        let shadow = Shadow::default();
        let etcd = EtcdConfig::new([self.server.endpoint()]).call_timeout(Duration::from_secs(2));
        let guard = DeletionGuard { hold: Duration::from_secs(1), ..DeletionGuard::default() };
        let config = Config::new(prefix()).backend(EtcdBackend::new(etcd).unwrap()).deletion_guard(guard);
        let config = config.state_dir(self.directory.path());
        let store = join::<Node>(config).observer(shadow.observer()).await.unwrap();
        (store, shadow)
    }

    async fn put(&self, names: &[&str], ip: &str) {
        let backend = self.server.backend();
        for name in names {
            let value = serde_json::to_vec(&node(name, ip)).unwrap().into();
            meddle(&backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await;
        }
    }

    /// Joins again: what is told after the snapshot's three keys, until no deletion is held back.
    async fn told(&self) -> Vec<String> {
        let (store, shadow) = self.join().await;
        synced(&shadow).await;
        let told = |status: &Status| status.held_back == 0 && status.observers.iter().all(|(_, lag)| lag.pending == 0);
        eventually("all is told", PATIENCE, async || store.status().await.unwrap(), told).await;
        let told = shadow.log();
        assert_eq!(told[..3], ["a=1", "b=1", "c=1"]);
        store.release().await.unwrap();
        told[3..].to_vec()
    }
}

/// Waits until an observer's first state is complete.
async fn synced(shadow: &Shadow) {
    shadow.until("synced", |told| told.log.iter().any(|line| line.starts_with("synced"))).await;
}

async fn changed_while_down(version: Version) {
    let left = LeftBehind::new(version).await;
    left.put(&["c", "d"], "2").await;
    meddle(&left.server.backend(), "b", WriteAction::Delete).await;
    assert_eq!(left.told().await, ["c=2", "d=2", "-b", "synced 3"]);
    // The snapshot of that store is right, too.
    let (store, shadow) = left.join().await;
    synced(&shadow).await;
    assert_eq!(shadow.log(), ["a=1", "c=2", "d=2", "synced 3"]);
    store.release().await.unwrap();
}

async fn compacted_while_down(version: Version) {
    let left = LeftBehind::new(version).await;
    left.put(&["c"], "2").await;
    let at = meddle(&left.server.backend(), "b", WriteAction::Delete).await;
    left.server.etcdctl(&["compact", &at.to_string()]);
    assert_eq!(left.told().await, ["c=2", "-b", "synced 2"]);
}

async fn wiped_while_down(version: Version) {
    let mut left = LeftBehind::new(version).await;
    left.server.kill();
    left.server.wipe();
    left.server.restart();
    left.put(&["b"], "9").await;
    assert_eq!(left.told().await, ["resynced", "b=9", "synced 3", "-a", "-c"]);
}

/// The cluster id is the same, and no revision is missing.
async fn wiped_and_filled_again_while_down(version: Version) {
    let mut left = LeftBehind::new(version).await;
    left.server.kill();
    left.server.wipe();
    left.server.restart();
    left.put(&["a"], "9").await;
    left.put(&["b", "c"], "1").await;
    left.put(&["e"], "1").await;
    assert_eq!(left.told().await, ["resynced", "a=9", "e=1", "synced 4"]);
}

async fn dead_at_the_start(version: Version) {
    let mut left = LeftBehind::new(version).await;
    left.put(&["c"], "2").await;
    left.server.kill();
    let (store, shadow) = left.join().await;
    assert_eq!((store.reader().len(), shadow.log()), (3, vec!["a=1".to_owned(), "b=1".into(), "c=1".into()]));
    assert_eq!(store.reader().state().name(), "stale");
    left.server.restart();
    synced(&shadow).await;
    assert_eq!(shadow.log()[3..], ["c=2", "synced 3"]);
    store.close().await.unwrap();
}

on_both! {
    changed_while_down
    compacted_while_down
    wiped_while_down
    wiped_and_filled_again_while_down
    dead_at_the_start
}
