//! What a reload does.

use shared_store_support::{EtcdServer, Version, eventually_blocking};

use super::PATIENCE;
use super::cluster::{Remote, config, contents, mirror, revisions, source, status, text, until_ready, watch};

#[test]
fn a_reload_adds_changes_and_removes_sources_and_does_not_touch_the_others() {
    let local = EtcdServer::start(Version::V35);
    let (one, two, three) = (Remote::start("one"), Remote::start("two"), Remote::start("three"));
    let same = source("one", &one.endpoint());
    let file = config(&local, "grace = \"1s\"", &[same.clone(), source("two", &two.endpoint())]);
    let mirror = mirror(&file);
    until_ready(&mirror);
    let before = contents(&local, "cilium/cache/");
    let written = revisions(&local, "cilium/cache/nodes/v1/one/");
    let mut readers = [watch(&local, "cilium/cache/nodes/v1/one"), watch(&local, "cilium/cluster-config")];
    for reader in &mut readers {
        reader.next("synced");
    }

    // The second source has another name of its etcd, a third one is there, and one that is away.
    let other_name = two.endpoint().replace("127.0.0.1", "localhost");
    let sources = [
        same.clone(),
        source("two", &other_name),
        source("three", &three.endpoint()),
        source("away", "http://127.0.0.1:1"),
    ];
    std::fs::write(&file, text(&local, "grace = \"1s\"", &sources)).unwrap();
    mirror.process.signal("HUP");
    mirror.process.hear("the configuration is read again");
    let ready = |cluster: &str| status(&mirror, cluster)["ready"] == true;
    for cluster in ["one", "two", "three"] {
        eventually_blocking("it is ready", PATIENCE, || ready(cluster), |ready| *ready);
    }
    let probe = mirror.send("GET", "/readyz", &[], "");
    assert_eq!((probe.status, &probe.json()["sources"][0]["complete"]), (200, &false.into()), "{}", probe.body);
    assert_eq!(revisions(&local, "cilium/cache/nodes/v1/one/"), written, "it is not touched");
    let mut expected = before.clone();
    expected.extend(three.copies());
    assert_eq!(contents(&local, "cilium/cache/"), expected);
    two.put("cilium/state/nodes/v1/two/new", "1");
    let new = || contents(&local, "cilium/cache/nodes/v1/two/new").len();
    eventually_blocking("the changed one is followed", PATIENCE, new, |count| *count == 1);

    std::fs::write(&file, text(&local, "grace = \"1s\"", std::slice::from_ref(&same))).unwrap();
    mirror.process.signal("HUP");
    mirror.process.hear("the configuration is read again");
    for _ in ["two", "three", "away"] {
        mirror.process.hear("is removed, and its copies are deleted");
    }
    assert_eq!(contents(&local, "cilium/cache/"), one.copies());
    assert_eq!(contents(&local, "cilium/synced/").len(), 5);
    assert_eq!(contents(&local, "cilium/cluster-config/").len(), 1);
    let [nodes, configs] = readers;
    for (reader, deletions) in [(nodes, 0), (configs, 2)] {
        reader.signal("TERM");
        let (rest, _) = reader.end();
        assert_eq!(rest.iter().filter(|line| line["type"] == "delete").count(), deletions);
    }

    std::fs::write(&file, "endpoints = 3").unwrap();
    mirror.process.signal("HUP");
    mirror.process.hear("the configuration is not changed");
    assert!(ready("one"));
    mirror.leaves();
}

#[test]
fn a_source_that_is_added_again_on_its_way_out_starts_when_it_is_gone() {
    let (local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let sources = [source("one", &one.endpoint())];
    let file = config(&local, "grace = \"5s\"", &sources);
    let mirror = mirror(&file);
    until_ready(&mirror);
    std::fs::write(&file, text(&local, "grace = \"5s\"", &[])).unwrap();
    mirror.process.signal("HUP");
    mirror.process.hear("the configuration is read again");
    assert_eq!(status(&mirror, "one")["leaves"], true);
    std::fs::write(&file, text(&local, "grace = \"5s\"", &sources)).unwrap();
    mirror.process.signal("HUP");
    mirror.process.hear("is on its way out: it starts again when its copies are gone");
    mirror.process.hear("is removed, and its copies are deleted");
    let ready = || status(&mirror, "one")["ready"] == true;
    eventually_blocking("it is ready again", PATIENCE, ready, |ready| *ready);
    assert_eq!(contents(&local, "cilium/cache/"), one.copies());
    mirror.leaves();
}
