//! Keys of one kvstore copied into another.

mod earlier;
mod histories;
mod several;

use shared_store::mirror::{Heartbeat, Mirror, MirrorConfig, MirrorRule, MirrorStatus, MirrorTimes};
use shared_store::{BackendError, Bytes, CloseError, ConfigError, JoinError};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, Expect, ListRequest, Write, WriteAction};
use shared_store_core::{KeyRange, KeyValue, LeaseId};

use super::publishing::until;
use super::*;

const CONFIG: &str = r#"{"id":3,"capabilities":{"syncedCanaries":true}}"#;
const KINDS: [&str; 5] = ["nodes", "services", "serviceexports", "identities", "ip"];
/// What a cluster writes, and where its copy is.
const NODE: (&str, &str) = ("cilium/state/nodes/v1/c3/n1", "cilium/cache/nodes/v1/c3/n1");
const SERVICE: (&str, &str) = ("cilium/state/services/v1/c3/default/web", "cilium/cache/services/v1/c3/default/web");
const IDENTITY: (&str, &str) = ("cilium/state/identities/v1/id/77", "cilium/cache/identities/v1/c3/id/77");
const IP: (&str, &str) = ("cilium/state/ip/v1/default/10.0.0.1", "cilium/cache/ip/v1/c3/10.0.0.1");
const CLUSTER_CONFIG: &str = "cilium/cluster-config/c3";

async fn write(backend: &MemoryBackend, path: &str, action: WriteAction) {
    let path = Bytes::copy_from_slice(path.as_bytes());
    backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap();
}

async fn put(backend: &MemoryBackend, path: &str, value: impl Into<Bytes>) {
    write(backend, path, WriteAction::Put { value: value.into(), lease: LeaseId::NONE }).await;
}

async fn delete(backend: &MemoryBackend, path: &str) {
    write(backend, path, WriteAction::Delete).await;
}

async fn get(backend: &MemoryBackend, path: &str) -> Option<KeyValue> {
    backend.list(ListRequest::new(KeyRange::one(&Bytes::copy_from_slice(path.as_bytes())))).await.unwrap().kvs.pop()
}

async fn value(backend: &MemoryBackend, path: &str) -> Option<Bytes> {
    get(backend, path).await.map(|kv| kv.value)
}

/// All paths of a kvstore.
async fn paths(backend: &MemoryBackend) -> Vec<String> {
    let all = KeyRange { start: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\xff") };
    let kvs = backend.list(ListRequest::new(all)).await.unwrap().kvs;
    kvs.iter().map(|kv| String::from_utf8(kv.path.to_vec()).unwrap()).collect()
}

/// Where a canary of the cluster is.
fn canary(of: &str, kind: &str) -> String {
    format!("cilium/synced/c3/cilium/{of}/{kind}/v1")
}

/// A cluster with a key of each kind, but without canaries.
async fn fill(source: &MemoryBackend) {
    put(source, CLUSTER_CONFIG, CONFIG).await;
    put(source, NODE.0, r#"{"Name":"n1","Unknown":[1, 2]}"#).await;
    put(source, SERVICE.0, r#"{"cluster":"c3"}"#).await;
    put(source, IDENTITY.0, "k8s:app=web;k8s:ns=default;").await;
    put(source, IP.0, &b"\x00\xff not JSON"[..]).await;
}

async fn put_canaries(source: &MemoryBackend) {
    for kind in KINDS {
        put(source, &canary("state", kind), "2026-11-28T00:00:00Z").await;
    }
}

async fn cluster() -> MemoryBackend {
    let source = MemoryBackend::new();
    fill(&source).await;
    put_canaries(&source).await;
    source
}

fn start(source: impl Backend, target: impl Backend) -> Mirror {
    start_with(source, target, MirrorTimes::default())
}

fn start_with(source: impl Backend, target: impl Backend, times: MirrorTimes) -> Mirror {
    let config = MirrorConfig::cilium("c3", Arc::new(source), Arc::new(target)).times(times);
    Mirror::start_on(config, StoreThread::current()).unwrap()
}

async fn is_ready(mirror: &Mirror) -> bool {
    mirror.status().await.unwrap().ready
}

/// A mirror that has copied all.
async fn complete(source: impl Backend, target: impl Backend) -> Mirror {
    let mirror = start(source, target);
    until(async || is_ready(&mirror).await).await;
    mirror
}

/// Cuts the source off.
fn cut(source: &Faulty) {
    for op in [Op::List, Op::Watch] {
        source.fail(op, usize::MAX, When::Before, BackendError::unreachable("cut"));
    }
    source.break_watches(BackendError::unavailable("cut"));
}

/// Writes down every deletion that a reader of the copies is told.
async fn deletions(target: &MemoryBackend) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut watch = target
        .watch(shared_store_core::backend::WatchRequest {
            range: Prefix::new("cilium/cache").unwrap().range(),
            start: target.revision().next(),
        })
        .await
        .unwrap();
    let all = Arc::clone(&told);
    actix_rt::spawn(async move {
        while let Ok(response) = watch.next().await {
            let shared_store_core::backend::WatchResponse::Events(events) = response else { continue };
            for event in events.events {
                if let shared_store_core::Event::Delete { path, .. } = event {
                    all.lock().unwrap().push(String::from_utf8(path.to_vec()).unwrap());
                }
            }
        }
    });
    told
}

#[test]
fn a_cluster_is_copied_to_the_byte_its_configuration_first_and_its_canaries_last() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        let config = get(&target, CLUSTER_CONFIG).await.unwrap();
        assert_eq!(config.value, r#"{"capabilities":{"cached":true,"syncedCanaries":true},"id":3}"#);
        let mut last_key = Revision::ZERO;
        for (from, to) in [NODE, SERVICE, IDENTITY, IP] {
            let copy = get(&target, to).await.unwrap();
            assert_eq!(Some(&copy.value), value(&source, from).await.as_ref());
            assert!(copy.mod_revision > config.mod_revision && copy.lease != LeaseId::NONE, "{copy:?}");
            last_key = last_key.max(copy.mod_revision);
        }
        for kind in KINDS {
            let announced = get(&target, &canary("cache", kind)).await.unwrap();
            assert_ne!(announced.lease, LeaseId::NONE);
        }
        let nodes = get(&target, &canary("cache", "nodes")).await.unwrap();
        assert!(nodes.mod_revision > get(&target, NODE.1).await.unwrap().mod_revision);
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5, "and nothing else");
        let status = mirror.status().await.unwrap();
        assert_eq!(status.to_string(), "c3: ready");
        assert_eq!(status.copies.iter().map(|copy| copy.keys).collect::<Vec<_>>(), [1, 1, 0, 1, 1]);
    });
}

