//! `troubleshoot`: from the name of etcd to a write below the prefix, what works and what to do about what does not.

mod endpoint;
mod version;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use shared_store::backend::{Expect, ListRequest, Write, WriteAction};
use shared_store::{BackendError, ClusterId, KeyName, LeaseId, Revision};

use crate::cli::{Common, Format};
use crate::kvstore::Kvstore;
use crate::output::print_all;
use crate::printable::{counted, printable};
use crate::record::json;
use crate::setup::Failure;

/// No single check takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Reads whose time is measured.
const READS: usize = 5;
/// A read that takes longer is worth a look.
const SLOW: Duration = Duration::from_millis(100);

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// A check and what came of it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "check")]
struct Check {
    /// The endpoint it is about, or none for the kvstore as a whole.
    endpoint: Option<String>,
    check: &'static str,
    result: Verdict,
    what: String,
    /// What to do about it.
    #[serde(rename = "do")]
    remedy: Option<String>,
}

/// All checks made so far, each printed as soon as it is made.
#[derive(Debug)]
struct Report {
    format: Format,
    endpoint: Option<String>,
    fails: usize,
    warns: usize,
}

impl Report {
    /// What follows is about this endpoint, or about the kvstore.
    fn about(&mut self, endpoint: Option<&str>) -> Result<(), Failure> {
        self.endpoint = endpoint.map(str::to_owned);
        let title = endpoint.map_or_else(|| "the kvstore".to_owned(), |endpoint| format!("etcd at {endpoint}"));
        match self.format {
            Format::Text => print_all(|out| writeln!(out, "{}", printable(&title))),
            Format::Json => Ok(()),
        }
    }

    fn ok(&mut self, check: &'static str, what: impl Into<String>) -> Result<(), Failure> {
        self.add(check, Verdict::Ok, what.into(), None)
    }

    fn warn(&mut self, check: &'static str, what: impl Into<String>, remedy: &str) -> Result<(), Failure> {
        self.warns += 1;
        self.add(check, Verdict::Warn, what.into(), Some(remedy))
    }

    fn fail(&mut self, check: &'static str, what: impl Into<String>, remedy: &str) -> Result<(), Failure> {
        self.fails += 1;
        self.add(check, Verdict::Fail, what.into(), Some(remedy))
    }

    fn add(&mut self, check: &'static str, result: Verdict, what: String, remedy: Option<&str>) -> Result<(), Failure> {
        let check = Check { endpoint: self.endpoint.clone(), check, result, what, remedy: remedy.map(str::to_owned) };
        let lines = match self.format {
            Format::Json => format!("{}\n", json(&check)),
            Format::Text => text(&check),
        };
        print_all(|out| out.write_all(lines.as_bytes()))
    }
}

fn text(check: &Check) -> String {
    let result = match check.result {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mut text = format!("  {result:<4}  {:<10}  {}\n", check.check, printable(&check.what));
    if let Some(remedy) = &check.remedy {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "                    -> {remedy}");
    }
    text
}

pub(crate) async fn run(common: &Common) -> Result<(), Failure> {
    if common.endpoints.is_empty() {
        return Err(Failure::usage("--endpoints is missing: give etcd's URL, as in --endpoints http://127.0.0.1:2379"));
    }
    // What is wrong with the options is told at once.
    Kvstore::open(common)?;
    let mut report = Report { format: common.output, endpoint: None, fails: 0, warns: 0 };
    let mut clusters = BTreeSet::new();
    let mut answering = Vec::new();
    for url in &common.endpoints {
        report.about(Some(url))?;
        if !endpoint::check(&mut report, common, url).await? {
            continue;
        }
        let one = Common { endpoints: vec![url.clone()], ..common.clone() };
        if let Some(cluster) = login(&mut report, &Kvstore::open(&one)?).await? {
            clusters.insert(cluster.0);
            answering.push(one);
        }
    }
    report.about(None)?;
    match answering.first() {
        Some(one) => kvstore(&mut report, &Kvstore::open(one)?, &clusters).await?,
        None => report.fail("access", "no endpoint answers requests", "begin with the first FAIL above")?,
    }
    let Report { fails, warns, .. } = report;
    if common.output == Format::Text {
        print_all(|out| writeln!(out, "{}, {}", counted(fails, "failure"), counted(warns, "warning")))?;
    }
    if fails > 0 { Err(Failure::promise(format_args!("{} failed", counted(fails, "check")))) } else { Ok(()) }
}

