//! Members behind etcd's own gRPC proxy, which merges their watches and answers for etcd.

use shared_store::{Config, DeletionGuard, SharedStore, State, join, publish};

use super::compaction::synced;
use super::*;
use crate::actors::node;
use crate::support::{GrpcProxy, Proxy};

async fn members(endpoint: &str, audit: Duration) -> Vec<SharedStore<Node>> {
    let mut members = Vec::new();
    for seed in 0..4 {
        let backend = EtcdBackend::new(EtcdConfig::new([endpoint])).unwrap();
        // Long enough for owners, if there were any.
        let guard = DeletionGuard { hold: Duration::from_secs(1), ..DeletionGuard::default() };
        let config = Config::new(prefix()).backend(backend).audit_interval(audit).deletion_guard(guard).seed(seed);
        members.push(join::<Node>(config).await.unwrap());
    }
    members
}

/// How often each has listed.
async fn lists(members: &[SharedStore<Node>]) -> Vec<u64> {
    let mut lists = Vec::new();
    for member in members {
        lists.push(member.status().await.unwrap().relists.lists);
    }
    lists
}

async fn four_idle_members_are_synced_and_list_once(version: Version) {
    let server = EtcdServer::start(version);
    let proxy = GrpcProxy::to(version, &server);
    let members = members(&proxy.endpoint(), Duration::ZERO).await;
    for member in &members {
        synced(member).await;
    }
    let stale = futures_util::future::select_all(members.iter().map(|member| {
        let reader = member.reader().clone();
        Box::pin(async move { reader.state_changed(&State::Synced).await })
    }));
    // Longer than any back-off.
    let stale = tokio::time::timeout(Duration::from_secs(6), stale).await;
    assert!(stale.is_err(), "they stay synced: {:?}", stale.map(|(state, ..)| state));
    assert_eq!(lists(&members).await, [1; 4]);
    // They see changes.
    let key = node("a", "1");
    members[0].update_local_key(key).await.unwrap();
    for member in &members {
        let seen = async {
            while member.reader().is_empty() {
                member.reader().clone().changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
    }
    for member in &members {
        let report = member.audit(PATIENCE).await.unwrap();
        assert_eq!((report.keys, report.differences.len()), (1, 0));
    }
    for member in &members {
        member.close().await.unwrap();
    }
}

async fn members_cut_off_from_their_proxy_are_synced_again_after_a_list_each(version: Version) {
    let server = EtcdServer::start(version);
    let proxy = GrpcProxy::to(version, &server);
    let way = Proxy::to(&proxy.endpoint());
    let members = members(&way.endpoint(), Duration::ZERO).await;
    for member in &members {
        synced(member).await;
    }
    way.cut();
    for member in &members {
        member.reader().state_changed(&State::Synced).await;
    }
    for member in &members {
        synced(member).await;
    }
    // Longer than any back-off after which a member would list again.
    real_time(Duration::from_secs(6)).await;
    let lists = lists(&members).await;
    assert!(lists.iter().all(|lists| *lists <= 2), "{lists:?}");
    for member in &members {
        assert_eq!(member.reader().state(), State::Synced);
        member.close().await.unwrap();
    }
}

async fn an_etcd_wiped_behind_its_proxy_is_found_by_the_audit(version: Version) {
    let mut server = EtcdServer::start(version);
    let proxy = GrpcProxy::to(version, &server);
    let put = |name: &'static str| {
        let value = serde_json::to_vec(&node(name, "1")).unwrap().into();
        let backend = server.backend();
        async move { meddle(&backend, name, WriteAction::Put { value, lease: LeaseId::NONE }).await }
    };
    put("lost").await;
    let members = members(&proxy.endpoint(), Duration::from_secs(2)).await;
    for member in &members {
        synced(member).await;
    }
    server.kill();
    server.wipe();
    server.restart();
    for member in &members {
        let told = async {
            while !member.reader().is_empty() {
                member.reader().clone().changed().await.unwrap();
            }
        };
        let told = tokio::time::timeout(PATIENCE / 4, told).await;
        assert!(told.is_ok(), "the audit does not find it: {:?}", member.status().await.unwrap());
        assert_eq!(member.status().await.unwrap().relists.other_histories, 1);
        member.close().await.unwrap();
    }
}

async fn a_publisher_ends_with_its_keys_in_the_kvstore(version: Version) {
    let server = EtcdServer::start(version);
    let proxy = GrpcProxy::to(version, &server);
    // Their watches are merged with the one of the publisher.
    let members = members(&proxy.endpoint(), Duration::ZERO).await;
    let backend = EtcdBackend::new(EtcdConfig::new([proxy.endpoint()])).unwrap();
    let publisher = publish::<Node>(Config::new(prefix()).backend(backend)).start().unwrap();
    publisher.update_keys((0..10).map(|n| node(&n.to_string(), "1")).collect()).await.unwrap();
    let status = tokio::time::timeout(PATIENCE, publisher.synced()).await.unwrap().unwrap();
    assert_eq!((status.own, status.pending), (10, 0));
    publisher.close().await.unwrap();
    for member in &members {
        synced(member).await;
        member.close().await.unwrap();
    }
}

on_both! {
    four_idle_members_are_synced_and_list_once
    members_cut_off_from_their_proxy_are_synced_again_after_a_list_each
    an_etcd_wiped_behind_its_proxy_is_found_by_the_audit
    a_publisher_ends_with_its_keys_in_the_kvstore
}
