//! What codecs cost: a value of 250 bytes of JSON as JSON, postcard and protobuf, encoded and decoded as a store does it, with
//! allocations. It prints the sizes first.
//!
//! ```text
//! cargo bench --bench codecs
//! ```
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use bytes::Bytes;
use divan::{AllocProfiler, Bencher};
use prost::Message;
use serde::{Deserialize, Serialize};
use shared_store_core::{Codec, CodecError, Json, KeyName};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// As in benches/etcd/node.rs.
#[derive(Clone, PartialEq, Serialize, Deserialize, Message)]
struct Node {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(string, repeated, tag = "3")]
    labels: Vec<String>,
    #[prost(uint64, tag = "4")]
    sent: u64,
}

enum Postcard {}

impl Codec<Node> for Postcard {
    const TAG: &'static str = "postcard";

    fn encode(key: &Node) -> Result<Bytes, CodecError> {
        postcard::to_allocvec(key).map(Bytes::from).map_err(CodecError::new)
    }

    fn decode(_name: &KeyName, value: &Bytes) -> Result<Node, CodecError> {
        postcard::from_bytes(value).map_err(CodecError::new)
    }
}

enum Protobuf {}

impl Codec<Node> for Protobuf {
    const TAG: &'static str = "protobuf";

    fn encode(key: &Node) -> Result<Bytes, CodecError> {
        Ok(key.encode_to_vec().into())
    }

    fn decode(_name: &KeyName, value: &Bytes) -> Result<Node, CodecError> {
        Node::decode(value.clone()).map_err(CodecError::new)
    }
}

fn node() -> Node {
    let labels = (0..5).map(|label| format!("label-{label}=value-of-0012345")).collect();
    Node {
        name: "cluster/node-0012345".to_owned(),
        address: "10.0.48.57".to_owned(),
        labels,
        sent: 1_764_000_000_000_000_000,
    }
}

fn name() -> KeyName {
    KeyName::new("cluster/node-0012345").unwrap()
}

fn main() {
    size::<Json>();
    size::<Postcard>();
    size::<Protobuf>();
    divan::main();
}

fn size<C: Codec<Node>>() {
    let value = C::encode(&node()).unwrap();
    assert!(C::decode(&name(), &value).unwrap() == node());
    println!("{}: {} bytes", C::TAG, value.len());
}

#[divan::bench(types = [Json, Postcard, Protobuf], sample_count = 200, sample_size = 500)]
fn encode<C: Codec<Node>>(bencher: Bencher<'_, '_>) {
    let node = node();
    bencher.bench(|| C::encode(&node));
}

#[divan::bench(types = [Json, Postcard, Protobuf], sample_count = 200, sample_size = 500)]
fn decode<C: Codec<Node>>(bencher: Bencher<'_, '_>) {
    let (name, value) = (name(), C::encode(&node()).unwrap());
    bencher.bench(|| C::decode(&name, &value));
}
