//! `troubleshoot` against what goes wrong in the field.

use serde_json::Value;
use shared_store_support::certificates::{Authority, Quality};
use shared_store_support::{EtcdServer, Version};

use super::inspect::ask;
use super::running::{run, run_after, stderr};

/// The result of this check.
fn result(text: &str, check: &str) -> String {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines.filter(|words| words.len() > 1 && words[1] == check).map(|words| words[0].to_owned());
    found.collect::<Vec<_>>().join(",")
}

#[test]
fn a_good_etcd_passes_every_check_but_for_known_faults_of_its_version() {
    let server = EtcdServer::start(Version::V34);
    let output = ask(&server, &["troubleshoot"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for check in ["name", "connection", "clock", "requests", "cluster", "read", "write"] {
        assert_eq!(result(&text, check), "ok", "{check}: {text}");
    }
    assert!(
        text.contains("warn  version     3.4.23: a watch that resumes during a compaction can lose events"),
        "{text}"
    );
    assert_eq!(server.etcdctl(&["get", "--prefix", ""]), "", "it has written nothing");

    let output = ask(&server, &["--output", "json", "troubleshoot"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let checks: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let version = checks.iter().find(|check| check["check"] == "version").unwrap();
    assert_eq!((&version["type"], &version["result"]), (&"check".into(), &"warn".into()));
    assert!(version["do"].as_str().unwrap().contains("upgrade") && version["endpoint"] == server.endpoint().as_str());
}

#[test]
fn what_fails_is_named_with_what_to_do_and_the_others_are_checked_all_the_same() {
    let server = EtcdServer::start(Version::V35);
    let endpoints = format!("http://127.0.0.1:1,{}", server.endpoint());
    let output = run(&["--endpoints", &endpoints, "--prefix", "p", "troubleshoot"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("1 check failed"), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((&*result(&text, "connection"), &*result(&text, "write")), ("FAIL,ok", "ok"), "{text}");
    assert!(text.contains("Connection refused") && text.contains("-> is etcd running there"), "{text}");
    assert_eq!(run(&["--prefix", "p", "troubleshoot"]).status.code(), Some(2));
}

#[test]
fn endpoints_of_two_clusters_are_a_failure() {
    let (one, two) = (EtcdServer::start(Version::V34), EtcdServer::start(Version::V35));
    let endpoints = format!("{},{}", one.endpoint(), two.endpoint());
    let output = run(&["--endpoints", &endpoints, "--prefix", "p", "troubleshoot"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*result(&text, "cluster")), (Some(1), "FAIL"), "{text}");
}

#[test]
fn a_missing_permission_is_told_with_the_command_that_grants_it() {
    let server = EtcdServer::start(Version::V34);
    for command in [
        "user add root:secret",
        "user grant-role root root",
        "role add reader",
        "role grant-permission reader --prefix=true read p/",
        "user add reader:secret",
        "user grant-role reader reader",
        "auth enable",
    ] {
        server.etcdctl(&command.split(' ').collect::<Vec<_>>());
    }
    let check = |password: &str, prefix: &str| {
        let arguments = ["--endpoints", &server.endpoint(), "--user", "reader", "--prefix", prefix, "troubleshoot"];
        let output = run_after(&format!("export SHARED_STORE_PASSWORD={password}"), &arguments);
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (text, code) = check("secret", "p");
    assert_eq!((&*result(&text, "read"), &*result(&text, "write"), code), ("ok", "warn", Some(0)), "{text}");
    let (text, code) = check("secret", "q");
    assert_eq!((&*result(&text, "read"), code), ("FAIL", Some(1)), "{text}");
    assert!(text.contains("-> etcdctl role grant-permission ROLE --prefix=true readwrite q/"), "{text}");
    let (text, code) = check("wrong", "p");
    assert_eq!((&*result(&text, "requests"), code), ("FAIL", Some(1)), "{text}");
    assert!(text.contains("invalid user ID or password") && !text.contains("wrong"), "{text}");
}

#[test]
fn a_certificate_that_is_no_good_is_told_with_its_dates_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("first");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let other = directory.path().join("other.pem");
    std::fs::write(&other, Authority::new("second").pem()).unwrap();
    let (ca, other) = (ca.to_str().unwrap(), other.to_str().unwrap());
    for (quality, ca, verdict, told) in [
        (Quality::Good, ca, "ok", "issued by "),
        (Quality::Good, other, "FAIL", "give the file of the authority that signed etcd's certificate: --tls-ca"),
        (Quality::Expired, ca, "FAIL", "the certificate has expired; certificate valid from "),
        (Quality::WrongName, ca, "FAIL", "elsewhere.example"),
    ] {
        let pair = authority.issue(directory.path(), "server", quality);
        let flags =
            [format!("--cert-file={}", pair.certificate.display()), format!("--key-file={}", pair.key.display())];
        let server = EtcdServer::start_with(Version::V35, &[&flags[0], &flags[1]]);
        let output = ask(&server, &["--tls-ca", ca, "troubleshoot"]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(result(&text, "tls"), verdict, "{quality:?}: {text}");
        assert_eq!(output.status.code(), Some(i32::from(verdict == "FAIL")), "{quality:?}: {text}");
        assert!(text.contains(told), "{quality:?}: {text}");
    }
}
