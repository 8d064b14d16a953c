//! Values of every kind, on a real etcd.

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use shared_store_support::{EtcdServer, Version};

use super::running::{Running, run, stderr};

fn ask(server: &EtcdServer, arguments: &[&str]) -> Output {
    run(&[&["--endpoints", &server.endpoint(), "--prefix", "p"], arguments].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Puts any bytes.
fn put(server: &EtcdServer, path: &str, value: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, value).unwrap();
    server.etcdctl_with(&["put", "--", path], Stdio::from(file.reopen().unwrap()));
}

/// A document, a label string and a timestamp as Cilium writes them, and bytes that are no text.
fn mixed_etcd() -> EtcdServer {
    let server = EtcdServer::start(Version::V34);
    put(&server, "p/json", b"{\"ip\":\"10.0.0.1\"}");
    put(&server, "p/labels", b"k8s:app=web;k8s:io.kubernetes.pod.namespace=default;");
    put(&server, "p/heartbeat", b"2026-11-27T19:38:41Z");
    put(&server, "p/bytes", b"\xff\x00\x01");
    server
}

#[test]
fn a_value_that_is_not_json_is_counted_by_list_explained_by_get_and_no_difference_to_audit() {
    let server = mixed_etcd();
    let output = ask(&server, &["list"]);
    assert_eq!((stdout(&output), output.status.code()), ("json = {\"ip\":\"10.0.0.1\"}\n".to_owned(), Some(0)));
    assert_eq!(stderr(&output), "note: 3 keys are left out whose value is not JSON: see list --undecodable\n");
    let output = ask(&server, &["--output", "json", "list", "--undecodable"]);
    let lines = objects(&output);
    assert_eq!(lines.iter().map(|line| &line["name"]).collect::<Vec<_>>(), ["bytes", "heartbeat", "labels"]);
    assert!(lines.iter().all(|line| line["type"] == "undecodable" && line["revision"].is_u64()), "{lines:?}");
    assert_eq!(lines[2]["cause"], "not JSON: expected value at line 1 column 1");

    let output = ask(&server, &["get", "labels"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(stderr(&output).contains("the value of \"labels\" (revision 3) is not JSON: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("`get --raw` prints its bytes"), "{}", stderr(&output));
    assert_eq!(ask(&server, &["get", "--raw", "bytes"]).stdout, b"\xff\x00\x01");

    let output = ask(&server, &["audit"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "audit: 4 keys compared at revision 5, 0 differences\n");
    assert_eq!(stderr(&output), "note: the value of 3 keys is not JSON: see list --undecodable\n");
    let audit = &objects(&ask(&server, &["--output", "json", "audit"]))[0];
    let labels = json!({
        "name": "labels", "difference": "undecodable: the value of revision 3 is in quarantine", "explained": true,
    });
    assert_eq!((audit["differences"].as_array().unwrap().len(), &audit["differences"][2]), (3, &labels));
}

#[test]
fn text_and_bytes_are_listed_got_watched_and_audited_with_their_encoding() {
    let server = mixed_etcd();
    let output = ask(&server, &["--value", "text", "--output", "json", "list"]);
    let heartbeat = json!({"name": "heartbeat", "value": "2026-11-27T19:38:41Z", "encoding": "text"});
    let lines = objects(&output);
    assert_eq!((lines.len(), &lines[0]), (3, &heartbeat));
    assert_eq!(stderr(&output), "note: 1 key is left out whose value is not text: see list --undecodable\n");
    assert_eq!(stdout(&ask(&server, &["--value", "text", "get", "heartbeat"])), "2026-11-27T19:38:41Z\n");

    let base64 = ["--value", "base64", "--output", "json"];
    let output = ask(&server, &[&base64[..], &["get", "bytes"]].concat());
    let expected = json!({
        "name": "bytes", "value": "/wAB", "encoding": "base64", "revision": 5, "create_revision": 5, "lease": null,
        "ttl": null, "size": 3
    });
    assert_eq!(objects(&output), [expected]);
    assert_eq!(objects(&ask(&server, &[&base64[..], &["list"]].concat())).len(), 4);
    let output = ask(&server, &[&base64[..], &["watch", "--until-synced"]].concat());
    let bytes = objects(&output).into_iter().find(|line| line["name"] == "bytes").unwrap();
    assert_eq!((&bytes["value"], &bytes["encoding"]), (&"/wAB".into(), &"base64".into()));
    assert_eq!(ask(&server, &["--value", "base64", "audit"]).status.code(), Some(0));
}

#[test]
fn what_is_published_or_joined_with_is_in_etcd_byte_for_byte() {
    let server = EtcdServer::start(Version::V35);
    let value = |name: &str| server.etcdctl(&["get", "--print-value-only", &format!("p/{name}")]);
    let file = tempfile::NamedTempFile::new().unwrap();
    for (form, line, expected) in [
        ("json", r#"{"name":"a","value":{ "a" : 1.0 }}"#, "{ \"a\" : 1.0 }\n"),
        ("text", r#"{"name":"b","value":"k8s:app=web;","encoding":"text"}"#, "k8s:app=web;\n"),
        ("base64", r#"{"name":"c","value":"aGVsbG8="}"#, "hello\n"),
    ] {
        std::fs::write(&file, line).unwrap();
        let output = ask(&server, &["--value", form, "publish", "--once", file.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(value(&line[9..10]), expected);
    }
    let output = ask(&server, &["--value", "text", "publish", "--once", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "a string is text, too");
    std::fs::write(&file, r#"{"name":"b","value":"x","encoding":"text"}"#).unwrap();
    let output = ask(&server, &["publish", "--once", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 1: the value's encoding is \"text\""), "{}", stderr(&output));

    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json"];
    let mut program = Running::start(&[&common[..], &["join", "--key", "d={ \"k\" : [1 ] }"]].concat());
    program.find("update", |line| line["name"] == "d");
    program.say(r#"{"op":"update_sync","name":"e","value": { "x" : 1 } }"#);
    program.next("reply");
    assert_eq!((&*value("d"), &*value("e")), ("{ \"k\" : [1 ] }\n", "{ \"x\" : 1 }\n"));
    assert_eq!(program.end().1, 0);
}

#[test]
fn an_owner_of_text_tells_its_changes_with_their_encoding_and_sets_aside_what_is_no_text() {
    let server = EtcdServer::start(Version::V35);
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json", "--value", "text", "join"];
    let mut program = Running::start(&common);
    program.next("synced");
    program.say(r#"{"id":1,"op":"update_sync","name":"a","value":"k8s:app=web;"}"#);
    let update = program.next("update");
    assert_eq!((&update["value"], &update["encoding"]), (&"k8s:app=web;".into(), &"text".into()));
    program.next("reply");
    program.say(r#"{"id":2,"op":"get","name":"a"}"#);
    let reply = program.next("reply");
    assert_eq!((&reply["value"], &reply["encoding"]), (&"k8s:app=web;".into(), &"text".into()));
    program.say(r#"{"id":3,"op":"update","name":"a","value":{"not":"a string"}}"#);
    assert_eq!(program.next("reply")["error"], "the value must be a JSON string");
    put(&server, "p/b", b"\xff");
    let undecodable = program.next("undecodable");
    assert_eq!(undecodable["name"], "b");
    assert!(undecodable["cause"].as_str().unwrap().starts_with("not text: "), "{undecodable}");
    program.say(r#"{"op":"delete","name":"a"}"#);
    assert_eq!(program.next("delete")["encoding"], "text");
    assert_eq!(program.end().1, 0);
}
