//! What the cache and its observers cost, against doing the same by hand in the same run.
//!
//! `cargo bench --bench store`: each figure is the median of five rounds.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, reason = "a benchmark")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared_store_core::watch::{Delivery, Page, PageKeys};
use shared_store_core::{
    ClusterId, Config, DeliveryMode, Event, Filter, Json, Key, KeyName, KeyValue, LeaseId, ObserverId, Parcel, Prefix,
    Reader, Revision, Store,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    cluster: String,
    addresses: Vec<String>,
    labels: HashMap<String, String>,
    generation: u64,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

const KEYS: u64 = 100_000;
const BATCH: u64 = 100;

fn prefix() -> Prefix {
    Prefix::new("bench/nodes").unwrap()
}

fn name(n: u64) -> KeyName {
    KeyName::new(format!("cluster-{}/node-{n:06}", n % 7)).unwrap()
}

fn kv(n: u64, generation: u64, revision: u64) -> KeyValue {
    let node = Node {
        name: name(n).to_string(),
        cluster: format!("cluster-{}", n % 7),
        addresses: vec![format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255), format!("fd00::{n:x}")],
        labels: HashMap::from([("zone".to_owned(), format!("zone-{}", n % 3))]),
        generation,
    };
    KeyValue {
        path: prefix().path(&name(n)),
        value: serde_json::to_vec(&node).unwrap().into(),
        create_revision: Revision(1),
        mod_revision: Revision(revision),
        lease: LeaseId(1),
    }
}

fn list(keys: u64) -> Delivery {
    let mut kvs: Vec<_> = (0..keys).map(|n| kv(n, 0, 1)).collect();
    kvs.sort_by(|a, b| a.path.cmp(&b.path));
    let keys = PageKeys::Full(kvs);
    let (revision, cluster) = (Revision(1), ClusterId(1));
    Delivery::Page(Page { first: true, last: true, revision, cluster, same_history: true, keys })
}

/// Batches of new values, keys in turn; of another generation other values.
fn batches(keys: u64, changes: u64, generation: u64) -> Vec<Vec<Event>> {
    let event = |change: u64| Event::Put(kv(change * 7919 % keys, generation + change, 2 + change / BATCH));
    (0..changes / BATCH).map(|batch| (batch * BATCH..(batch + 1) * BATCH).map(event).collect()).collect()
}

fn store(keys: u64) -> Store<Node> {
    listed(&Config::new(prefix()), keys)
}

fn listed(config: &Config, keys: u64) -> Store<Node> {
    let mut store = Store::new(config, Vec::new());
    store.deliver(Instant::now(), list(keys)).unwrap();
    store
}

/// Delivers everything at once to all observers but those that sleep.
fn drain(store: &mut Store<Node>, asleep: &[ObserverId]) -> u64 {
    let mut told = 0;
    while let Some((id, parcel)) = store.poll_parcel() {
        if let Parcel::Changes(changes) = parcel {
            told += black_box(&changes).len() as u64;
        }
        if !asleep.contains(&id) {
            store.delivered(id);
        }
    }
    told
}

fn median(mut round: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<_> = (0..5).map(|_| round()).collect();
    figures.sort_by(f64::total_cmp);
    figures[2]
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096
}

fn main() {
    joining();
    restarting();
    applying();
    reading();
    sleeping();
}

