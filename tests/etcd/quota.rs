//! An etcd whose space is used up.

use shared_store_core::BackendError;
use shared_store_core::backend::{Applied, WatchResponse};

use super::backend::{everything, from_the_start, put};
use super::*;

/// What needs no space works. Not in 3.5.1: there it is used up for every transaction, also for one that only deletes.
async fn what_needs_no_space_works_when_it_is_used_up_and_writes_work_again_once_there_is_some(version: Version) {
    let server = EtcdServer::start_with(version, &["--quota-backend-bytes=2097152"]);
    let backend = server.backend();
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    let value = vec![b'x'; 100_000];
    let error = loop {
        if let Err(error) = backend.write(put(&value)).await {
            break error;
        }
    };
    let cause = format!(
        "etcd at {}: etcdserver: mvcc: database space exceeded: compact and defragment etcd, then disarm its NOSPACE \
         alarm",
        server.endpoint()
    );
    assert_eq!(error, BackendError::Unavailable { cause: cause.clone().into(), applied: Applied::No });
    assert_eq!(backend.grant(LeaseId::NONE, Duration::from_secs(60)).await, Err(BackendError::unreachable(&cause)));
    // What is there can be read, kept and deleted.
    assert_eq!(backend.keep_alive(lease).await, Ok(Duration::from_secs(60)));
    let revision = backend.list(everything()).await.unwrap().header.revision;
    let mut watch = backend.watch(from_the_start()).await.unwrap();
    assert!(matches!(watch.next().await, Ok(WatchResponse::Events(_))));
    let path = prefix().path(&KeyName::new("a").unwrap());
    let deleted = backend.write(vec![Write { path, expect: Expect::Any, action: WriteAction::Delete }]).await;
    match version {
        Version::V34 => assert_eq!(deleted, Ok(WriteOutcome::Committed { revision: revision.next() })),
        Version::V35 => assert_eq!(deleted, Err(BackendError::unreachable(&cause))),
    }
    backend.revoke(lease).await.unwrap();
    // What its operator does.
    backend.compact(revision).await.unwrap();
    server.etcdctl(&["defrag"]);
    server.etcdctl(&["alarm", "disarm"]);
    backend.write(put(&value)).await.unwrap();
}

on_both! {
    what_needs_no_space_works_when_it_is_used_up_and_writes_work_again_once_there_is_some
}
