//! Which seeds a simulation runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether the steps of a run are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    Hidden,
    Printed,
}

impl Trace {
    pub(crate) fn say(self, words: impl FnOnce() -> String) {
        if self == Self::Printed {
            println!("{}", words());
        }
    }
}

/// Runs `run` for each seed: `SEED=17` for one, whose steps are printed; `SEEDS=100000` for so many from a fresh random
/// base, which is printed; with `START=5` from there; by default the first `few`.
pub(crate) fn seeds(few: u64, mut run: impl FnMut(u64, Trace)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return run(seed, Trace::Printed);
    }
    let seeds = match (number("START"), number("SEEDS")) {
        (None, None) => 0..few,
        (start, seeds) => {
            let start = start.unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
            start..start + seeds.unwrap_or(few)
        }
    };
    println!("seeds {seeds:?}");
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed, Trace::Hidden))).is_err() {
            println!("SEED={seed}:");
            run(seed, Trace::Printed);
            panic!("seed {seed} fails only once");
        }
    }
}
