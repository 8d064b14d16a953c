//! Owners as processes on a real etcd that fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use shared_store_support::{EtcdServer, Version, eventually_blocking, real_time_blocking};
use tempfile::NamedTempFile;

use super::running::Running;

/// A file with so many keys.
fn keys(count: usize) -> NamedTempFile {
    let mut lines = String::new();
    for n in 0..count {
        writeln!(lines, "{{\"name\":\"k{n}\",\"value\":{n}}}").unwrap();
    }
    file(&lines)
}

fn file(lines: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file
}

fn start(server: &EtcdServer, arguments: &[&str]) -> Running {
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json"];
    Running::start(&[&common[..], arguments].concat())
}

/// What is in etcd under the prefix, by path.
fn truth(server: &EtcdServer) -> BTreeMap<String, String> {
    let lines = server.etcdctl(&["get", "--prefix", "p/"]);
    let lines: Vec<_> = lines.lines().map(str::to_owned).collect();
    lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn revision(server: &EtcdServer) -> u64 {
    let answer = server.etcdctl(&["get", "none", "--write-out", "json"]);
    serde_json::from_str::<Value>(&answer).unwrap()["header"]["revision"].as_u64().unwrap()
}

fn name(line: &Value) -> String {
    line["name"].as_str().unwrap().to_owned()
}

fn names(lines: &[Value]) -> Vec<String> {
    let mut names: Vec<_> = lines.iter().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_owner_paused_beyond_its_lease_puts_its_keys_again_once_and_closes_on_sigterm() {
    // So few that the guard does not hold their deletions back.
    const KEYS: usize = 40;
    let (server, file) = (EtcdServer::start(Version::V35), keys(KEYS));
    let owner = start(&server, &["join", "--lease-ttl", "2s", "--keys-file", file.path().to_str().unwrap()]);
    let mut other = start(&server, &["watch"]);
    let all = names(&other.take("update", KEYS));
    owner.signal("STOP");
    assert_eq!(names(&other.take("delete", KEYS)), all, "the lease ends");
    let continued = Instant::now();
    owner.signal("CONT");
    assert_eq!(names(&other.take("update", KEYS)), all, "each is created once");
    assert!(continued.elapsed() < Duration::from_secs(5), "within seconds");
    owner.signal("TERM");
    assert_eq!(names(&other.take("delete", KEYS)), all);
    assert_eq!(owner.end().1, 0);
    other.signal("TERM");
    let (rest, code) = other.end();
    let left: Vec<_> = rest.iter().filter(|line| line["type"] == "update" || line["type"] == "delete").collect();
    assert!(left.is_empty() && code == 0, "told once: {left:?}");
    assert!(truth(&server).is_empty());
}

#[test]
fn an_etcd_that_is_away_for_longer_than_the_lease_has_the_keys_under_a_new_one_and_nobody_saw_them_go() {
    let mut server = EtcdServer::start(Version::V34);
    let mut owner = start(&server, &["join", "--lease-ttl", "2s", "--key", "a=1"]);
    let mut other = start(&server, &["watch"]);
    let before = other.find("update", |line| line["name"] == "a");
    // If etcd ended before that, its state would stay `listing`.
    other.state("synced");
    server.kill();
    other.state("stale");
    // Longer than its lease lives by the owner's own clock.
    real_time_blocking(Duration::from_secs(3));
    server.restart();
    let after = owner.find("update", |line| line["revision"].as_u64() >= before["revision"].as_u64());
    assert_eq!(after["value"], 1);
    other.state("synced");
    owner.say(r#"{"id":1,"op":"update_sync","name":"b","value":2}"#);
    assert_eq!(owner.next("reply")["ok"], true);
    other.find("update", |line| line["name"] == "b");
    // Longer than the old lease lives, which etcd gave its full time again.
    real_time_blocking(Duration::from_secs(3));
    assert_eq!(truth(&server).len(), 2);
    owner.signal("TERM");
    assert_eq!(owner.end().1, 0);
    assert_eq!(names(&other.take("delete", 2)), ["a", "b"], "only now");
}

#[test]
fn keys_damaged_in_a_loop_are_right_at_the_end_and_cost_as_many_writes_as_damage() {
    let (server, file) = (EtcdServer::start(Version::V35), keys(20));
    let mut owner = start(&server, &["join", "--keys-file", file.path().to_str().unwrap()]);
    owner.take("update", 20);
    let expected = truth(&server);
    let before = revision(&server);
    let seconds = std::env::var("DAMAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let (end, mut damage) = (Instant::now() + Duration::from_secs(seconds), 0);
    let mut random = fastrand::Rng::with_seed(7);
    while Instant::now() < end {
        let path = format!("p/k{}", random.u8(..20));
        match random.u8(..3) {
            0 => server.etcdctl(&["del", &path]),
            1 => server.etcdctl(&["put", &path, "\"other\""]),
            _ => server.etcdctl(&["put", &path, "garbage"]),
        };
        damage += 1;
    }
    let repaired = |keys: &BTreeMap<_, _>| *keys == expected;
    eventually_blocking("all keys are repaired", Duration::from_secs(40), || truth(&server), repaired);
    let writes = revision(&server) - before;
    println!("damaged {damage} times, {writes} revisions in all");
    assert!(writes <= 2 * damage, "{damage} times damaged, {writes} revisions in all");
    owner.signal("TERM");
    assert_eq!(owner.end().1, 0);
}

#[test]
fn what_others_do_to_own_keys_is_told_when_it_is_put_right() {
    let server = EtcdServer::start(Version::V35);
    let mut owner = start(&server, &["join", "--key", "a=1"]);
    let mut other = start(&server, &["watch"]);
    owner.find("update", |line| line["name"] == "a");
    other.find("update", |line| line["name"] == "a");
    server.etcdctl(&["del", "p/a"]);
    let repaired = owner.next("repaired");
    assert_eq!((&repaired["name"], &repaired["damage"]), (&"a".into(), &"deleted".into()));
    assert_eq!(repaired["revision"], revision(&server));
    server.etcdctl(&["put", "p/a", "garbage"]);
    let repaired = owner.next("repaired");
    assert_eq!((&repaired["name"], &repaired["damage"]), (&"a".into(), &"overwritten".into()));
    for program in [&mut owner, &mut other] {
        let undecodable = program.next("undecodable");
        let healed = program.next("healed");
        assert_eq!((&healed["name"], &healed["revision"]), (&undecodable["name"], &repaired["revision"]));
    }
    owner.say(r#"{"op":"status"}"#);
    let status = owner.next("reply");
    assert_eq!((&status["repairs"], &status["healed"]), (&2.into(), &1.into()));
    owner.signal("TERM");
    assert_eq!(owner.end().1, 0);
}

#[test]
fn people_and_the_log_are_told_of_repairs_of_healing_and_of_keys_that_are_set_aside() {
    let server = EtcdServer::start(Version::V35);
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--log", "info"];
    let mut owner = Running::start(&[&common[..], &["join", "--key", "a=1"]].concat());
    owner.read("create a = 1");
    server.etcdctl(&["del", "p/a"]);
    owner.read("repaired a (revision 4): deleted by someone else");
    owner.hear("own key was deleted by someone else and was put back");
    server.etcdctl(&["put", "p/a", "garbage"]);
    owner.read("undecodable a");
    owner.read("healed a (revision 6)");
    owner.hear("a good value has replaced one that could not be decoded");
    owner.say(&format!("{{\"op\":\"update\",\"name\":\"b\",\"value\":\"{}\"}}", "x".repeat(2 << 20)));
    owner.read("set aside b: ");
    owner.say(r#"{"op":"delete","name":"b"}"#);
    owner.read("set aside no longer b");
    owner.signal("TERM");
    assert_eq!(owner.code(), Some(0));
}

#[test]
fn of_two_live_owners_the_policy_decides() {
    for policy in ["overwrite", "yield", "fail"] {
        let server = EtcdServer::start(Version::V35);
        let mut first = start(&server, &["join", "--key", "a=1", "--conflict", policy]);
        first.find("update", |line| line["name"] == "a");
        let before = revision(&server);
        let mut second = start(&server, &["join", "--key", "a=2", "--conflict", policy]);
        if policy == "overwrite" {
            // Each reports the conflict; they slow down.
            first.next("conflict");
            let value = second.find("update", |line| line["value"] == 2);
            assert_eq!(value["name"], "a");
            // As long as two owners may disagree: each waits longer after every write of the other.
            real_time_blocking(Duration::from_secs(4));
            let writes = revision(&server) - before;
            assert!(writes > 1 && writes < 30, "{writes} writes in four seconds");
            continue;
        }
        let conflict = second.next("conflict");
        assert_eq!((&conflict["name"], &conflict["policy"]), (&"a".into(), &policy.into()));
        assert_eq!(truth(&server)["p/a"], "1");
        assert_eq!(revision(&server), before, "the second writes nothing");
        first.signal("TERM");
        assert_eq!(first.end().1, 0);
        // The first owned the key first, so the second waits with either policy.
        second.find("update", |line| line["value"] == 2);
    }
}

#[test]
fn a_crashed_owner_that_restarts_with_its_name_gets_its_keys_at_once_with_any_policy() {
    for policy in ["overwrite", "yield", "fail"] {
        let server = EtcdServer::start(Version::V35);
        let owner = ["join", "--owner", "node-1", "--lease-ttl", "1h", "--conflict", policy];
        let mut before = start(&server, &[&owner[..], &["--key", "a=1"]].concat());
        before.find("update", |line| line["value"] == 1);
        before.signal("KILL");
        let mut after = start(&server, &[&owner[..], &["--key", "a=2"]].concat());
        after.find("update", |line| line["value"] == 2 && line["origin"] == "local");
        assert_eq!(truth(&server)["p/a"], "2");
        after.signal("TERM");
        assert_eq!(after.end().1, 0);
        assert!(truth(&server).is_empty(), "{policy}");
    }
}

#[test]
fn of_a_hundred_keys_three_are_refused_and_97_are_written() {
    let server = EtcdServer::start(Version::V34);
    let mut lines = String::new();
    for n in 0..100 {
        let value = if n % 40 == 7 { "x".repeat(2 << 20) } else { n.to_string() };
        writeln!(lines, "{{\"name\":\"k{n}\",\"value\":\"{value}\"}}").unwrap();
    }
    let file = file(&lines);
    let mut owner = start(&server, &["join", "--keys-file", file.path().to_str().unwrap()]);
    owner.take("update", 97);
    assert_eq!(truth(&server).len(), 97);
    let aside = loop {
        owner.say(r#"{"op":"status"}"#);
        let status = owner.next("reply");
        if status["pending_writes"] == 0 {
            break status["set_aside"].clone();
        }
    };
    let aside = aside.as_array().unwrap();
    assert_eq!(names(aside), ["k47", "k7", "k87"]);
    assert!(aside.iter().all(|key| key["cause"].as_str().unwrap().contains("large")), "{aside:?}");
    let told = owner.take("set_aside", 3);
    assert_eq!(names(&told), ["k47", "k7", "k87"]);
    assert!(told.iter().all(|line| line["cause"].as_str().unwrap().contains("large")), "{told:?}");
    owner.say(r#"{"op":"update","name":"k7","value":"small"}"#);
    let told = owner.next("set_aside");
    assert_eq!((&told["name"], &told["cause"]), (&"k7".into(), &Value::Null));
    owner.signal("TERM");
    assert_eq!(owner.end().1, 0);
}

#[test]
fn a_close_on_a_paused_etcd_fails_in_time_and_names_the_keys() {
    let server = EtcdServer::start(Version::V35);
    let mut owner = start(&server, &["join", "--key", "a=1", "--key", "b=2", "--lease-ttl", "4s"]);
    owner.take("update", 2);
    server.pause();
    let asked = Instant::now();
    owner.say(r#"{"id":1,"op":"close"}"#);
    let reply = owner.next("reply");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    assert_eq!(reply["ok"], false);
    let error = reply["error"].as_str().unwrap();
    assert!(error.starts_with("keys could not be deleted or written (2), first a"), "{error}");
    assert_eq!(owner.end().1, 1);
    server.go_on();
    let what = "what could not be deleted goes with its lease";
    eventually_blocking(what, Duration::from_secs(20), || truth(&server), BTreeMap::is_empty);
}
