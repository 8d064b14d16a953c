//! The rows: who does which work, and what is shown of it.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use shared_store_support::{EtcdServer, Version};

use crate::figures::Figures;
use crate::report::{Figure, Report, Side};
use crate::writer::{LIVE_KEYS, RATE};

struct Row {
    name: String,
    work: &'static str,
    count: usize,
    /// Keys that are there before.
    keys: usize,
    /// Beside `raw`: the name for [`crate::store`], which is printed, too.
    sides: &'static [&'static str],
    figures: &'static [Figure],
}

fn rows(scale: bool) -> Vec<Row> {
    use Figure::{Cpu, Files, MemoryOfEach, P50, P99, Peak, Rate, Share, Switches, Threads, Time, Told, Wakes};
    let mut rows = Vec::new();
    let mut row = |work, count: usize, keys, sides, figures| {
        let name = format!("{work} {count}");
        rows.push(Row { name, work, count, keys, sides, figures });
    };
    let million = if scale { &[1_000_000][..] } else { &[] };
    for keys in [1000, 10_000, 100_000].iter().chain(million) {
        row("join", *keys, *keys, &["store"], &[Time, Cpu, Switches, Peak]);
    }
    row("relist", 100_000, 100_000, &["store"], &[Time, Cpu, Switches, Peak, Told]);
    for keys in [1000, 10_000, 50_000] {
        row("publish", keys, 0, &["store", "publisher"], &[Time, Cpu, Switches, Peak]);
    }
    let sides = &["store", "store-on-the-same-thread"];
    row("steady", 5 * RATE, LIVE_KEYS, sides, &[P50, P99, Cpu, Switches]);
    row("mirror", 100_000, 100_000, &["store"], &[Time, Cpu, Switches, Peak]);
    row("mirror-steady", 5 * RATE, LIVE_KEYS, &["store"], &[P50, P99, Cpu, Switches]);
    let sides = &["store", "store-10-observers"];
    row("singles", 50_000, LIVE_KEYS, sides, &[Rate, Cpu, Switches, Told, Peak]);
    row("batches", 300_000, LIVE_KEYS, sides, &[Rate, Cpu, Switches, Told, Peak]);
    row("stores", 1000, 1000, &["store", "publisher"], &[Time, Cpu, MemoryOfEach, Threads, Files, Share(0), Wakes(0)]);
    let phases = &[Share(0), Wakes(0), Share(1), Wakes(1), Share(2), Wakes(2)];
    row("idle", 100_000, 100_000, &["store"], phases);
    rows
}

pub(crate) fn run(words: &[&str]) {
    let (mut scale, mut json, mut filters) = (false, None, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--scale" => scale = true,
            "--json" => json = Some(*words.next().expect("--json FILE")),
            option if option.starts_with("--") => panic!("{option} is no option"),
            filter => filters.push(filter),
        }
    }
    let rounds = std::env::var("ROUNDS").map_or(5, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let mut report = Report::new(rounds);
    for row in rows(scale) {
        if filters.is_empty() || filters.iter().any(|filter| row.name.contains(filter)) {
            report.row(&row.name, &row.measure(rounds), row.figures);
        }
    }
    if let Some(file) = json {
        std::fs::write(file, report.json()).unwrap();
    }
}

impl Row {
    /// All sides take turns. Who publishes or mirrors finds an empty etcd each time, and who does nothing has one to be killed;
    /// all others share one.
    fn measure(&self, rounds: usize) -> Vec<Side> {
        let names = std::iter::once("raw").chain(self.sides.iter().copied());
        let mut sides: Vec<_> = names.map(|name| Side { name, rounds: Vec::new() }).collect();
        let mut servers = self.servers();
        // Those that wait take long, and hardly differ.
        let rounds = match self.work {
            "idle" => 1,
            "stores" => rounds.min(3),
            _ => rounds,
        };
        for _ in 0..rounds {
            for side in &mut sides {
                if ["publish", "stores", "idle"].contains(&self.work) || self.is_mirror() {
                    servers = self.servers();
                }
                side.rounds.push(self.once(side.name, &mut servers));
            }
        }
        sides
    }

    fn is_mirror(&self) -> bool {
        self.work.starts_with("mirror")
    }

    /// The first one has the keys.
    fn servers(&self) -> Vec<EtcdServer> {
        let count = if self.is_mirror() { 2 } else { 1 };
        let servers: Vec<_> = std::iter::repeat_with(|| EtcdServer::start(Version::V35)).take(count).collect();
        put_keys(if self.work == "stores" { "load-stores" } else { "load" }, self.keys, &servers[0].endpoint());
        servers
    }

    fn once(&self, side: &str, servers: &mut [EtcdServer]) -> Figures {
        let endpoint = servers.iter().map(EtcdServer::endpoint).collect::<Vec<_>>().join(",");
        let (mut child, lines) = start(side, self.work, self.count, &endpoint);
        let (mut writer, mut figures) = (None, None);
        for line in lines.lines().map(Result::unwrap) {
            match &*line {
                "ready" => writer = Some(start("writer", self.work, self.count, &endpoint).0),
                "stop" => servers[0].pause(),
                "kill" => servers[0].kill(),
                line => figures = Some(serde_json::from_str(line).unwrap()),
            }
        }
        assert!(child.wait().unwrap().success(), "{}: {side} failed", self.name);
        if let Some(mut writer) = writer {
            assert!(writer.wait().unwrap().success(), "the writer of {} failed", self.name);
        }
        figures.expect("it has printed its figures")
    }
}

/// Puts so many keys.
pub(crate) fn load(keys: usize, endpoint: &str) {
    put_keys("load", keys, endpoint);
}

fn put_keys(work: &str, keys: usize, endpoint: &str) {
    let (mut loader, _) = start("writer", work, keys, endpoint);
    assert!(loader.wait().unwrap().success(), "{keys} keys could not be written");
}

fn start(side: &str, work: &str, count: usize, endpoint: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--child", side, work, &count.to_string(), endpoint]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}
