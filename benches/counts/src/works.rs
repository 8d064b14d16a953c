//! The hot paths.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared_store_core::backend::{Events, LeaseGrant, ListPage, WatchResponse, WriteOutcome};
use shared_store_core::own::{Answer, Request};
use shared_store_core::publisher::Publisher;
use shared_store_core::watch::{Delivery, Outcome, Page, PageKeys, Watch};
use shared_store_core::{
    ClusterId, Config, DeliveryMode, Event, Filter, Header, Json, Key, KeyName, KeyValue, LeaseId, Prefix, Revision,
    Store, encoded,
};

use crate::measured;

pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) each: &'static str,
    /// How many of them it does.
    pub(crate) count: u64,
    pub(crate) run: fn(),
}

pub(crate) const ALL: &[Work] = &[
    Work { name: "serde_json alone", each: "value", count: KEYS, run: serde_json_alone },
    Work { name: "decode", each: "value", count: KEYS, run: decode },
    Work { name: "list", each: "key", count: KEYS, run: list },
    Work { name: "relist, names unchanged", each: "key", count: KEYS, run: || relist(PageKeys::Names) },
    Work { name: "relist, values unchanged", each: "key", count: KEYS, run: || relist(PageKeys::Full) },
    Work { name: "events, 100 at once, no observer", each: "event", count: KEYS, run: || events(0) },
    Work { name: "events, 100 at once, 1 observer", each: "event", count: KEYS, run: || events(1) },
    Work { name: "events, 100 at once, 10 observers", each: "event", count: KEYS, run: || events(10) },
    Work { name: "one put, watch to observer", each: "put", count: KEYS, run: one_by_one },
    Work { name: "reader", each: "get", count: KEYS, run: reader },
    Work { name: "own keys, store, wish to answer", each: "key", count: KEYS, run: own_keys },
    Work { name: "own keys, publisher", each: "key", count: KEYS, run: publisher },
];

const KEYS: u64 = 5000;

/// JSON of about 250 bytes, as in benches/etcd.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    address: String,
    labels: Vec<String>,
    generation: u64,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

fn node(n: u64, generation: u64) -> Node {
    let labels = (0..5).map(|label| format!("label-{label}=value-of-{n:07}")).collect();
    let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    Node { name: format!("cluster/node-{n:07}"), address, labels, generation }
}

fn prefix() -> Prefix {
    Prefix::new("bench/nodes").unwrap()
}

fn config() -> Config {
    Config::new(prefix()).owner("bench").seed(1)
}

fn kv(n: u64, generation: u64, revision: u64) -> KeyValue {
    let (name, value) = encoded(&node(n, generation)).unwrap();
    KeyValue {
        path: prefix().path(&name),
        value,
        create_revision: Revision(1),
        mod_revision: Revision(revision),
        lease: LeaseId(1),
    }
}

/// All keys, in path order.
fn kvs() -> Vec<KeyValue> {
    (0..KEYS).map(|n| kv(n, 0, 1)).collect()
}

const HEADER: Header = Header { cluster: ClusterId(1), revision: Revision(1) };

fn page(keys: PageKeys) -> Delivery {
    let Header { cluster, revision } = HEADER;
    Delivery::Page(Page { first: true, last: true, revision, cluster, same_history: true, keys })
}

/// A store that has all keys.
fn store() -> Store<Node> {
    let mut store = Store::new(&config(), Vec::new());
    store.deliver(Instant::now(), page(PageKeys::Full(kvs()))).unwrap();
    store
}

/// Each key once more, in another order.
fn puts() -> Vec<Event> {
    (0..KEYS).map(|n| Event::Put(kv(n * 7919 % KEYS, 1, 2 + n))).collect()
}

fn subscribe(store: &mut Store<Node>) {
    store.subscribe(Instant::now(), Filter::new(), DeliveryMode::LatestPerKey);
    tell(store);
}

fn tell(store: &mut Store<Node>) {
    while let Some((id, parcel)) = store.poll_parcel() {
        black_box(parcel);
        store.delivered(id);
    }
}

/// What no store can do without.
fn serde_json_alone() {
    let kvs = kvs();
    let decode = |kv: &KeyValue| Arc::new(serde_json::from_slice::<Node>(&kv.value).unwrap());
    measured(&mut || drop(black_box(kvs.iter().map(decode).collect::<Vec<_>>())));
}

fn decode() {
    let (store, delivery) = (Store::<Node>::new(&config(), Vec::new()), page(PageKeys::Full(kvs())));
    measured(&mut || drop(black_box(store.decoder().decode(&delivery, 0..delivery.values()))));
}

