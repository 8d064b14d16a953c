//! The same random requests to the served kvstore and to real etcds: equal answers, revisions included.

mod requests;

use std::fmt::Write as _;
use std::time::Duration;

use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::backend::etcd::served::client::proto::PbResponseHeader;
use shared_store_core::backend::etcd::served::client::{Client, Error, LeaseTimeToLiveOptions};

use self::requests::{Dice, Request, Watching};
use crate::support::{EtcdServer, Version};

const PATIENCE: Duration = Duration::from_secs(20);
/// How many requests a seed stands for.
const REQUESTS: usize = 800;

/// An answer in words, without what differs between clusters.
fn words<T: std::fmt::Debug>(
    answer: Result<T, Error>,
    header: impl FnOnce(&mut T) -> &mut Option<PbResponseHeader>,
) -> String {
    match answer {
        Ok(mut answer) => {
            if let Some(header) = header(&mut answer) {
                (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
            }
            format!("{answer:?}")
        }
        Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(error) => panic!("{error}"),
    }
}

async fn answer(client: &mut Client, request: Request) -> String {
    match request {
        Request::Get(key, options) => {
            words(client.get(key, Some(options)).await.map(|answer| answer.0), |answer| &mut answer.header)
        }
        Request::Put(key, value, options) => {
            words(client.put(key, value, Some(options)).await.map(|answer| answer.0), |answer| &mut answer.header)
        }
        Request::Delete(key, options) => {
            words(client.delete(key, Some(options)).await.map(|answer| answer.0), |answer| &mut answer.header)
        }
        Request::Txn(txn) => words(client.txn(txn).await.map(|answer| answer.0), |answer| &mut answer.header),
        Request::Compact(revision) => {
            words(client.compact(revision, None).await.map(|answer| answer.0), |answer| &mut answer.header)
        }
        Request::Grant(ttl, options) => {
            words(client.lease_grant(ttl, Some(options)).await.map(|answer| answer.0), |answer| &mut answer.header)
        }
        Request::Revoke(id) => words(client.lease_revoke(id).await.map(|answer| answer.0), |answer| &mut answer.header),
        Request::KeepAlive(id) => {
            let (mut keeper, mut answers) = match client.lease_keep_alive(id).await {
                Ok(both) => both,
                // The client says so of a lease that is gone.
                Err(error) => return error.to_string(),
            };
            keeper.keep_alive().await.unwrap();
            let answer = answers.message().await.map(|answer| answer.expect("the stream is open").0);
            words(answer, |answer| &mut answer.header)
        }
        Request::TimeToLive(id) => {
            let options = LeaseTimeToLiveOptions::new().with_keys();
            let answer = client.lease_time_to_live(id, Some(options)).await.map(|answer| {
                let mut answer = answer.0;
                // The time passes, and the keys of a lease are in no order.
                answer.ttl = answer.ttl.min(1);
                answer.keys.sort();
                answer
            });
            words(answer, |answer| &mut answer.header)
        }
        Request::Leases => words(client.leases().await.map(|answer| answer.0), |answer| &mut answer.header),
        Request::Watch(watching) => watched(client, watching).await,
    }
}

/// What a watch tells of its range up to now, and of a last put and deletion of its first key.
async fn watched(client: &mut Client, Watching { key, options, deletions }: Watching) -> String {
    let mut told = String::new();
    let mut stream = client.watch(key, Some(options)).await.unwrap();
    let last = client.put(key, "last", None).await.unwrap().0.header.unwrap().revision;
    client.delete(key, None).await.unwrap();
    let last = if deletions { last + 1 } else { last };
    loop {
        let response = tokio::time::timeout(PATIENCE, stream.message()).await.expect(&told);
        let response = response.unwrap().expect("the stream is open").0;
        let ended = response.canceled;
        if response.created || ended {
            let (id, reason, compacted) = (response.watch_id, response.cancel_reason, response.compact_revision);
            let revision = response.header.unwrap().revision;
            writeln!(told, "created {} {id} {ended} {reason:?} {compacted} at {revision}", response.created).unwrap();
        }
        for event in &response.events {
            writeln!(told, "{event:?}").unwrap();
        }
        if ended || response.events.iter().any(|event| event.kv.as_ref().unwrap().mod_revision >= last) {
            return told;
        }
    }
}

async fn compare(version: Version, seed: u64) {
    let (etcd, served) = (EtcdServer::start(version), ServedEtcd::start().unwrap());
    let mut real = Client::connect([etcd.endpoint()], None).await.unwrap();
    let mut ours = Client::connect([served.endpoint()], None).await.unwrap();
    let mut dice = Dice::new(seed);
    for n in 0..REQUESTS {
        let revision = i64::try_from(served.memory().revision().0).unwrap();
        let request = dice.request(revision);
        let shown = format!("seed {seed}, request {n}: {request:?}");
        let expected = answer(&mut real, request.clone()).await;
        assert_eq!(answer(&mut ours, request).await, expected, "{shown}");
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=3).chain([fastrand::u64(..)]).collect(),
    }
}

#[tokio::test]
async fn random_requests_have_the_answers_of_etcd_3_5() {
    for seed in seeds() {
        println!("SEED={seed}");
        compare(Version::V35, seed).await;
    }
}

#[tokio::test]
async fn random_requests_have_the_answers_of_etcd_3_4() {
    for seed in seeds() {
        println!("SEED={seed}");
        compare(Version::V34, seed).await;
    }
}
