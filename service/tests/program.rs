//! The program as its users run it, on the embedded kvstore.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

/// Long enough for a loaded machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shared-store"));
    command.args(arguments).env_remove("SHARED_STORE_ENDPOINTS").env_remove("SHARED_STORE_PASSWORD");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with an empty stdin to its end.
fn run(arguments: &[&str]) -> Output {
    program(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running program whose stdout is read line by line.
struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    waiting: Vec<Value>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut process = program(arguments).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
        let stdin = process.stdin.take();
        Self { process, stdin, lines, waiting: Vec::new() }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line of this type. Others wait for their turn: notifications and replies have no common order.
    fn next(&mut self, of_type: &str) -> Value {
        loop {
            if let Some(index) = self.waiting.iter().position(|line| line["type"] == of_type) {
                return self.waiting.remove(index);
            }
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {of_type} line"));
            self.waiting.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
    }

    /// All lines to the end, and the exit code.
    fn end(mut self) -> (Vec<Value>, i32) {
        self.stdin = None;
        let lines = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok());
        let mut all = std::mem::take(&mut self.waiting);
        all.extend(lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()));
        (all, self.process.wait().unwrap().code().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

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
    program.stdin.as_mut().unwrap().write_all(b"\xff\xfe\n").unwrap();
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
    let status = Command::new("kill").args(["-TERM", &program.process.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(program.next("delete")["name"], "a");
    let (rest, code) = program.end();
    assert_eq!((code, &rest.last().unwrap()["state"]), (0, &"closed".into()));
}

#[test]
fn usage_that_cannot_work_ends_with_2_and_says_why() {
    for (arguments, cause) in [
        (&["join"][..], "--prefix is missing"),
        (&["--prefix", "", "join"], "prefix is empty"),
        (&["--prefix", "a/", "watch"], "ends with a slash"),
        (&["--prefix", "p", "--backend", "etcd", "list"], "--backend etcd needs --endpoints"),
        (&["--prefix", "p", "--backend", "memory", "--endpoints", "http://h:1", "list"], "has no endpoints"),
        (&["--prefix", "p", "join", "--key", "a"], "is not NAME=JSON"),
        (&["--prefix", "p", "join", "--key", "a={"], "--key a: "),
        (&["--prefix", "p", "join", "--keys-file", "/does/not/exist"], "cannot read /does/not/exist"),
        (&["--prefix", "p", "join", "--sync-interval", "0s"], "sync_interval must be greater than zero"),
        (&["--prefix", "p", "join", "--sync-interval", "soon"], "unknown unit"),
        (&["--prefix", "p", "fly"], "unrecognized subcommand"),
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
fn without_endpoints_it_says_that_the_kvstore_is_its_own() {
    let output = run(&["--prefix", "p", "list"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert!(stderr(&output).contains("embedded kvstore"));
}

#[test]
fn a_key_that_does_not_exist_is_an_error_of_get() {
    let output = run(&["--prefix", "p", "get", "a"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no key named \"a\""));
}

#[test]
fn watch_until_synced_prints_what_is_there_and_ends() {
    let output = run(&["--prefix", "p", "--output", "json", "watch", "--until-synced"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(r#""type":"synced""#), "{text}");
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
    assert_eq!(program.next("synced")["entries"], 0);
    let before: Vec<_> =
        program.waiting.iter().filter(|line| line["type"] != "status").map(|line| line["type"].clone()).collect();
    assert_eq!(before, ["resynced", "delete"]);
    assert_eq!(program.end().1, 0);
}

#[test]
fn publish_once_reports_how_many_keys_are_in() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..300).map(|n| format!("{{\"name\":\"k{n}\",\"value\":{n}}}\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let path = file.path().to_str().unwrap();
    let output = run(&["--prefix", "p", "publish", "--once", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("published 300 keys"));

    std::fs::write(&file, "{\"name\":\"a\",\"value\":1}\nnot json\n").unwrap();
    let output = run(&["--prefix", "p", "publish", "--once", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 2"), "{}", stderr(&output));
}

#[test]
fn the_demo_runs_to_its_end() {
    let output = run(&["--output", "json", "demo"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let count = |of_type: &str| text.lines().filter(|line| line.contains(&format!("\"type\":\"{of_type}\""))).count();
    assert_eq!((count("update"), count("delete"), count("synced")), (4, 3, 1), "{text}");
}
