//! Three stores over the etcd backend and a kvstore that fails in every way it knows, by seed.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use shared_store::{Config, SharedStore, StoreError, WriteError, join};
use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::backend::faulty::{Op, When};
use shared_store_core::backend::{Backend, Expect, ListRequest, Write, WriteAction};
use shared_store_core::{BackendError, EtcdBackend, EtcdConfig, KeyName, LeaseId, MemoryBackend, Revision};

use crate::actors::PATIENCE;
use crate::actors::{Node, Shadow, node};
use crate::etcd::{ip, on_etcd, prefix};
use crate::support::{eventually, real_time};

const STEPS: usize = 400;
const OPS: [Op; 6] = [Op::List, Op::Watch, Op::Write, Op::Grant, Op::KeepAlive, Op::Revoke];

struct Three {
    served: ServedEtcd,
    stores: Vec<(SharedStore<Node>, Shadow)>,
    /// What must be there in the end.
    wanted: BTreeMap<String, String>,
    random: Rng,
    /// Deletions that have not been answered yet: the names of keys of other owners.
    deleting: Vec<tokio::task::JoinHandle<Option<String>>>,
}

impl Three {
    async fn join(seed: u64) -> Self {
        let memory = MemoryBackend::new().progress_interval(Duration::from_millis(300));
        let served = ServedEtcd::serve(memory).unwrap();
        let mut stores = Vec::new();
        for who in 0..3 {
            let etcd = EtcdConfig::new([served.endpoint()]).call_timeout(Duration::from_millis(200));
            let config = Config::new(prefix())
                .backend(EtcdBackend::new(etcd).unwrap())
                .lease_ttl(Duration::from_secs(4))
                .watch_timeout(Duration::from_secs(1))
                .seed(seed + who);
            let shadow = Shadow::default();
            stores.push((join(config).observer(shadow.observer()).await.unwrap(), shadow));
        }
        Self { served, stores, wanted: BTreeMap::new(), random: Rng::with_seed(seed), deleting: Vec::new() }
    }

    async fn step(&mut self) {
        match self.random.u8(..10) {
            0..4 => self.own().await,
            4..6 => self.meddle().await,
            6..9 => self.fault(),
            _ => self.disaster(),
        }
    }

    /// An owner puts or deletes a key of its own.
    async fn own(&mut self) {
        let who = self.random.usize(..3);
        let name = format!("{who}/{}", self.random.u8(..6));
        let store = self.stores[who].0.clone();
        if self.random.u8(..3) > 0 {
            let value = self.random.u8(..).to_string();
            store.update_local_key(node(&name, &value)).await.unwrap();
            self.wanted.insert(name, value);
        } else {
            self.wanted.remove(&name);
            // Answered when the key is gone, which may take until all is well, or when it is wanted again.
            self.deleting.push(actix_rt::spawn(async move {
                match store.delete_local_key(KeyName::new(name.clone()).unwrap()).await {
                    Ok(_) | Err(StoreError::Write(WriteError::Superseded)) => None,
                    // Somebody wrote the name before the store could.
                    Err(StoreError::Write(WriteError::NotOwned { lease: LeaseId::NONE })) => Some(name),
                    Err(error) => panic!("{error}"),
                }
            }));
            tokio::task::yield_now().await;
        }
    }

    /// Somebody writes keys of their own and of others, several at once.
    async fn meddle(&mut self) {
        let mut writes = BTreeMap::new();
        for _ in 0..self.random.usize(1..4) {
            let (who, n, value) = (self.random.u8(..6), self.random.u8(..6), self.random.u8(..).to_string());
            let name = format!("{who}/{n}");
            let action = if self.random.bool() {
                WriteAction::Put {
                    value: serde_json::to_vec(&node(&name, &value)).unwrap().into(),
                    lease: LeaseId::NONE,
                }
            } else {
                WriteAction::Delete
            };
            // Nobody owns the names from 3 on.
            writes.insert(name, (action, (who >= 3).then_some(value)));
        }
        let mut transaction = Vec::new();
        for (name, (action, value)) in writes {
            match (value, &action) {
                (Some(value), WriteAction::Put { .. }) => drop(self.wanted.insert(name.clone(), value)),
                (Some(_), WriteAction::Delete) => drop(self.wanted.remove(&name)),
                // An owner that has given it up just now may not own it any more.
                (None, _) if !self.wanted.contains_key(&name) => continue,
                (None, _) => {}
            }
            let path = prefix().path(&KeyName::new(name).unwrap());
            transaction.push(Write { path, expect: Expect::Any, action });
        }
        self.served.memory().write(transaction).await.unwrap();
    }

