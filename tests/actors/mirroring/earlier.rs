//! A mirror that starts while the source is away: what an earlier one copied stays.

use super::*;

/// A mirror copies all, dies, and the source is cut off.
async fn orphans() -> (MemoryBackend, Faulty, MemoryBackend) {
    let (source, target) = (cluster().await, MemoryBackend::new());
    drop(complete(source.clone(), target.clone()).await);
    pass(Duration::from_secs(1)).await;
    let faulty = Faulty::new(source.clone());
    cut(&faulty);
    (source, faulty, target)
}

#[test]
fn a_mirror_that_starts_while_the_source_is_away_keeps_all_that_an_earlier_one_copied() {
    paused(async {
        let (source, faulty, target) = orphans().await;
        let all = paths(&target).await;
        let deleted = deletions(&target).await;
        let mirror = start(faulty.clone(), target.clone());
        // For longer than the leases of the earlier one.
        pass(Duration::from_secs(3600)).await;
        assert_eq!((paths(&target).await, deleted.lock().unwrap().len()), (all, 0));
        let status = mirror.status().await.unwrap();
        assert_eq!((status.ready, status.connected, status.copies[0].keys), (false, false, 1), "{status:?}");
        assert!(status.problem.unwrap().contains("cut"));
        delete(&source, NODE.0).await;
        put(&source, IP.0, "new").await;
        faulty.heal();
        until(async || is_ready(&mirror).await).await;
        assert_eq!((get(&target, NODE.1).await, value(&target, IP.1).await), (None, Some("new".into())));
        assert_eq!(*deleted.lock().unwrap(), [NODE.1]);
    });
}

#[test]
fn copies_that_no_canary_announced_are_kept_and_not_announced() {
    paused(async {
        let (_, faulty, target) = orphans().await;
        delete(&target, &canary("cache", "nodes")).await;
        let mirror = start(faulty.clone(), target.clone());
        pass(Duration::from_secs(3600)).await;
        assert!(get(&target, NODE.1).await.is_some() && get(&target, SERVICE.1).await.is_some());
        assert!(get(&target, &canary("cache", "services")).await.is_some());
        assert_eq!(get(&target, &canary("cache", "nodes")).await, None);
        faulty.heal();
        until(async || is_ready(&mirror).await).await;
        assert!(get(&target, &canary("cache", "nodes")).await.is_some());
    });
}

#[test]
fn what_others_have_put_there_stays_theirs() {
    paused(async {
        let (_, faulty, target) = orphans().await;
        let others = [CLUSTER_CONFIG, NODE.1, &canary("cache", "ip")];
        for path in others {
            put(&target, path, CONFIG).await;
        }
        let mirror = start(faulty.clone(), target.clone());
        pass(Duration::from_secs(3600)).await;
        for path in others {
            assert_eq!(get(&target, path).await.unwrap().lease, LeaseId::NONE, "{path}");
        }
        // The source says what is right.
        faulty.heal();
        until(async || is_ready(&mirror).await).await;
        for path in others {
            assert_ne!(value(&target, path).await.unwrap(), CONFIG, "{path}");
        }
    });
}

#[test]
fn the_copies_of_a_source_that_was_never_reached_are_deleted_when_it_is_removed() {
    paused(async {
        let (_, faulty, target) = orphans().await;
        let mirror = start(faulty, target.clone());
        pass(PATIENCE).await;
        let leaving = mirror.clone();
        let left = actix_rt::spawn(async move { leaving.remove().await });
        until(async || get(&target, CLUSTER_CONFIG).await.is_none()).await;
        assert_eq!(paths(&target).await.len(), 4 + 5, "the agents leave first");
        assert_eq!(left.await.unwrap(), Ok(()));
        assert_eq!(paths(&target).await, <[&str; 0]>::default());
    });
}

#[test]
fn services_of_a_source_that_was_never_reached_expire_on_wish_and_come_back() {
    paused(async {
        let (_, faulty, target) = orphans().await;
        let times = MirrorTimes { keep: Some(PATIENCE * 10), ..MirrorTimes::default() };
        let mirror = start_with(faulty.clone(), target.clone(), times);
        pass(PATIENCE * 9).await;
        assert!(get(&target, SERVICE.1).await.is_some());
        pass(PATIENCE * 2).await;
        assert!(get(&target, SERVICE.1).await.is_none() && get(&target, NODE.1).await.is_some());
        faulty.heal();
        until(async || get(&target, SERVICE.1).await.is_some()).await;
        until(async || is_ready(&mirror).await).await;
    });
}

#[test]
fn a_mirror_by_rules_keeps_the_copies_of_before_too() {
    paused(async {
        let (source, target) = (MemoryBackend::new(), MemoryBackend::new());
        let faulty = Faulty::new(source.clone());
        put(&source, "nodes/n1", "of before").await;
        let start = || {
            let rule = MirrorRule::new("nodes", Prefix::new("nodes").unwrap(), Prefix::new("eu/nodes").unwrap());
            let config = MirrorConfig::new("eu", vec![rule], Arc::new(faulty.clone()), Arc::new(target.clone()));
            Mirror::start_on(config, StoreThread::current()).unwrap()
        };
        let mirror = start();
        until(async || is_ready(&mirror).await).await;
        drop(mirror);
        cut(&faulty);
        delete(&source, "nodes/n1").await;
        put(&target, "eu/nodes/stranger", "another's").await;
        let mirror = start();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(value(&target, "eu/nodes/n1").await, Some("of before".into()));
        faulty.heal();
        until(async || is_ready(&mirror).await).await;
        until(async || paths(&target).await == ["eu/nodes/stranger"]).await;
        assert_eq!(get(&target, "eu/nodes/stranger").await.unwrap().lease, LeaseId::NONE);
    });
}

#[test]
fn a_removal_before_the_copies_could_be_read_says_that_they_stay() {
    paused(async {
        let (_, faulty, target) = orphans().await;
        let faulty_target = Faulty::new(target.clone());
        faulty_target.fail(Op::List, usize::MAX, When::Before, BackendError::unreachable("cut"));
        let mirror = start(faulty, faulty_target.clone());
        pass(PATIENCE).await;
        let error = mirror.remove().await.unwrap_err();
        assert!(error.to_string().contains("were not read yet"), "{error}");
        assert_eq!(paths(&target).await.len(), 1 + 4 + 5);
    });
}
