//! The program as its users run it, on the embedded kvstore.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

#[cfg(feature = "etcd")]
mod dev_etcd;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod hostile;
#[cfg(feature = "etcd")]
mod inspect;
#[cfg(feature = "etcd")]
mod mirroring;
mod packaging;
#[cfg(feature = "etcd")]
mod publishing;
mod running;
#[cfg(feature = "etcd")]
mod secrets;
mod serving;
#[cfg(feature = "etcd")]
mod tools;
#[cfg(feature = "etcd")]
mod top;
#[cfg(feature = "etcd")]
mod troubleshooting;
mod truth;
#[cfg(feature = "etcd")]
mod values;

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use serde_json::Value;

use self::running::{Running, run, run_on, stderr};

const JOIN: [&str; 5] = ["--prefix", "p", "--output", "json", "join"];

#[test]
fn a_joined_program_owns_what_stdin_says_and_takes_it_back_at_the_end() {
    let mut program = Running::start(&JOIN);
    assert_eq!(program.next("synced")["entries"], 0);
    program.say(r#"{"id":1,"op":"update_sync","name":"a","value":{ "x": 1.50 }}"#);
    let update = program.next("update");
    assert_eq!((&update["name"], &update["old"], &update["origin"]), (&"a".into(), &Value::Null, &"local".into()));
    program.say(r#"{"id":"two","op":"get","name":"a"}"#);
    let mut replies = [program.next("reply"), program.next("reply")];
    replies.sort_by_key(|reply| reply["id"].is_string());
    assert_eq!(replies[0]["revision"], update["revision"]);
    assert_eq!(replies[1]["value"].to_string(), r#"{"x":1.5}"#);
    program.say(r#"{"op":"update","name":"b","value":null}"#);
    assert_eq!(program.next("update")["name"], "b");
    program.say(r#"{"id":3,"op":"delete","name":"a"}"#);
    assert_eq!(program.next("delete")["name"], "a");
    let (rest, code) = program.end();
    assert_eq!(code, 0);
    let deleted: Vec<_> = rest.iter().filter(|line| line["type"] == "delete").map(|line| &line["name"]).collect();
    assert_eq!(deleted, ["b"]);
    assert_eq!(rest.last().unwrap()["state"], "closed");
}

#[test]
fn a_bad_line_is_answered_and_the_program_goes_on() {
    let mut program = Running::start(&JOIN);
    for line in ["garbage", "{}", r#"{"op":"update","name":""}"#, "[1,2", r#"{"op":"fly"}"#, ""] {
        program.say(line);
    }
    program.stdin().write_all(b"\xff\xfe\n").unwrap();
    for _ in 0..6 {
        let reply = program.next("reply");
        assert_eq!(reply["ok"], false, "{reply}");
    }
    program.say(r#"{"id":1,"op":"status"}"#);
    let status = program.next("reply");
    assert_eq!((&status["ok"], &status["own"]), (&true.into(), &0.into()));
    assert_eq!(program.end().1, 0);
}

#[test]
fn close_and_release_are_commands_and_are_answered() {
    for op in ["close", "release"] {
        let mut program = Running::start(&JOIN);
        program.next("synced");
        program.say(&format!(r#"{{"id":9,"op":"{op}"}}"#));
        let reply = program.next("reply");
        assert_eq!((&reply["id"], &reply["ok"]), (&9.into(), &true.into()));
        assert_eq!(program.end().1, 0);
    }
}

#[test]
fn a_signal_closes_it() {
    let mut program = Running::start(&[&JOIN[..], &["--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    program.signal("TERM");
    assert_eq!(program.next("delete")["name"], "a");
    let (rest, code) = program.end();
    assert_eq!((code, &rest.last().unwrap()["state"]), (0, &"closed".into()));
}

#[test]
fn a_closed_stderr_disturbs_nothing() {
    let mut program = Running::start_unheard(&[&["--log", "debug"], &JOIN[..], &["--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    program.signal("TERM");
    assert_eq!(program.next("delete")["name"], "a");
    assert_eq!(program.end().1, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_written_is_a_failure() {
    let until_synced: &[&str] = &["--prefix", "p", "--backend", "memory", "watch", "--until-synced"];
    for arguments in [&JOIN[..], &until_synced[..5], until_synced] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = run_on(File::open("/dev/null").unwrap(), full, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains("cannot write: No space left on device"), "{}", stderr(&output));
    }
}

#[test]
fn a_reader_that_blocks_does_not_keep_it_from_leaving() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    let value = "x".repeat(1000);
    let lines: String = (0..1000).map(|n| format!("{{\"name\":\"k{n}\",\"value\":\"{value}\"}}\n")).collect();
    std::fs::write(&keys, lines).unwrap();
    let arguments = [&JOIN[..], &["--keys-file", keys.path().to_str().unwrap()]].concat();
    let mut program = Running::start_read_until(&arguments, "update");
    program.next("update");
    program.signal("TERM");
    assert_eq!(program.code(), Some(1));
}

#[test]
fn a_stdin_that_cannot_be_read_closes_it() {
    let (ours, theirs) = connected();
    // What the program's side has sent and we never read makes the kernel reset the connection when we drop it.
    (&theirs).write_all(b"unread").unwrap();
    let mut program = Running::start_on(OwnedFd::from(theirs), &[&JOIN[..], &["--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    drop(ours);
    assert_eq!(program.next("delete")["name"], "a");
    program.hear("error: cannot read stdin: Connection reset");
    assert_eq!(program.code(), Some(1));
}

/// Two ends of one connection.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0)
}

#[test]
fn usage_that_cannot_work_ends_with_2_and_says_why() {
    for (arguments, cause) in [
        (&["join"][..], "--prefix is missing"),
        (&["--prefix", "", "join"], "prefix is empty"),
        (&["--prefix", "a/", "watch"], "ends with a slash: write it without"),
        (&["--prefix", "p", "--backend", "etcd", "list"], "--backend etcd needs --endpoints"),
        (&["--prefix", "p", "--backend", "memory", "--endpoints", "http://h:1", "list"], "has no endpoints"),
        (&["--prefix", "p", "join", "--key", "a"], "--key needs NAME=VALUE, as in"),
        (&["--prefix", "p", "--log", "loud", "join"], "use off, error, warn, info, debug, trace"),
        (&["--prefix", "p", "join", "--key", "a={"], "--key \"a\": "),
        (&["--prefix", "p", "join", "--keys-file", "/does/not/exist"], "cannot read /does/not/exist"),
        (&["--prefix", "p", "join", "--sync-interval", "0s"], "sync_interval must be greater than zero"),
        (&["--prefix", "p", "join", "--sync-interval", "soon"], "write 30s, 5m, 2h or 250ms"),
        (&["--prefix", "p", "join", "--lease-ttl", "9000000001s"], "lease_ttl must be at most 9000000000 s"),
        (
            &["--prefix", "p", "publish", "/dev/null", "--lease-ttl", "2600000h"],
            "lease_ttl must be at most 9000000000 s",
        ),
        (&["--prefix", "p", "join", "--lease-ttl", "999ms"], "lease_ttl must be at least 1 s"),
        (&["--prefix", "p", "fly"], "unrecognized subcommand"),
        (&["--prefix", "p", "--endpoints", "http://a:1, http://b:1", "list"], "there is a space in it: write http://"),
        (
            &["--prefix", "p", "--endpoints", "http://a:1,", "list"],
            "a comma too many (look at SHARED_STORE_ENDPOINTS, too): write http://",
        ),
        (&["--prefix", "p", "--endpoints", "http://::1:2379", "list"], "needs brackets: write http://[::1]:2379"),
        (&["--prefix", "p", "--endpoints", "http://a", "list"], "port is missing: write http://a:2379"),
        (&["--prefix", "p", "list"], "--endpoints is missing: give etcd's URL"),
        (&["--prefix", "p", "get", "a"], "--endpoints is missing: give etcd's URL"),
        (&["--prefix", "p", "watch"], "--endpoints is missing: give etcd's URL"),
        (&["--prefix", "p", "audit"], "--endpoints is missing: give etcd's URL"),
        (&["--prefix", "p", "publish", "--once", "/dev/null"], "--endpoints is missing: give etcd's URL"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(cause), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
#[cfg(feature = "etcd")]
fn an_endpoint_where_nothing_listens_is_named_with_the_cause() {
    let common = ["--prefix", "p", "--endpoints", "http://127.0.0.1:1", "--list-timeout", "500ms"];
    let output = run(&[&common[..], &["list"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    let first = error.lines().next().unwrap();
    assert!(first.contains("cannot reach etcd at http://127.0.0.1:1: connection refused"), "{error}");
}

#[test]
fn without_endpoints_an_owner_says_that_the_kvstore_is_its_own() {
    let output = run(&["--prefix", "p", "join"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("note: no --endpoints: using an embedded kvstore"));
    let output = run(&["--prefix", "p", "--backend", "memory", "list"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(stderr(&output), "note: there are no keys below p\n");
}

#[test]
fn a_key_that_does_not_exist_is_an_error_of_get() {
    let output = run(&["--prefix", "p", "--backend", "memory", "get", "a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no key named \"a\" below p: see list --keys-only"));
}

#[test]
fn watch_until_synced_prints_what_is_there_and_ends() {
    let output = run(&["--prefix", "p", "--output", "json", "--backend", "memory", "watch", "--until-synced"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""type":"synced""#), "{text}");
}

#[test]
#[cfg(feature = "etcd")]
fn watch_until_synced_that_is_interrupted_is_a_failure() {
    let etcd = ["--prefix", "p", "--endpoints", "http://127.0.0.1:1", "--output", "json"];
    for (command, code) in [(&["watch", "--until-synced"][..], 1), (&["watch"], 0)] {
        let mut program = Running::start(&[&etcd[..], command].concat());
        program.next("status");
        program.signal("TERM");
        assert_eq!(program.end().1, code, "{command:?}");
    }
}

#[test]
fn what_was_known_at_the_last_end_is_printed_at_once_and_corrected() {
    let directory = tempfile::tempdir().unwrap();
    let join = [&JOIN[..], &["--state-dir", directory.path().to_str().unwrap()]].concat();
    let mut program = Running::start(&[&join[..], &["--on-exit", "release"]].concat());
    program.say(r#"{"op":"update_sync","name":"a","value":1}"#);
    program.next("update");
    program.say(r#"{"op":"status"}"#);
    let status = [program.next("reply"), program.next("reply")].into_iter().find(|reply| reply.get("state").is_some());
    assert_eq!(status.map(|status| status["state_error"].clone()), Some(Value::Null));
    assert_eq!(program.end().1, 0);

    // The embedded kvstore is another one, and empty.
    let mut program = Running::start(&join);
    let status = program.next("status");
    assert_eq!(status["state"], "stale");
    assert!(status["cause"].as_str().unwrap().starts_with("from a snapshot of revision "), "{status}");
    let update = program.next("update");
    assert_eq!((&update["name"], &update["initial"]), (&"a".into(), &true.into()));
    // What another kvstore lacks is shown for a while.
    assert_eq!(program.next("synced")["entries"], 1);
    let (rest, code) = program.end();
    let before: Vec<_> =
        rest.iter().map(|line| line["type"].as_str().unwrap()).filter(|kind| *kind != "status").collect();
    assert_eq!((before, code), (vec!["resynced"], 0));
}

#[test]
fn an_audit_that_finds_nothing_ends_with_0_and_is_a_command_of_join_too() {
    let output = run(&["--prefix", "p", "--backend", "memory", "audit"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"audit: 0 keys compared at revision 1, 0 differences\n");
    let mut program = Running::start(&[&JOIN[..], &["--key", "a=1"]].concat());
    program.next("update");
    program.say(r#"{"id":1,"op":"audit"}"#);
    let reply = program.next("reply");
    assert_eq!((&reply["keys"], &reply["differences"]), (&1.into(), &Value::Array(vec![])));
    program.say(r#"{"id":2,"op":"status"}"#);
    let status = program.next("reply");
    assert_eq!((&status["audited_keys"], &status["audit_differences"]), (&1.into(), &0.into()));
    assert_eq!(program.end().1, 0);
}

#[test]
fn publish_once_reports_how_many_keys_are_in() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..300).map(|n| format!("{{\"name\":\"k{n}\",\"value\":{n}}}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(&["--prefix", "p", "--backend", "memory", "publish", "--once", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("published 300 keys"));

    std::fs::write(&file, "{\"name\":\"a\",\"value\":1}\nnot json\n").unwrap();
    let output = run(&["--prefix", "p", "--backend", "memory", "publish", "--once", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 2"), "{}", stderr(&output));
}

#[test]
fn the_demo_runs_to_its_end() {
    let output = run(&["--output", "json", "demo", "--once"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let count = |of_type: &str| text.lines().filter(|line| line.contains(&format!("\"type\":\"{of_type}\""))).count();
    assert_eq!((count("update"), count("delete"), count("synced")), (4, 3, 1), "{text}");
}

#[test]
fn the_demo_lives_until_a_signal_and_then_all_leave() {
    let mut demo = Running::start(&["--output", "json", "demo"]);
    let came = [demo.next("update"), demo.next("update")];
    assert!(came.iter().all(|line| line["value"]["ip"].is_string()), "{came:?}");
    demo.signal("TERM");
    let (rest, code) = demo.end();
    let there = 2 + rest.iter().filter(|line| line["type"] == "update" && line["old"].is_null()).count();
    let gone = rest.iter().filter(|line| line["type"] == "delete").count();
    assert_eq!((code, gone), (0, there));
}
