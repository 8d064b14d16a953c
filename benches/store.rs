//! What the machines cost, against doing the same by hand in the same run: time and allocations.
//!
//! ```text
//! cargo bench --bench store               all
//! cargo bench --bench store -- live       one group
//! ```
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs, reason = "a benchmark")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use serde::{Deserialize, Serialize};
use shared_store_core::warm::Capture;
use shared_store_core::watch::{Delivery, Page, PageKeys};
use shared_store_core::{
    ClusterId, Config, DeliveryMode, Event, Filter, Json, Key, KeyName, KeyValue, LeaseId, ObserverId, Parcel, Prefix,
    Revision, Store,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

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
const CHANGES: u64 = 200_000;
const LOOKUPS: u64 = 10_000;
const FEW: u64 = 10_000;

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

fn subscribe(store: &mut Store<Node>) -> ObserverId {
    store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey)
}

fn decoded(kv: &KeyValue) -> Arc<Node> {
    Arc::new(serde_json::from_slice(&kv.value).unwrap())
}

/// 100,000 keys as they come from etcd: into a map, into an empty store, into a store that has them.
#[divan::bench_group(sample_count = 5, sample_size = 1, counters = [ItemsCount::new(KEYS)])]
mod list {
    use super::*;

    #[divan::bench]
    fn by_hand(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(|| list(KEYS)).bench_values(|list| {
            let Delivery::Page(Page { keys: PageKeys::Full(kvs), .. }) = list else { unreachable!("it is full") };
            kvs.into_iter().map(|kv| (kv.path.clone(), decoded(&kv))).collect::<HashMap<Bytes, Arc<Node>>>()
        });
    }

    #[divan::bench]
    fn store(bencher: Bencher<'_, '_>) {
        let empty = || (Store::<Node>::new(&Config::new(prefix()), Vec::new()), list(KEYS));
        bencher.with_inputs(empty).bench_local_values(delivered);
    }

    #[divan::bench]
    fn store_unchanged(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(|| (super::store(KEYS), list(KEYS))).bench_local_values(delivered);
    }

    fn delivered((mut store, list): (Store<Node>, Delivery)) -> Store<Node> {
        store.deliver(Instant::now(), list).unwrap();
        store
    }
}

/// 200,000 events in batches of 100, on 100,000 keys.
#[divan::bench_group(sample_count = 5, sample_size = 1, counters = [ItemsCount::new(CHANGES)])]
mod live {
    use super::*;

    #[divan::bench]
    fn by_hand(bencher: Bencher<'_, '_>) {
        let (events, store) = (batches(KEYS, CHANGES, 1), store(KEYS));
        let map = || store.reader().snapshot().entries.into_iter().collect::<HashMap<_, _>>();
        bencher.with_inputs(|| (map(), events.clone())).bench_local_values(|(mut map, events)| {
            for event in events.into_iter().flatten() {
                let Event::Put(kv) = event else { continue };
                map.insert(prefix().strip(&kv.path).unwrap(), decoded(&kv));
            }
            map
        });
    }

    #[divan::bench(args = [0, 1, 10, 100])]
    fn store_with_batched_observers(bencher: Bencher<'_, '_>, observers: u64) {
        let events = batches(KEYS, CHANGES, 1);
        let observed = || {
            let mut store = store(KEYS);
            for _ in 0..observers {
                subscribe(&mut store);
            }
            drain(&mut store, &[]);
            (store, events.clone())
        };
        bencher.with_inputs(observed).bench_local_values(|(mut store, events)| {
            let mut told = 0;
            for batch in events {
                store.deliver(Instant::now(), Delivery::Events(batch)).unwrap();
                told += drain(&mut store, &[]);
            }
            assert_eq!(told, observers * CHANGES);
            store
        });
    }
}

/// 10,000 random lookups in 100,000 keys by each of 1 and 4 threads.
#[divan::bench_group(sample_count = 100, sample_size = 1, threads = [1, 4], counters = [ItemsCount::new(LOOKUPS)])]
mod lookups {
    use super::*;

    #[divan::bench]
    fn plain_map(bencher: Bencher<'_, '_>) {
        let map: HashMap<_, _> = store(KEYS).reader().snapshot().entries.into_iter().collect();
        look_up(bencher, |name| map.get(name).is_some_and(|node| Arc::strong_count(node) > 0));
    }

    #[divan::bench]
    fn reader(bencher: Bencher<'_, '_>) {
        let reader = store(KEYS).reader();
        look_up(bencher, |name| reader.get(name).is_some());
    }

