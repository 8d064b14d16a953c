//! `status`, and the connection from a file of Cilium's.

use shared_store_support::{EtcdServer, Version};

use super::super::running::{run, stderr};
use super::client::Service;
use super::{MEMORY, config};

#[test]
fn status_tells_how_the_stores_of_a_running_service_are() {
    let service = Service::start(&MEMORY);
    service.until_ready();
    service.put("nodes/keys/a", "1");
    let output = run(&["status", &service.url]);
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((output.status.code(), &words[..5]), (Some(0), &["nodes", "synced", "1", "1", "0"][..]));
    let json = run(&["--output", "json", "status", &service.url]).stdout;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json).unwrap()["entries"], 1);
    let url = service.url.clone();
    service.leaves();
    let output = run(&["status", &url]);
    assert!(output.status.code() == Some(1) && stderr(&output).contains(&url), "{}", stderr(&output));
}

#[test]
fn the_connection_can_come_from_a_file_of_ciliums_and_the_command_line_counts_more() {
    let server = EtcdServer::start(Version::V35);
    server.etcdctl(&["put", "p/a", "1"]);
    let list = |text: &str, more: &[&str]| {
        let file = config::file(text);
        let common = ["--prefix", "p", "--etcd-config", file.path().to_str().unwrap(), "--list-timeout", "1s"];
        run(&[&common[..], more, &["list", "--keys-only"]].concat())
    };
    let good = format!("endpoints:\n- {}\ndial-timeout: 5s\n", server.endpoint());
    assert_eq!(String::from_utf8(list(&good, &[]).stdout).unwrap(), "a\n");
    let away = "endpoints:\n- http://127.0.0.1:1\n";
    assert_eq!(list(away, &[]).status.code(), Some(1));
    assert_eq!(list(away, &["--endpoints", &server.endpoint()]).status.code(), Some(0));
    for (text, told) in [
        ("endpoints: [\"https://h:1\"]\ninsecure-skip-tls-verify: true\n", "is not supported"),
        ("endpoints: [\"https://h:1\"]\ntrusted-ca-file: ca.crt\n", "ca.crt"),
        ("trusted-ca-file: ca.crt\n", "missing field `endpoints`"),
    ] {
        let output = list(text, &[]);
        assert!(output.status.code() == Some(2) && stderr(&output).contains(told), "{text}: {}", stderr(&output));
    }
}
