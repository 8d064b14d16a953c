//! What doing nothing costs: while nothing happens, while etcd answers nothing, and while there is no etcd.

use std::time::Duration;

use shared_store::{Config, SharedStore, join};
use shared_store_core::Prefix;

use crate::figures::{Figures, Meter, Phase};
use crate::node::{Node, PREFIX, connect, node};
use crate::raw;
use crate::store::backend;

const IDLE: Duration = Duration::from_secs(20);

/// How many of the keys are own ones.
const OWN: usize = 10_000;

/// The process that runs this one stops etcd after the first line, and kills it after the second.
async fn phases(figures: Figures) -> Figures {
    let idle = Phase::measure(IDLE).await;
    println!("stop");
    let stopped = Phase::measure(IDLE).await;
    println!("kill");
    let killed = Phase::measure(IDLE).await;
    Figures { phases: vec![idle, stopped, killed], ..figures }
}

pub(crate) async fn store(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let config = Config::new(Prefix::new(PREFIX).unwrap()).backend(backend(endpoint));
    let store: SharedStore<Node> = join(config).await.unwrap();
    store.update_local_keys((0..OWN).map(node).collect()).await.unwrap();
    while store.status().await.unwrap().pending_writes > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((store.reader().len(), store.status().await.unwrap().own), (count, OWN));
    phases(meter.stop(count)).await
}

/// A list, own keys under leases, and a watch that is opened again every second while it fails.
pub(crate) async fn raw(endpoint: &str, count: usize) -> Figures {
    let meter = Meter::start();
    let client = connect(endpoint).await;
    let (map, revision) = raw::list(&client).await;
    let nodes: Vec<_> = (0..OWN).map(node).collect();
    raw::put_all(&client, &nodes, raw::put).await;
    assert_eq!(map.len(), count);
    actix_rt::spawn(async move {
        loop {
            if let Ok(mut watch) = raw::try_watch(&client, revision + 1).await {
                while let Ok(Some(_)) = watch.message().await {}
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    phases(meter.stop(count)).await
}
