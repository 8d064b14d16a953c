//! What an operator asks: who owns a key, and what is known of it.

use std::process::Output;

use serde_json::{Value, json};
use shared_store_support::{EtcdServer, Version};

use super::running::{Running, run, run_after, stderr};

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

/// Two keys of an owner, and one without an owner.
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

#[test]
fn history_and_explain_tell_what_happened_to_a_key_as_far_as_etcd_remembers() {
    let (server, lease) = owned();
    server.etcdctl(&["put", "p/c", "no json"]);
    server.etcdctl(&["del", "p/ab"]);
    let history = objects(&ask(&server, &["--output", "json", "history", "a"]));
    let put = |change: &str, revision: u64, ip: &str| json!({"change": change, "revision": revision, "value": {"ip": ip}, "lease": lease, "size": 10});
    assert_eq!(history, [put("created", 2, "1"), put("modified", 4, "2")]);
    let text = stdout(&ask(&server, &["history", "ab"]));
    assert_eq!(text, format!("revision 3: created by lease {lease} = 2\nrevision 7: deleted\n"));

    let text = stdout(&ask(&server, &["explain", "c"]));
    for line in [
        "state    exists: created at revision 5, last modified at revision 6",
        "owner    nobody: the key is under no lease",
        "value    7 bytes, not decodable: not JSON: expected ident at line 1 column 2",
        "  revision 6: modified under no lease = (7 bytes, not JSON: ",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let gone = stdout(&ask(&server, &["explain", "ab"]));
    assert!(gone.contains(&format!("was lease {lease}, which still lives (")), "{gone}");
    server.etcdctl(&["lease", "revoke", &lease]);
    let gone = objects(&ask(&server, &["--output", "json", "explain", "a"])).remove(0);
    assert_eq!((&gone["exists"], &gone["history"][2]["change"]), (&false.into(), &"deleted".into()));
    let text = stdout(&ask(&server, &["explain", "a"]));
    assert!(text.contains(&format!("was lease {lease}, which has ended")), "{text}");

    server.etcdctl(&["compact", "7"]);
    let output = ask(&server, &["history", "a"]);
    assert_eq!(stdout(&output), "revision 8: deleted\n");
    assert!(stderr(&output).contains("changes before revision 7 are forgotten"), "{}", stderr(&output));
    let output = ask(&server, &["history", "never"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no change of \"never\" below p is remembered"), "{}", stderr(&output));
    assert!(stdout(&ask(&server, &["explain", "c"])).contains("history  0 changes, remembered since revision 7"));
}

#[test]
fn a_watch_can_start_at_a_revision_unless_it_is_compacted() {
    let (server, _) = owned();
    server.etcdctl(&["del", "p/c"]);
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json"];
    let mut program = Running::start(&[&common[..], &["watch", "--revision", "4", "--filter", "?"]].concat());
    let update = program.next("update");
    assert_eq!((&update["name"], &update["revision"], &update["value"]), (&"a".into(), &4.into(), &json!({"ip": "2"})));
    assert_eq!(program.next("update")["revision"], 5);
    let delete = program.next("delete");
    assert_eq!((&delete["name"], &delete["revision"]), (&"c".into(), &6.into()));
    server.etcdctl(&["put", "p/d", "1"]);
    assert_eq!(program.next("update")["name"], "d");
    program.signal("TERM");
    assert_eq!(program.end().1, 0);

    server.etcdctl(&["compact", "6"]);
    let output = ask(&server, &["watch", "--revision", "4"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("forgotten revision 4: it was compacted up to 6; use --revision 6"), "{error}");
    assert_eq!(ask(&server, &["watch", "--revision", "4", "--until-synced"]).status.code(), Some(2));
}
