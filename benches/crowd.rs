//! What many collaborators ask of one kvstore, counted on a paused clock: when all start at once, when nothing happens, while the
//! kvstore is away, and when it is back.
//!
//! ```text
//! cargo bench --bench crowd                       1000 stores that read all keys, 1000 publishers
//! cargo bench --bench crowd -- 200 2000            as many as you have
//! ```
//!
//! Nothing is measured by the clock on the wall, so the figures are the same on every machine. The kvstore is in memory and answers
//! at once: a real one spreads requests by being slower. The time of a run grows with the square of the numbers.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared_store::{
    Config, Json, Key, MemoryBackend, Prefix, Publisher, SharedStore, State, StoreThread, join, publish,
};
use shared_store_core::backend::BackendError;
use shared_store_core::backend::faulty::{Faulty, Op, When};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

const OPS: [(Op, &str); 5] = [
    (Op::List, "list"),
    (Op::Watch, "watch"),
    (Op::Write, "write"),
    (Op::Grant, "grant"),
    (Op::KeepAlive, "keep-alive"),
];

enum Collaborator {
    Store(SharedStore<Node>),
    Publisher(Publisher<Node>),
}

impl Collaborator {
    fn is_synced(&self) -> bool {
        match self {
            Self::Store(store) => store.reader().state() == State::Synced,
            Self::Publisher(publisher) => publisher.state() == State::Synced,
        }
    }
}

fn main() {
    let counts: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [stores, publishers] = counts[..] else { return print_all(1000, 1000) };
    print_all(stores, publishers);
}

fn print_all(stores: usize, publishers: usize) {
    println!("| collaborators | time | s | {} | most in one second |", OPS.map(|(_, name)| name).join(" | "));
    println!("| --- | --- | --- | {} | --- |", OPS.map(|_| "---").join(" | "));
    run("stores", stores, true);
    run("publishers", publishers, false);
}

fn run(name: &str, count: usize, reads: bool) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix_rt::System::with_tokio_rt(runtime).block_on(async {
        let kvstore = Faulty::new(MemoryBackend::new());
        let mut crowd = Crowd { name, count, kvstore: kvstore.clone(), counted: [0; 5] };
        let mut collaborators = Vec::new();
        for n in 0..count {
            let config = Config::new(Prefix::new("nodes").unwrap()).backend(kvstore.clone()).owner(format!("node-{n}"));
            let config = config.seed(n as u64);
            collaborators.push(if reads {
                Collaborator::Store(join(config).on(StoreThread::current()).start().await.unwrap())
            } else {
                Collaborator::Publisher(publish(config).on(StoreThread::current()).start().unwrap())
            });
        }
        for (n, collaborator) in collaborators.iter().enumerate() {
            let node = Node { name: format!("node-{n}") };
            match collaborator {
                Collaborator::Store(store) => store.update_local_key(node).await.unwrap(),
                Collaborator::Publisher(publisher) => publisher.update_key(node).await.unwrap(),
            }
        }
        crowd.count("all start at once", 60, || false).await;
        crowd.count("nothing happens", 3600, || false).await;
        for (op, _) in OPS {
            kvstore.fail(op, usize::MAX, When::Before, BackendError::unreachable("away"));
        }
        kvstore.break_watches(BackendError::unavailable("away"));
        crowd.count("it is away", 300, || false).await;
        kvstore.heal();
        crowd.count("it is back", 600, || collaborators.iter().all(Collaborator::is_synced)).await;
    });
}

struct Crowd<'a> {
    name: &'a str,
    count: usize,
    kvstore: Faulty,
    counted: [usize; 5],
}

impl Crowd<'_> {
    fn calls(&self) -> [usize; 5] {
        OPS.map(|(op, _)| self.kvstore.calls(op))
    }

    /// Counts what is asked from the last count on, for so many seconds, or until it is over.
    async fn count(&mut self, what: &str, seconds: usize, is_over: impl Fn() -> bool) {
        let first = self.counted;
        let (mut before, mut most, mut passed) = (first, 0, 0);
        while passed < seconds && !is_over() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.calls();
            most = most.max(now.iter().sum::<usize>() - before.iter().sum::<usize>());
            (before, passed) = (now, passed + 1);
        }
        self.counted = before;
        let asked: Vec<_> = before.iter().zip(first).map(|(now, first)| (now - first).to_string()).collect();
        println!("| {} {} | {what} | {passed} | {} | {most} |", self.count, self.name, asked.join(" | "));
    }
}