    fn fault(&mut self) {
        let op = OPS[self.random.usize(..OPS.len())];
        let when = if self.random.bool() { When::Before } else { When::After };
        let faults = self.served.faults();
        match self.random.u8(..9) {
            0 => faults.fail(op, self.random.usize(1..4), when, BackendError::unavailable("request timed out")),
            1 => faults.hold(op, when),
            2 => OPS.into_iter().for_each(|op| faults.release(op)),
            3 => faults.fragment(self.random.usize(..4)),
            4 => faults.break_watches(BackendError::unavailable("no leader")),
            5 => faults.break_watches(BackendError::Compacted { oldest: Revision::ZERO }),
            6 => self.served.refuse(op, 2, [8, 13, 14, 16][self.random.usize(..4)], "etcdserver: refused"),
            7 if self.random.bool() => faults.mute_watches(),
            7 => faults.unmute_watches(),
            _ => self.served.event_type(self.random.bool().then_some(7)),
        }
    }

    fn disaster(&mut self) {
        let memory = self.served.memory();
        match self.random.u8(..4) {
            // It may be compacted already.
            0 => drop(memory.compact(memory.revision())),
            1 => self.served.kill(),
            2 => self.served.restart().unwrap(),
            _ => self.served.faults().heal(),
        }
    }

    async fn end(mut self) {
        self.served.faults().heal();
        self.served.event_type(None);
        self.served.restart().unwrap();
        for deleting in std::mem::take(&mut self.deleting) {
            let Some(name) = deleting.await.unwrap().filter(|name| !self.wanted.contains_key(name)) else { continue };
            // The writer deletes it.
            let path = prefix().path(&KeyName::new(name).unwrap());
            let delete = Write { path, expect: Expect::Any, action: WriteAction::Delete };
            self.served.memory().write(vec![delete]).await.unwrap();
        }
        converged(self.served.memory(), &self.stores, |truth| *truth == self.wanted).await;
        for (store, _) in &self.stores {
            store.close().await.unwrap();
        }
        let strangers = self.wanted.into_iter().filter(|(name, _)| name.as_str() >= "3").collect::<BTreeMap<_, _>>();
        converged(self.served.memory(), &[], |truth| *truth == strangers).await;
    }
}

fn by_seed(seed: u64) {
    on_etcd(async {
        let mut three = Three::join(seed).await;
        for _ in 0..STEPS {
            three.step().await;
            // Over real sockets, in real time: so that the faults meet something under way.
            real_time(Duration::from_millis(5)).await;
        }
        three.end().await;
    });
}

macro_rules! seeds {
    ($($name:ident: $seed:literal)+) => { $(#[test] fn $name() { by_seed($seed); })+ };
}

seeds! {
    all_is_equal_in_the_end_seed_1: 1
    all_is_equal_in_the_end_seed_2: 2
    all_is_equal_in_the_end_seed_3: 3
}

/// Waits until every cache and every map built from an observer's messages equals the kvstore's own answer, which must
/// be `right`.
async fn converged(
    backend: &dyn Backend,
    stores: &[(SharedStore<Node>, Shadow)],
    right: impl Fn(&BTreeMap<String, String>) -> bool,
) {
    let compare = async || {
        let page = backend.list(ListRequest::new(prefix().range())).await.map_err(|error| error.to_string())?;
        let truth = page.kvs.iter().map(|kv| (prefix().strip(&kv.path).unwrap().to_string(), ip(&kv.value)));
        let truth: BTreeMap<_, _> = truth.collect();
        let unequal = stores.iter().position(|(store, shadow)| {
            let cache = store.reader().snapshot().entries;
            let cache: BTreeMap<_, _> = cache.iter().map(|(name, node)| (name.to_string(), node.ip.clone())).collect();
            cache != truth || shadow.map() != truth
        });
        let difference = || format!("{} keys in etcd, first that differs: {unequal:?}", truth.len());
        if unequal.is_none() && right(&truth) { Ok(()) } else { Err(difference()) }
    };
    eventually("all are equal", PATIENCE, compare, Result::is_ok).await.expect("it is ok");
}