    /// Or as many updates as the processor has time for.
    #[divan::bench]
    fn reader_beside_50k_updates_a_second(bencher: Bencher<'_, '_>) {
        let (mut store, stop) = (store(KEYS), AtomicBool::new(false));
        let (reader, events) = (store.reader(), batches(KEYS, 100_000, 1));
        std::thread::scope(|scope| {
            let (stop, store) = (&stop, &mut store);
            scope.spawn(move || {
                let (start, mut revision) = (Instant::now(), store.reader().revision().0);
                for (sent, batch) in events.iter().cycle().enumerate() {
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
                    let due = Duration::from_secs(1) * (sent as u32 * BATCH as u32) / 50_000;
                    std::thread::sleep(due.saturating_sub(start.elapsed()));
                }
            });
            look_up(bencher, |name| reader.get(name).is_some());
            stop.store(true, Ordering::Relaxed);
        });
    }

    fn look_up(bencher: Bencher<'_, '_>, get: impl Fn(&str) -> bool + Sync) {
        let names: Vec<_> = (0..KEYS).map(name).collect();
        bencher.bench(|| {
            for _ in 0..LOOKUPS {
                assert!(get(names[fastrand::usize(..names.len())].as_str()));
            }
        });
    }
}

/// All of 100,000 keys at once: for a reader, for a late observer, into a snapshot file and out of it.
#[divan::bench_group(sample_count = 5, sample_size = 1, counters = [ItemsCount::new(KEYS)])]
mod whole {
    use super::*;

    #[divan::bench]
    fn reader_snapshot(bencher: Bencher<'_, '_>) {
        let reader = store(KEYS).reader();
        bencher.bench(|| reader.snapshot());
    }

    #[divan::bench]
    fn late_observer(bencher: Bencher<'_, '_>) {
        bencher.with_inputs(|| store(KEYS)).bench_local_refs(|store| {
            subscribe(store);
            assert_eq!(drain(store, &[]), KEYS);
        });
    }

    fn saving() -> Config {
        Config::new(prefix()).state_dir("unused")
    }

    #[divan::bench]
    fn file_capture(bencher: Bencher<'_, '_>) {
        let store = listed(&saving(), KEYS);
        bencher.bench_local(|| store.capture());
    }

    #[divan::bench]
    fn file_encode(bencher: Bencher<'_, '_>) {
        let store = listed(&saving(), KEYS);
        bencher.with_inputs(|| store.capture().unwrap()).bench_local_values(Capture::encode);
    }

    #[divan::bench]
    fn file_load(bencher: Bencher<'_, '_>) {
        let file: Bytes = listed(&saving(), KEYS).capture().unwrap().encode().into();
        bencher.with_inputs(|| Store::<Node>::new(&saving(), Vec::new())).bench_local_refs(|store| {
            store.load(Instant::now(), &file).unwrap();
        });
    }
}

/// Two million changes of 10,000 keys, 200,000 a sample, told to one observer while another takes nothing. That one holds at
/// most one change a key; then it takes all.
#[divan::bench_group(sample_count = 10, sample_size = 1, counters = [ItemsCount::new(CHANGES)])]
mod slow_observer {
    use super::*;

    #[divan::bench(args = [false, true])]
    fn asleep(bencher: Bencher<'_, '_>, asleep: bool) {
        let mut store = store(FEW);
        subscribe(&mut store);
        let slow = subscribe(&mut store);
        drain(&mut store, &[]);
        let asleep = if asleep { &[slow][..] } else { &[] };
        let mut generations = [batches(FEW, CHANGES, 1), batches(FEW, CHANGES, 1_000_000)].into_iter().cycle();
        bencher.with_inputs(|| generations.next().unwrap()).bench_local_values(|events| {
            for batch in events {
                store.deliver(Instant::now(), Delivery::Events(batch)).unwrap();
                drain(&mut store, asleep);
            }
        });
        // And the parcel under way.
        assert!(store.status().observers.iter().all(|(_, lag)| lag.pending as u64 <= FEW + 256));
    }

    #[divan::bench(counters = [ItemsCount::new(FEW)])]
    fn wakes(bencher: Bencher<'_, '_>) {
        let events = batches(FEW, CHANGES, 1);
        let behind = || {
            let mut store = store(FEW);
            let slow = subscribe(&mut store);
            drain(&mut store, &[]);
            for batch in events.clone() {
                store.deliver(Instant::now(), Delivery::Events(batch)).unwrap();
                drain(&mut store, &[slow]);
            }
            (store, slow)
        };
        bencher.with_inputs(behind).bench_local_refs(|(store, slow)| {
            store.delivered(*slow);
            black_box(drain(store, &[]))
        });
    }
}
