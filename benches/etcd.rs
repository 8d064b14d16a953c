//! What publishing and joining cost on a real etcd, against doing the same by hand in the same run.
//!
//! `cargo bench --features etcd --bench etcd`: each figure is the median of five rounds, and the ratio that of each
//! round. Values are JSON of about 200 bytes.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use shared_store::{Config, Observer, SharedStore, Update, join};
use shared_store_core::backend::{
    Backend, Expect, ListRequest, WatchRequest, WatchResponse, Write, WriteAction, WriteOutcome,
};
use shared_store_core::{EtcdBackend, EtcdConfig, Json, Key, KeyName, KeyRange, LeaseId, Prefix};
use shared_store_support::{EtcdServer, Version};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    address: String,
    labels: Vec<String>,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

fn node(n: usize) -> Node {
    let labels = (0..5).map(|label| format!("label-{label}=value-of-{n:06}")).collect();
    Node {
        name: format!("cluster/node-{n:06}"),
        address: format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
        labels,
    }
}

fn prefix(which: &str) -> Prefix {
    Prefix::new(format!("bench/{which}")).unwrap()
}

fn backend(server: &EtcdServer) -> EtcdBackend {
    EtcdBackend::new(EtcdConfig::new([server.endpoint()])).unwrap()
}

/// Four transactions of 128 leased puts at a time, and nothing else.
async fn raw_publish(backend: &EtcdBackend, prefix: &Prefix, nodes: &[Node]) -> Duration {
    let start = Instant::now();
    let mut batches = Vec::new();
    for thousand in nodes.chunks(1000) {
        let lease = backend.grant(LeaseId::NONE, Duration::from_secs(900)).await.unwrap().lease;
        for batch in thousand.chunks(128) {
            let write = |node: &Node| {
                let path = prefix.path(&KeyName::new(node.name.clone()).unwrap());
                let action = WriteAction::Put { value: serde_json::to_vec(node).unwrap().into(), lease };
                Write { path, expect: Expect::Absent, action }
            };
            batches.push(batch.iter().map(write).collect::<Vec<_>>());
        }
    }
    let mut written = stream::iter(batches).map(|batch| backend.write(batch)).buffer_unordered(4);
    while let Some(outcome) = written.next().await {
        assert!(matches!(outcome, Ok(WriteOutcome::Committed { .. })));
    }
    start.elapsed()
}

