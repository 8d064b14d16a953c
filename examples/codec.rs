//! A codec for a type without serde: protobuf messages, without protoc.
//!
//! `cargo run --example codec`

use std::time::Duration;

use prost::Message;
use shared_store::backend::{Backend, Expect, Write, WriteAction};
use shared_store::{
    Bytes, Codec, CodecError, Config, Key, KeyName, LeaseId, MemoryBackend, Notice, Parcel, Prefix, Until, join,
};

/// The name is the key's own, so the message does not repeat it.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    name: String,
    address: Address,
}

/// As `message Address { string ip = 1; uint32 port = 2; }`.
#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(uint32, tag = "2")]
    port: u32,
}

/// What the next version of this program writes.
#[derive(Clone, PartialEq, Message)]
struct NextAddress {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(uint32, tag = "2")]
    port: u32,
    #[prost(string, tag = "3")]
    zone: String,
}

impl Key for Node {
    type Codec = Protobuf;

    fn name(&self) -> String {
        self.name.clone()
    }
}

enum Protobuf {}

impl Codec<Node> for Protobuf {
    const TAG: &'static str = "protobuf";

    fn encode(node: &Node) -> Result<Bytes, CodecError> {
        Ok(node.address.encode_to_vec().into())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Node, CodecError> {
        // prost's errors name the field, never the value: they may be logged.
        let address = Address::decode(value.clone()).map_err(CodecError::new)?;
        Ok(Node { name: name.to_string(), address })
    }
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let (backend, prefix) = (MemoryBackend::new(), Prefix::new("examples/codec")?);
    let store = join::<Node>(Config::new(prefix.clone()).backend(backend.clone())).await?;

    let node = Node { name: "alpha".into(), address: Address { ip: "10.0.0.1".into(), port: 8080 } };
    println!("alpha is {} bytes", Protobuf::encode(&node)?.len());
    store.update_local_key_until(node, Until::Shown, Duration::from_secs(5)).await?;
    println!("alpha is read: {:?}", store.reader().get("alpha").map(|node| node.address.clone()));

    let mut parcels = store.changes().await?.into_parcels();
    let write = async |name, value: Vec<u8>| {
        let (path, lease) = (prefix.path(&KeyName::new(name)?), LeaseId::NONE);
        let action = WriteAction::Put { value: value.into(), lease };
        backend.write(vec![Write { path, expect: Expect::Any, action }]).await?;
        anyhow::Ok(())
    };
    // Somebody else writes: first a newer version, whose field is skipped, then what is no message.
    let next = NextAddress { ip: "10.0.0.2".into(), port: 8081, zone: "eu".into() };
    write("beta", next.encode_to_vec()).await?;
    while let Some(parcel) = parcels.next().await {
        match parcel {
            Parcel::Changes(changes) => {
                for change in changes.iter() {
                    println!("{} is told: {:?}", change.name, change.new.as_ref().map(|node| &node.address));
                }
                if changes.iter().any(|change| change.name.as_str() == "beta") {
                    write("garbage", vec![0xff; 3]).await?;
                }
            }
            Parcel::Notice(Notice::Undecodable { name, cause, .. }) => {
                println!("{name} is undecodable: {cause}");
                break;
            }
            Parcel::Notice(_) => {}
        }
    }
    drop(parcels);
    store.close().await?;
    Ok(())
}
