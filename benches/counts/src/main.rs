//! Instructions of the hot paths, counted by valgrind's callgrind: about the same on a busy machine as on a quiet one.
//!
//! ```text
//! make counts                 compared with baseline.txt
//! make counts ACCEPT=1        and written to it
//! cargo run --release --package shared-store-counts -- --work list   one piece of work, not counted, for a profiler
//! ```
//!
//! Each piece of work runs in a process of its own. Callgrind counts only while [`measured`] runs, so the preparation costs
//! time but no count. Another compiler or C library gives other figures: then only what two commits differ by says something.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

mod works;

use std::process::Command;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");

/// What callgrind counts.
#[inline(never)]
pub(crate) fn measured(work: &mut dyn FnMut()) {
    work();
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--work", wanted] => {
            let work = works::ALL.iter().find(|work| work.name == *wanted).expect("a name of works.rs");
            (work.run)();
        }
        [] => report(false),
        ["--accept"] => report(true),
        other => panic!("{other:?}: it is --accept or --work NAME"),
    }
}

fn report(accept: bool) {
    let baseline = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let (of, compiler) = (baseline.lines().next().unwrap_or_default(), compiler());
    println!("Instructions of each by {compiler}; the baseline is of {}", of.trim_start_matches("# "));
    let mut counted = format!("# {compiler}\n");
    println!("| {:34} | {:5} | {:>8} | {:>8} | {:>8} |", "work", "each", "counted", "baseline", "change");
    println!("| {:-<34} | {:-<5} | {:->8} | {:->8} | {:->8} |", "", "", "", "", "");
    for work in works::ALL {
        let now = instructions(work.name) / work.count;
        let before = baseline.lines().find_map(|line| line.strip_prefix(work.name)?.trim().parse::<u64>().ok());
        let change = before.map(|before| format!("{:+.1} %", (now as f64 / before as f64 - 1.0) * 100.0));
        let (before, change) =
            (before.map(|before| before.to_string()).unwrap_or_default(), change.unwrap_or_default());
        println!("| {:34} | {:5} | {now:8} | {before:>8} | {change:>8} |", work.name, work.each);
        counted += &format!("{:34} {now:8}\n", work.name);
    }
    if accept {
        std::fs::write(BASELINE, counted).unwrap();
    }
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output().unwrap().stdout;
    String::from_utf8_lossy(&version).trim().to_owned()
}

fn instructions(work: &str) -> u64 {
    let mut command = Command::new("valgrind");
    command.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--toggle-collect=shared_store_counts::measured*",
    ]);
    let output = command.arg(std::env::current_exe().unwrap()).args(["--work", work]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let counted = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    counted.filter(|counted| *counted > 0 && output.status.success()).unwrap_or_else(|| panic!("{work}: {text}"))
}
