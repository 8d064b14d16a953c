//! `status`, and the connection from a file of Cilium's.

use shared_store_support::certificates::{Authority, Quality};
use shared_store_support::{EtcdServer, Version};

use super::super::running::{Running, run, stderr};
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
fn a_consistent_read_shows_what_others_have_written_and_waits_for_a_kvstore_that_does_not_answer() {
    let mut server = EtcdServer::start(Version::V35);
    let service = Service::start(&["--endpoints", &server.endpoint(), "--prefix", "p", "serve"]);
    service.until_ready();
    for n in 0..20 {
        server.etcdctl(&["put", "p/a", &n.to_string()]);
        server.etcdctl(&["put", "elsewhere", "1"]);
        let read = service.get("p/keys/a?consistent=true");
        assert_eq!((read.status, &read.json()["value"]), (200, &n.into()), "{}", read.body);
        server.etcdctl(&["put", "p/b", &n.to_string()]);
        let page = service.get("p/keys?prefix=b&consistent=true&min_revision=1").json();
        assert_eq!(page["keys"][0]["value"], n, "{page}");
    }
    server.kill();
    for path in ["p/keys/a?consistent=true&timeout_ms=100", "p/keys?consistent=true&timeout_ms=100"] {
        let read = service.get(path);
        assert_eq!((read.status, &read.json()["type"]), (504, &"urn:shared-store:too-slow".into()), "{}", read.body);
    }
    assert_eq!(service.get("p/keys/a?consistent=false").json()["value"], 19, "what was known");
    server.restart();
    assert_eq!(service.get("p/keys/a?consistent=true&timeout_ms=60000").json()["value"], 19);
    service.leaves();
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

#[test]
fn a_service_with_client_ca_answers_only_those_who_show_a_certificate_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, others] = ["ours", "others"].map(Authority::new);
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), ours.pem()).unwrap();
    let issue = |authority: &Authority, name| {
        let pair = authority.issue(directory.path(), name, Quality::Good);
        (pair.certificate.display().to_string(), pair.key.display().to_string())
    };
    let (server, client, stranger) = (issue(&ours, "server"), issue(&ours, "client"), issue(&others, "stranger"));
    let https = format!("cert = {:?}\nkey = {:?}\nclient_ca = {:?}\n", server.0, server.1, path("ca.pem"));
    let text = format!("backend = \"memory\"\n[https]\n{https}[[store]]\nname = \"a\"\nprefix = \"p\"\n");
    let config = config::file(&text);
    let program = Running::start(&["serve", "--config", config.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let line = program.hear("listening on https://");
    let url = line.strip_prefix("listening on ").unwrap();
    let status = |ca: &[&str], pair: Option<&(String, String)>| {
        let own = pair.map(|(certificate, key)| ["--tls-cert", certificate, "--tls-key", key]);
        run(&[ca, own.as_ref().map_or(&[], |own| &own[..]), &["status", url]].concat())
    };
    let ca = path("ca.pem");
    let ca = ["--tls-ca", &ca];
    // The store may not be synced yet.
    while status(&ca, Some(&client)).status.code() != Some(0) {}
    for refused in [status(&ca, None), status(&ca, Some(&stranger)), status(&[], Some(&client))] {
        let error = stderr(&refused);
        assert!(refused.status.code() == Some(1) && error.contains(url), "{error}");
    }
    let none = status(&ca, Some(&(client.0, path("none"))));
    assert!(none.status.code() == Some(2) && stderr(&none).contains("none"), "{}", stderr(&none));
    program.signal("TERM");
    assert_eq!(program.code(), Some(0));
}