fn list() {
    let (mut store, mut delivery) = (Store::<Node>::new(&config(), Vec::new()), Some(page(PageKeys::Full(kvs()))));
    measured(&mut || store.deliver(Instant::now(), delivery.take().unwrap()).unwrap());
    assert_eq!(store.reader().len() as u64, KEYS);
}

fn relist(keys: fn(Vec<KeyValue>) -> PageKeys) {
    let (mut store, mut delivery) = (store(), Some(page(keys(kvs()))));
    measured(&mut || store.deliver(Instant::now(), delivery.take().unwrap()).unwrap());
    assert_eq!(store.reader().len() as u64, KEYS);
}

fn events(observers: usize) {
    let mut store = store();
    (0..observers).for_each(|_| subscribe(&mut store));
    let puts = puts();
    let mut deliveries: Vec<_> = puts.chunks(100).map(|batch| Some(Delivery::Events(batch.to_vec()))).collect();
    measured(&mut || {
        for delivery in &mut deliveries {
            store.deliver(Instant::now(), delivery.take().unwrap()).unwrap();
            tell(&mut store);
        }
    });
    assert_eq!(store.reader().revision(), Revision(1 + KEYS));
}

/// Each put is a response of the watch by itself, and one observer is told.
fn one_by_one() {
    let mut watch = Watch::new(prefix().range(), Duration::from_secs(60), 1);
    let mut store = Store::new(&config(), Vec::new());
    let listed = ListPage { header: HEADER, kvs: kvs(), more: false, count: KEYS };
    for outcome in [Outcome::Listed(listed), Outcome::Opened(HEADER)] {
        store.deliver(Instant::now(), watch.handle(outcome).unwrap()).unwrap();
    }
    subscribe(&mut store);
    let response = |event: Event| {
        let header = Header { revision: event.revision(), ..HEADER };
        Some(Outcome::Read(WatchResponse::Events(Events { header, events: vec![event], complete: true })))
    };
    let mut responses: Vec<_> = puts().into_iter().map(response).collect();
    measured(&mut || {
        for response in &mut responses {
            black_box(watch.action());
            store.deliver(Instant::now(), watch.handle(response.take().unwrap()).unwrap()).unwrap();
            assert!(watch.caught_up().is_none());
            tell(&mut store);
        }
    });
    assert_eq!(store.reader().revision(), Revision(1 + KEYS));
}

fn reader() {
    let reader = store().reader();
    let names: Vec<_> = (0..KEYS).map(|n| node(n * 7919 % KEYS, 0).name).collect();
    measured(&mut || assert!(names.iter().all(|name| black_box(reader.get(name)).is_some())));
}

/// The answer of a kvstore to which nothing else happens.
fn answer(request: &Request, revision: &mut Revision) -> Answer {
    match request {
        Request::Write(_) => {
            *revision = revision.next();
            Answer::Written(Ok(WriteOutcome::Committed { revision: *revision }))
        }
        Request::Grant { lease, ttl } => Answer::Granted(Ok(LeaseGrant { lease: *lease, ttl: *ttl })),
        Request::KeepAlive(_) => Answer::KeptAlive(Ok(Duration::from_secs(900))),
        Request::Revoke(_) => Answer::Revoked(Ok(())),
    }
}

fn own_keys() {
    let mut store = Store::new(&config(), Vec::new());
    let now = Instant::now();
    store.deliver(now, page(PageKeys::Full(Vec::new()))).unwrap();
    store.deliver(now, Delivery::Live).unwrap();
    let nodes: Vec<_> = (0..KEYS).map(|n| node(n, 0)).collect();
    let mut revision = Revision(1);
    measured(&mut || {
        store.put_local_all(now, &nodes).unwrap();
        while let Some((id, request)) = store.poll_request(now) {
            store.answer(now, id, answer(&request, &mut revision));
        }
    });
    assert_eq!((store.own_stats().pending, store.own_stats().names as u64), (0, KEYS));
}

fn publisher() {
    let mut publisher = Publisher::new(&config(), 128, None);
    let (now, mut revision) = (Instant::now(), Revision(1));
    publisher.deliver(now, Delivery::Began { revision, same_history: true }).unwrap();
    publisher.deliver(now, Delivery::Live).unwrap();
    let encode = |n| encoded(&node(n, 0)).unwrap();
    let mut nodes: Vec<Option<(KeyName, _)>> = (0..KEYS).map(|n| Some(encode(n))).collect();
    measured(&mut || {
        for (name, value) in nodes.iter_mut().filter_map(Option::take) {
            publisher.put(now, name, value);
        }
        while let Some((id, request)) = publisher.poll_request(now) {
            publisher.answer(now, id, answer(&request, &mut revision));
        }
    });
    assert_eq!((publisher.status().pending, publisher.status().own as u64), (0, KEYS));
}
