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
    assert!(error.contains("error: 1 key is refused\n  large: "), "{error}");
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
        assert!(error.contains("error: 1 key is refused\n  k7: name is owned by another, under lease "), "{error}");
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

#[test]
fn an_outage_and_its_end_are_told_on_stderr_and_in_json() {
    let mut server = EtcdServer::start(Version::V35);
    let file = file(&lines(3));
    let common = common(&server);
    let arguments: Vec<_> = common.iter().map(String::as_str).collect();
    let arguments = [&arguments[..], &["--output", "json", "publish", file.path().to_str().unwrap()]].concat();
    let mut publisher = Running::start(&arguments);
    let published = publisher.next("published");
    assert_eq!((&published["keys"], &published["refused"]), (&3.into(), &0.into()));
    publisher.hear("published 3 keys");
    publisher.state("synced");
    server.kill();
    publisher.hear("stale: ");
    let stale = publisher.state("stale");
    assert!(!stale["cause"].as_str().unwrap().is_empty());
    server.restart();
    publisher.hear("synced: the kvstore answers again");
    publisher.state("synced");
    publisher.signal("TERM");
    let (rest, code) = publisher.end();
    assert_eq!((code, &rest.last().unwrap()["state"]), (0, &"closed".into()));
    assert_eq!(count(&server, "p/"), 0);
}

#[test]
fn a_repair_is_told_on_stderr_and_in_json() {
    let (server, file) = (EtcdServer::start(Version::V35), file(&lines(3)));
    let common = common(&server);
    let arguments: Vec<_> = common.iter().map(String::as_str).collect();
    let arguments = [&arguments[..], &["--output", "json", "publish", file.path().to_str().unwrap()]].concat();
    let mut publisher = Running::start(&arguments);
    publisher.next("published");
    server.etcdctl(&["del", "p/k1"]);
    let repaired = publisher.next("repaired");
    assert_eq!((&repaired["name"], &repaired["damage"]), (&"k1".into(), &"deleted".into()));
    publisher.hear(&format!("repaired k1 (revision {}): deleted by someone else", repaired["revision"]));
    publisher.signal("TERM");
    assert_eq!(publisher.end().1, 0);
}

#[test]
fn what_is_refused_is_a_line_of_json() {
    let server = EtcdServer::start(Version::V34);
    let large = format!("{{\"name\":\"la\\nrge\",\"value\":\"{}\"}}\n", "x".repeat(2 << 20));
    let file = file(&large);
    let output = publish(&server, &["--output", "json", file.path().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let aside = lines.iter().find(|line| line["type"] == "set_aside").unwrap();
    assert_eq!(aside["name"], "la\nrge");
    assert!(aside["cause"].as_str().unwrap().contains("large"), "{aside}");
    let published = lines.iter().find(|line| line["type"] == "published").unwrap();
    assert_eq!((&published["keys"], &published["refused"]), (&0.into(), &1.into()));
    assert!(stderr(&output).contains("error: 1 key is refused\n  la\\nrge: "), "{}", stderr(&output));
}
