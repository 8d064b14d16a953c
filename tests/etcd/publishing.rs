//! A publisher on a real etcd that fails: its keys are written again, then its canary, and no other key is touched.

use shared_store::{BackendError, CanaryState, Config, Publisher, PublisherStatus, State, publish};
use shared_store_core::KeyValue;

use super::*;
use crate::actors::node;

const OWN: usize = 300;

struct Publishing {
    server: EtcdServer,
    backend: EtcdBackend,
    publisher: Publisher<Node>,
}

impl Publishing {
    /// Own keys, one foreign key between them, and the canary.
    async fn start(version: Version) -> Self {
        let server = EtcdServer::start(version);
        let (backend, publisher) = (server.backend(), publisher(&server));
        put(&backend, "100/foreign", "theirs").await;
        publisher.update_keys((0..OWN).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
        let status = publisher.synced().await.unwrap();
        assert!(status.refused.is_empty() && matches!(status.canary, Some(CanaryState::Written { .. })), "{status:?}");
        Self { server, backend, publisher }
    }

    /// Waits until the own keys are there under a lease, and the canary after all of them. Returns the canary.
    async fn complete(&self, own: usize) -> KeyValue {
        let look = async || {
            let (keys, canary) = (all(&self.backend, &prefix()).await, canary(&self.backend).await);
            let status = self.publisher.status().await.unwrap();
            let mine = |kv: &&KeyValue| kv.lease != LeaseId::NONE && ip(&kv.value) == "1";
            (keys.map(|keys| keys.iter().filter(mine).count()), canary, status)
        };
        let complete = |(mine, canary, status): &(_, _, PublisherStatus)| {
            *mine == Ok(own) && matches!(canary, Ok(Some(_))) && status.pending == 0
        };
        let (_, canary, _) = eventually("own keys and canary are complete", PATIENCE, look, complete).await;
        canary.unwrap().unwrap()
    }

    async fn reaches(&self, name: &str) {
        let mut state = self.publisher.state();
        while state.name() != name {
            let changed = tokio::time::timeout(PATIENCE, self.publisher.state_changed(&state)).await;
            state = changed.unwrap_or_else(|_| panic!("still {state}, not {name}"));
        }
    }

    async fn end(self) {
        self.publisher.close().await.unwrap();
        let left = all(&self.backend, &prefix()).await.unwrap();
        assert!(left.iter().all(|kv| kv.lease == LeaseId::NONE), "own keys are left");
        assert!(canary(&self.backend).await.unwrap().is_none(), "the canary is left");
    }
}

fn publisher(server: &EtcdServer) -> Publisher<Node> {
    let etcd = EtcdConfig::new([server.endpoint()])
        .call_timeout(Duration::from_secs(2))
        .keep_alive(Duration::from_millis(500), Duration::from_millis(500));
    let config = Config::new(prefix())
        .backend(EtcdBackend::new(etcd).unwrap())
        .lease_ttl(Duration::from_secs(3))
        .close_timeout(Duration::from_secs(20));
    publish::<Node>(config).canary(Prefix::canaries("c1").unwrap()).start().unwrap()
}

async fn all(backend: &EtcdBackend, prefix: &Prefix) -> Result<Vec<KeyValue>, BackendError> {
    Ok(backend.list(ListRequest::new(prefix.range())).await?.kvs)
}

async fn canary(backend: &EtcdBackend) -> Result<Option<KeyValue>, BackendError> {
    Ok(all(backend, &Prefix::canaries("c1").unwrap()).await?.pop())
}

async fn put(backend: &EtcdBackend, name: &str, ip: &str) -> Revision {
    let value = serde_json::to_vec(&node(name, ip)).unwrap().into();
    meddle(backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
}

async fn damaged_its_keys_are_put_right(version: Version) {
    let publishing = Publishing::start(version).await;
    let before = canary(&publishing.backend).await.unwrap();
    for n in 0..50 {
        meddle(&publishing.backend, &n.to_string(), WriteAction::Delete).await;
        put(&publishing.backend, &(n + 50).to_string(), "theirs").await;
    }
    publishing.complete(OWN).await;
    let foreign = all(&publishing.backend, &prefix()).await.unwrap();
    assert_eq!(foreign.iter().filter(|kv| kv.lease == LeaseId::NONE).count(), 1, "what is not ours is left alone");
    assert_eq!(canary(&publishing.backend).await.unwrap(), before, "no lease was lost");
    publishing.end().await;
}

async fn killed_it_goes_on_where_it_was(version: Version) {
    let mut publishing = Publishing::start(version).await;
    publishing.reaches("synced").await;
    let before = canary(&publishing.backend).await.unwrap().unwrap();
    publishing.server.kill();
    publishing.reaches("stale").await;
    publishing.publisher.update_key(node("new", "1")).await.unwrap();
    publishing.server.restart();
    let after = publishing.complete(OWN + 1).await;
    // Killed for no longer than the leases live, nothing but the new key was written.
    assert_eq!(after, before);
    publishing.end().await;
}

async fn stopped_beyond_the_leases_the_keys_come_back_before_the_canary(version: Version) {
    let publishing = Publishing::start(version).await;
    let before = canary(&publishing.backend).await.unwrap().unwrap();
    publishing.server.pause();
    // Longer than the leases live.
    real_time(Duration::from_secs(4)).await;
    publishing.server.go_on();
    publishing.reaches("synced").await;
    let written = async || publishing.complete(OWN).await.mod_revision;
    eventually("the canary is written again", PATIENCE, written, |written| *written != before.mod_revision).await;
    keys_before_canary(&publishing).await;
    publishing.end().await;
}

async fn wiped_everything_is_published_again_the_canary_last(version: Version) {
    let mut publishing = Publishing::start(version).await;
    publishing.server.kill();
    publishing.server.wipe();
    publishing.server.restart();
    publishing.complete(OWN).await;
    keys_before_canary(&publishing).await;
    publishing.end().await;
}

async fn compacted_while_away_names_tell_what_happened(version: Version) {
    let mut publishing = Publishing::start(version).await;
    publishing.reaches("synced").await;
    publishing.server.pause();
    publishing.reaches("stale").await;
    publishing.server.go_on();
    publishing.server.restart();
    meddle(&publishing.backend, "7", WriteAction::Delete).await;
    let last = put(&publishing.backend, "8", "theirs").await;
    publishing.backend.compact(last).await.unwrap();
    publishing.complete(OWN).await;
    put(&publishing.backend, "9", "theirs").await;
    publishing.complete(OWN).await;
    assert_eq!(publishing.publisher.state(), State::Synced);
    publishing.end().await;
}

async fn ten_thousand_keys_among_many_foreign_ones(version: Version) {
    let server = EtcdServer::start(version);
    let backend = server.backend();
    for batch in 0..160 {
        let write = |n| {
            let name = KeyName::new(format!("foreign/{batch:03}/{n:03}")).unwrap();
            let action = WriteAction::Put { value: "x".repeat(200).into(), lease: LeaseId::NONE };
            Write { path: prefix().path(&name), expect: Expect::Absent, action }
        };
        backend.write((0..128).map(write).collect()).await.unwrap();
    }
    let publisher = publish::<Node>(Config::new(prefix()).backend(server.backend()));
    let publisher = publisher.canary(Prefix::canaries("c1").unwrap()).start().unwrap();
    publisher.update_keys((0..10_000).map(|n| node(&format!("{n:05}"), "1")).collect()).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, publisher.synced()).await.unwrap().unwrap();
    assert_eq!((status.own, status.pending, status.leases), (10_000, 0, 10));
    let publishing = Publishing { server, backend, publisher };
    meddle(&publishing.backend, "05000", WriteAction::Delete).await;
    publishing.complete(10_000).await;
    assert_eq!(all(&publishing.backend, &prefix()).await.unwrap().len(), 10_000 + 160 * 128);
    publishing.end().await;
}

/// Every own key is older than the canary, so a store that waited for the canary has missed none.
async fn keys_before_canary(publishing: &Publishing) {
    let canary = publishing.complete(OWN).await;
    let keys = all(&publishing.backend, &prefix()).await.unwrap();
    let late = keys.iter().filter(|kv| kv.lease != LeaseId::NONE && kv.mod_revision > canary.mod_revision);
    assert_eq!(late.count(), 0, "the canary came too early");
}

on_both! {
    damaged_its_keys_are_put_right
    killed_it_goes_on_where_it_was
    stopped_beyond_the_leases_the_keys_come_back_before_the_canary
    wiped_everything_is_published_again_the_canary_last
    compacted_while_away_names_tell_what_happened
    ten_thousand_keys_among_many_foreign_ones
}
