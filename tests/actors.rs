//! The actors, on a paused clock where time matters.

mod acknowledging;
mod attaching;
mod auditing;
mod catching_up;
mod conflicting;
mod embedding;
mod failing;
mod gating;
mod joining;
mod leaving;
mod limits;
mod logging;
mod measuring;
mod mending;
mod mirroring;
mod naming;
mod observing;
mod owning;
mod places;
mod proving;
mod publishing;
mod restarting;
mod secrets;
mod starting;
mod streaming;
mod subscribing;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use shared_store::{
    Changes, Config, Delete, Json, Key, MemoryBackend, Observer, Prefix, Resynced, Revision, SharedStore, StoreThread,
    Synced, Update, join,
};
use shared_store_support::pass;
use tokio::sync::watch;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: String,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(crate) fn node(name: &str, ip: &str) -> Node {
    Node { name: name.into(), ip: ip.into() }
}

pub(crate) fn config(backend: &MemoryBackend) -> Config {
    Config::new(Prefix::new("nodes").unwrap()).backend(backend.clone()).seed(1)
}

/// Runs a test in a system with a paused clock, which moves on only when every task waits. All actors run on its
/// thread.
pub(crate) fn paused(test: impl Future<Output = ()>) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // A test that waits for something that never happens would let the clock run for ever.
    let test = async { tokio::time::timeout(Duration::from_secs(30 * 86_400), test).await };
    actix_rt::System::with_tokio_rt(runtime).block_on(test).expect("the test ends within a month");
}

/// Joins on the thread of the test.
pub(crate) async fn joined(backend: &MemoryBackend) -> SharedStore<Node> {
    join(config(backend)).on(StoreThread::current()).await.unwrap()
}

/// What an observer was told, as text, and the map that follows from it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) log: Vec<String>,
    pub(crate) map: BTreeMap<String, String>,
}

/// An observer that writes down what it is told, and panics if `old` is not the value it was told before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shadow(Arc<watch::Sender<Told>>);

impl Shadow {
    pub(crate) fn actor(&self) -> Addr<Self> {
        Actor::start(self.clone())
    }

    pub(crate) fn observer(&self) -> Observer<Node> {
        let addr = self.actor();
        let observer = Self::at(&addr);
        // The address is kept: a subscription does not keep an actor alive.
        actix_rt::spawn(async move {
            let _kept = addr;
            std::future::pending::<()>().await;
        });
        observer
    }

    /// The observer at an address that the caller keeps.
    pub(crate) fn at(addr: &Addr<Self>) -> Observer<Node> {
        Observer::new(addr).synced(addr.clone().recipient()).resynced(addr.clone().recipient())
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.borrow().log.clone()
    }

    pub(crate) fn map(&self) -> BTreeMap<String, String> {
        self.0.borrow().map.clone()
    }

    #[cfg(feature = "etcd")]
    pub(crate) fn clear_log(&self) {
        self.0.send_modify(|told| told.log.clear());
    }

    /// Waits until it has been told what is expected.
    #[cfg(feature = "etcd")]
    pub(crate) async fn until(&self, what: &str, expected: impl FnMut(&Told) -> bool) {
        assert!(self.is_told_within(PATIENCE, expected).await, "{what}: never, told: {:?}", self.log());
    }

    /// Whether it is told what is expected within so much time.
    #[cfg(feature = "etcd")]
    pub(crate) async fn is_told_within(&self, time: Duration, expected: impl FnMut(&Told) -> bool) -> bool {
        tokio::time::timeout(time, self.0.subscribe().wait_for(expected)).await.is_ok()
    }

    fn change(&self, name: &str, old: Option<&Node>, new: Option<&Node>) {
        self.0.send_modify(|told| {
            assert_eq!(told.map.get(name), old.map(|node| &node.ip), "old of {name} is what was told before");
            match new {
                Some(node) => {
                    told.log.push(format!("{name}={}", node.ip));
                    told.map.insert(name.to_owned(), node.ip.clone());
                }
                None => {
                    told.log.push(format!("-{name}"));
                    told.map.remove(name);
                }
            }
        });
    }
}

impl Actor for Shadow {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Shadow {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, _: &mut Self::Context) {
        self.change(update.name.as_str(), update.old.as_deref(), Some(&update.key));
    }
}

impl Handler<Delete<Node>> for Shadow {
    type Result = ();

    fn handle(&mut self, delete: Delete<Node>, _: &mut Self::Context) {
        self.change(delete.name.as_str(), Some(&delete.key), None);
    }
}

impl Handler<Changes<Node>> for Shadow {
    type Result = ();

    fn handle(&mut self, Changes(changes): Changes<Node>, _: &mut Self::Context) {
        for change in changes.iter() {
            self.change(change.name.as_str(), change.old.as_deref(), change.new.as_deref());
        }
    }
}

impl Handler<Synced> for Shadow {
    type Result = ();

    fn handle(&mut self, synced: Synced, _: &mut Self::Context) {
        self.0.send_modify(|told| told.log.push(format!("synced {}", synced.entries)));
    }
}

impl Handler<Resynced> for Shadow {
    type Result = ();

    fn handle(&mut self, _: Resynced, _: &mut Self::Context) {
        self.0.send_modify(|told| told.log.push("resynced".to_owned()));
    }
}

/// Waits until the cache shows a revision and every observer has handled everything.
pub(crate) async fn settled(store: &SharedStore<Node>, revision: Revision) {
    store.reader().at_least(revision, PATIENCE).await.unwrap();
    while store.status().await.unwrap().observers.iter().any(|(_, lag)| lag.pending > 0) {
        tokio::task::yield_now().await;
    }
}
