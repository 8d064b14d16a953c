//! What another client was told is written can be read after `catch_up`.

use futures_util::future::join_all;
use shared_store::{Config, SharedStore, State, join};
use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::backend::faulty::Op;

use super::compaction::synced;
use super::*;
use crate::actors::node;
use crate::support::GrpcProxy;

const ROUNDS: usize = 200;

on_both! {
    a_write_acknowledged_to_another_client_is_read
    a_write_acknowledged_through_a_proxy_is_read
}

async fn joined(endpoint: &str) -> SharedStore<Node> {
    let backend = EtcdBackend::new(EtcdConfig::new([endpoint])).unwrap();
    join::<Node>(Config::new(prefix()).backend(backend).audit_interval(Duration::ZERO)).await.unwrap()
}

/// Writes elsewhere in every other round, so that the newest revision is not one of an event.
async fn rounds(store: &SharedStore<Node>, other: &EtcdBackend) {
    let value = |ip: usize| serde_json::to_vec(&node("a", &ip.to_string())).unwrap().into();
    for round in 0..ROUNDS {
        let gone = round % 5 == 4;
        let put = WriteAction::Put { value: value(round), lease: LeaseId::NONE };
        let mut written = meddle(other, "a", if gone { WriteAction::Delete } else { put }).await;
        if round % 2 == 1 {
            let action = WriteAction::Put { value: "1".into(), lease: LeaseId::NONE };
            let elsewhere = Write { path: "elsewhere".into(), expect: Expect::Any, action };
            let outcome = other.write(vec![elsewhere]).await.unwrap();
            let WriteOutcome::Committed { revision } = outcome else { panic!("{outcome:?}") };
            written = revision;
        }
        let shown = store.catch_up(PATIENCE).await.unwrap();
        assert!(shown >= written && store.reader().revision() >= shown, "round {round}: {written} {shown}");
        let read = store.reader().get("a").map(|node| node.ip.clone());
        assert_eq!(read, (!gone).then(|| round.to_string()), "round {round}");
    }
    assert_eq!(store.reader().state(), State::Synced);
}

async fn a_write_acknowledged_to_another_client_is_read(version: Version) {
    let server = EtcdServer::start(version);
    let store = joined(&server.endpoint()).await;
    rounds(&store, &server.backend()).await;
    // One for each write elsewhere: watches of these versions are not asked. On a busy machine some more.
    let relists = store.status().await.unwrap().relists;
    assert!(relists.lists > ROUNDS as u64 / 2 && relists.other_histories == 0, "{relists:?}");
    store.close().await.unwrap();
}

/// The proxy merges the watches of both stores. It ignores requests for progress.
async fn a_write_acknowledged_through_a_proxy_is_read(version: Version) {
    let server = EtcdServer::start(version);
    let proxy = GrpcProxy::to(version, &server);
    let stores = [joined(&proxy.endpoint()).await, joined(&proxy.endpoint()).await];
    for store in &stores {
        synced(store).await;
    }
    let other = server.backend();
    rounds(&stores[1], &other).await;
    for store in &stores {
        store.close().await.unwrap();
    }
}

/// A server with etcd's API and a version that is asked.
#[test]
fn a_write_elsewhere_costs_a_request_for_progress_where_that_can_be_asked_for() {
    on_etcd(async {
        let served = ServedEtcd::start().unwrap();
        let store = joined(&served.endpoint()).await;
        let lists = served.faults().calls(Op::List);
        rounds(&store, &served.backend()).await;
        let relists = store.status().await.unwrap().relists.lists;
        // On a busy machine an answer may be late.
        assert!(relists < 10 && served.faults().progress_requests() >= ROUNDS / 2, "{relists}");
        assert!(served.faults().calls(Op::List) <= lists + ROUNDS + 20);
        let lists = served.faults().calls(Op::List);
        let many = join_all((0..100).map(|_| store.catch_up(PATIENCE))).await;
        assert!(many.iter().all(Result::is_ok), "{many:?}");
        assert!(served.faults().calls(Op::List) <= lists + 2);
        store.close().await.unwrap();
    });
}

/// etcd's own proxy does not pass a request for progress on: a list comes after it.
#[test]
fn a_proxy_that_ignores_requests_for_progress_does_not_hang_a_read() {
    on_etcd(async {
        let served = ServedEtcd::start().unwrap();
        let proxy = GrpcProxy::to_endpoint(Version::V35, &served.endpoint());
        let store = joined(&proxy.endpoint()).await;
        let action = WriteAction::Put { value: "1".into(), lease: LeaseId::NONE };
        let elsewhere = Write { path: "elsewhere".into(), expect: Expect::Any, action };
        served.backend().write(vec![elsewhere]).await.unwrap();
        assert_eq!(store.catch_up(PATIENCE).await, Ok(served.memory().revision()));
        assert_eq!((served.faults().progress_requests(), store.reader().state()), (0, State::Synced));
        store.close().await.unwrap();
    });
}
