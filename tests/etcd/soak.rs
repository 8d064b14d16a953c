//! Random faults, a few at a time, again and again: for some seconds with the other tests, for as long as one likes
//! with `SOAK_MINUTES` (`make soak`), which must run alone, since it looks at what the whole process needs.

use std::fmt;
use std::time::Instant;

use super::three::{SHORT, Three};
use super::*;
use crate::actors::node;
use crate::support::Cluster;
use crate::support::{DeliveryMode, Proxy};

/// Names of each collaborator.
const NAMES: usize = 20;
/// After so many rounds one collaborator leaves and joins again.
const ROUNDS_A_LIFE: u32 = 5;
/// Figures are compared from here on: caches and arenas have grown to their size.
const WARM_UP: f64 = 0.2;

struct Soak {
    three: Three,
    random: fastrand::Rng,
    round: u32,
}

impl Soak {
    /// Some faults at once, while all write, until the faults are repaired and all have converged.
    async fn round(&mut self) {
        self.round += 1;
        let faults: Vec<_> = (0..self.random.usize(1..4)).map(|_| self.random.u32(..12)).collect();
        self.three.fault(&format!("round {}: {faults:?}", self.round));
        for fault in faults {
            self.write().await;
            self.fault(fault).await;
        }
        self.write().await;
        let most = if self.random.u8(..4) == 0 { 5000 } else { 1000 };
        // The faults last so long, now and then longer than the leases live.
        real_time(Duration::from_millis(self.random.u64(100..most))).await;
        self.three.set_all_ways(DeliveryMode::Forward);
        self.three.etcd.mend();
        self.three.mended();
        self.three.converged().await;
        self.three.forget_the_past();
        if self.round.is_multiple_of(ROUNDS_A_LIFE) {
            let who = self.random.usize(..3);
            if self.random.bool() {
                self.three.close_and_join(who).await;
            } else {
                self.three.release_and_join(who).await;
            }
        }
    }

    /// All put some names and delete others.
    async fn write(&mut self) {
        for who in 0..3 {
            let mut keys = Vec::new();
            for n in 0..NAMES {
                let name = format!("{who}/{n}");
                match self.random.u8(..12) {
                    0 | 1 if !self.three.is_going(&name) => keys.push(node(&name, &self.random.u16(..).to_string())),
                    2 if self.three.is_wanted(&name) => self.three.give_up(who, &name),
                    _ => {}
                }
            }
            self.three.own(who, keys).await;
        }
    }

    async fn fault(&mut self, kind: u32) {
        let who = self.random.usize(..3);
        let member = self.random.usize(..3);
        let modes = [
            DeliveryMode::Slow(20_000),
            DeliveryMode::StallRequests,
            DeliveryMode::StallAnswers,
            DeliveryMode::BlackHole,
            DeliveryMode::Refuse,
            DeliveryMode::HalfOpen,
        ];
        let mode = modes[self.random.usize(..modes.len())];
        let Three { etcd, each, .. } = &mut self.three;
        match kind {
            0 | 1 => each[who].ways.iter().for_each(|way| way.set(mode)),
            2 => each.iter().flat_map(|each| &each.ways).for_each(|way| way.set(mode)),
            3 => each[who].ways[member].set(mode),
            4 => each[who].ways.iter().for_each(Proxy::cut),
            5 => each.iter().flat_map(|each| &each.ways).for_each(Proxy::reset),
            6 => etcd.members[member].kill(),
            7 => stand_still(&etcd.members[member]),
            // Perhaps without a quorum.
            8 => etcd.members.iter_mut().skip(1).for_each(EtcdServer::kill),
            9 => etcd.members.iter().take(2).for_each(stand_still),
            10 => self.three.compact_all().await,
            _ => {
                let garbage = WriteAction::Put { value: "garbage".into(), lease: LeaseId::NONE };
                let action = if self.random.bool() { WriteAction::Delete } else { garbage };
                let name = format!("{who}/{}", self.random.usize(..NAMES));
                if self.three.is_wanted(&name) {
                    self.three.damage(&name, action).await;
                }
            }
        }
    }
}

fn stand_still(member: &EtcdServer) {
    if member.is_running() {
        member.pause();
    }
}

/// What the process and etcd need for it.
#[derive(Debug, Clone, Copy)]
struct Needs {
    /// Kilobytes in memory.
    memory: u64,
    threads: u64,
    files: u64,
    /// Tasks on the connections' threads of all collaborators.
    tasks: u64,
    /// Watches in etcd.
    watches: u64,
}

impl Needs {
    fn now(three: &Three) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
        };
        let files = std::fs::read_dir("/proc/self/fd").unwrap().count().try_into().unwrap();
        let tasks = three.each.iter().map(|each| each.backend.tasks()).sum::<usize>().try_into().unwrap();
        Self { memory: number("VmRSS:"), threads: number("Threads:"), files, tasks, watches: three.watches() }
    }

    /// The median of each figure.
    fn of(samples: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> u64| {
            let mut figures: Vec<_> = samples.iter().map(figure).collect();
            figures.sort_unstable();
            figures[figures.len() / 2]
        };
        Self {
            memory: median(|needs| needs.memory),
            threads: median(|needs| needs.threads),
            files: median(|needs| needs.files),
            tasks: median(|needs| needs.tasks),
            watches: median(|needs| needs.watches),
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, threads, files, tasks, watches } = self;
        write!(f, "{memory} kB, {threads} threads, {files} files, {tasks} tasks, {watches} watches")
    }
}

#[test]
fn under_random_faults_all_converge_again_and_again_and_nothing_grows() {
    let minutes = std::env::var("SOAK_MINUTES").ok().map(|minutes| minutes.parse::<f64>().unwrap());
    let seed = std::env::var("SOAK_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let time = Duration::from_secs_f64(minutes.map_or(15.0, |minutes| minutes * 60.0));
    println!("soak: seed {seed}, {} s", time.as_secs());
    on_etcd(async {
        let three = Three::on(Cluster::start(Version::V34, 3), SHORT).await;
        let mut soak = Soak { three, random: fastrand::Rng::with_seed(seed), round: 0 };
        let (began, mut samples) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            soak.round().await;
            let needs = Needs::now(&soak.three);
            println!("soak: {:.0} s, {} rounds, {needs}", began.elapsed().as_secs_f64(), soak.round);
            if began.elapsed() > time.mul_f64(WARM_UP) {
                samples.push(needs);
            }
        }
        // Other tests of the same process need something, too.
        if minutes.is_some() {
            let fifth = samples.len() / 5;
            let (first, last) = (Needs::of(&samples[..=fifth]), Needs::of(&samples[samples.len() - fifth - 1..]));
            println!("soak: {} rounds, first {first}, last {last}", soak.round);
            assert!(last.memory < first.memory + first.memory / 10, "memory grows");
            assert!(last.threads <= first.threads, "threads are left behind");
            assert!(last.files <= first.files + 10, "files are left open");
            assert!(last.tasks <= first.tasks + 10, "tasks are left behind");
        }
        assert_eq!(soak.three.watches(), 3, "one watch each");
        soak.three.end().await;
    });
}
