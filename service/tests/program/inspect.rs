//! What an operator asks: who owns a key, and what is known of it.

use std::process::Output;

use serde_json::{Value, json};
use shared_store_support::{EtcdServer, Version};

use super::running::{run, run_after, stderr};

pub(crate) fn ask(server: &EtcdServer, arguments: &[&str]) -> Output {
    run(&[&["--endpoints", &server.endpoint(), "--prefix", "p"], arguments].concat())
}

pub(crate) fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn objects(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A lease as etcdctl names it.
pub(crate) fn grant(server: &EtcdServer, ttl: &str) -> String {
    server.etcdctl(&["lease", "grant", ttl]).split(' ').nth(1).unwrap().to_owned()
}

/// Two keys of an owner, and one of nobody.
fn owned() -> (EtcdServer, String) {
    let server = EtcdServer::start(Version::V34);
    let lease = grant(&server, "600");
    for (path, value) in [("p/a", r#"{"ip":"1"}"#), ("p/ab", "2"), ("p/a", r#"{"ip":"2"}"#)] {
        server.etcdctl(&["put", path, value, "--lease", &lease]);
    }
    server.etcdctl(&["put", "p/c", "3"]);
    (server, lease)
}

#[test]
fn get_tells_the_owner_the_time_left_and_the_revisions_of_a_key() {
    let (server, lease) = owned();
    let json = objects(&ask(&server, &["get", "a", "-o", "json"])).remove(0);
    let ttl = json["ttl"].as_u64().unwrap();
    assert!((300..=600).contains(&ttl), "{ttl}");
    let expected = json!({
        "name": "a", "value": {"ip": "2"}, "revision": 4, "create_revision": 2, "lease": lease, "ttl": ttl, "size": 10
    });
    assert_eq!(json, expected);
    assert_eq!(objects(&ask(&server, &["--output", "json", "get", "a"]))[0]["lease"], lease.as_str());
    let yaml = stdout(&ask(&server, &["get", "c", "-o", "yaml"]));
    assert_eq!(yaml, "name: c\nvalue: 3\nrevision: 5\ncreate_revision: 5\nlease: null\nttl: null\nsize: 1\n");
    let wide = stdout(&ask(&server, &["get", "a", "-o", "wide"]));
    let lines: Vec<_> = wide.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(
        (lines[0][0], lines[1][0], lines[1][1], *lines[1].last().unwrap()),
        ("NAME", "a", &*lease, r#"{"ip":"2"}"#)
    );
    assert_eq!(stdout(&ask(&server, &["get", "a"])), "{\"ip\":\"2\"}\n");
    assert_eq!(ask(&server, &["get", "a", "-o", "raw"]).stdout, br#"{"ip":"2"}"#);
}

#[test]
fn get_reads_that_key_alone() {
    let (server, _) = owned();
    for command in [
        "user add root:secret",
        "user grant-role root root",
        "role add one",
        "role grant-permission one read p/a",
        "user add reader:secret",
        "user grant-role reader one",
        "auth enable",
    ] {
        server.etcdctl(&command.split(' ').collect::<Vec<_>>());
    }
    let common = format!("--endpoints {} --prefix p --user reader", server.endpoint());
    let common: Vec<_> = common.split(' ').collect();
    let output = run_after("export SHARED_STORE_PASSWORD=secret", &[&common[..], &["get", "a"]].concat());
    assert_eq!(stdout(&output), "{\"ip\":\"2\"}\n");
    let output = run_after("export SHARED_STORE_PASSWORD=secret", &[&common[..], &["list"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("permission denied: the user needs a role that allows this"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn list_filters_by_name_and_by_owner_and_tells_the_owners() {
    let (server, lease) = owned();
    let names = |arguments: &[&str]| -> Vec<String> {
        let all = objects(&ask(&server, &[&["--output", "json", "list"], arguments].concat()));
        all.iter().map(|object| object["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["a", "ab", "c"]);
    assert_eq!(names(&["--filter", "a?"]), ["ab"]);
    assert_eq!(names(&["--filter", "a", "--filter", "c"]), ["a", "c"]);
    assert_eq!(names(&["--owner", &lease, "-o", "wide"]), ["a", "ab"]);
    assert_eq!(names(&["--owner", "none"]), ["c"]);
    let wide = objects(&ask(&server, &["list", "-o", "json", "--owner", "none"]));
    let expected = json!({
        "name": "c", "value": 3, "revision": 5, "create_revision": 5, "lease": null, "ttl": null, "size": 1
    });
    assert_eq!(wide, [expected]);
    let table = stdout(&ask(&server, &["list", "-o", "wide"]));
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.starts_with("NAME  OWNER (LEASE)     TTL LEFT"), "{table}");
    assert_eq!(ask(&server, &["list", "-o", "raw"]).status.code(), Some(2));
    assert_eq!(ask(&server, &["list", "--owner", "somebody"]).status.code(), Some(2));

    let mut owners = objects(&ask(&server, &["--output", "json", "owners"]));
    let ttl = owners[0]["ttl"].take().as_u64().unwrap();
    assert!((300..=600).contains(&ttl), "{ttl}");
    let owner = json!({"type": "owner", "lease": lease, "keys": 2, "ttl": null, "example": "a"});
    let nobody = json!({"type": "owner", "lease": null, "keys": 1, "ttl": null, "example": "c"});
    assert_eq!(owners, [owner, nobody]);
    let table = stdout(&ask(&server, &["owners"]));
    assert!(table.lines().nth(1).unwrap().starts_with(&lease) && table.contains("\nno lease"), "{table}");
}