async fn publish(store: &SharedStore<Node>, nodes: Vec<Node>) -> Duration {
    let (start, count) = (Instant::now(), nodes.len());
    store.update_local_keys(nodes).await.unwrap();
    loop {
        let status = store.status().await.unwrap();
        if status.own == count && status.pending_writes == 0 && store.reader().len() == count {
            return start.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Pages at one revision, decoded into a map, and nothing else.
async fn raw_list(backend: &EtcdBackend, prefix: &Prefix) -> Duration {
    let start = Instant::now();
    let mut map: HashMap<KeyName, Arc<Node>> = HashMap::new();
    let (mut next, end) = (prefix.range().start, prefix.range().end);
    let mut revision = None;
    loop {
        let mut request = ListRequest::new(KeyRange { start: next, end: end.clone() });
        (request.limit, request.revision) = (10_000, revision);
        let page = backend.list(request).await.unwrap();
        revision.get_or_insert(page.header.revision);
        for kv in &page.kvs {
            map.insert(prefix.strip(&kv.path).unwrap(), Arc::new(serde_json::from_slice(&kv.value).unwrap()));
        }
        match page.kvs.last() {
            Some(last) if page.more => next = KeyRange::one(&last.path).end,
            _ => break,
        }
    }
    assert!(!map.is_empty());
    start.elapsed()
}

/// How many puts propagation is measured with in each round.
const PUTS: usize = 500;

/// The time from the request of each of [`PUTS`] puts, one after the other, until its name is heard.
async fn propagation(
    backend: &EtcdBackend,
    prefix: &Prefix,
    mut heard: mpsc::UnboundedReceiver<String>,
) -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..PUTS {
        let node = node(n);
        let path = prefix.path(&KeyName::new(node.name.clone()).unwrap());
        let action = WriteAction::Put { value: serde_json::to_vec(&node).unwrap().into(), lease: LeaseId::NONE };
        let put = Write { path, expect: Expect::Any, action };
        let start = Instant::now();
        let (written, name) = tokio::join!(backend.write(vec![put]), heard.recv());
        times.push(start.elapsed());
        assert!(matches!(written, Ok(WriteOutcome::Committed { .. })));
        assert_eq!(name, Some(node.name));
    }
    times
}

/// A watch whose values are decoded, and nothing else.
async fn raw_propagation(backend: &EtcdBackend, writer: &EtcdBackend, prefix: &Prefix) -> Vec<Duration> {
    let at = backend.list(ListRequest::new(prefix.range())).await.unwrap().header.revision;
    let request = WatchRequest { range: prefix.range(), start: at.next() };
    let mut watch = backend.watch(request).await.unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    let watching = actix_rt::spawn(async move {
        while let Ok(response) = watch.next().await {
            let WatchResponse::Events(events) = response else { continue };
            for event in events.events {
                let shared_store_core::Event::Put(kv) = event else { continue };
                let node: Node = serde_json::from_slice(&kv.value).unwrap();
                tell.send(node.name).unwrap();
            }
        }
    });
    let times = propagation(writer, prefix, heard).await;
    watching.abort();
    times
}

/// Tells what it is told.
struct Teller(mpsc::UnboundedSender<String>);

impl Actor for Teller {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Teller {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, _: &mut Self::Context) {
        self.0.send(update.key.name.clone()).unwrap();
    }
}

impl Handler<shared_store::Delete<Node>> for Teller {
    type Result = ();

    fn handle(&mut self, _: shared_store::Delete<Node>, _: &mut Self::Context) {}
}

async fn store_propagation(backend: EtcdBackend, writer: &EtcdBackend, prefix: &Prefix) -> Vec<Duration> {
    let (tell, heard) = mpsc::unbounded_channel();
    let teller = Teller(tell).start();
    let config = Config::new(prefix.clone()).backend(backend);
    let store = join::<Node>(config).observer(Observer::new(&teller)).await.unwrap();
    let times = propagation(writer, prefix, heard).await;
    store.release().await.unwrap();
    times
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One line: the medians, and the ratio of each round.
fn report(what: &str, rounds: &[(Duration, Duration)]) {
    let ratios: Vec<_> = rounds.iter().map(|(raw, ours)| ours.as_secs_f64() / raw.as_secs_f64()).collect();
    let (least, most) = ratios.iter().fold((f64::MAX, 0.0_f64), |(a, b), ratio| (a.min(*ratio), b.max(*ratio)));
    let raw = median(rounds.iter().map(|(raw, _)| raw.as_secs_f64() * 1e3).collect());
    let ours = median(rounds.iter().map(|(_, ours)| ours.as_secs_f64() * 1e3).collect());
    println!("{what}: by hand {raw:.1} ms, store {ours:.1} ms, ratio {:.2} ({least:.2} to {most:.2})", median(ratios));
}

fn main() {
    actix_rt::System::new().block_on(async {
        for keys in [1000, 10_000, 50_000] {
            let mut rounds = Vec::new();
            for _ in 0..5 {
                let server = EtcdServer::start(Version::V35);
                let nodes: Vec<_> = (0..keys).map(node).collect();
                let raw = raw_publish(&backend(&server), &prefix("raw"), &nodes).await;
                let store = join(Config::new(prefix("own")).backend(backend(&server))).await.unwrap();
                rounds.push((raw, publish(&store, nodes).await));
                store.release().await.unwrap();
            }
            report(&format!("publish {keys} keys"), &rounds);
        }
        let server = EtcdServer::start(Version::V35);
        let (nodes, prefix): (Vec<_>, _) = ((0..100_000).map(node).collect(), prefix("list"));
        raw_publish(&backend(&server), &prefix, &nodes).await;
        let mut rounds = Vec::new();
        for _ in 0..5 {
            let raw = raw_list(&backend(&server), &prefix).await;
            let start = Instant::now();
            let store = join::<Node>(Config::new(prefix.clone()).backend(backend(&server))).await.unwrap();
            rounds.push((raw, start.elapsed()));
            store.release().await.unwrap();
        }
        report("join 100000 keys", &rounds);
        let writer = backend(&server);
        let (mut middle, mut late) = (Vec::new(), Vec::new());
        for round in 0..5 {
            let mut raw = raw_propagation(&backend(&server), &writer, &self::prefix(&format!("raw-{round}"))).await;
            let ours = self::prefix(&format!("own-{round}"));
            let mut ours = store_propagation(backend(&server), &writer, &ours).await;
            raw.sort();
            ours.sort();
            middle.push((raw[PUTS / 2], ours[PUTS / 2]));
            late.push((raw[PUTS * 99 / 100], ours[PUTS * 99 / 100]));
        }
        report("put to observer, p50", &middle);
        report("put to observer, p99", &late);
    });
}
