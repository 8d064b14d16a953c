//! Three collaborators on a real etcd that fails. At the end every cache, every map built from an observer's messages
//! alone, and etcd's own answer are equal.

macro_rules! on_both {
    ($($scenario:ident)+) => {
        mod etcd_34 {
            $(#[test] fn $scenario() { super::on_etcd(super::$scenario(super::Version::V34)); })+
        }
        mod etcd_35 {
            $(#[test] fn $scenario() { super::on_etcd(super::$scenario(super::Version::V35)); })+
        }
    };
}

mod backend;
mod warm;

use std::collections::BTreeMap;
use std::time::Duration;

use shared_store::backend::{Backend, Expect, ListRequest, Write, WriteAction, WriteOutcome};
use shared_store::{EtcdBackend, EtcdConfig, KeyName, LeaseId, Prefix, Revision};
use shared_store_actors::{Config, SharedStore, join};

use crate::actors::{Node, Shadow, node};
use crate::support::etcd::{EtcdServer, Version};

const PATIENCE: Duration = Duration::from_secs(40);

/// Three collaborators, each with ten keys of its own and an observer.
struct Three {
    server: EtcdServer,
    stores: Vec<(SharedStore<Node>, Shadow)>,
}

impl Three {
    async fn start(version: Version) -> Self {
        let server = EtcdServer::start(version);
        let mut stores = Vec::new();
        for who in 0..3 {
            let etcd = EtcdConfig::new([server.endpoint()])
                .call_timeout(Duration::from_secs(2))
                .keep_alive(Duration::from_millis(500), Duration::from_millis(500));
            let config = Config::new(prefix())
                .backend(EtcdBackend::new(etcd).unwrap())
                .lease_ttl(Duration::from_secs(3))
                .close_timeout(Duration::from_secs(20));
            let shadow = Shadow::default();
            let store = join::<Node>(config).observer(shadow.observer()).await.unwrap();
            let keys = (0..10).map(|n| node(&format!("{who}/{n}"), "1")).collect();
            store.update_local_keys(keys).await.unwrap();
            stores.push((store, shadow));
        }
        let three = Self { server, stores };
        three.converged(30).await;
        three
    }

    /// Waits until all is equal and there are so many keys.
    async fn converged(&self, keys: usize) {
        let backend = self.server.backend();
        let mut last = String::new();
        let all = async {
            loop {
                match backend.list(ListRequest::new(prefix().range())).await {
                    Ok(page) => {
                        let truth: BTreeMap<_, _> = page
                            .kvs
                            .iter()
                            .map(|kv| (prefix().strip(&kv.path).unwrap().to_string(), ip(&kv.value)))
                            .collect();
                        let unequal = self.stores.iter().position(|(store, shadow)| {
                            let cache = store.reader().snapshot().entries;
                            let cache: BTreeMap<_, _> =
                                cache.iter().map(|(name, node)| (name.to_string(), node.ip.clone())).collect();
                            cache != truth || shadow.map() != truth
                        });
                        if unequal.is_none() && truth.len() == keys {
                            return;
                        }
                        last = format!("{} keys in etcd, first that differs: {unequal:?}", truth.len());
                    }
                    Err(error) => last = error.to_string(),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, all).await.is_ok(), "never equal: {last}");
    }

    async fn end(self) {
        for (store, _) in &self.stores {
            store.close().await.unwrap();
        }
        let left = self.server.backend().list(ListRequest::new(prefix().range())).await.unwrap();
        assert!(left.kvs.is_empty(), "{} keys are left", left.kvs.len());
    }

    /// How many deletions an observer was told.
    fn deletions(&self, who: usize) -> usize {
        self.stores[who].1.log().iter().filter(|line| line.starts_with('-')).count()
    }
}

fn prefix() -> Prefix {
    Prefix::new("tests/nodes").unwrap()
}

fn ip(value: &[u8]) -> String {
    serde_json::from_slice::<Node>(value).map_or_else(|error| error.to_string(), |node| node.ip)
}

async fn meddle(backend: &EtcdBackend, name: &str, action: WriteAction) -> Revision {
    let path = prefix().path(&KeyName::new(name).unwrap());
    match backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap() {
        WriteOutcome::Committed { revision } => revision,
        refused @ WriteOutcome::Refused { .. } => panic!("it expects nothing: {refused:?}"),
    }
}

fn on_etcd(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

async fn killed_and_restarted(version: Version) {
    let mut three = Three::start(version).await;
    three.server.kill();
    // What is wanted meanwhile is done afterwards.
    three.stores[0].0.update_local_key(node("0/new", "2")).await.unwrap();
    three.server.restart();
    three.converged(31).await;
    assert_eq!((0..3).map(|who| three.deletions(who)).sum::<usize>(), 0, "nothing was ever gone");
    three.end().await;
}

async fn stopped_beyond_the_lease(version: Version) {
    let three = Three::start(version).await;
    three.server.pause();
    // Longer than the leases live; etcd counts this time, too.
    tokio::time::sleep(Duration::from_secs(4)).await;
    three.server.go_on();
    three.converged(30).await;
    three.end().await;
}

async fn wiped(version: Version) {
    let mut three = Three::start(version).await;
    let backend = three.server.backend();
    let value = serde_json::to_vec(&node("stranger", "9")).unwrap().into();
    meddle(&backend, "stranger", WriteAction::Put { value, lease: LeaseId::NONE }).await;
    three.converged(31).await;
    three.server.kill();
    three.server.wipe();
    three.server.restart();
    three.converged(30).await;
    for (_, shadow) in &three.stores {
        assert!(shadow.log().contains(&"-stranger".to_owned()), "a deletion that happened while away is told");
    }
    three.end().await;
}

async fn compacted_while_away(version: Version) {
    let mut three = Three::start(version).await;
    three.server.pause();
    // The watches notice that nobody answers.
    for (store, _) in &three.stores {
        let mut state = store.reader().state();
        while state.name() != "stale" {
            state = tokio::time::timeout(PATIENCE, store.reader().state_changed(&state)).await.unwrap();
        }
    }
    three.server.go_on();
    three.server.restart();
    let backend = three.server.backend();
    let mut last = Revision::ZERO;
    for n in 0..50 {
        let value = serde_json::to_vec(&node("x", &n.to_string())).unwrap().into();
        last = meddle(&backend, "x", WriteAction::Put { value, lease: LeaseId::NONE }).await;
    }
    backend.compact(last).await.unwrap();
    three.converged(31).await;
    meddle(&backend, "x", WriteAction::Delete).await;
    three.end().await;
}

async fn damaged_in_a_loop(version: Version) {
    let three = Three::start(version).await;
    let backend = three.server.backend();
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let name = format!("{}/{}", random.u8(..3), random.u8(..10));
        let value = if random.bool() { "garbage".into() } else { serde_json::to_vec(&node("?", "9")).unwrap().into() };
        let action = if random.bool() { WriteAction::Delete } else { WriteAction::Put { value, lease: LeaseId::NONE } };
        meddle(&backend, &name, action).await;
    }
    three.converged(30).await;
    assert!(three.stores.iter().all(|(_, shadow)| shadow.map().values().all(|ip| ip == "1")));
    three.end().await;
}

async fn fifty_thousand_keys(version: Version) {
    let server = EtcdServer::start(version);
    let publisher = join::<Node>(Config::new(prefix()).backend(server.backend())).await.unwrap();
    let keys = (0..50_000).map(|n| node(&format!("{n:05}"), &"x".repeat(200))).collect();
    publisher.update_local_keys(keys).await.unwrap();
    let all = async {
        while publisher.reader().len() < 50_000 {
            publisher.reader().clone().changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let shadow = Shadow::default();
    let config = Config::new(prefix()).backend(server.backend());
    let reader = join::<Node>(config).observer(shadow.observer()).await.unwrap();
    assert_eq!((reader.reader().len(), shadow.map().len()), (50_000, 50_000));
    publisher.close().await.unwrap();
    let gone = async {
        while !shadow.map().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    reader.release().await.unwrap();
}

on_both! {
    killed_and_restarted
    stopped_beyond_the_lease
    wiped
    compacted_while_away
    damaged_in_a_loop
    fifty_thousand_keys
}
