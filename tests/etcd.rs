//! Collaborators on a real etcd that fails. At the end etcd's own answer, every cache, and every map built from an
//! observer's messages alone are equal.

/// Makes a test of each scenario on etcd 3.4 and on 3.5.
macro_rules! on_both {
    ($($scenario:ident)+) => {
        mod etcd_34 {
            $(#[test] fn $scenario() { super::on_etcd(super::$scenario(super::Version::V34)); })+
        }
        mod etcd_35 {
            $(#[test] fn $scenario() { super::on_etcd(super::$scenario(super::Version::V35)); })+
        }
    };
}

mod acknowledging;
mod addresses;
mod auth;
mod backend;
mod catching_up;
mod compaction;
mod endpoints;
mod joining;
mod members;
mod network;
mod pings;
mod proxied;
mod publishing;
mod quota;
mod renewing;
mod server;
mod soak;
mod three;
mod tls;
mod warm;

use std::time::Duration;

use shared_store_core::backend::{Backend, Expect, ListRequest, Write, WriteAction, WriteOutcome};
use shared_store_core::{EtcdBackend, EtcdConfig, KeyName, LeaseId, Prefix, Revision};

use crate::actors::{Node, PATIENCE};
use crate::support::{Connect, EtcdServer, Version, eventually, real_time};

pub(crate) fn prefix() -> Prefix {
    Prefix::new("tests/nodes").unwrap()
}

pub(crate) fn ip(value: &[u8]) -> String {
    serde_json::from_slice::<Node>(value).map_or_else(|error| error.to_string(), |node| node.ip)
}

async fn meddle(backend: &EtcdBackend, name: &str, action: WriteAction) -> Revision {
    let path = prefix().path(&KeyName::new(name).unwrap());
    match backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap() {
        WriteOutcome::Committed { revision } => revision,
        refused @ WriteOutcome::Refused { .. } => panic!("it expects nothing: {refused:?}"),
    }
}

pub(crate) fn on_etcd(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}
