//! Names and values that try to break the output, on a real etcd.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

use serde_json::Value;
use shared_store_support::{EtcdServer, Version};
use tempfile::NamedTempFile;

use super::running::{Running, run, stderr};

/// Paths and values that break lines, move the cursor or turn the direction of text.
const HOSTILE: [(&str, &str); 6] = [
    ("p/pretty", "{\r\n  \"ip\" : \"10.0.0.1\",\n\t\"n\" : 1.50\r\n}\n"),
    ("p/separators", "\"a\u{2028}b\u{2029}c\u{85}d\u{9b}31me\u{7f}\""),
    ("p/direction", "[\"\u{202e}txt\u{2066}\", 0.10]"),
    ("p/line\r\n{\"type\":\"synced\"}", "1"),
    ("p/esc\u{1b}[2J\u{202e}\u{2028}", "\"\\u001b[31m \\n\""),
    ("p/quote\"\\", "null"),
];

fn hostile_etcd() -> EtcdServer {
    let server = EtcdServer::start(Version::V35);
    for (path, value) in HOSTILE {
        server.etcdctl(&["put", "--", path, value]);
    }
    server
}

fn ask(server: &EtcdServer, prefix: &str, arguments: &[&str]) -> Output {
    run(&[&["--endpoints", &server.endpoint(), "--prefix", prefix], arguments].concat())
}

/// As Python's `splitlines` and other readers split.
fn split(text: &str) -> Vec<&str> {
    let ends =
        |c| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split_terminator(ends).collect()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    split(&text).into_iter().map(line).inspect(|line| assert!(line.is_object(), "{line}")).collect()
}

fn names(lines: &[Value]) -> Vec<&str> {
    let mut names: Vec<_> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    names.sort_unstable();
    names
}

fn expected_names() -> Vec<&'static str> {
    let mut names: Vec<_> = HOSTILE.iter().map(|(path, _)| path.strip_prefix("p/").unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn in_json_stdout_is_one_object_a_line_whatever_names_and_values_hold() {
    let server = hostile_etcd();
    for command in [&["list"][..], &["list", "--keys-only"], &["watch", "--until-synced"]] {
        let output = ask(&server, "p", &[&["--output", "json"], command].concat());
        assert_eq!(names(&objects(&output)), expected_names(), "{command:?}: {}", stderr(&output));
    }
    for name in expected_names() {
        let output = ask(&server, "p", &["--output", "json", "get", "--", name]);
        assert_eq!(names(&objects(&output)), [name], "{}", stderr(&output));
    }
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json", "join"];
    let mut program = Running::start(&common);
    program.next("synced");
    program.say(r#"{"op":"list"}"#);
    assert_eq!(names(program.next("reply")["keys"].as_array().unwrap()), expected_names());
    program.say(r#"{"op":"get","name":"pretty"}"#);
    assert_eq!(program.next("reply")["value"]["ip"], "10.0.0.1");
    assert_eq!(program.end().1, 0);
    for (path, value) in HOSTILE {
        assert_eq!(server.etcdctl(&["get", "--print-value-only", "--", path]), format!("{value}\n"), "etcd's bytes");
    }
}

#[test]
fn what_list_prints_in_json_can_be_published_and_is_the_same_then() {
    let server = hostile_etcd();
    let listed = ask(&server, "p", &["--output", "json", "list"]);
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&listed.stdout).unwrap();
    let published = ask(&server, "q", &["publish", "--once", file.path().to_str().unwrap()]);
    assert!(stderr(&published).contains("published 6 keys"), "{}", stderr(&published));
    let again = ask(&server, "q", &["--output", "json", "list"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), String::from_utf8(listed.stdout).unwrap());
}

#[test]
fn text_for_people_has_a_line_for_each_key_and_no_control_characters() {
    let server = hostile_etcd();
    let hostile = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    for command in [&["list"][..], &["watch", "--until-synced"], &["list", "--keys-only"]] {
        let output = ask(&server, "p", command);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.lines().all(|line| !line.contains(hostile)), "{text:?}");
        let keys = text.lines().filter(|line| !line.starts_with("status") && !line.starts_with("synced")).count();
        assert_eq!(keys, HOSTILE.len(), "{text}");
    }
    let output = ask(&server, "p", &["get", "direction"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[\"\\u202etxt\\u2066\",0.10]\n");
}

#[test]
fn two_documents_of_one_name_in_a_file_are_an_error_that_names_both_lines() {
    let mut file = NamedTempFile::new().unwrap();
    write!(file, "{{\"name\":\"a\",\"value\":1}}\n\n{{\"name\":\"b\",\"value\":1}}\n{{\"name\":\"a\",\"value\":1}}\n")
        .unwrap();
    let path = file.path().to_str().unwrap();
    for command in [&["publish", path][..], &["join", "--keys-file", path]] {
        let output = run(&[&["--prefix", "p", "--backend", "memory"], command].concat());
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let error = format!("error: {path}, lines 1 and 4: both have the name \"a\"; delete one of them\n");
        assert_eq!(stderr(&output), error);
    }
}

#[test]
fn keys_whose_names_are_empty_or_not_utf8_are_counted_by_list_audit_and_status_and_once_in_the_log() {
    let server = EtcdServer::start(Version::V34);
    for path in [&b"p/a"[..], b"p/", b"p/\xff\n"] {
        server.etcdctl(&[OsStr::new("put"), OsStr::new("--"), OsStr::from_bytes(path), OsStr::new("1")]);
    }
    let list = ask(&server, "p", &["list"]);
    assert_eq!((list.status.code(), &*list.stdout), (Some(0), &b"a = 1\n"[..]));
    assert_eq!(stderr(&list), "note: 2 keys are left out whose name is empty or not UTF-8, such as p/\n");
    let audit = ask(&server, "p", &["audit"]);
    assert_eq!(
        (audit.status.code(), stderr(&audit)),
        (Some(0), "note: 2 keys are ignored whose name is empty or not UTF-8\n".to_owned())
    );
    assert_eq!(audit.stdout, b"audit: 1 key compared at revision 4, 0 differences\n");

    server.etcdctl(&["del", "p/"]);
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json", "--log", "warn", "join"];
    let mut program = Running::start(&common);
    program.next("synced");
    program.hear("a key below the prefix is ignored: its name is empty or not UTF-8 key=p/\\xff\\n");
    server.etcdctl(&["put", "p/", "1"]);
    server.etcdctl(&["put", "p/b", "1"]);
    program.find("update", |line| line["name"] == "b");
    program.say(r#"{"op":"status"}"#);
    assert_eq!(program.next("reply")["ignored"], 2);
    program.say(r#"{"op":"audit"}"#);
    let reply = program.next("reply");
    assert_eq!((&reply["keys"], &reply["ignored"]), (&2.into(), &2.into()));
    program.say(r#"{"op":"close"}"#);
    let (heard, _) = program.last_words();
    assert!(!heard.contains("is ignored"), "it is logged once: {heard}");
}
