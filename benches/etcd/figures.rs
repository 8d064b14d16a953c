//! What a process used, read from /proc.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What one child measured of itself.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Keys or events.
    pub(crate) events: usize,
    /// By the clock.
    pub(crate) seconds: f64,
    /// User and system time of all threads.
    pub(crate) cpu_seconds: f64,
    /// Voluntary and involuntary context switches of all threads.
    pub(crate) switches: u64,
    /// The most memory the process ever had.
    pub(crate) peak_bytes: u64,
    /// From the request of a put until it is seen, in seconds; for work that measures it.
    pub(crate) delays: Option<Delays>,
    /// How many changes the observer was told that was told most.
    pub(crate) told: usize,
    /// Open files at the end.
    pub(crate) files: usize,
    /// Beyond the peak at the beginning.
    pub(crate) grown_bytes: u64,
    /// What was used while there was nothing to do; for work that measures it.
    pub(crate) phases: Vec<Phase>,
    /// Processor time in microseconds and context switches by thread.
    pub(crate) threads: BTreeMap<String, (u64, u64)>,
}

/// What a while of idleness cost.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// The share of one processor.
    pub(crate) cpu: f64,
    /// Context switches a second.
    pub(crate) switches: f64,
}

impl Phase {
    /// After a moment for what is still under way.
    pub(crate) async fn measure(time: Duration) -> Self {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let meter = Meter::start();
        tokio::time::sleep(time).await;
        let Figures { seconds, cpu_seconds, switches, .. } = meter.stop(1);
        Self { cpu: cpu_seconds / seconds, switches: switches as f64 / seconds }
    }
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Delays {
    /// Of delays in nanoseconds.
    pub(crate) fn of(mut delays: Vec<u64>) -> Option<Self> {
        delays.sort_unstable();
        let at = |percent: usize| delays.get(delays.len() * percent / 100).map(|delay| *delay as f64 / 1e9);
        Some(Self { p50: at(50)?, p99: at(99)? })
    }
}

/// Measures from its start to its stop.
pub(crate) struct Meter {
    start: Instant,
    ticks: u64,
    peak: u64,
    threads: BTreeMap<String, (u64, u64)>,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { ticks: ticks(), peak: peak(), threads: threads(), start: Instant::now() }
    }

    pub(crate) fn stop(&self, events: usize) -> Figures {
        let seconds = self.start.elapsed().as_secs_f64();
        let mut threads = threads();
        for (name, (used, switches)) in &mut threads {
            let before = self.threads.get(name).copied().unwrap_or_default();
            (*used, *switches) = ((*used - before.0) / 1000, *switches - before.1);
        }
        let switches = threads.values().map(|(_, switches)| switches).sum();
        let used = threads.values().map(|(used, _)| *used as f64 / 1e6).sum::<f64>();
        // Threads that have ended are only in the sum of the process, which is in ticks of 10 ms.
        let whole = (ticks() - self.ticks) as f64 / 100.0;
        let cpu_seconds = if whole - used > 0.02 { whole } else { used };
        let (peak_bytes, files) = (peak(), std::fs::read_dir("/proc/self/fd").unwrap().count());
        let grown_bytes = peak_bytes - self.peak;
        Figures {
            events,
            seconds,
            cpu_seconds,
            switches,
            peak_bytes,
            grown_bytes,
            files,
            threads,
            ..Figures::default()
        }
    }
}

/// Nanoseconds on a processor and context switches of each thread.
fn threads() -> BTreeMap<String, (u64, u64)> {
    let mut threads = BTreeMap::new();
    for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end meanwhile.
        let read = |file: &str| read_to_string(thread.path().join(file)).unwrap_or_default();
        let used = read("schedstat").split(' ').next().and_then(|used| used.parse().ok()).unwrap_or(0);
        let name = format!("{} {}", read("comm").trim(), thread.file_name().to_string_lossy());
        let status = read("status");
        let switches = field(&status, "voluntary_ctxt_switches") + field(&status, "nonvoluntary_ctxt_switches");
        threads.insert(name, (used, switches));
    }
    threads
}

fn ticks() -> u64 {
    let stat = read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn peak() -> u64 {
    field(&read_to_string("/proc/self/status").unwrap(), "VmHWM") << 10
}

fn field(status: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok();
    status.lines().find_map(value).unwrap_or(0)
}
