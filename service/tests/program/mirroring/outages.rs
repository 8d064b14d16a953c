//! What becomes of the copies when something is lost.

use std::time::Duration;

use serde_json::Value;
use shared_store_support::{DeliveryMode, EtcdServer, Proxy, Version, eventually_blocking, real_time_blocking};

use super::PATIENCE;
use super::cluster::{Remote, config, contents, mirror, revisions, source, status, until_ready, watch};
use crate::running::Running;
use crate::serving::client::Service;

const NODES: &str = "cilium/cache/nodes/v1/one";

/// Waits until the source is as wanted.
fn until(mirror: &Service, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually_blocking(what, PATIENCE, || status(mirror, "one"), wanted)
}

/// Ends a reader that has seen no deletion.
fn saw_no_deletion(reader: Running) {
    reader.signal("TERM");
    let (rest, _) = reader.end();
    let deleted: Vec<_> = rest.iter().filter(|line| line["type"] == "delete").collect();
    assert!(deleted.is_empty(), "{deleted:?}");
}

#[test]
fn a_source_that_is_killed_and_one_that_is_wiped_and_filled_again_take_no_copy_with_them() {
    let (local, mut one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let mirror = mirror(&config(&local, "", &[source("one", &one.endpoint())]));
    until_ready(&mirror);
    let before = contents(&local, "cilium/");
    let mut reader = watch(&local, NODES);
    reader.next("synced");

    one.server.kill();
    let lost = until(&mirror, "the source is lost", |status| status["connected"] == false);
    assert!(lost["failures"].as_u64() > Some(0) && lost["last_failure"]["cause"].is_string(), "{lost}");
    assert_eq!(contents(&local, "cilium/"), before);
    one.server.restart();
    until(&mirror, "the source is back", |status| status["ready"] == true);
    one.put("cilium/state/nodes/v1/one/back", "1");
    reader.find("update", |line| line["name"] == "back");
    one.delete("cilium/state/nodes/v1/one/back");
    assert_eq!(reader.next("delete")["name"], "back");

    one.server.kill();
    one.server.wipe();
    one.server.restart();
    // Half of it is there.
    one.fill();
    until(&mirror, "it waits for the canary, and keeps its copies", |status| {
        let nodes = &status["copies"][0];
        let waits = nodes["cause"].as_str().is_some_and(|cause| cause.contains("the source is not complete"));
        waits && nodes["keys"] == 2
    });
    assert_eq!(contents(&local, "cilium/"), before);
    one.complete();
    until(&mirror, "the source is complete", |status| status["ready"] == true);
    one.put("cilium/state/nodes/v1/one/new", "1");
    reader.find("update", |line| line["name"] == "new");
    saw_no_deletion(reader);
    mirror.leaves();
}

#[test]
fn a_source_that_is_cut_off_for_longer_than_the_leases_keeps_its_copies() {
    let (local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let proxy = Proxy::to(&one.endpoint());
    let mirror = mirror(&config(&local, "lease_ttl = \"1s\"", &[source("one", &proxy.endpoint())]));
    until_ready(&mirror);
    // A key on a lease of its own, as Cilium's agents have it.
    let lease = one.server.etcdctl(&["lease", "grant", "1"]);
    let lease = lease.split_whitespace().nth(1).unwrap().to_owned();
    one.server.etcdctl(&["put", "cilium/state/nodes/v1/one/leased", "1", "--lease", &lease]);
    let mut reader = watch(&local, NODES);
    reader.find("update", |line| line["name"] == "leased");
    proxy.set(DeliveryMode::Refuse);
    proxy.cut();
    until(&mirror, "the source is lost", |status| status["connected"] == false);
    // The leases of the copies, which the mirror renews, and that of the source's key, which nobody does.
    real_time_blocking(Duration::from_secs(3));
    let copied = contents(&local, &format!("{NODES}/"));
    assert_eq!(copied.len(), 3, "{copied:?}");
    let gone = || contents(&one.server, "cilium/state/nodes/v1/one/leased").is_empty();
    eventually_blocking("its lease ends", PATIENCE, gone, |gone| *gone);
    proxy.set(DeliveryMode::Forward);
    assert_eq!(reader.next("delete")["name"], "leased", "only what the source has lost");
    one.put("cilium/state/nodes/v1/one/new", "1");
    reader.find("update", |line| line["name"] == "new");
    saw_no_deletion(reader);
    mirror.leaves();
}

#[test]
fn a_source_that_answers_for_another_cluster_changes_nothing() {
    let (local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let mirror = mirror(&config(&local, "", &[source("one", &one.endpoint())]));
    until_ready(&mirror);
    let before = contents(&local, "cilium/");
    one.delete("cilium/cluster-config/one");
    one.put("cilium/cluster-config/other", super::CONFIG);
    let told = until(&mirror, "the problem is told", |status| !status["problem"].is_null());
    assert_eq!(told["problem"], "the source has no key cilium/cluster-config/one");
    assert_eq!(contents(&local, "cilium/"), before);
    mirror.leaves();
}

#[test]
fn a_mirror_that_was_killed_takes_its_copies_over_and_deletes_what_went_meanwhile() {
    let (local, one) = (EtcdServer::start(Version::V34), Remote::start("one"));
    let file = config(&local, "", &[source("one", &one.endpoint())]);
    let first = mirror(&file);
    until_ready(&first);
    let mut reader = watch(&local, NODES);
    reader.next("synced");
    first.process.signal("KILL");
    drop(first);
    one.delete("cilium/state/nodes/v1/one/n1");
    let mirror = mirror(&file);
    assert_eq!(reader.next("delete")["name"], "n1");
    until_ready(&mirror);
    let canaries = contents(&local, "cilium/synced/one/");
    assert_eq!((canaries.len(), contents(&local, &format!("{NODES}/")).len()), (5, 1));
    saw_no_deletion(reader);
    mirror.leaves();
}

#[test]
fn a_mirror_that_starts_while_a_source_is_away_keeps_what_an_earlier_one_copied() {
    let (local, mut one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let file = config(&local, "lease_ttl = \"2s\"", &[source("one", &one.endpoint())]);
    let first = mirror(&file);
    until_ready(&first);
    let before = contents(&local, "cilium/cache/");
    let mut reader = watch(&local, NODES);
    reader.next("synced");
    one.server.kill();
    first.process.signal("KILL");
    drop(first);
    let mirror = mirror(&file);
    until(&mirror, "the copies are its own", |status| status["copies"][0]["keys"] == 2);
    // For longer than the leases of the first one.
    real_time_blocking(Duration::from_secs(4));
    assert_eq!(contents(&local, "cilium/cache/"), before);
    // Announced anew, at another time.
    assert_eq!(contents(&local, "cilium/synced/one/").len(), 5);
    assert_eq!(contents(&local, "cilium/cluster-config/").len(), 1);
    let told = status(&mirror, "one");
    assert!(told["ready"] == false && told["problem"].is_string(), "{told}");
    one.server.restart();
    until(&mirror, "the source is back", |status| status["ready"] == true);
    one.delete("cilium/state/nodes/v1/one/n1");
    assert_eq!(reader.next("delete")["name"], "n1");
    saw_no_deletion(reader);
    mirror.leaves();
}

#[test]
fn a_local_etcd_that_was_wiped_has_all_copies_again_and_the_canaries_after_them() {
    let (mut local, one) = (EtcdServer::start(Version::V35), Remote::start("one"));
    let mirror = mirror(&config(&local, "", &[source("one", &one.endpoint())]));
    until_ready(&mirror);
    local.kill();
    local.wipe();
    local.restart();
    let canaries = || contents(&local, "cilium/synced/one/").len();
    eventually_blocking("all canaries are back", PATIENCE, canaries, |count| *count == 5);
    assert_eq!(contents(&local, "cilium/cache/"), one.copies());
    for resource in ["nodes/v1", "identities/v1"] {
        let canary = revisions(&local, &format!("cilium/synced/one/cilium/cache/{resource}"));
        let keys = revisions(&local, &format!("cilium/cache/{resource}/"));
        assert!(keys.iter().max() < canary.first(), "{resource}: {keys:?} before {canary:?}");
    }
    assert_eq!(contents(&local, "cilium/cluster-config/").len(), 1);
    mirror.leaves();
}
