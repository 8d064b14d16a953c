//! Several sources with one target, and sources that are away.

use shared_store_support::eventually;

use super::*;

fn start_cluster(name: &str, source: impl Backend, target: impl Backend) -> Mirror {
    let config = MirrorConfig::cilium(name, Arc::new(source), Arc::new(target));
    Mirror::start_on(config, StoreThread::current()).unwrap()
}

#[test]
fn mirrors_of_two_clusters_leave_each_others_copies_alone() {
    paused(async {
        let (one, two, target) = (cluster().await, MemoryBackend::new(), MemoryBackend::new());
        put(&two, "cilium/cluster-config/c4", r#"{"id":4}"#).await;
        put(&two, "cilium/state/nodes/v1/c4/n1", "4").await;
        let faulty = Faulty::new(target.clone());
        let first = start_cluster("c3", one.clone(), faulty.clone());
        until(async || is_ready(&first).await).await;
        let mut mirrors = vec![first, start_cluster("c4", two.clone(), target.clone())];
        until(async || is_ready(&mirrors[1]).await).await;
        let deleted = deletions(&target).await;
        let before = target.revision();
        // Its publishers list what is below their prefixes.
        faulty.break_watches(BackendError::Compacted { oldest: before });
        // Past every sync interval, keep-alive and audit.
        pass(Duration::from_secs(2 * 3600)).await;
        let all = 1 + 4 + 5 + 1 + 1 + 5;
        assert_eq!((paths(&target).await.len(), deleted.lock().unwrap().len()), (all, 0));
        assert_eq!(target.revision(), before, "nothing was written in two hours");
        // One of them starts again, and later leaves.
        drop(mirrors.remove(0));
        pass(Duration::from_secs(1)).await;
        let again = start_cluster("c3", one.clone(), target.clone());
        until(async || is_ready(&again).await).await;
        pass(Duration::from_secs(3600)).await;
        assert_eq!(paths(&target).await.len(), all);
        let other = get(&target, "cilium/cluster-config/c4").await.unwrap();
        assert!(other.mod_revision <= before, "it was never put again");
        again.remove().await.unwrap();
        assert_eq!(paths(&target).await.len(), 1 + 1 + 5);
    });
}

#[test]
fn a_source_that_was_never_reached_says_why() {
    paused(async {
        let source = Faulty::new(cluster().await);
        source.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("connection refused"));
        let mirror = start_cluster("c3", source.clone(), MemoryBackend::new());
        until(async || mirror.status().await.unwrap().problem.is_some()).await;
        assert_eq!(mirror.status().await.unwrap().to_string(), "c3: not connected: connection refused");
        source.heal();
        until(async || is_ready(&mirror).await).await;
    });
}

#[test]
fn a_release_does_not_cut_a_deletion_of_the_copies_short() {
    paused(async {
        let target = MemoryBackend::new();
        let faulty = Faulty::new(target.clone());
        let mirror = start_cluster("c3", cluster().await, faulty.clone());
        until(async || is_ready(&mirror).await).await;
        let leaving = mirror.clone();
        let left = actix_rt::spawn(async move { leaving.remove().await });
        until(async || get(&target, CLUSTER_CONFIG).await.is_none()).await;
        faulty.hold(Op::Revoke, When::Before);
        // The grace is over; a close may take ten seconds.
        pass(Duration::from_secs(181)).await;
        let releasing = mirror.clone();
        let released = actix_rt::spawn(async move { releasing.release().await });
        pass(Duration::from_secs(1)).await;
        faulty.release(Op::Revoke);
        assert_eq!((left.await.unwrap(), released.await.unwrap()), (Ok(()), Ok(())));
        assert_eq!(paths(&target).await, <[&str; 0]>::default());
    });
}

/// Each has a thread of its own, which ends when nobody holds it.
#[actix_rt::test]
async fn a_mirror_and_a_heartbeat_run_on_backends_without_a_thread() {
    let (source, target) = (cluster().await, MemoryBackend::new());
    let config = MirrorConfig::cilium("c3", Arc::new(source), Arc::new(target.clone()));
    let (mirror, _heartbeat) = (Mirror::start(config).unwrap(), Heartbeat::start(Arc::new(target.clone())).unwrap());
    let look = async || (is_ready(&mirror).await, get(&target, "cilium/.heartbeat").await.is_some());
    eventually("both work", PATIENCE, look, |seen| *seen == (true, true)).await;
    mirror.release().await.unwrap();
}

/// A path and its value; the time as Cilium's Go programs write it (RFC 3339) is shown as such.
fn line(kv: &KeyValue) -> String {
    let is_time = std::str::from_utf8(&kv.value).is_ok_and(|text| {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        shape == "0000-00-00T00:00:00Z"
    });
    let value = if is_time { "<time>".to_owned() } else { kv.value.escape_ascii().to_string() };
    format!("{} = {value}\n", kv.path.escape_ascii())
}

#[test]
fn what_is_written_for_a_cluster_of_cilium_is_byte_for_byte_what_the_file_shows() {
    paused(async {
        let (source, target) = (cluster().await, MemoryBackend::new());
        let heartbeat = Heartbeat::start_on(Arc::new(target.clone()), &StoreThread::current());
        let mirror = complete(source, target.clone()).await;
        let all = KeyRange { start: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\xff") };
        let written: String = target.list(ListRequest::new(all)).await.unwrap().kvs.iter().map(line).collect();
        assert_eq!(written, include_str!("cluster.txt"));
        drop((mirror, heartbeat));
    });
}
