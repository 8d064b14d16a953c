//! `mirror status`: how the sources of a running mirror are.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::{Common, Format};
use crate::entry::table;
use crate::output::print_all;
use crate::printable::printable;
use crate::setup::Failure;
use crate::status::{ask, cell, no_service};

const HEAD: [&str; 10] =
    ["SOURCE", "READY", "CONNECTED", "RULE", "STATE", "KEYS", "PENDING", "REFUSED", "FAILURES", "LAST FAILURE"];

pub(crate) fn status(common: &Common, url: &str) -> Result<(), Failure> {
    let all = ask(common, url, "/v1/status")?;
    let Some(sources) = all["sources"].as_array() else { return Err(no_service(url, &all)) };
    print_all(|out| print(out, common.output, sources))?;
    let stay = || sources.iter().filter(|source| source["leaves"] != true);
    let not_ready = stay().filter(|source| source["ready"] != true).count();
    if not_ready == 0 {
        return Ok(());
    }
    Err(Failure::promise(format_args!("{not_ready} of {} sources are not ready", stay().count())))
}

fn print(out: &mut dyn Write, format: Format, sources: &[Value]) -> io::Result<()> {
    if format == Format::Json {
        return sources.iter().try_for_each(|source| writeln!(out, "{}", printable(&source.to_string())));
    }
    table(out, HEAD, sources.iter().flat_map(rows))
}

/// A row for each rule.
fn rows(source: &Value) -> Vec<[String; 10]> {
    let answer = |value: &Value| if *value == true { "yes" } else { "no" }.to_owned();
    let ready = if source["leaves"] == true { "leaves".to_owned() } else { answer(&source["ready"]) };
    let row = |copy: &Value| {
        let state = if copy["expired"] == true { "expired".to_owned() } else { cell(&copy["state"]) };
        let rest = ["keys", "pending", "refused"].map(|member| cell(&copy[member]));
        let [keys, pending, refused] = rest;
        let (cluster, connected) = (cell(&source["cluster"]), answer(&source["connected"]));
        let (rule, failures) = (cell(&copy["name"]), cell(&source["failures"]));
        [cluster, ready.clone(), connected, rule, state, keys, pending, refused, failures, last_failure(source)]
    };
    source["copies"].as_array().into_iter().flatten().map(row).collect()
}

/// Of a source whose configuration is not as it should be: what is wrong with it.
fn last_failure(source: &Value) -> String {
    let failure = &source["last_failure"];
    match failure["seconds_ago"].as_f64() {
        Some(seconds) => format!("{seconds:.0} s ago: {}", cell(&failure["cause"])),
        None => cell(&source["problem"]),
    }
}
