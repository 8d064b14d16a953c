//! Three collaborators on an etcd that fails, what they want, and what they are told.

mod collaborator;
mod convergence;

use std::collections::BTreeMap;
use std::time::Duration;

use shared_store::{Config, StoreError};
use shared_store_core::backend::{Backend, BackendError, Expect, ListRequest, Write, WriteAction};
use shared_store_core::{EtcdBackend, EtcdConfig, KeyName, LeaseId, Revision};
use tokio::task::JoinHandle;

use self::collaborator::Collaborator;
use self::convergence::Fault;
use super::{ip, meddle, prefix};
use crate::actors::{Node, node};
use crate::support::{Cluster, DeliveryMode, EtcdServer, Proxy, Version, eventually};

/// The longest a wait may take on a busy machine; none needs it on an idle one.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
/// A lease that outlives every fault.
const LONG: Duration = Duration::from_secs(60);
/// A lease for faults that last longer than it.
pub(super) const SHORT: Duration = Duration::from_secs(3);

/// Three collaborators, each with ten keys of its own, an observer, and a proxy of its own to every member of etcd.
pub(super) struct Three {
    pub(super) etcd: Cluster,
    pub(super) each: Vec<Collaborator>,
    /// What all must agree on in the end.
    wanted: BTreeMap<String, String>,
    given_up: Vec<(String, JoinHandle<Result<Revision, StoreError>>)>,
    /// Deletions that every observer must be told.
    gone: BTreeMap<String, usize>,
    /// How the test itself reaches etcd.
    direct: EtcdBackend,
    config: Config,
    fault: Option<Fault>,
}

impl Three {
    /// On one etcd.
    pub(super) async fn start(version: Version) -> Self {
        Self::on(Cluster::start(version, 1), LONG).await
    }

    /// On one etcd, with leases that end soon.
    pub(super) async fn start_with_short_leases(version: Version) -> Self {
        Self::on(Cluster::start(version, 1), SHORT).await
    }

    /// On one etcd, with leases that end soon, and a round of the audit in this time.
    pub(super) async fn start_with_audit(version: Version, audit: Duration) -> Self {
        Self::build(Cluster::start(version, 1), Config::new(prefix()).lease_ttl(SHORT).audit_interval(audit)).await
    }

    /// On a cluster of three.
    pub(super) async fn start_on_three_members(version: Version) -> Self {
        Self::on(Cluster::start(version, 3), LONG).await
    }

    /// On a given etcd.
    pub(super) async fn on(etcd: Cluster, lease_ttl: Duration) -> Self {
        Self::build(etcd, Config::new(prefix()).lease_ttl(lease_ttl)).await
    }

    async fn build(etcd: Cluster, config: Config) -> Self {
        // It leaves a paused member sooner than any collaborator does.
        let quick = Duration::from_millis(200);
        let direct = EtcdConfig::new(etcd.members.iter().map(EtcdServer::endpoint))
            .keep_alive(quick, quick)
            .connect_timeout(Duration::from_millis(500));
        let direct = EtcdBackend::new(direct).unwrap();
        let mut each = Vec::new();
        for who in 0..3 {
            each.push(Collaborator::join(&etcd, who, &config).await);
        }
        let (wanted, given_up, gone) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut three = Self { etcd, each, wanted, given_up, gone, direct, config, fault: None };
        three.all_write(1).await;
        three.converged().await;
        three
    }

    /// Every collaborator puts ten keys with this round's value, owns a key for this round alone, and gives up the one
    /// of the round before.
    pub(super) async fn all_write(&mut self, round: u32) {
        for who in 0..3 {
            let mut keys: Vec<_> = (0..10).map(|n| node(&format!("{who}/{n}"), &round.to_string())).collect();
            keys.push(node(&format!("{who}/round-{round}"), ""));
            self.own(who, keys).await;
            let before = format!("{who}/round-{}", round.saturating_sub(1));
            if self.wanted.contains_key(&before) {
                self.give_up(who, &before);
            }
        }
    }

    pub(super) async fn own(&mut self, who: usize, keys: Vec<Node>) {
        self.wanted.extend(keys.iter().map(|node| (node.name.clone(), node.ip.clone())));
        self.each[who].store.update_local_keys(keys).await.unwrap();
    }

    /// Asks for a deletion, whose answer is waited for when all have converged.
    pub(super) fn give_up(&mut self, who: usize, name: &str) {
        let (store, key) = (self.each[who].store.clone(), KeyName::new(name).unwrap());
        let deleted = actix_rt::spawn(async move { store.delete_local_key(key).await });
        self.given_up.push((name.to_owned(), deleted));
        self.wanted.remove(name);
        self.expect_gone(name);
    }

    /// Every observer must be told one more deletion of this key.
    pub(super) fn expect_gone(&mut self, name: &str) {
        *self.gone.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) async fn stranger_puts(&mut self, name: &str, ip: &str) -> Revision {
        self.wanted.insert(name.to_owned(), ip.to_owned());
        let value = serde_json::to_vec(&node(name, ip)).unwrap().into();
        meddle(&self.direct, name, WriteAction::Put { value, lease: LeaseId::NONE }).await
    }

