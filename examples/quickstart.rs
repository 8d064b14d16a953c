//! Two collaborators share their nodes through one embedded kvstore: no etcd, no protoc.
//!
//! `cargo run --example quickstart`

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use shared_store::{Config, Delete, Json, Key, MemoryBackend, Observer, Prefix, Synced, Update, join};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    ip: String,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Prints what it is told.
struct Printer;

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, _: &mut Self::Context) {
        let was = update.old.map_or_else(|| "new".to_owned(), |old| format!("was {}", old.ip));
        println!("  update {} = {} ({was}, revision {})", update.name, update.key.ip, update.revision);
    }
}

impl Handler<Delete<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Node>, _: &mut Self::Context) {
        println!("  delete {} (revision {})", delete.name, delete.revision);
    }
}

impl Handler<Synced> for Printer {
    type Result = ();

    fn handle(&mut self, synced: Synced, _: &mut Self::Context) {
        println!("  synced: {} keys at revision {}", synced.entries, synced.revision);
    }
}

fn node(name: &str, ip: &str) -> Node {
    Node { name: name.into(), ip: ip.into() }
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let kvstore = MemoryBackend::new();
    let config = || -> anyhow::Result<Config> {
        Ok(Config::new(Prefix::new("cilium/state/nodes/v1")?).backend(kvstore.clone()))
    };

    println!("alpha joins and publishes its node");
    let alpha = join::<Node>(config()?).await?;
    alpha.update_local_key_sync(node("alpha", "10.0.0.1")).await?;

    println!("beta joins with an observer, which is told what is there");
    let printer = Printer.start();
    let observer = Observer::new(&printer).synced(printer.clone().recipient());
    let beta = join::<Node>(config()?).observer(observer).await?;

    println!("beta publishes its own node, and alpha moves to another address");
    let published = beta.update_local_key_sync(node("beta", "10.0.0.2")).await?;
    let moved = alpha.update_local_key_sync(node("alpha", "10.0.0.9")).await?;
    beta.reader().at_least(moved.max(published), std::time::Duration::from_secs(5)).await?;
    println!("beta reads alpha = {:?}", beta.reader().get("alpha").map(|node| node.ip.clone()));

    println!("alpha leaves, and beta follows");
    alpha.close().await?;
    let mut reader = beta.reader().clone();
    while reader.get("alpha").is_some() {
        reader.changed().await?;
    }
    beta.close().await?;
    Ok(())
}
