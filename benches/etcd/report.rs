//! Medians and ratios, as a table in Markdown.

use serde_json::{Value, json};

use crate::figures::Figures;

/// What is shown of a row.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    Time,
    Rate,
    P50,
    P99,
    Cpu,
    Switches,
    Peak,
    Told,
    /// What memory grew by.
    MemoryOfEach,
    Threads,
    Files,
    /// The share of a processor and the context switches in a phase of idleness.
    Share(usize),
    Wakes(usize),
}

/// The phases, in words.
const PHASES: [(&str, &str); 3] = [
    ("CPU idle, %", "switches/s idle"),
    ("CPU etcd stopped, %", "switches/s stopped"),
    ("CPU no etcd, %", "switches/s no etcd"),
];

impl Figure {
    fn name(self) -> &'static str {
        match self {
            Self::Time => "time, ms",
            Self::Rate => "rate, 1000/s",
            Self::P50 => "p50, us",
            Self::P99 => "p99, us",
            Self::Cpu => "CPU of each, us",
            Self::Switches => "switches of each",
            Self::Peak => "peak memory, MB",
            Self::Told => "told",
            Self::MemoryOfEach => "memory of each, KB",
            Self::Threads => "threads",
            Self::Files => "open files",
            Self::Share(phase) => PHASES[phase].0,
            Self::Wakes(phase) => PHASES[phase].1,
        }
    }

    /// Of counts, and of what is nearly nothing, there is no ratio.
    fn is_compared(self) -> bool {
        !matches!(self, Self::Told | Self::Threads | Self::Files | Self::Share(_) | Self::Wakes(_))
    }

    fn of(self, figures: &Figures) -> f64 {
        let events = figures.events as f64;
        let delays = figures.delays.unwrap_or_default();
        match self {
            Self::Time => figures.seconds * 1e3,
            Self::Rate => events / figures.seconds / 1e3,
            Self::P50 => delays.p50 * 1e6,
            Self::P99 => delays.p99 * 1e6,
            Self::Cpu => figures.cpu_seconds * 1e6 / events,
            Self::Switches => figures.switches as f64 / events,
            Self::Peak => figures.peak_bytes as f64 / 1e6,
            Self::Told => figures.told as f64,
            Self::MemoryOfEach => figures.grown_bytes as f64 / 1e3 / events,
            Self::Threads => figures.threads.len() as f64,
            Self::Files => figures.files as f64,
            Self::Share(phase) => figures.phases[phase].cpu * 100.0,
            Self::Wakes(phase) => figures.phases[phase].switches,
        }
    }
}

/// One side of a row.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Figures>,
}

impl Side {
    fn all(&self, figure: Figure) -> Vec<f64> {
        self.rounds.iter().map(|figures| figure.of(figures)).collect()
    }
}

pub(crate) struct Report {
    /// When and where it was measured, for plots.
    run: Value,
    sides: Vec<Value>,
}

impl Report {
    pub(crate) fn new(rounds: usize) -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "Medians of {rounds} rounds; the ratio is of them, in brackets are the least and the greatest of a round. \
             {processors} processors, load at the beginning {load}.\n",
        );
        let began = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let run = json!({ "began": began, "processors": processors, "load": load, "rounds": rounds });
        print(["work", "figure", "raw", "ours", "ratio"], ' ');
        print([""; 5], '-');
        Self { run, sides: Vec::new() }
    }

    /// `sides[0]` is what the others are compared with.
    pub(crate) fn row(&mut self, name: &str, sides: &[Side], figures: &[Figure]) {
        let (raw, others) = sides.split_first().expect("raw is there");
        for side in others {
            for (at, figure) in figures.iter().enumerate() {
                let label = if at == 0 { format!("{name}, {}", side.name) } else { String::new() };
                let (theirs, ours) = (raw.all(*figure), side.all(*figure));
                let ratios: Vec<_> = theirs.iter().zip(&ours).map(|(raw, ours)| ours / raw).collect();
                let least = ratios.iter().copied().fold(f64::MAX, f64::min);
                let greatest = ratios.iter().copied().fold(0.0, f64::max);
                let (theirs, ours) = (median(theirs), median(ours));
                let ratio = format!("{:.2} ({least:.2} to {greatest:.2})", ours / theirs);
                let ratio = if theirs == 0.0 || !figure.is_compared() { String::new() } else { ratio };
                print([&label, figure.name(), &short(theirs), &short(ours), &ratio], ' ');
            }
        }
        for side in sides {
            let all = |figure: &Figure| (figure.name().to_owned(), json!(side.all(*figure)));
            let figures: serde_json::Map<_, _> = figures.iter().map(all).collect();
            self.sides.push(json!({ "row": name, "side": side.name, "figures": figures }));
        }
    }

    /// What is shown, of each round; a line for each side.
    pub(crate) fn json(&self) -> String {
        let sides: Vec<_> = self.sides.iter().map(Value::to_string).collect();
        format!("{{\"run\": {}, \"sides\": [\n{}\n]}}\n", self.run, sides.join(",\n"))
    }
}

/// Three digits.
fn short(figure: f64) -> String {
    match figure {
        100.0.. => format!("{figure:.0}"),
        10.0.. => format!("{figure:.1}"),
        0.0..0.1 if figure > 0.0 => format!("{figure:.4}"),
        _ => format!("{figure:.2}"),
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn print(cells: [&str; 5], fill: char) {
    let cells = cells.iter().zip([40, 19, 7, 7, 22]);
    let padded = cells.map(|(cell, width)| cell.chars().chain(std::iter::repeat(fill)).take(cell.len().max(width)));
    let padded: Vec<String> = padded.map(Iterator::collect).collect();
    println!("| {} |", padded.join(" | "));
}
