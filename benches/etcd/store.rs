//! The same work by the store.

use std::time::{Duration, Instant};

use actix::prelude::*;
use shared_store::{Changes, Config, Delete, Observer, SharedStore, State, StoreThread, Update, join, publish};
use shared_store_core::backend::BackendError;
use shared_store_core::backend::etcd::served::client::CompactionOptions;
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::{EtcdBackend, EtcdConfig, Prefix};
use tokio::sync::mpsc;

use crate::figures::{Delays, Figures, Meter};
use crate::node::{LAST, Node, PREFIX, connect, kv, node, now};
use crate::{idle, many, mirror};

/// `side` is `store`, or one of the variants of [`crate::rows`].
pub(crate) async fn run(side: &str, work: &str, endpoint: &str, count: usize) -> Figures {
    match work {
        "mirror" => return mirror::copy(endpoint, count).await,
        "mirror-steady" => return Box::pin(mirror::follow(endpoint, count)).await,
        _ => {}
    }
    let config = Config::new(Prefix::new(PREFIX).unwrap()).backend(backend(endpoint));
    match (side, work) {
        ("store", "join") => joined(config, count).await,
        ("store", "stores") => many::stores(endpoint, count).await,
        ("publisher", "stores") => many::publishers(endpoint, count).await,
        ("store", "idle") => idle::store(endpoint, count).await,
        ("store", "relist") => relisted(config, endpoint, count).await,
        ("store", "publish") => published(config, count).await,
        ("publisher", "publish") => published_without_cache(config, count).await,
        ("store", "steady") => told(config, count, Observing::EachByItself { same_thread: false }).await,
        ("store-on-the-same-thread", "steady") => {
            told(config, count, Observing::EachByItself { same_thread: true }).await
        }
        ("store", "singles" | "batches") => told(config, count, Observing::Batched { observers: 1 }).await,
        ("store-10-observers", "singles" | "batches") => {
            told(config, count, Observing::Batched { observers: 10 }).await
        }
        _ => panic!("no side {side} does {work}"),
    }
}

pub(crate) fn backend(endpoint: &str) -> EtcdBackend {
    EtcdBackend::new(EtcdConfig::new([endpoint])).unwrap()
}

async fn joined(config: Config, count: usize) -> Figures {
    let meter = Meter::start();
    let store = join::<Node>(config).await.unwrap();
    let figures = meter.stop(count);
    assert_eq!(store.reader().len(), count);
    figures
}

/// The watch breaks, and where it would resume is compacted before it is back, so the store lists again. From the first
/// request for the list until the store is synced again.
async fn relisted(config: Config, endpoint: &str, count: usize) -> Figures {
    let faulty = Faulty::new(backend(endpoint));
    let mut listener = Listening::new();
    let observer = Observer::batched(&listener.actor());
    let store = join::<Node>(config.backend(faulty.clone())).observer(observer).await.unwrap();
    faulty.arrived(Op::Watch, 1).await;
    store.synced().await.unwrap();
    faulty.hold(Op::Watch, When::Before);
    faulty.break_watches(BackendError::unreachable("broken for the benchmark"));
    faulty.arrived(Op::Watch, 2).await;
    let client = connect(endpoint).await;
    for n in 0..3 {
        let put = kv(&client).put("somewhere else", n.to_string(), None).await.unwrap();
        let compaction = Some(CompactionOptions::new().with_physical());
        kv(&client).compact(put.header().unwrap().revision(), compaction).await.unwrap();
    }
    let lists = faulty.calls(Op::List);
    assert_ne!(store.reader().state(), State::Synced);
    faulty.release(Op::Watch);
    faulty.arrived(Op::List, lists + 1).await;
    let meter = Meter::start();
    store.synced().await.unwrap();
    let figures = meter.stop(count);
    let status = store.status().await.unwrap();
    assert_eq!((status.relists.lists, status.relists.other_histories, status.entries), (2, 0, count));
    // Whatever there was to tell is told before the change of this key.
    kv(&client).put(format!("{PREFIX}/{LAST}"), crate::node::encoded(&crate::node::last()), None).await.unwrap();
    let told = listener.heard().await.told;
    kv(&client).delete(format!("{PREFIX}/{LAST}"), None).await.unwrap();
    Figures { told, ..figures }
}