    pub(super) async fn stranger_deletes(&mut self, name: &str) {
        self.wanted.remove(name);
        self.expect_gone(name);
        meddle(&self.direct, name, WriteAction::Delete).await;
    }

    /// A stranger's key is to be what it was before.
    pub(super) fn stranger_had(&mut self, name: &str, ip: &str) {
        self.wanted.insert(name.to_owned(), ip.to_owned());
    }

    /// A stranger's key is to be gone, and told so.
    pub(super) fn stranger_lost(&mut self, name: &str) {
        self.wanted.remove(name);
        self.expect_gone(name);
    }

    pub(super) async fn compact(&self, revision: Revision) {
        self.direct.compact(revision).await.unwrap();
    }

    /// Compacts all of the past, if etcd can.
    pub(super) async fn compact_all(&self) {
        if let Ok(page) = self.direct.list(ListRequest::new(prefix().range())).await {
            // It may fail by now, or somebody may have done so already.
            let _ = self.direct.compact(page.header.revision).await;
        }
    }

    /// A stranger does this to an own key, if etcd can.
    pub(super) async fn damage(&self, name: &str, action: WriteAction) {
        let write = Write { path: prefix().path(&KeyName::new(name).unwrap()), expect: Expect::Any, action };
        let _ = self.direct.write(vec![write]).await;
    }

    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.wanted.contains_key(name)
    }

    /// Whether its deletion was asked for since all converged.
    pub(super) fn is_going(&self, name: &str) -> bool {
        self.given_up.iter().any(|(going, _)| going == name)
    }

    /// Drops what was told so far.
    pub(super) fn forget_the_past(&mut self) {
        self.gone.clear();
        for each in &self.each {
            each.shadow.clear_log();
            each.states.forget();
        }
    }

    /// One leaves, with its keys deleted, and another joins in its place.
    pub(super) async fn close_and_join(&mut self, who: usize) {
        self.each[who].store.close().await.unwrap();
        self.replace(who).await;
    }

    /// One leaves, with its keys left until their lease expires, and another joins in its place.
    pub(super) async fn release_and_join(&mut self, who: usize) {
        self.each[who].store.release().await.unwrap();
        self.replace(who).await;
    }

    async fn replace(&mut self, who: usize) {
        self.wanted.retain(|name, _| !name.starts_with(&format!("{who}/")));
        self.each[who] = Collaborator::join(&self.etcd, who, &self.config).await;
        self.converged().await;
    }

    /// Writes outside the prefix until etcd's quota is used up.
    pub(super) async fn fill(&self) {
        let megabyte = WriteAction::Put { value: vec![b'x'; 1 << 20].into(), lease: LeaseId::NONE };
        let write = Write { path: "outside".into(), expect: Expect::Any, action: megabyte };
        while self.direct.write(vec![write.clone()]).await.is_ok() {}
    }

    /// What an operator does about a quota that is used up.
    pub(super) async fn make_room(&self) {
        // Not in a transaction: those may be refused whatever they do.
        self.etcd.members[0].etcdctl(&["del", "outside"]);
        let page = self.direct.list(ListRequest::new(prefix().range())).await.unwrap();
        self.compact(page.header.revision).await;
        self.etcd.members[0].etcdctl(&["defrag"]);
        self.etcd.members[0].etcdctl(&["alarm", "disarm"]);
    }

    pub(super) fn all_ways(&self) -> impl Iterator<Item = &Proxy> {
        self.each.iter().flat_map(|each| &each.ways)
    }

    pub(super) fn set_all_ways(&self, mode: DeliveryMode) {
        self.all_ways().for_each(|way| way.set(mode));
    }

    /// Sets the mode of all proxies of one collaborator.
    pub(super) fn set_ways(&self, who: usize, mode: DeliveryMode) {
        self.each[who].ways.iter().for_each(|way| way.set(mode));
    }

    pub(super) async fn truth(&self) -> Result<BTreeMap<String, String>, BackendError> {
        let page = self.direct.list(ListRequest::new(prefix().range())).await?;
        let name = |path| prefix().strip(path).unwrap().to_string();
        Ok(page.kvs.iter().map(|kv| (name(&kv.path), ip(&kv.value))).collect())
    }

    /// How many watches etcd has.
    pub(super) fn watches(&self) -> u64 {
        self.etcd.members.iter().map(|member| member.metric("etcd_debugging_mvcc_watcher_total")).sum()
    }

    /// All leave, and nothing of them is left in etcd: no key, no watch.
    pub(super) async fn end(self) {
        for each in &self.each {
            each.store.close().await.unwrap();
        }
        let left: Vec<_> = self.truth().await.unwrap().into_keys().collect();
        assert!(left.iter().all(|name| name.starts_with("stranger")), "left in etcd: {left:?}");
        eventually("no watch is left in etcd", PATIENCE, async || self.watches(), |watches| *watches == 0).await;
    }
}
