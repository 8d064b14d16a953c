//! `publish` on a real etcd: what is in, what is not, and how it says so.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use shared_store_support::{EtcdServer, Version};
use tempfile::NamedTempFile;

use super::running::{Running, run, stderr};

fn file(lines: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, lines).unwrap();
    file
}

fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |mut lines, n| {
        writeln!(lines, "{{\"name\":\"k{n}\",\"value\":{n}}}").unwrap();
        lines
    })
}

fn common(server: &EtcdServer) -> Vec<String> {
    ["--endpoints", &server.endpoint(), "--prefix", "p"].map(str::to_owned).into()
}

fn publish(server: &EtcdServer, more: &[&str]) -> std::process::Output {
    let common = common(server);
    let common = common.iter().map(String::as_str);
    run(&common.chain(["publish", "--once", "--canary", "c1"]).chain(more.iter().copied()).collect::<Vec<_>>())
}

fn count(server: &EtcdServer, prefix: &str) -> usize {
    server.etcdctl(&["get", "--prefix", prefix, "--keys-only"]).lines().filter(|line| !line.is_empty()).count()
}

#[test]
fn once_reports_the_keys_etcd_refuses_and_the_others_and_the_canary_are_in() {
    let server = EtcdServer::start(Version::V35);
    let large = format!("{{\"name\":\"large\",\"value\":\"{}\"}}\n", "x".repeat(2 << 20));
    let file = file(&(lines(300) + &large));
    let output = publish(&server, &[file.path().to_str().unwrap()]);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("published 300 keys and the canary"), "{error}");
    assert!(error.contains("error: 1 keys are refused\n  large: "), "{error}");
    assert_eq!((count(&server, "p/"), count(&server, "cilium/synced/c1/p")), (300, 1));
}

#[test]
fn once_reports_the_keys_that_are_left_to_another_owner() {
    let server = EtcdServer::start(Version::V34);
    let common = common(&server);
    let owner: Vec<_> =
        common.iter().map(String::as_str).chain(["--output", "json", "join", "--key", "k7=0"]).collect();
    let mut owner = Running::start(&owner);
    owner.next("update");
    let file = file(&lines(20));
    for conflict in ["yield", "fail"] {
        let output = publish(&server, &["--conflict", conflict, file.path().to_str().unwrap()]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("conflict k7: owned by lease"), "{error}");
        assert!(error.contains("error: 1 keys are refused\n  k7: name is owned by another, under lease "), "{error}");
        assert_eq!((count(&server, "p/"), count(&server, "cilium/synced/c1/p")), (20, 1));
    }
    assert_eq!(owner.end().1, 0);
}

#[test]
fn where_nobody_answers_it_says_so_at_once_and_ends_with_the_cause_and_a_canary_needs_a_cluster() {
    let file = file(&lines(1));
    let path = file.path().to_str().unwrap();
    let began = Instant::now();
    let nowhere = ["--endpoints", "http://127.0.0.1:1", "--prefix", "p", "--list-timeout", "500ms", "publish", path];
    let output = run(&nowhere);
    assert_eq!(output.status.code(), Some(1));
    let first = stderr(&output).lines().next().unwrap().to_owned();
    assert_eq!(first, "connecting: cannot reach etcd at http://127.0.0.1:1: connection refused");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let output = run(&["--prefix", "p", "publish", "--canary", "", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--canary: prefix"), "{}", stderr(&output));
}
