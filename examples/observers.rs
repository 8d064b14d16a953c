//! Three ways to observe: a late observer, a filtered one, and a routing table built from shared batches.
//!
//! `cargo run --example observers`

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use shared_store::{
    Changes, Config, Delete, Filter, Json, Key, KeyName, Observer, Prefix, Revision, SharedStore, Synced, Update, join,
};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    ip: String,
    healthy: bool,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

fn node(name: &str, ip: &str, healthy: bool) -> Node {
    Node { name: name.into(), ip: ip.into(), healthy }
}

/// Prints what it is told, under a name.
struct Printer(&'static str);

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<Update<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, update: Update<Node>, _: &mut Self::Context) {
        let what = if update.old.is_none() { "create" } else { "update" };
        println!("  {}: {what} {} {}", self.0, update.name, update.key.ip);
    }
}

impl Handler<Delete<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Node>, _: &mut Self::Context) {
        println!("  {}: delete {}", self.0, delete.name);
    }
}

impl Handler<Synced> for Printer {
    type Result = ();

    fn handle(&mut self, synced: Synced, _: &mut Self::Context) {
        println!("  {}: synced, {} keys", self.0, synced.entries);
    }
}

/// Routes by address. Takes many changes in one message, shared with every other observer that is told the same.
#[derive(Default)]
struct Routes(BTreeMap<String, KeyName>);

impl Actor for Routes {
    type Context = Context<Self>;
}

impl Handler<Changes<Node>> for Routes {
    type Result = ();

    fn handle(&mut self, Changes(changes): Changes<Node>, _: &mut Self::Context) {
        for change in changes.iter() {
            // What was told before says which route is out of date.
            if let Some(old) = &change.old {
                self.0.remove(&old.ip);
            }
            if let Some(new) = &change.new {
                self.0.insert(new.ip.clone(), change.name.clone());
            }
        }
    }
}

#[derive(Message)]
#[rtype(result = "Vec<String>")]
struct Table;

impl Handler<Table> for Routes {
    type Result = Vec<String>;

    fn handle(&mut self, _: Table, _: &mut Self::Context) -> Self::Result {
        self.0.iter().map(|(ip, name)| format!("{ip} -> {name}")).collect()
    }
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let routes = Routes::default().start();
    let config = Config::new(Prefix::new("nodes")?);
    let store = join::<Node>(config).observer(Observer::batched(&routes)).await?;

    println!("two nodes are there before anybody observes them one by one");
    store.update_local_key_sync(node("eu/a", "10.0.0.1", true)).await?;
    settle(&store, store.update_local_key_sync(node("us/b", "10.1.0.1", true)).await?).await?;

    println!("a late observer is told what is there, then that it is synced");
    let late = Printer("late").start();
    store.subscribe(Observer::new(&late).synced(late.clone().recipient())).await?;
    settle(&store, store.reader().revision()).await?;

    println!("one that wants only healthy nodes in eu/");
    let filtered = Printer("healthy in eu").start();
    let filter = Filter::new().glob("eu/*").keys(|_, node: &Node| node.healthy);
    store.subscribe(Observer::new(&filtered).filter(filter).synced(filtered.clone().recipient())).await?;
    settle(&store, store.reader().revision()).await?;

    println!("eu/a falls ill: a deletion for the one, an update for the other");
    settle(&store, store.update_local_key_sync(node("eu/a", "10.0.0.1", false)).await?).await?;

    println!("eu/a recovers at another address");
    settle(&store, store.update_local_key_sync(node("eu/a", "10.0.0.2", true)).await?).await?;

    println!("routes: {:?}", routes.send(Table).await?);
    store.close().await?;
    Ok(())
}

/// Waits until the cache shows a write and every observer has handled it.
async fn settle(store: &SharedStore<Node>, written: Revision) -> anyhow::Result<()> {
    store.reader().at_least(written, Duration::from_secs(5)).await?;
    while store.status().await?.observers.iter().any(|(_, lag)| lag.pending > 0) {
        tokio::task::yield_now().await;
    }
    Ok(())
}
