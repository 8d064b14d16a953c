//! What the store costs as a whole process on a real etcd 3.5, against etcd-client used directly in the same run.
//!
//! ```text
//! cargo bench --features etcd --bench etcd                        all rows but those of a million keys
//! cargo bench --features etcd --bench etcd -- join publish        rows whose name has one of these words
//! cargo bench --features etcd --bench etcd -- --scale join        a million keys, too
//! cargo bench --features etcd --bench etcd -- --json figures.json all figures of all rounds, for plots
//! ROUNDS=11 cargo bench --features etcd --bench etcd              instead of five rounds
//! ```
//!
//! Each side of a row runs in a process of its own that only measures itself, and the sides take turns. `raw` is
//! etcd-client in a runtime with one thread, values decoded into a `HashMap<String, Arc<Node>>`. Writers are processes of
//! their own, too. What is printed are medians of all rounds, the ratio of the medians, and the least and the greatest
//! ratio of a round.
//!
//! # By hand, for a profiler
//!
//! The program is in `target/release/deps/etcd-*`. `CARGO_PROFILE_BENCH_DEBUG=line-tables-only cargo bench --features etcd
//! --bench etcd --no-run` builds it with lines for `perf record --call-graph dwarf`.
//!
//! ```text
//! etcd-... --etcd 100000                      an etcd with so many keys: prints its endpoint, ends with its input
//! etcd-... --child store join 100000 ENDPOINT
//! etcd-... --child store singles 50000 ENDPOINT    prints `ready`, then waits for
//! etcd-... --child writer singles 50000 ENDPOINT
//! ```
//!
//! The sides and works are those of `raw.rs`, `store.rs` and `writer.rs`; works of a mirror take two endpoints with a comma
//! between. `idle` prints `stop` and `kill` when that is to be done to etcd, and waits for nothing. A child prints its figures as
//! JSON, with what each of its threads used.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a benchmark"
)]

mod figures;
mod idle;
mod many;
mod mirror;
mod node;
mod raw;
mod report;
mod rows;
mod store;
mod writer;

use std::time::Duration;

use shared_store_support::{EtcdServer, Version};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", side, work, count, endpoint] => child(side, work, count.parse().unwrap(), endpoint),
        ["--etcd", keys] => {
            let server = EtcdServer::start(Version::V35);
            rows::load(keys.parse().unwrap(), &server.endpoint());
            println!("{}", server.endpoint());
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
        _ => rows::run(&words),
    }
}

/// Does the work, prints its figures and ends without the courtesies of leaving.
fn child(side: &str, work: &str, count: usize, endpoint: &str) {
    let figures = actix_rt::System::new().block_on(async {
        let done = async {
            match side {
                "raw" => Some(raw::run(work, endpoint, count).await),
                "writer" => {
                    writer::run(work, endpoint, count).await;
                    None
                }
                _ => Some(store::run(side, work, endpoint, count).await),
            }
        };
        tokio::time::timeout(Duration::from_secs(300), done).await.expect("done within 300 s")
    });
    if let Some(figures) = figures {
        println!("{}", serde_json::to_string(&figures).unwrap());
    }
    std::process::exit(0);
}