#[test]
fn no_copy_is_written_before_the_configuration_even_if_that_has_to_be_tried_again() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let faulty = Faulty::new(target.clone());
        faulty.fail(Op::Write, 1, When::Before, BackendError::unreachable("down"));
        let _mirror = complete(source, faulty).await;
        let config = get(&target, CLUSTER_CONFIG).await.unwrap();
        for (_, to) in [NODE, SERVICE, IDENTITY, IP] {
            assert!(get(&target, to).await.unwrap().mod_revision > config.mod_revision, "{to}");
        }
    });
}

#[test]
fn the_copies_follow_the_source() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let _mirror = complete(source.clone(), target.clone()).await;
        put(&source, "cilium/state/nodes/v1/c3/n2", "2").await;
        put(&source, NODE.0, "3").await;
        delete(&source, IP.0).await;
        put(&source, "cilium/state/nodes/v1/another/n1", "not ours").await;
        until(async || value(&target, "cilium/cache/nodes/v1/c3/n2").await == Some("2".into())).await;
        until(async || value(&target, NODE.1).await == Some("3".into())).await;
        until(async || value(&target, IP.1).await.is_none()).await;
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5);
    });
}

#[test]
fn nothing_is_copied_before_the_source_says_that_it_is_complete() {
    paused(async {
        let (source, target) = (MemoryBackend::new(), MemoryBackend::new());
        let mirror = start(source.clone(), target.clone());
        pass(PATIENCE).await;
        assert_eq!(paths(&target).await, <[&str; 0]>::default());
        let status = mirror.status().await.unwrap();
        assert_eq!(status.to_string(), "c3: not connected: the source has no key cilium/cluster-config/c3");
        fill(&source).await;
        pass(PATIENCE).await;
        assert_eq!(paths(&target).await, [CLUSTER_CONFIG]);
        let status = mirror.status().await.unwrap();
        let cause = "the source is not complete: it has no key cilium/synced/c3/cilium/state/nodes/v1";
        assert_eq!(status.copies[0].cause.as_deref(), Some(cause));
        put_canaries(&source).await;
        until(async || is_ready(&mirror).await).await;
    });
}

/// The test of tests: an etcd that lost its data is empty, then half full, and then complete again.
#[test]
fn no_reader_of_the_copies_is_told_a_deletion_when_the_source_is_wiped_and_filled_again() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        let deleted = deletions(&target).await;
        source.restore(&MemoryBackend::new().backup());
        pass(PATIENCE * 20).await;
        let status = mirror.status().await.unwrap();
        assert!(!status.ready && !status.connected && status.failures > 0, "{status:?}");
        put(&source, CLUSTER_CONFIG, CONFIG).await;
        put(&source, NODE.0, "new").await;
        pass(PATIENCE * 20).await;
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5);
        assert_ne!(value(&target, NODE.1).await.unwrap(), "new", "the source is not complete");
        put(&source, SERVICE.0, "1").await;
        put(&source, IDENTITY.0, "1").await;
        put_canaries(&source).await;
        until(async || value(&target, NODE.1).await == Some("new".into())).await;
        // The key that did not come back goes when deletions of another history are told.
        until(async || value(&target, IP.1).await.is_none()).await;
        until(async || is_ready(&mirror).await).await;
        assert_eq!(*deleted.lock().unwrap(), [IP.1]);
    });
}

