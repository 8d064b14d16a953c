//! The promises of etcd's watch, as its robustness suite checks them of etcd, checked on what we make of them: everything
//! a [`Watch`](shared_store_core::watch::Watch) delivers and everything an observer is told, while others write, leases
//! expire, and watches break, fall silent, come in fragments and are overtaken by compaction.
//!
//! Ordered, unique, atomic, reliable, resumable, bookmarkable, filtered, with the previous value, and a create is one.
//!
//! `SEEDS=10000 cargo test promises` runs more seeds, `SEED=17` just one.

mod check;
mod collaborator;
#[cfg(feature = "etcd")]
mod etcd;
mod history;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::{BackendError, MemoryBackend, Prefix, Revision};
use shared_store_support::pass;
use tokio::sync::watch;

use self::check::KeyState;
use self::collaborator::Collaborator;
use self::history::Recorder;
use self::traffic::Traffic;

fn prefix() -> Prefix {
    Prefix::new("tests/promises").unwrap()
}

/// One fault of those a store must bear, or the end of one.
fn fault(faulty: &Faulty, random: &mut Rng) {
    let op = if random.bool() { Op::List } else { Op::Watch };
    let when = if random.bool() { When::Before } else { When::After };
    match random.u8(..8) {
        0 | 1 => faulty.break_watches(BackendError::unavailable("broken")),
        2 => faulty.break_watches(BackendError::Compacted { oldest: Revision::ZERO }),
        3 => faulty.fail(op, random.usize(1..3), when, BackendError::unavailable("failed")),
        4 | 5 => faulty.fragment(random.usize(..4)),
        6 => faulty.mute_watches(),
        _ => faulty.unmute_watches(),
    }
}

/// Whether the seed relisted after its first list, and how many events it saw live.
async fn by_seed(seed: u64) -> KeyState {
    let mut random = Rng::with_seed(seed);
    let memory = MemoryBackend::new().progress_interval(Duration::from_millis(random.u64(20..500)));
    let faulty = Faulty::new(memory.clone());
    let mut recorder = Recorder::new(&memory).await;
    let mut traffic = Traffic::new(Arc::new(memory.clone()), seed);
    for _ in 0..random.u8(..10) {
        traffic.step().await;
    }
    let (end, until) = watch::channel(Revision(u64::MAX));
    let collaborator = Collaborator::new(Arc::new(faulty.clone()), seed);
    let collaborating = tokio::spawn(collaborator.run(until));
    // Some seeds have no compaction, so that they need no relist.
    let (one_in, compacts) = (random.u8(3..30), random.bool());
    for _ in 0..random.u16(50..200) {
        traffic.step().await;
        if random.u8(..one_in) == 0 {
            fault(&faulty, &mut random);
        }
        if compacts && random.u8(..20) == 0 {
            recorder.drain();
            // It may be compacted already.
            drop(memory.compact(memory.revision()));
        }
        pass(Duration::from_millis(random.u64(..200))).await;
    }
    faulty.heal();
    end.send_replace(traffic.last().await);
    let record = tokio::time::timeout(Duration::from_secs(600), collaborating).await.expect("it catches up").unwrap();
    recorder.drain();
    check::record(&recorder.history, &record)
}

#[test]
fn every_promise_is_kept_on_the_way_to_an_observer() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = number("SEED").map_or_else(|| 0..number("SEEDS").unwrap_or(400), |seed: u64| seed..seed + 1);
    let many = seeds.end - seeds.start > 100;
    let mut seen = KeyState::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(by_seed(seed)));
        match std::panic::catch_unwind(run) {
            Ok(one) => seen += one,
            Err(panic) => {
                eprintln!("SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    // So many seeds must have had something to check.
    if many {
        assert!(seen.without_relist > 20 && seen.relists > 100 && seen.events > 10_000, "{seen:?}");
        assert!(seen.bookmarks > 100 && seen.together > 1000 && seen.told > 10_000, "{seen:?}");
    }
}
