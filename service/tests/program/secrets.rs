//! The content of a value is on stdout where it is asked for, and nowhere else.

use std::io::Write as _;

use shared_store_support::{EtcdServer, Version};
use tempfile::NamedTempFile;

use super::running::{Running, run, stderr};

const SECRET: &str = "s3cr3t-7b1f";

#[test]
fn a_secret_value_is_in_no_log_from_debug_up_and_in_no_error() {
    let server = EtcdServer::start(Version::V35);
    let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--log", "debug"];
    server.etcdctl(&["put", "p/syntax", SECRET]);
    server.etcdctl(&["put", "p/good", &format!("\"{SECRET}\"")]);
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{{\"name\":\"a\",\"value\":\"{SECRET}\"}}").unwrap();
    writeln!(file, "{{\"name\":\"large\",\"value\":\"{}\"}}", SECRET.repeat(200_000)).unwrap();
    let mut bad = NamedTempFile::new().unwrap();
    writeln!(bad, "{{\"name\":\"a\",\"value\":\"{SECRET}}}").unwrap();
    let (file, bad) = (file.path().to_str().unwrap(), bad.path().to_str().unwrap());
    let not_json = format!("a={SECRET}");
    for (command, code) in [
        (&["list"][..], 0),
        (&["list", "--undecodable"], 0),
        (&["get", "syntax"], 1),
        (&["audit"], 0),
        (&["watch", "--until-synced"], 0),
        (&["publish", "--once", file], 1),
        (&["publish", "--once", bad], 2),
        (&["join", "--key", &not_json], 2),
        (&["join", "--keys-file", bad], 2),
        (&["--value", "base64", "join", "--key", &not_json], 2),
    ] {
        let output = run(&[&common[..], command].concat());
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("s3cr3t"), "{command:?}: {}", stderr(&output));
    }

    // Another value than the one that the publisher has left.
    let lines = std::fs::read_to_string(file).unwrap().replacen(SECRET, &format!("another {SECRET}"), 1);
    std::fs::write(file, lines).unwrap();
    let join = ["--output", "json", "join", "--conflict", "yield", "--keys-file", file];
    let mut program = Running::start(&[&common[..], &join].concat());
    program.find("update", |line| line["name"] == "good");
    server.etcdctl(&["put", "p/good", SECRET]);
    let mut told = vec![program.find("undecodable", |line| line["name"] == "good")];
    told.push(program.next("conflict"));
    for line in [
        format!("{{\"op\":\"update\",\"name\":\"b\",\"value\":\"{SECRET}"),
        format!("{{\"op\":\"update\",\"name\":\"b\",\"value\":1,\"revision\":\"{SECRET}\"}}"),
        "{\"op\":\"audit\"}".to_owned(),
    ] {
        program.say(&line);
        told.push(program.next("reply"));
    }
    let status = loop {
        program.say("{\"op\":\"status\"}");
        let status = program.next("reply");
        if status["set_aside"].as_array().is_some_and(|aside| !aside.is_empty()) {
            break status;
        }
    };
    told.push(status);
    for line in told {
        assert!(!line.to_string().contains("s3cr3t"), "{line}");
    }
    program.say("{\"op\":\"close\"}");
    let (heard, _) = program.last_words();
    assert!(heard.contains("value cannot be decoded") && !heard.contains("s3cr3t"), "{heard}");
}
