//! A cluster whose keys are mirrored, and what is done with mirrors.

use std::collections::BTreeMap;

use serde_json::Value;
use shared_store_support::{EtcdServer, Version, eventually_blocking};
use tempfile::NamedTempFile;

use super::PATIENCE;
use crate::running::Running;
use crate::serving::client::Service;

/// A configuration of a cluster, with a member that is not known here.
pub(super) const CONFIG: &str = r#"{"id":3,"capabilities":{"syncedCanaries":true,"maxConnectedClusters":255}}"#;

/// A cluster with an etcd of its own.
pub(super) struct Remote {
    pub(super) server: EtcdServer,
    name: &'static str,
}

impl Remote {
    pub(super) fn start(name: &'static str) -> Self {
        let remote = Self { server: EtcdServer::start(Version::V35), name };
        remote.fill();
        remote.complete();
        remote
    }

    pub(super) fn endpoint(&self) -> String {
        self.server.endpoint()
    }

    /// Paths below `cilium/state`, values, and paths of the copies below `cilium/cache`.
    fn keys(&self) -> Vec<(String, &'static str, String)> {
        let name = self.name;
        let node = |n| (format!("nodes/v1/{name}/{n}"), format!("nodes/v1/{name}/{n}"));
        let service = format!("services/v1/{name}/default/web");
        let (ip, identity) = ("ip/v1/default/10.0.0.1", |id| format!("identities/v1/id/{id}"));
        let copied = |id| format!("identities/v1/{name}/id/{id}");
        vec![
            (node("n1").0, r#"{ "Name" : "n1",  "Unknown": 1.50 }"#, node("n1").1),
            (node("n2").0, "no JSON at all: é", node("n2").1),
            (service.clone(), r#"{"cluster":"x","name":"web"}"#, service),
            (ip.to_owned(), r#"{"IP":"10.0.0.1","Mask":null}"#, format!("ip/v1/{name}/10.0.0.1")),
            (identity("16777217"), "k8s:app=web;k8s:io.kubernetes.pod.namespace=default;", copied("16777217")),
            (identity("16777218"), "k8s:app=db;", copied("16777218")),
        ]
    }

    /// Puts the configuration of the cluster and all keys.
    pub(super) fn fill(&self) {
        self.put(&format!("cilium/cluster-config/{}", self.name), CONFIG);
        for (path, value, _) in self.keys() {
            self.put(&format!("cilium/state/{path}"), value);
        }
    }

    /// Puts the canaries.
    pub(super) fn complete(&self) {
        for resource in ["nodes", "services", "serviceexports", "identities", "ip"] {
            self.put(&format!("cilium/synced/{}/cilium/state/{resource}/v1", self.name), "2026-01-01T00:00:00Z");
        }
    }

    /// What its copies are.
    pub(super) fn copies(&self) -> BTreeMap<String, String> {
        self.keys().into_iter().map(|(_, value, copy)| (format!("cilium/cache/{copy}"), value.to_owned())).collect()
    }

    pub(super) fn put(&self, path: &str, value: &str) {
        put(&self.server, path, value);
    }

    pub(super) fn delete(&self, path: &str) {
        assert_eq!(self.server.etcdctl(&["del", path]).trim(), "1", "{path}");
    }
}

pub(super) fn put(server: &EtcdServer, path: &str, value: &str) {
    server.etcdctl(&["put", path, value]);
}

/// What an etcd has below a prefix, by path.
pub(super) fn contents(server: &EtcdServer, prefix: &str) -> BTreeMap<String, String> {
    let lines: Vec<_> = server.etcdctl(&["get", "--prefix", prefix]).lines().map(str::to_owned).collect();
    lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// When the keys below a prefix were written last.
pub(super) fn revisions(server: &EtcdServer, prefix: &str) -> Vec<u64> {
    let answer = server.etcdctl(&["get", "--prefix", prefix, "--write-out", "json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["kvs"].as_array().unwrap().iter().map(|kv| kv["mod_revision"].as_u64().unwrap()).collect()
}

pub(super) fn source(cluster: &str, endpoint: &str) -> String {
    format!("[[source]]\ncluster = {cluster:?}\nendpoints = [{endpoint:?}]\n")
}

pub(super) fn text(local: &EtcdServer, more: &str, sources: &[String]) -> String {
    format!("endpoints = [{:?}]\n{more}\n{}", local.endpoint(), sources.concat())
}

pub(super) fn config(local: &EtcdServer, more: &str, sources: &[String]) -> NamedTempFile {
    crate::serving::config::file(&text(local, more, sources))
}

pub(super) fn mirror(file: &NamedTempFile) -> Service {
    Service::start(&["mirror", "--config", file.path().to_str().unwrap()])
}

/// Waits until every source was copied once.
pub(super) fn until_ready(mirror: &Service) {
    let look = || mirror.send("GET", "/readyz", &[], "");
    eventually_blocking("the mirror is ready", PATIENCE, look, |answer| answer.status == 200);
}

/// How a source is.
pub(super) fn status(mirror: &Service, cluster: &str) -> Value {
    let all = mirror.send("GET", "/v1/status", &[], "").json();
    let of = |source: &&Value| source["cluster"] == cluster;
    all["sources"].as_array().unwrap().iter().find(of).cloned().unwrap_or_default()
}

/// A reader of the copies.
pub(super) fn watch(local: &EtcdServer, prefix: &str) -> Running {
    let common = ["--endpoints", &local.endpoint(), "--prefix", prefix, "--output", "json", "--value", "base64"];
    Running::start(&[&common[..], &["watch"]].concat())
}