fn joining() {
    let by_hand = median(|| {
        let Delivery::Page(Page { keys: PageKeys::Full(kvs), .. }) = list(KEYS) else { return 0.0 };
        let start = Instant::now();
        let decode = |kv: &KeyValue| serde_json::from_slice::<Node>(&kv.value).unwrap();
        let map: HashMap<Bytes, Arc<Node>> = kvs.iter().map(|kv| (kv.path.clone(), Arc::new(decode(kv)))).collect();
        let time = start.elapsed();
        black_box(map);
        time.as_secs_f64()
    });
    let ours = median(|| {
        let (list, mut store) = (list(KEYS), Store::<Node>::new(&Config::new(prefix()), Vec::new()));
        let start = Instant::now();
        store.deliver(start, list).unwrap();
        start.elapsed().as_secs_f64()
    });
    println!(
        "list of {KEYS} keys: decode + map by hand {:.0} ms, store {:.0} ms, ratio {:.2}",
        by_hand * 1e3,
        ours * 1e3,
        ours / by_hand
    );
    let unchanged = median(|| {
        let (mut store, again) = (store(KEYS), list(KEYS));
        let start = Instant::now();
        store.deliver(start, again).unwrap();
        start.elapsed().as_secs_f64()
    });
    println!("the same list again: {:.0} ms, ratio to the first {:.2}", unchanged * 1e3, unchanged / ours);
}

fn restarting() {
    let config = Config::new(prefix()).state_dir("unused");
    let left = listed(&config, KEYS);
    let capture = median(|| {
        let start = Instant::now();
        let capture = left.capture();
        let time = start.elapsed();
        black_box(capture);
        time.as_secs_f64()
    });
    let mut file = Bytes::new();
    let encode = median(|| {
        let capture = left.capture().unwrap();
        let start = Instant::now();
        file = capture.encode().into();
        start.elapsed().as_secs_f64()
    });
    let load = median(|| {
        let mut store = Store::<Node>::new(&config, Vec::new());
        let start = Instant::now();
        store.load(start, &file).unwrap();
        start.elapsed().as_secs_f64()
    });
    println!(
        "snapshot of {KEYS} keys, {} MB: capture {:.1} ms, encode {:.0} ms, load {:.0} ms",
        file.len() >> 20,
        capture * 1e3,
        encode * 1e3,
        load * 1e3
    );
}

fn applying() {
    let events = batches(KEYS, 200_000, 1);
    let total = 200_000.0;
    let by_hand = median(|| {
        let mut map: HashMap<KeyName, Arc<Node>> = store(KEYS).reader().snapshot().entries.into_iter().collect();
        let start = Instant::now();
        for event in events.clone().into_iter().flatten() {
            let Event::Put(kv) = event else { continue };
            let node: Node = serde_json::from_slice(&kv.value).unwrap();
            map.insert(prefix().strip(&kv.path).unwrap(), Arc::new(node));
        }
        let time = start.elapsed();
        black_box(map);
        total / time.as_secs_f64()
    });
    println!("live events in batches of {BATCH}: decode + insert by hand {:.0} k/s", by_hand / 1e3);
    for observers in [0, 1, 10, 100] {
        let rate = median(|| {
            let mut store = store(KEYS);
            for _ in 0..observers {
                store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey);
            }
            drain(&mut store, &[]);
            let mut told = 0;
            let start = Instant::now();
            for batch in events.clone() {
                store.deliver(start, Delivery::Events(batch)).unwrap();
                told += drain(&mut store, &[]);
            }
            assert_eq!(told, observers * 200_000);
            total / start.elapsed().as_secs_f64()
        });
        println!("  store with {observers} batched observers {:.0} k/s, ratio {:.2}", rate / 1e3, rate / by_hand);
    }
}

