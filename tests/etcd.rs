//! Collaborators on a real etcd that fails. At the end etcd's own answer, every cache, and every map built from an
//! observer's messages alone are equal.

mod backend;
mod joining;
mod members;
mod network;
mod publishing;
mod server;
mod soak;
mod three;

use std::time::Duration;

use shared_store::backend::{Backend, Expect, ListRequest, Write, WriteAction, WriteOutcome};
use shared_store::{EtcdBackend, EtcdConfig, KeyName, LeaseId, Prefix, Revision};

use crate::actors::Node;
use crate::support::{Connect, EtcdServer, Version};

fn prefix() -> Prefix {
    Prefix::new("tests/nodes").unwrap()
}

fn ip(value: &[u8]) -> String {
    serde_json::from_slice::<Node>(value).map_or_else(|error| error.to_string(), |node| node.ip)
}

async fn meddle(backend: &EtcdBackend, name: &str, action: WriteAction) -> Revision {
    let path = prefix().path(&KeyName::new(name).unwrap());
    match backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap() {
        WriteOutcome::Committed { revision } => revision,
        refused @ WriteOutcome::Refused { .. } => panic!("it expects nothing: {refused:?}"),
    }
}

fn on_etcd(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}
