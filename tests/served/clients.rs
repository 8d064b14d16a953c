//! What etcd's own client meets: limits, several watches on one stream, progress.

use std::time::Duration;

use shared_store_core::backend::Backend;
use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::backend::etcd::served::client::proto::PbWatchResponse;
use shared_store_core::backend::etcd::served::client::{
    Client, Compare, CompareOp, Error, PutOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use shared_store_core::{LeaseId, Revision};

const PATIENCE: Duration = Duration::from_secs(20);

async fn served() -> (ServedEtcd, Client) {
    let served = ServedEtcd::start().unwrap();
    let client = Client::connect([served.endpoint()], None).await.unwrap();
    (served, client)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
        other => panic!("{other:?}"),
    }
}

async fn next(stream: &mut WatchStream) -> PbWatchResponse {
    let response = tokio::time::timeout(PATIENCE, stream.message()).await.expect("the stream says something");
    response.unwrap().expect("the stream is open").0
}

#[tokio::test]
async fn requests_beyond_the_limits_are_refused_and_apply_nothing() {
    let (served, mut client) = served().await;
    let large = vec![b'x'; (3 << 19) - 100];
    client.put("a", large.clone(), None).await.unwrap();
    let too_large = [large, vec![b'x'; 200]].concat();
    assert_eq!(refusal(client.put("a", too_large, None).await), "InvalidArgument: etcdserver: request is too large");
    let much_too_large = vec![b'x'; 4 << 20];
    assert!(refusal(client.put("a", much_too_large, None).await).contains("too large"));
    let puts: Vec<_> = (0..129).map(|n| TxnOp::put(format!("k{n}"), "", None)).collect();
    let too_many = refusal(client.txn(Txn::new().and_then(puts)).await);
    assert_eq!(too_many, "InvalidArgument: etcdserver: too many operations in txn request");
    let nested = (0..200).fold(Txn::new(), |inner, _| Txn::new().and_then([TxnOp::txn(inner)]));
    assert!(client.txn(nested).await.is_err());
    assert_eq!(served.memory().revision(), Revision(2));
    client.put("a", "", None).await.unwrap();
}

#[tokio::test]
async fn one_stream_has_many_watches_which_end_one_by_one() {
    let (_served, mut client) = served().await;
    let mut stream = client.watch("a", Some(WatchOptions::new().with_prefix())).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 0);
    stream.watch("b", Some(WatchOptions::new().with_watch_id(1))).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 1);
    stream.watch("b", Some(WatchOptions::new().with_watch_id(1))).await.unwrap();
    let refused = next(&mut stream).await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    stream.watch("c", None).await.unwrap();
    assert_eq!(next(&mut stream).await.watch_id, 2, "1 is taken");
    stream.watch("d", Some(WatchOptions::new().with_range("c"))).await.unwrap();
    assert_eq!(next(&mut stream).await.cancel_reason, "mvcc: watcher range is empty");
    stream.cancel(0).await.unwrap();
    let canceled = next(&mut stream).await;
    assert_eq!((canceled.watch_id, canceled.canceled), (0, true));
    client.put("a", "1", None).await.unwrap();
    client.put("b", "2", None).await.unwrap();
    let told = next(&mut stream).await;
    assert_eq!((told.watch_id, told.events.len()), (1, 1));
    stream.cancel(1).await.unwrap();
    assert!(next(&mut stream).await.canceled);
    stream.watch("b", Some(WatchOptions::new().with_watch_id(1).with_start_revision(3))).await.unwrap();
    assert!(next(&mut stream).await.created, "the id is free again");
    assert_eq!(next(&mut stream).await.events[0].kv.as_ref().unwrap().value, b"2");
}

#[tokio::test]
async fn progress_on_request_comes_after_the_events_of_its_revision() {
    let (served, mut client) = served().await;
    for n in 0..3000 {
        client.put(format!("a{}", n % 7), "1", None).await.unwrap();
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(2);
    let mut stream = client.watch("a", Some(options)).await.unwrap();
    stream.watch("b", None).await.unwrap();
    stream.request_progress().await.unwrap();
    let (mut events, newest) = (0, served.memory().revision());
    let progress = loop {
        let response = next(&mut stream).await;
        events += response.events.len();
        if !response.created && response.events.is_empty() {
            break response;
        }
    };
    assert_eq!((progress.watch_id, events), (-1, 3000));
    assert_eq!(progress.header.unwrap().revision, newest.0.cast_signed());
}

#[tokio::test]
async fn large_changes_come_in_fragments_if_the_client_takes_them() {
    let (_served, mut client) = served().await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    for n in 0..5 {
        let options = PutOptions::new().with_lease(lease);
        client.put(format!("a{n}"), vec![b'x'; 1 << 20], Some(options)).await.unwrap();
    }
    let options = WatchOptions::new().with_prefix().with_prev_key().with_fragment();
    let mut stream = client.watch("a", Some(options)).await.unwrap();
    assert!(next(&mut stream).await.created);
    client.lease_revoke(lease).await.unwrap();
    for n in 0..5 {
        let response = next(&mut stream).await;
        assert_eq!((response.events.len(), response.fragment), (1, n < 4));
        assert_eq!(response.events[0].prev_kv.as_ref().unwrap().value.len(), 1 << 20);
    }
}

#[tokio::test]
async fn a_watch_whose_client_does_not_read_is_cancelled_when_the_history_it_needs_is_gone() {
    let (served, mut client) = served().await;
    let mut stream = client.watch("a", None).await.unwrap();
    assert!(next(&mut stream).await.created);
    // More than connection and stream take in.
    for _ in 0..40 {
        client.put("a", vec![b'x'; 1 << 20], None).await.unwrap();
    }
    served.memory().compact(served.memory().revision()).unwrap();
    client.put("a", "last", None).await.unwrap();
    let last = loop {
        let response = next(&mut stream).await;
        if response.canceled || response.events.iter().any(|event| event.kv.as_ref().unwrap().value == b"last") {
            break response;
        }
    };
    assert_eq!((last.canceled, last.compact_revision), (true, 41));
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes_and_is_one_revision() {
    let (served, mut client) = served().await;
    let lease = LeaseId(client.lease_grant(60, None).await.unwrap().id());
    let when = [Compare::version("a", CompareOp::Equal, 0)];
    let put = TxnOp::put("a", "1", Some(PutOptions::new().with_lease(lease.0)));
    let inner = Txn::new()
        .when([Compare::version("a", CompareOp::Greater, 0)])
        .and_then([])
        .or_else([TxnOp::put("b", "2", None)]);
    let txn = Txn::new().when(when).and_then([put, TxnOp::txn(inner), TxnOp::get("a", None)]);
    let answer = client.txn(txn).await.unwrap();
    assert_eq!((answer.succeeded(), served.memory().revision()), (true, Revision(2)));
    assert!(format!("{:?}", answer.0.responses[2]).contains("mod_revision: 2"));
    assert_eq!(client.get("b", None).await.unwrap().kvs().len(), 1, "comparisons are made before anything is written");
    assert!(served.memory().lease_time(lease).await.is_ok());
}
