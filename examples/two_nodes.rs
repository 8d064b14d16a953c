//! A node that publishes itself to etcd and prints the others: run it in two terminals.
//!
//! ```console
//! $ cargo run --features etcd --example two_nodes -- alpha http://127.0.0.1:2379
//! $ cargo run --features etcd --example two_nodes -- beta http://127.0.0.1:2379
//! ```

use actix::prelude::*;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use shared_store::{Config, Delete, EtcdBackend, EtcdConfig, Json, Key, Observer, Prefix, StateChanged, Update, join};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    name: String,
    pid: u32,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

struct Printer;

impl Actor for Printer {
    type Context = actix::Context<Self>;
}

impl Handler<Update<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, Update { key, origin, .. }: Update<Node>, _: &mut Self::Context) {
        println!("{} is here, process {} ({origin:?})", key.name, key.pid);
    }
}

impl Handler<Delete<Node>> for Printer {
    type Result = ();

    fn handle(&mut self, Delete { name, .. }: Delete<Node>, _: &mut Self::Context) {
        println!("{name} has left");
    }
}

impl Handler<StateChanged> for Printer {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        println!("[{state}]");
    }
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("usage: two_nodes NAME [ENDPOINT]")?;
    let endpoint = arguments.next().unwrap_or_else(|| "http://127.0.0.1:2379".to_owned());

    let config = Config::new(Prefix::new("examples/two-nodes")?)
        .backend(EtcdBackend::new(EtcdConfig::new([endpoint]))?)
        .list_timeout(std::time::Duration::from_secs(10));
    let printer = Printer.start();
    let store =
        join::<Node>(config).observer(Observer::new(&printer)).state_observer(printer.clone().recipient()).await?;
    store.update_local_key(Node { name, pid: std::process::id() }).await?;

    tokio::signal::ctrl_c().await?;
    store.close().await?;
    Ok(())
}