/// One read over the client the stores use; what cluster answered.
async fn login(report: &mut Report, kvstore: &Kvstore) -> Result<Option<ClusterId>, Failure> {
    match timed(kvstore).await {
        Ok((header, _)) => {
            report.ok("requests", format!("answers at revision {}", header.revision))?;
            Ok(Some(header.cluster))
        }
        Err(BackendError::Forbidden { .. }) => {
            report.ok("requests", "answers; whether it permits what is needed is told below")?;
            Ok(Some(ClusterId::NOT_TOLD))
        }
        Err(error @ BackendError::Misconfigured { .. }) => {
            report.fail("requests", error.to_string(), "correct --user, SHARED_STORE_PASSWORD or the certificates")?;
            Ok(None)
        }
        Err(error) => {
            let remedy = "look at etcd's log and at etcdctl endpoint health: has the cluster a leader and space?";
            report.fail("requests", error.to_string(), remedy)?;
            Ok(None)
        }
    }
}

async fn timed(kvstore: &Kvstore) -> Result<(shared_store::Header, Duration), BackendError> {
    let request = ListRequest { limit: 1, keys_only: true, ..ListRequest::new(kvstore.prefix.range()) };
    let begun = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, kvstore.backend.list(request)).await;
    let page = answer.unwrap_or_else(|_| Err(BackendError::unavailable("no answer within 10 s")))?;
    Ok((page.header, begun.elapsed()))
}

async fn kvstore(report: &mut Report, kvstore: &Kvstore, clusters: &BTreeSet<u64>) -> Result<(), Failure> {
    let told: Vec<_> =
        clusters.iter().filter(|id| **id != ClusterId::NOT_TOLD.0).map(|id| format!("{id:016x}")).collect();
    match &told[..] {
        [] => {
            report.warn(
                "cluster",
                "no endpoint tells its cluster's id",
                "give the members' own URLs, not a proxy's",
            )?;
        }
        [one] => report.ok("cluster", format!("all endpoints that answer are of cluster {one}"))?,
        many => report.fail(
            "cluster",
            format!("the endpoints are of different clusters: {}", many.join(", ")),
            "give the endpoints of one cluster: a store takes each change between them for another history",
        )?,
    }
    let prefix = kvstore.prefix.as_str().to_owned();
    let role = format!("etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}/");
    let mut times = Vec::new();
    let mut refused = None;
    for _ in 0..READS {
        match timed(kvstore).await {
            Ok((_, time)) => times.push(time),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    match refused {
        None => report.ok("read", format!("may read below {prefix}"))?,
        Some(error @ BackendError::Forbidden { .. }) => report.fail("read", error.to_string(), &role)?,
        Some(error) => report.fail("read", error.to_string(), "run it again, and look at etcd's log")?,
    }
    write(report, kvstore, &role).await?;
    times.sort_unstable();
    if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        let what = format!("{median:.1?} a read, the longest {longest:.1?}");
        if *median > SLOW {
            report.warn(
                "latency",
                what,
                "look at the network, and at etcd's disk: etcd_disk_wal_fsync_duration_seconds",
            )?;
        } else {
            report.ok("latency", what)?;
        }
    }
    Ok(())
}

/// A write that is bound to be refused: etcd checks first whether it is permitted.
async fn write(report: &mut Report, kvstore: &Kvstore, role: &str) -> Result<(), Failure> {
    let prefix = kvstore.prefix.as_str();
    let name = KeyName::new("shared-store-troubleshoot").map_err(Failure::promise)?;
    let never = Expect::Revision(Revision(u64::try_from(i64::MAX).unwrap_or(u64::MAX)));
    let action = WriteAction::Put { value: bytes::Bytes::new(), lease: LeaseId::NONE };
    let change = Write { path: kvstore.prefix.path(&name), expect: never, action };
    let answer = tokio::time::timeout(PATIENCE, kvstore.backend.write(vec![change])).await;
    match answer.unwrap_or_else(|_| Err(BackendError::unavailable("no answer within 10 s"))) {
        Ok(_) => report.ok("write", format!("may write below {prefix} (nothing was written)")),
        Err(error @ BackendError::Forbidden { .. }) => {
            report.warn("write", error.to_string(), &format!("only if it is to own keys: {role}"))
        }
        Err(error) => report.fail("write", error.to_string(), "look at etcd's log and at etcdctl alarm list"),
    }
}
