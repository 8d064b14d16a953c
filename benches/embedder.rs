//! What a store costs the application it runs in: how long its arbiter stands still, and how much of a core it uses while
//! nothing happens.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use shared_store::{Changes, Config, Json, Key, MemoryBackend, Observer, Prefix, Synced, join};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, BackendError, Expect, Write, WriteAction};
use shared_store_core::{KeyName, LeaseId};
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

/// The longest that one stretch of work has kept this arbiter from its next tick of a millisecond, while the work is done
/// elsewhere: by the clock, which counts what else the machine does, and in time of the processor.
#[derive(Debug, Default, Clone, Copy)]
struct Gap {
    clock: Duration,
    processor: Duration,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1?} by the clock, {:.1?} of it used", self.clock, self.processor)
    }
}

/// The processor time this thread has used.
fn used() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

async fn longest_gap<T>(work: impl Future<Output = T>) -> (T, Gap) {
    let (stop, longest) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(Gap::default())));
    let ticker = actix_rt::spawn({
        let (stop, longest) = (Rc::clone(&stop), Rc::clone(&longest));
        async move {
            let mut last = (Instant::now(), used());
            while !stop.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let (clock, processor) = (last.0.elapsed(), used() - last.1);
                let Gap { clock: longest_clock, processor: longest_used } = longest.get();
                longest.set(Gap { clock: clock.max(longest_clock), processor: processor.max(longest_used) });
                last = (Instant::now(), used());
            }
        }
    });
    let done = work.await;
    stop.set(true);
    ticker.await.unwrap();
    (done, longest.get())
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
    println!("longest gap between ticks of 1 ms, nothing to do:      {idle}");
    let backend = filled(100_000).await;
    let (store, gap) = longest_gap(join::<Node>(Config::new(prefix()).backend(backend)).into_future()).await;
    println!("longest gap, join of 100,000 keys:                     {gap}");
    drop(store);
    let backend = filled(1_000_000).await;
    let (store, gap) = longest_gap(join::<Node>(Config::new(prefix()).backend(backend)).into_future()).await;
    println!("longest gap, join of 1,000,000 keys:                   {gap}");
    let store = store.unwrap();
    let synced = Arc::new(Notify::new());
    let counter = Counter(Arc::clone(&synced)).start();
    let observer = Observer::batched(&counter).synced(counter.clone().recipient());
    let (_, gap) = longest_gap(async {
        store.subscribe(observer).await.unwrap();
        synced.notified().await;
    })
    .await;
    println!("longest gap, late subscription to 1,000,000 keys:      {gap}");
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