/// Time until no write is pending, which is when etcd has answered for every key; the processor's time until the cache
/// shows them, too, because that is work of the store. `raw` does without a cache.
async fn published(config: Config, count: usize) -> Figures {
    let store: SharedStore<Node> = join(config).await.unwrap();
    let nodes: Vec<_> = (0..count).map(node).collect();
    let meter = Meter::start();
    let start = Instant::now();
    // An answer costs time in the number of own keys: this takes two per cent at most.
    let pause = Duration::from_micros((count as u64 * 2 / 5).max(500));
    store.update_local_keys(nodes).await.unwrap();
    loop {
        let status = store.status().await.unwrap();
        if (status.own, status.pending_writes) == (count, 0) {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut reader = store.reader().clone();
    while reader.len() < count {
        reader.changed().await.unwrap();
    }
    Figures { seconds, ..meter.stop(count) }
}

async fn published_without_cache(config: Config, count: usize) -> Figures {
    let publisher = publish::<Node>(config).start().unwrap();
    let mut state = publisher.state();
    while state != State::Synced {
        state = publisher.state_changed(&state).await;
    }
    let nodes: Vec<_> = (0..count).map(node).collect();
    let meter = Meter::start();
    publisher.update_keys(nodes).await.unwrap();
    let status = publisher.synced().await.unwrap();
    let figures = meter.stop(count);
    assert_eq!((status.own, status.pending, status.refused.len()), (count, 0, 0));
    figures
}

#[derive(Clone, Copy)]
enum Observing {
    /// One observer that is told each change by a message of its own.
    EachByItself {
        same_thread: bool,
    },
    Batched {
        observers: usize,
    },
}

/// Observers are on this thread, the store is not unless that is said.
async fn told(config: Config, count: usize, observing: Observing) -> Figures {
    let mut listening = Listening::new();
    let mut joining = join::<Node>(config);
    let observers = match observing {
        Observing::EachByItself { same_thread } => {
            if same_thread {
                joining = joining.on(StoreThread::current());
            }
            joining = joining.observer(Observer::new(&listening.actor()));
            1
        }
        Observing::Batched { observers } => {
            for _ in 0..observers {
                joining = joining.observer(Observer::batched(&listening.actor()));
            }
            observers
        }
    };
    let store = joining.await.unwrap();
    store.synced().await.unwrap();
    println!("ready");
    let meter = Meter::start();
    let mut all = Vec::new();
    for _ in 0..observers {
        all.push(listening.heard().await);
    }
    let end = Instant::now();
    let figures = meter.stop(count);
    let first = all.iter().filter_map(|heard| heard.first).min().unwrap();
    let told = all.iter().map(|heard| heard.told).max().unwrap_or(0);
    let delays = Delays::of(all.remove(0).delays);
    Figures { seconds: (end - first).as_secs_f64(), told, delays, ..figures }
}

/// What an observer was told between the first state and the last key.
#[derive(Default)]
struct Heard {
    first: Option<Instant>,
    told: usize,
    delays: Vec<u64>,
}

/// Where listeners report to.
struct Listening {
    tell: mpsc::UnboundedSender<Heard>,
    told: mpsc::UnboundedReceiver<Heard>,
    actors: Vec<Addr<Listener>>,
}

impl Listening {
    fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { tell, told, actors: Vec::new() }
    }

    fn actor(&mut self) -> Addr<Listener> {
        let actor = Listener { heard: Heard::default(), tell: self.tell.clone() }.start();
        self.actors.push(actor.clone());
        actor
    }

    /// What the next one was told that has been told the last key.
    async fn heard(&mut self) -> Heard {
        self.told.recv().await.unwrap()
    }
}

struct Listener {
    heard: Heard,
    tell: mpsc::UnboundedSender<Heard>,
}

impl Listener {
    fn hear(&mut self, node: &Node) {
        if node.name == LAST {
            self.tell.send(std::mem::take(&mut self.heard)).unwrap();
        } else {
            self.heard.first.get_or_insert_with(Instant::now);
            self.heard.told += 1;
            self.heard.delays.push(now().saturating_sub(node.sent));
        }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Listener {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, _: &mut Self::Context) {
        if !update.initial {
            self.hear(&update.key);
        }
    }
}

impl Handler<Delete<Node>> for Listener {
    type Result = ();

    fn handle(&mut self, _: Delete<Node>, _: &mut Self::Context) {
        self.heard.told += 1;
    }
}

impl Handler<Changes<Node>> for Listener {
    type Result = ();

    fn handle(&mut self, changes: Changes<Node>, _: &mut Self::Context) {
        for change in changes.0.iter().filter(|change| !change.initial) {
            match &change.new {
                Some(node) => self.hear(node),
                None => self.heard.told += 1,
            }
        }
    }
}
