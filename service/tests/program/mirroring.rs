//! Clusters on etcds of their own, mirrored into a local one.

mod cluster;
mod outages;
mod reloading;

use std::time::Duration;

use shared_store_support::{EtcdServer, Version, eventually_blocking};

use self::cluster::{CONFIG, Remote, config, contents, mirror, source, status, until_ready, watch};
use crate::running::{run, stderr};
use crate::serving::client::Service;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_cilium_has_of_two_clusters_is_copied_byte_for_byte_and_followed() {
    let (local, one, two) = (EtcdServer::start(Version::V35), Remote::start("one"), Remote::start("two"));
    let file = config(&local, "heartbeat = true", &[source("one", &one.endpoint()), source("two", &two.endpoint())]);
    let mirror = mirror(&file);
    until_ready(&mirror);
    let mut expected = one.copies();
    expected.extend(two.copies());
    let copied = contents(&local, "cilium/cache/");
    assert_eq!(copied, expected);
    for cluster in ["one", "two"] {
        let canaries = contents(&local, &format!("cilium/synced/{cluster}/"));
        let resources = ["identities", "ip", "nodes", "serviceexports", "services"];
        let paths: Vec<_> = resources.map(|name| format!("cilium/synced/{cluster}/cilium/cache/{name}/v1")).into();
        assert_eq!(canaries.keys().cloned().collect::<Vec<_>>(), paths, "empty resources, too");
        let written = contents(&local, &format!("cilium/cluster-config/{cluster}"));
        let (_, value) = written.first_key_value().unwrap();
        let value: serde_json::Value = serde_json::from_str(value).unwrap();
        let capabilities = serde_json::json!({"syncedCanaries": true, "cached": true, "maxConnectedClusters": 255});
        assert_eq!(value, serde_json::json!({"id": 3, "capabilities": capabilities}));
    }
    eventually_blocking("the heartbeat", PATIENCE, || contents(&local, "cilium/.heartbeat").len(), |count| *count == 1);

    let mut reader = watch(&local, "cilium/cache/nodes/v1/one");
    reader.next("synced");
    one.put("cilium/state/nodes/v1/one/n9", r#"{ "Name" : "n9" }"#);
    reader.find("update", |line| line["name"] == "n9");
    one.delete("cilium/state/nodes/v1/one/n1");
    assert_eq!(reader.next("delete")["name"], "n1");

    let keys = || status(&mirror, "one")["copies"][0]["keys"].clone();
    eventually_blocking("the deletion is answered", PATIENCE, keys, |keys| *keys == 2);
    let output = run(&["mirror", "status", "--url", &mirror.url]);
    let table = String::from_utf8(output.stdout.clone()).unwrap();
    let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((output.status.code(), rows.len()), (Some(0), 11), "{table}{}", stderr(&output));
    assert_eq!(rows[0][..5], ["SOURCE", "READY", "CONNECTED", "RULE", "STATE"]);
    assert_eq!(rows[1], ["one", "yes", "yes", "nodes/v1", "synced", "2", "0", "0", "0", "-"]);
    let metrics = mirror.send("GET", "/metrics", &[], "").body;
    for line in [
        "remote_clusters 2",
        "remote_cluster_readiness_status{target_cluster=\"two\"} 1",
        "shared_store_mirror_keys{target_cluster=\"one\",rule=\"identities/v1\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    mirror.leaves();
    assert!(contents(&local, "cilium/cache/").len() == copied.len(), "the copies stay until their leases end");
}

#[test]
fn any_prefix_is_copied_by_a_rule() {
    let (local, one) = (EtcdServer::start(Version::V34), EtcdServer::start(Version::V34));
    cluster::put(&one, "demo/a", "1");
    cluster::put(&one, "other/b", "2");
    let rule = "[[source.copy]]\nname = \"demo\"\nfrom = \"demo\"\nto = \"copies/demo\"\n\
                announce = { prefix = \"copies/complete\", name = \"demo\" }\n";
    let mirror = mirror(&config(&local, "", &[source("one", &one.endpoint()) + rule]));
    until_ready(&mirror);
    let copies = contents(&local, "copies/");
    assert_eq!(copies.keys().collect::<Vec<_>>(), ["copies/complete/demo", "copies/demo/a"]);
    assert_eq!(copies["copies/demo/a"], "1");
    mirror.leaves();
}

#[test]
fn it_is_ready_after_a_while_although_a_source_is_away_and_says_which() {
    let (local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let sources = [source("one", &one.endpoint()), source("away", "http://127.0.0.1:1")];
    let waits = mirror(&config(&local, "", &sources));
    eventually_blocking("one is copied", PATIENCE, || status(&waits, "one")["ready"] == true, |ready| *ready);
    let ready = waits.send("GET", "/readyz", &[], "");
    let sources_ready = &ready.json()["sources"];
    assert_eq!((ready.status, &sources_ready[1]["complete"]), (503, &true.into()), "{sources_ready}");
    assert_eq!((&sources_ready[0]["cluster"], &sources_ready[0]["complete"]), (&"away".into(), &false.into()));
    assert!(sources_ready[0]["waits_for"].is_string(), "{sources_ready}");
    let output = run(&["mirror", "status", "--url", &waits.url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("1 of 2 sources are not ready"), "{}", stderr(&output));
    waits.leaves();

    let goes_on = mirror(&config(&local, "ready_timeout = \"0s\"", &sources));
    let ready = goes_on.send("GET", "/readyz", &[], "");
    assert_eq!((ready.status, &ready.json()["timed_out"]), (200, &true.into()), "{}", ready.body);
    goes_on.leaves();
}

#[test]
fn a_configuration_that_cannot_work_is_told_with_its_line() {
    for (text, told) in [
        ("listen = 3", "line 1"),
        ("[[source]]\ncluster = \"a\"\n", "endpoints is missing"),
        ("endpoints = [\"http://a\"]", "port is missing: write http://a:2379"),
        (
            "endpoints = [\"http://a:1\"]\n[[source]]\ncluster = \"a\"\nendpoints = [\"http://b:1\"]\ntls_ca = \"/nowhere\"\n",
            "source \"a\": ",
        ),
        (
            "endpoints = [\"http://a:1\"]\nlease_ttl = \"1ms\"\n[[source]]\ncluster = \"a\"\nendpoints = [\"http://b:1\"]\n",
            "lease_ttl",
        ),
    ] {
        let file = crate::serving::config::file(text);
        let output = run(&["mirror", "--config", file.path().to_str().unwrap(), "--check"]);
        let stderr = stderr(&output);
        assert!(output.status.code() == Some(2) && stderr.contains(told), "{text}: {stderr}");
    }
    let file = crate::serving::config::file("endpoints = [\"http://a:1\"]");
    let output = run(&["mirror", "--config", file.path().to_str().unwrap(), "--check"]);
    assert_eq!((output.status.code(), stderr(&output).trim()), (Some(0), "the configuration is good"));
    assert_eq!(run(&["mirror"]).status.code(), Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn many_sources_need_as_many_threads_as_one() {
    let local = EtcdServer::start(Version::V35);
    let threads = |mirror: &Service| std::fs::read_dir(format!("/proc/{}/task", mirror.process.pid())).unwrap().count();
    let start = |count: usize| {
        let sources: Vec<_> = (0..count).map(|n| source(&format!("c{n}"), "http://127.0.0.1:1")).collect();
        let mirror = mirror(&config(&local, "", &sources));
        let all = || mirror.send("GET", "/v1/status", &[], "").json()["sources"].as_array().unwrap().len();
        assert_eq!(all(), count);
        mirror
    };
    let (one, many) = (start(1), start(100));
    // Whatever a thread may be started for has been started by then.
    for mirror in [&one, &many] {
        mirror.send("GET", "/metrics", &[], "");
    }
    assert!(threads(&many) <= threads(&one) + 4, "{} and {}", threads(&one), threads(&many));
    for mirror in [one, many] {
        mirror.leaves();
    }
}

#[test]
fn the_configuration_of_a_cluster_that_makes_no_sense_is_told_and_changes_nothing() {
    let (local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let mirror = mirror(&config(&local, "", &[source("one", &one.endpoint())]));
    until_ready(&mirror);
    let before = contents(&local, "cilium/");
    one.put("cilium/cluster-config/one", r#"{"id": 0}"#);
    let look = || status(&mirror, "one");
    let told = eventually_blocking("the problem", PATIENCE, look, |status| !status["problem"].is_null());
    assert!(told["problem"].as_str().unwrap().contains("no \"id\" from 1 to 511"), "{told}");
    assert_eq!(contents(&local, "cilium/"), before);
    one.put("cilium/cluster-config/one", CONFIG);
    eventually_blocking("it is ready again", PATIENCE, look, |status| status["ready"] == true);
    mirror.leaves();
}