#[test]
fn a_source_that_cannot_be_reached_changes_nothing() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let faulty = Faulty::new(source.clone());
        let mirror = complete(faulty.clone(), target.clone()).await;
        let deleted = deletions(&target).await;
        cut(&faulty);
        delete(&source, NODE.0).await;
        pass(Duration::from_secs(3600)).await;
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5);
        assert_eq!(*deleted.lock().unwrap(), <[&str; 0]>::default());
        assert!(!is_ready(&mirror).await);
        faulty.heal();
        until(async || value(&target, NODE.1).await.is_none()).await;
        until(async || is_ready(&mirror).await).await;
    });
}

#[test]
fn services_of_a_source_that_is_lost_for_too_long_expire_on_wish_and_come_back() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let faulty = Faulty::new(source.clone());
        let times = MirrorTimes { keep: Some(PATIENCE * 10), ..MirrorTimes::default() };
        let mirror = start_with(faulty.clone(), target.clone(), times);
        until(async || is_ready(&mirror).await).await;
        cut(&faulty);
        pass(PATIENCE * 9).await;
        assert!(get(&target, SERVICE.1).await.is_some());
        pass(PATIENCE * 2).await;
        assert!(get(&target, SERVICE.1).await.is_none() && get(&target, NODE.1).await.is_some());
        assert!(mirror.status().await.unwrap().copies[1].expired);
        put(&source, "cilium/state/services/v1/c3/default/new", "1").await;
        faulty.heal();
        until(async || get(&target, SERVICE.1).await.is_some()).await;
        until(async || get(&target, "cilium/cache/services/v1/c3/default/new").await.is_some()).await;
        delete(&source, SERVICE.0).await;
        until(async || get(&target, SERVICE.1).await.is_none()).await;
    });
}

#[test]
fn what_the_source_deleted_while_no_mirror_ran_is_deleted_as_soon_as_one_runs() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        drop(mirror);
        pass(Duration::from_secs(1)).await;
        delete(&source, NODE.0).await;
        put(&source, IP.0, "new").await;
        let deleted = deletions(&target).await;
        let mirror = complete(source.clone(), target.clone()).await;
        until(async || get(&target, NODE.1).await.is_none()).await;
        assert_eq!(
            (value(&target, IP.1).await, deleted.lock().unwrap().clone()),
            (Some("new".into()), vec![NODE.1.into()])
        );
        // The leases of the mirror of before end; what is there now is on those of this one.
        pass(Duration::from_secs(3600)).await;
        assert_eq!((paths(&target).await.len(), deleted.lock().unwrap().len()), (1 + 3 + 5, 1));
        drop(mirror);
    });
}

#[test]
fn damaged_copies_are_put_again_and_so_is_all_after_the_target_was_wiped() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        delete(&target, NODE.1).await;
        put(&target, CLUSTER_CONFIG, "{}").await;
        until(async || get(&target, NODE.1).await.is_some()).await;
        until(async || value(&target, CLUSTER_CONFIG).await.unwrap() != "{}").await;
        target.restore(&MemoryBackend::new().backup());
        // At the latest the next keep-alive of a lease finds out.
        pass(Duration::from_secs(600)).await;
        until(async || paths(&target).await.len() == 1 + 4 + 5).await;
        let nodes = get(&target, &canary("cache", "nodes")).await.unwrap();
        assert!(nodes.mod_revision > get(&target, NODE.1).await.unwrap().mod_revision, "keys first, then the canary");
        until(async || is_ready(&mirror).await).await;
    });
}

#[test]
fn a_removed_source_takes_its_configuration_first_and_its_copies_after_the_grace_and_nothing_else() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        put(&target, "cilium/cache/nodes/v1/c4/n1", "another cluster").await;
        let mirror = complete(source.clone(), target.clone()).await;
        let leaving = mirror.clone();
        let left = actix_rt::spawn(async move { leaving.remove().await });
        until(async || get(&target, CLUSTER_CONFIG).await.is_none()).await;
        pass(Duration::from_secs(170)).await;
        assert_eq!(paths(&target).await.len(), 4 + 5 + 1);
        assert!(mirror.status().await.unwrap().leaves);
        assert_eq!(left.await.unwrap(), Ok(()));
        assert_eq!(paths(&target).await, ["cilium/cache/nodes/v1/c4/n1"]);
        assert!(mirror.status().await.is_err());
    });
}

