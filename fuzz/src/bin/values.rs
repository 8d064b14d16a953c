//! Values as JSON: any bytes are a value or an error, and a value survives being written.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};
use shared_store_core::{Codec, Json, KeyName};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Node {
    name: String,
    #[serde(default)]
    addresses: Vec<std::net::IpAddr>,
    #[serde(default)]
    labels: BTreeMap<String, Option<i64>>,
    kind: Option<Kind>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Nested(Box<Node>),
    Tuple(u8, char),
}

fuzz_target!(|input: &[u8]| {
    let name = KeyName::new("node").expect("it is a name");
    if let Ok(node) = <Json as Codec<Node>>::decode(&name, &input.to_vec().into()) {
        let bytes = <Json as Codec<Node>>::encode(&node).expect("it was a value");
        assert_eq!(<Json as Codec<Node>>::decode(&name, &bytes).as_ref(), Ok(&node));
    }
});
