//! Which seeds a simulation runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `run` for each seed: `SEED=17` for one, whose steps are printed; `SEEDS=100000` for so many from a fresh random
/// base, which is printed; with `START=5` from there; by default the first `few`.
pub(crate) fn seeds(few: u64, mut run: impl FnMut(u64, bool)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SEED") {
        return run(seed, true);
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
        if catch_unwind(AssertUnwindSafe(|| run(seed, false))).is_err() {
            println!("SEED={seed}:");
            run(seed, true);
            panic!("seed {seed} fails only once");
        }
    }
}