/// Random lookups a second by one reader.
fn lookups(mut get: impl FnMut(&str) -> bool) -> f64 {
    let names: Vec<_> = (0..KEYS).map(name).collect();
    let (mut random, mut done) = (fastrand::Rng::with_seed(7), 0_u64);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        for _ in 0..1000 {
            assert!(get(names[random.usize(..names.len())].as_str()));
        }
        done += 1000;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn reading() {
    let plain: HashMap<KeyName, Arc<Node>> = {
        let store = store(KEYS);
        store.reader().snapshot().entries.into_iter().collect()
    };
    let by_hand = median(|| lookups(|name| plain.get(name).is_some_and(|node| Arc::strong_count(node) > 0)));
    let store = store(KEYS);
    let reader = store.reader();
    let idle = median(|| lookups(|name| reader.get(name).is_some()));
    println!(
        "lookups in {KEYS} keys: plain map {:.2} M/s, reader {:.2} M/s, ratio {:.2}",
        by_hand / 1e6,
        idle / 1e6,
        idle / by_hand
    );
    let snapshot = median(|| {
        let start = Instant::now();
        black_box(reader.snapshot());
        start.elapsed().as_secs_f64() * 1e9 / KEYS as f64
    });
    println!("  snapshot {snapshot:.0} ns a key");
    busy(store, by_hand);
}

/// Readers on other threads while 50k updates a second are applied.
fn busy(mut store: Store<Node>, by_hand: f64) {
    for threads in [1, 4] {
        let (stop, applied) = (AtomicBool::new(false), AtomicU64::new(0));
        let reader = store.reader();
        let events = batches(KEYS, 100_000, 1);
        let mut revision = store.reader().revision().0;
        let rates = std::thread::scope(|scope| {
            let (stop, applied, store) = (&stop, &applied, &mut store);
            scope.spawn(move || {
                let (start, mut sent) = (Instant::now(), 0_u64);
                for batch in events.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    revision += 1;
                    let mut batch = batch.clone();
                    for event in &mut batch {
                        if let Event::Put(kv) = event {
                            kv.mod_revision = Revision(revision);
                        }
                    }
                    store.deliver(Instant::now(), Delivery::Events(batch)).unwrap();
                    sent += BATCH;
                    applied.store(sent, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(sent as f64 / 50_000.0);
                    std::thread::sleep(due.saturating_sub(start.elapsed()));
                }
            });
            let readers: Vec<_> = (0..threads)
                .map(|_| {
                    let reader: Reader<Node> = reader.clone();
                    scope.spawn(move || lookups(|name| reader.get(name).is_some()))
                })
                .collect();
            let rates: Vec<f64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
            stop.store(true, Ordering::Relaxed);
            rates
        });
        let rate = rates.iter().sum::<f64>() / f64::from(threads);
        println!(
            "  {threads} readers beside {:.0} k updates/s: {:.2} M/s each, ratio to the plain map {:.2}",
            applied.load(Ordering::Relaxed) as f64 / 0.3 / 1e3,
            rate / 1e6,
            rate / by_hand
        );
    }
}

/// One observer sleeps through a million changes of 10k keys.
fn sleeping() {
    let (keys, rounds) = (10_000, 10);
    let mut store = store(keys);
    let awake = store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey);
    let asleep = store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey);
    drain(&mut store, &[]);
    let (events, others) = (batches(keys, 100_000, 1), batches(keys, 100_000, 1_000_000));
    let pass = |store: &mut Store<Node>, events: &Vec<Vec<Event>>, asleep: &[ObserverId]| {
        let start = Instant::now();
        for batch in events.clone() {
            store.deliver(start, Delivery::Events(batch)).unwrap();
            drain(store, asleep);
        }
        start.elapsed().as_secs_f64()
    };
    pass(&mut store, &others, &[]);
    let (normal, before) = (pass(&mut store, &events, &[]), resident());
    let mut times = Vec::new();
    for round in 0..rounds {
        times.push(pass(&mut store, if round % 2 == 0 { &events } else { &others }, &[asleep]));
    }
    let grown = resident().saturating_sub(before);
    times.sort_by(f64::total_cmp);
    let lag = store.status();
    let pending = lag.observers.iter().find(|(id, _)| *id == asleep).map_or(0, |(_, lag)| lag.pending);
    let caught_up = lag.observers.iter().find(|(id, _)| *id == awake).is_some_and(|(_, lag)| lag.pending == 0);
    println!(
        "1 M changes of {keys} keys with one observer asleep: {pending} pending, {:.1} MB more, the other up to date: \
         {caught_up}, time of a pass {:.2} of normal",
        grown as f64 / 1e6,
        times[times.len() / 2] / normal
    );
    store.delivered(asleep);
    let start = Instant::now();
    let told = drain(&mut store, &[]);
    println!("  it wakes: {told} changes in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
}
