//! What a store costs the application it runs in: how long its arbiter stands still, and how much of a core it uses while
//! nothing happens.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use shared_store::backend::faulty::{Faulty, Op, When};
use shared_store::backend::{Backend, BackendError, Expect, Write, WriteAction};
use shared_store::{KeyName, LeaseId};
use shared_store_actors::{Changes, Config, Json, Key, MemoryBackend, Observer, Prefix, Synced, join};
use tokio::sync::Notify;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    ip: String,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Counts what it is told.
struct Counter(Arc<Notify>);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Changes<Node>> for Counter {
    type Result = ();

    fn handle(&mut self, _: Changes<Node>, _: &mut Self::Context) {}
}

impl Handler<Synced> for Counter {
    type Result = ();

    fn handle(&mut self, _: Synced, _: &mut Self::Context) {
        self.0.notify_one();
    }
}

/// A kvstore with so many keys.
async fn filled(keys: usize) -> MemoryBackend {
    let (backend, prefix) = (MemoryBackend::new(), prefix());
    for chunk in (0..keys).collect::<Vec<_>>().chunks(128) {
        let write = |n: &usize| {
            let name = format!("node-{n:07}");
            let value = serde_json::to_vec(&Node { name: name.clone(), ip: "10.0.0.1".repeat(12) }).unwrap().into();
            let path = prefix.path(&KeyName::new(name).unwrap());
            Write { path, expect: Expect::Any, action: WriteAction::Put { value, lease: LeaseId::NONE } }
        };
        backend.write(chunk.iter().map(write).collect()).await.unwrap();
    }
    backend
}

fn prefix() -> Prefix {
    Prefix::new("nodes").unwrap()
}

/// The longest time between two ticks of a millisecond on this arbiter, while the work is done elsewhere.
async fn longest_gap<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let ticker = actix_rt::spawn({
        let (stop, longest) = (Arc::clone(&stop), Arc::clone(&longest));
        async move {
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let gap = u64::try_from(last.elapsed().as_micros()).unwrap();
                longest.fetch_max(gap, Ordering::Relaxed);
                last = Instant::now();
            }
        }
    });
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    ticker.await.unwrap();
    (done, Duration::from_micros(longest.load(Ordering::Relaxed)))
}

/// What the process has used of its cores.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn share_of_a_core(seconds: u64) -> f64 {
    let (before, start) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    100.0 * (cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64()
}

#[actix_rt::main]
async fn main() {
    let ((), idle) = longest_gap(tokio::time::sleep(Duration::from_secs(2))).await;
    println!("longest gap between ticks of 1 ms, nothing to do:      {idle:?}");
    let backend = filled(100_000).await;
    let (store, gap) = longest_gap(join::<Node>(Config::new(prefix()).backend(backend)).into_future()).await;
    println!("longest gap, join of 100,000 keys:                     {gap:?}");
    drop(store);
    let backend = filled(1_000_000).await;
    let (store, gap) = longest_gap(join::<Node>(Config::new(prefix()).backend(backend)).into_future()).await;
    println!("longest gap, join of 1,000,000 keys:                   {gap:?}");
    let store = store.unwrap();
    let synced = Arc::new(Notify::new());
    let counter = Counter(Arc::clone(&synced)).start();
    let observer = Observer::batched(&counter).synced(counter.clone().recipient());
    let (_, gap) = longest_gap(async {
        store.subscribe(observer).await.unwrap();
        synced.notified().await;
    })
    .await;
    println!("longest gap, late subscription to 1,000,000 keys:      {gap:?}");
    drop(store);

    let faulty = Faulty::new(filled(90_000).await);
    let store = join::<Node>(Config::new(prefix()).backend(faulty.clone())).await.unwrap();
    let own = |n| Node { name: format!("own-{n:05}"), ip: "10.0.0.1".into() };
    store.update_local_keys((0..10_000).map(own).collect()).await.unwrap();
    while store.status().await.unwrap().pending_writes > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The stores before are gone by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("idle, 10,000 own keys of 100,000:                      {:.2} % of a core", share_of_a_core(20).await);
    let down = || BackendError::unreachable("down");
    for op in [Op::List, Op::Watch, Op::Write, Op::Grant, Op::KeepAlive] {
        faulty.fail(op, usize::MAX, When::Before, down());
    }
    faulty.break_watches(down());
    store.update_local_keys((0..5_000).map(|n| Node { ip: "10.0.0.2".into(), ..own(n) }).collect()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("outage, 5,000 of them waiting to be written:           {:.2} % of a core", share_of_a_core(20).await);
}
