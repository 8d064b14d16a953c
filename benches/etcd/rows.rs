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
    use Figure::{Cpu, P50, P99, Peak, Rate, Switches, Time, Told};
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
    /// All sides take turns. Who publishes or mirrors finds an empty etcd each time, all others share one.
    fn measure(&self, rounds: usize) -> Vec<Side> {
        let names = std::iter::once("raw").chain(self.sides.iter().copied());
        let mut sides: Vec<_> = names.map(|name| Side { name, rounds: Vec::new() }).collect();
        let mut servers = self.servers();
        for _ in 0..rounds {
            for side in &mut sides {
                if self.work == "publish" || self.is_mirror() {
                    servers = self.servers();
                }
                let endpoints: Vec<_> = servers.iter().map(EtcdServer::endpoint).collect();
                side.rounds.push(self.once(side.name, &endpoints.join(",")));
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
        load(self.keys, &servers[0].endpoint());
        servers
    }

    fn once(&self, side: &str, endpoint: &str) -> Figures {
        let (mut child, mut lines) = start(side, self.work, self.count, endpoint);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        if line.trim() == "ready" {
            let (mut writer, _) = start("writer", self.work, self.count, endpoint);
            line.clear();
            lines.read_line(&mut line).unwrap();
            assert!(writer.wait().unwrap().success(), "the writer of {} failed", self.name);
        }
        assert!(child.wait().unwrap().success(), "{}: {side} failed", self.name);
        serde_json::from_str(&line).unwrap()
    }
}

/// Puts so many keys.
pub(crate) fn load(keys: usize, endpoint: &str) {
    let (mut loader, _) = start("writer", "load", keys, endpoint);
    assert!(loader.wait().unwrap().success(), "{keys} keys could not be written");
}

fn start(side: &str, work: &str, count: usize, endpoint: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--child", side, work, &count.to_string(), endpoint]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}
