//! The values, and etcd-client as every side that is not the store uses it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use shared_store_core::backend::etcd::served::client::{Client, KvClient};
use shared_store_core::{Json, Key};

/// JSON of about 250 bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    address: String,
    labels: Vec<String>,
    /// When a writer of events sent it, in nanoseconds of the wall clock: all processes are on one machine.
    pub(crate) sent: u64,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(crate) const PREFIX: &str = "bench/nodes";

/// The name of the key that a writer of events puts after all others.
pub(crate) const LAST: &str = "last";

pub(crate) fn node(n: usize) -> Node {
    named(format!("cluster/node-{n:07}"), n)
}

pub(crate) fn named(name: String, n: usize) -> Node {
    let labels = (0..5).map(|label| format!("label-{label}=value-of-{n:07}")).collect();
    let address = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    Node { name, address, labels, sent: 0 }
}

/// The node as it is sent now.
pub(crate) fn sent_now(node: Node) -> Node {
    Node { sent: now(), ..node }
}

pub(crate) fn last() -> Node {
    Node { name: LAST.to_owned(), ..sent_now(node(0)) }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

pub(crate) fn path(node: &Node) -> String {
    format!("{PREFIX}/{}", node.name)
}

pub(crate) fn encoded(node: &Node) -> Vec<u8> {
    serde_json::to_vec(node).unwrap()
}

/// A connection, made already.
pub(crate) async fn connect(endpoint: &str) -> Client {
    let client = Client::connect([endpoint], None).await.unwrap();
    kv(&client).get("somewhere else", None).await.unwrap();
    client
}

pub(crate) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(1 << 30)
}
