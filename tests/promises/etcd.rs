//! The same of a real etcd that is killed and started again under traffic, and of an observer of a store joined to it.

use std::sync::{Arc, Mutex};

use actix::prelude::*;
use shared_store::{Changes, Config, Observer, join};
use shared_store_core::backend::{Backend, WatchRequest, WatchResponse};
use shared_store_core::{EtcdBackend, EtcdConfig};

use super::collaborator::Told;
use super::history::{History, everything};
use super::*;
use crate::actors::{Node, PATIENCE};
use crate::support::{Connect, EtcdServer, Version};

/// An observer of every event that writes down what it is told.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<Told>>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Changes<Node>> for Listener {
    type Result = ();

    fn handle(&mut self, Changes(changes): Changes<Node>, _: &mut Self::Context) {
        self.0.lock().unwrap().extend(changes.iter().map(Told::from));
    }
}

fn backend(server: &EtcdServer) -> EtcdBackend {
    let config = EtcdConfig::new([server.endpoint()]).call_timeout(Duration::from_secs(1));
    EtcdBackend::new(config).unwrap()
}

/// Everything that happened up to a revision: a watch that nothing disturbs tells it, as nothing was compacted.
async fn history(server: &EtcdServer, end: Revision) -> History {
    let request = WatchRequest { range: everything(), start: Revision(1) };
    let mut stream = server.backend().watch(request).await.unwrap();
    let mut history = History::default();
    loop {
        let response = tokio::time::timeout(PATIENCE, stream.next()).await.expect("it goes on").unwrap();
        if let WatchResponse::Events(response) = response {
            let last = response.events[response.events.len() - 1].revision();
            response.events.into_iter().for_each(|event| history.push(event));
            if last >= end {
                return history;
            }
        }
    }
}

async fn killed_under_traffic(version: Version) {
    let mut server = EtcdServer::start_with(version, &["--experimental-watch-progress-notify-interval", "100ms"]);
    let faulty = Faulty::new(backend(&server));
    let mut random = Rng::with_seed(7);
    let mut traffic = Traffic::new(Arc::new(backend(&server)), 7);
    let (end, until) = watch::channel(Revision(u64::MAX));
    let collaborating = tokio::spawn(Collaborator::new(Arc::new(faulty.clone()), 7).run(until));
    let listener = Listener::default();
    let addr = Actor::start(listener.clone());
    let capacity = 100_000.try_into().unwrap();
    let observer = Observer::batched(&addr).mode(shared_store_core::DeliveryMode::EveryEvent { capacity });
    let config = Config::new(prefix()).shared_backend(Arc::new(faulty.clone())).seed(7);
    let store = join::<Node>(config).observer(observer).await.unwrap();
    for step in 1..=600 {
        traffic.step().await;
        if random.u8(..15) == 0 {
            fault(&faulty, &mut random);
        }
        if step % 200 == 0 {
            server.kill();
            server.restart();
        }
    }
    faulty.heal();
    let last = traffic.last().await;
    end.send_replace(last);
    let record = tokio::time::timeout(PATIENCE, collaborating).await.expect("it catches up").unwrap();
    crate::actors::settled(&store, last).await;
    store.release().await.unwrap();
    let history = history(&server, last).await;
    let seen = check::record(&history, &record);
    assert!(seen.events > 100 && seen.together > 20 && seen.told > 100, "{seen:?}");
    let told = listener.0.lock().unwrap();
    assert!(told.len() > 100, "{} changes", told.len());
    check::told(&history, &told);
}

#[test]
fn every_promise_is_kept_of_etcd_34_killed_under_traffic() {
    crate::etcd::on_etcd(killed_under_traffic(Version::V34));
}

#[test]
fn every_promise_is_kept_of_etcd_35_killed_under_traffic() {
    crate::etcd::on_etcd(killed_under_traffic(Version::V35));
}
