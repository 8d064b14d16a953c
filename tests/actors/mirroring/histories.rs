//! Random histories of a source, by seed: no reader of the copies is told a deletion that was not one.

use super::*;

/// Keys that the source has whenever it is complete: no reader of the copies may ever be told that one is deleted.
const STEADY: usize = 4;
/// Keys that come and go.
const VOLATILE: usize = 4;
const STEPS: usize = 60;

struct History {
    dice: fastrand::Rng,
    seed: u64,
    source: MemoryBackend,
    faulty_source: Faulty,
    target: MemoryBackend,
    faulty_target: Faulty,
    mirror: Option<Mirror>,
    complete: bool,
}

impl History {
    fn new(seed: u64) -> Self {
        let (source, target) = (MemoryBackend::new(), MemoryBackend::new());
        Self {
            dice: fastrand::Rng::with_seed(seed),
            seed,
            faulty_source: Faulty::new(source.clone()),
            faulty_target: Faulty::new(target.clone()),
            source,
            target,
            mirror: None,
            complete: false,
        }
    }

    fn mirror(&mut self) {
        let (source, target) = (self.faulty_source.clone(), self.faulty_target.clone());
        let mut config = MirrorConfig::cilium("c3", Arc::new(source), Arc::new(target));
        config.copies.seed = self.dice.u64(..);
        self.mirror = Some(Mirror::start_on(config, StoreThread::current()).unwrap());
    }

    fn path(n: usize) -> String {
        format!("cilium/state/nodes/v1/c3/n{n}")
    }

    async fn put_key(&mut self, n: usize) {
        let value = self.dice.u8(..).to_string();
        put(&self.source, &Self::path(n), value).await;
    }

    /// Writes what is missing, in any order, and then the canaries.
    async fn fill_source(&mut self) {
        put(&self.source, CLUSTER_CONFIG, CONFIG).await;
        let mut keys: Vec<_> = (0..STEADY).collect();
        self.dice.shuffle(&mut keys);
        for n in keys {
            self.put_key(n).await;
            if self.dice.bool() {
                self.time().await;
            }
        }
        put_canaries(&self.source).await;
        self.complete = true;
    }

    async fn time(&mut self) {
        let time = Duration::from_millis(1 << self.dice.u32(..16));
        pass(time).await;
    }

    async fn step(&mut self) {
        match self.dice.usize(..13) {
            0 | 1 => {
                let n = self.dice.usize(..STEADY);
                if self.complete {
                    self.put_key(n).await;
                }
            }
            2 | 3 => {
                let n = STEADY + self.dice.usize(..VOLATILE);
                self.put_key(n).await;
            }
            4 => delete(&self.source, &Self::path(STEADY + self.dice.usize(..VOLATILE))).await,
            5 => {
                // A wiped kvstore comes up again, and everybody has to connect anew.
                self.source.restore(&MemoryBackend::new().backup());
                self.faulty_source.break_watches(BackendError::unavailable("restarts"));
                self.complete = false;
            }
            6 => self.fill_source().await,
            7 => self.faulty_source.break_watches(BackendError::unavailable("cut")),
            8 => {
                let (faulty, calls) = if self.dice.bool() {
                    (&self.faulty_source, self.dice.usize(1..5))
                } else {
                    (&self.faulty_target, self.dice.usize(1..5))
                };
                let op = [Op::List, Op::Watch, Op::Write][self.dice.usize(..3)];
                let when = if self.dice.bool() { When::Before } else { When::After };
                faulty.fail(op, calls, when, BackendError::unavailable("cut"));
            }
            9 => {
                self.mirror = None;
                self.time().await;
                self.mirror();
            }
            10 => {
                // The source is away for longer than a lease lasts, perhaps from the start of a mirror on.
                cut(&self.faulty_source);
                if self.dice.bool() {
                    self.mirror = None;
                    self.time().await;
                    self.mirror();
                }
                pass(Duration::from_secs(2000)).await;
                self.faulty_source.heal();
            }
            11 => {
                // Somebody damages a copy. It is put again, so its deletion counts for nothing.
                put(&self.target, "cilium/cache/nodes/v1/c3/n0", "damage").await;
            }
            _ => self.time().await,
        }
    }

    async fn run(mut self) {
        let deleted = deletions(&self.target).await;
        self.mirror();
        for _ in 0..STEPS {
            self.step().await;
        }
        self.faulty_source.heal();
        self.faulty_target.heal();
        self.fill_source().await;
        let mirror = self.mirror.take().unwrap();
        let seed = self.seed;
        let same = async || {
            let below = |all: Vec<KeyValue>, prefix: &str| -> Vec<_> {
                all.into_iter().map(|kv| (kv.path.slice(prefix.len()..), kv.value)).collect()
            };
            let (from, to) = ("cilium/state/nodes/v1/c3", "cilium/cache/nodes/v1/c3");
            let list = async |backend: &MemoryBackend, prefix: &str| {
                let range = Prefix::new(prefix).unwrap().range();
                below(backend.list(ListRequest::new(range)).await.unwrap().kvs, prefix)
            };
            list(&self.source, from).await == list(&self.target, to).await
        };
        // Deletions of another history are held back, and leases of mirrors of before end.
        pass(Duration::from_secs(3600)).await;
        assert!(same().await && is_ready(&mirror).await, "SEED={seed}: {:?}", mirror.status().await);
        let steady: Vec<_> = (0..STEADY).map(|n| format!("cilium/cache/nodes/v1/c3/n{n}")).collect();
        let told = deleted.lock().unwrap();
        let wrong: Vec<_> = told.iter().filter(|path| steady.contains(path)).collect();
        assert!(wrong.is_empty(), "SEED={seed}: told of {wrong:?}");
    }
}

#[test]
fn no_reader_is_told_a_deletion_that_was_not_one_whatever_happens() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => {
            let count = std::env::var("SEEDS").map_or(10, |count| count.parse().unwrap());
            let base = fastrand::u64(..u64::MAX / 2);
            println!("seeds {base}..{}", base + count);
            (base..base + count).collect()
        }
    };
    for seed in seeds {
        paused(async move { History::new(seed).run().await });
    }
}