#[test]
fn a_mirror_that_is_released_leaves_its_copies_to_their_leases() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        mirror.release().await.unwrap();
        pass(Duration::from_secs(60)).await;
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5);
        pass(Duration::from_secs(3600)).await;
        assert_eq!(paths(&target).await, <[&str; 0]>::default());
        assert_eq!(mirror.remove().await, Err(CloseError { left: vec![], ended: Some("the mirror has ended".into()) }));
    });
}

#[test]
fn a_mirror_that_is_released_on_its_way_out_leaves_at_once() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        let leaving = mirror.clone();
        let left = actix_rt::spawn(async move { leaving.remove().await });
        until(async || get(&target, CLUSTER_CONFIG).await.is_none()).await;
        mirror.release().await.unwrap();
        let told = left.await.unwrap().unwrap_err();
        assert_eq!(told.ended.as_deref(), Some("the mirror was released: its copies stay until their leases end"));
        assert_eq!(paths(&target).await.len(), 4 + 5);
    });
}

#[test]
fn a_source_that_becomes_a_cache_is_copied_from_there_without_a_deletion() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let mirror = complete(source.clone(), target.clone()).await;
        let deleted = deletions(&target).await;
        for (_, cached) in [NODE, SERVICE, IDENTITY, IP] {
            put(&source, cached, "of the cache").await;
        }
        put(&source, CLUSTER_CONFIG, r#"{"id":3,"capabilities":{"syncedCanaries":true,"cached":true}}"#).await;
        pass(PATIENCE).await;
        assert_ne!(value(&target, NODE.1).await.unwrap(), "of the cache", "the cache is not complete");
        for kind in KINDS {
            put(&source, &canary("cache", kind), "now").await;
        }
        until(async || value(&target, NODE.1).await.unwrap() == "of the cache").await;
        until(async || is_ready(&mirror).await).await;
        assert_eq!(*deleted.lock().unwrap(), <[&str; 0]>::default());
    });
}

#[test]
fn any_prefixes_can_be_mirrored_by_rules() {
    paused(async {
        let (source, target) = (MemoryBackend::new(), MemoryBackend::new());
        put(&source, "nodes/a", "1").await;
        put(&target, "eu/nodes/stranger", "1").await;
        let rule = MirrorRule::new("nodes", Prefix::new("nodes").unwrap(), Prefix::new("eu/nodes").unwrap());
        let config = MirrorConfig::new("eu", vec![rule], Arc::new(source), Arc::new(target.clone()));
        let mirror = Mirror::start_on(config, StoreThread::current()).unwrap();
        until(async || is_ready(&mirror).await).await;
        assert_eq!(paths(&target).await, ["eu/nodes/a", "eu/nodes/stranger"], "a key of another owner is left alone");
        mirror.remove().await.unwrap();
        assert_eq!(paths(&target).await, ["eu/nodes/stranger"]);
    });
}

#[test]
fn a_source_is_complete_when_the_target_can_be_reached_and_not_before() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let faulty = Faulty::new(target.clone());
        faulty.fail(Op::Write, usize::MAX, When::Before, BackendError::unreachable("down"));
        let mirror = start(source, faulty.clone());
        pass(PATIENCE).await;
        let MirrorStatus { ready, connected, .. } = mirror.status().await.unwrap();
        assert_eq!((ready, connected), (false, true));
        faulty.heal();
        until(async || is_ready(&mirror).await).await;
    });
}

#[test]
fn a_name_that_no_cluster_can_have_is_refused() {
    paused(async {
        for name in ["", "-a", "a-", "A", "a/b", "a b", &"a".repeat(33)] {
            let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
            let config = MirrorConfig::cilium(name, Arc::clone(&memory), memory);
            let refused = Mirror::start_on(config, StoreThread::current()).map(drop);
            assert_eq!(refused, Err(JoinError::Config(ConfigError::Cluster(name.into()))));
        }
    });
}

#[test]
fn a_heartbeat_is_written_every_minute_under_a_lease_that_is_granted_again() {
    paused(async {
        let target = MemoryBackend::new();
        let heartbeat = Heartbeat::start_on(Arc::new(target.clone()), &StoreThread::current());
        let path = "cilium/.heartbeat";
        until(async || get(&target, path).await.is_some()).await;
        let first = get(&target, path).await.unwrap();
        pass(Duration::from_secs(61)).await;
        let second = get(&target, path).await.unwrap();
        assert!(second.mod_revision > first.mod_revision && second.lease == first.lease);
        target.revoke(second.lease).await.unwrap();
        pass(Duration::from_secs(70)).await;
        assert_ne!(get(&target, path).await.unwrap().lease, second.lease);
        drop(heartbeat);
        pass(Duration::from_secs(20 * 60)).await;
        assert!(get(&target, path).await.is_none());
    });
}
