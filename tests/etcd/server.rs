//! One etcd that fails in itself: killed, stopped, wiped, set back, compacted, full, damaged.

use shared_store::{Config, join};

use super::three::{PATIENCE, SHORT, Three};
use super::*;
use crate::actors::{Shadow, node};
use crate::support::Cluster;
use crate::support::{DeliveryMode, Proxy};

async fn killed_it_is_missed_and_what_was_wanted_meanwhile_is_done_afterwards(version: Version) {
    let mut three = Three::start(version).await;
    three.fault("kill -9, restart");
    three.etcd.members[0].kill();
    three.all_notice().await;
    three.all_write(2).await;
    three.etcd.members[0].restart();
    three.mended();
    three.converged().await;
    three.nothing_else_was_gone();
    three.end().await;
}

async fn stopped_beyond_the_leases_it_gets_all_keys_again(version: Version) {
    let mut three = Three::start_with_short_leases(version).await;
    three.fault("SIGSTOP longer than the leases live, SIGCONT");
    three.etcd.members[0].pause();
    three.all_notice().await;
    three.all_write(2).await;
    // Until the leases are over by the clocks of their owners; etcd's own clock runs on, too.
    real_time(SHORT + Duration::from_millis(500)).await;
    three.etcd.members[0].go_on();
    three.mended();
    three.converged().await;
    three.end().await;
}

async fn wiped_it_gets_all_keys_again_and_foreign_ones_are_told_as_deleted(version: Version) {
    let mut three = Three::start(version).await;
    three.stranger_puts("stranger", "9").await;
    three.converged().await;
    three.fault("data wiped");
    three.etcd.members[0].kill();
    three.etcd.members[0].wipe();
    three.stranger_lost("stranger");
    three.all_notice().await;
    three.etcd.members[0].restart();
    three.mended();
    three.converged().await;
    // Keys of others are gone until those have put them again; one's own are not.
    for (who, each) in three.each.iter().enumerate() {
        let deletions = each.deletions();
        assert_eq!(deletions.get("stranger"), Some(&1));
        assert!(deletions.iter().all(|(name, told)| *told == 1 && !name.starts_with(&format!("{who}/"))));
    }
    three.end().await;
}

async fn set_back_to_a_copy_of_its_data_it_is_followed_and_own_keys_are_put_again(version: Version) {
    let mut three = Three::start_with_short_leases(version).await;
    three.stranger_puts("stranger/old", "1").await;
    three.converged().await;
    three.etcd.members[0].kill();
    let backup = three.etcd.members[0].backup();
    three.etcd.members[0].restart();
    three.all_write(2).await;
    three.stranger_puts("stranger/old", "2").await;
    three.stranger_puts("stranger/new", "2").await;
    three.converged().await;
    three.fault("an older copy of the data put back");
    three.etcd.members[0].kill();
    three.etcd.members[0].put_back(&backup);
    three.stranger_had("stranger/old", "1");
    three.stranger_lost("stranger/new");
    three.all_notice().await;
    three.etcd.members[0].restart();
    three.mended();
    // Keys deleted since the copy come back, and go with their lease, which nobody keeps alive.
    three.converged().await;
    three.end().await;
}

/// While all are disconnected etcd is set back, and written to until its revision is beyond any they have seen: only
/// the audit can find that out.
async fn set_back_and_ahead_again_while_all_are_away_it_is_found_out_by_the_audit(version: Version) {
    let mut three = Three::start_with_audit(version, Duration::from_secs(2)).await;
    three.stranger_puts("stranger/old", "1").await;
    three.converged().await;
    three.etcd.members[0].kill();
    let backup = three.etcd.members[0].backup();
    three.etcd.members[0].restart();
    three.all_write(2).await;
    three.stranger_puts("stranger/old", "2").await;
    three.stranger_puts("stranger/new", "2").await;
    three.converged().await;
    three.fault("set back, and ahead again while all are away");
    three.set_all_ways(DeliveryMode::BlackHole);
    three.all_notice().await;
    three.etcd.members[0].kill();
    three.etcd.members[0].put_back(&backup);
    three.etcd.members[0].restart();
    three.stranger_had("stranger/old", "1");
    three.stranger_lost("stranger/new");
    for n in 0..30 {
        three.stranger_puts("stranger/other", &n.to_string()).await;
    }
    three.set_all_ways(DeliveryMode::Forward);
    three.all_ways().for_each(Proxy::cut);
    three.mended();
    three.converged().await;
    three.end().await;
}

async fn restored_from_a_snapshot(version: Version, token: &str) {
    let mut three = Three::start_with_short_leases(version).await;
    three.stranger_puts("stranger/old", "1").await;
    three.converged().await;
    let directory = tempfile::tempdir().unwrap();
    let snapshot = directory.path().join("snapshot");
    three.etcd.members[0].etcdctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    three.all_write(2).await;
    three.stranger_puts("stranger/old", "2").await;
    three.stranger_puts("stranger/new", "2").await;
    three.converged().await;
    three.fault(&format!("an older snapshot restored, token {token}"));
    three.etcd.members[0].kill();
    three.etcd.members[0].restore_snapshot(&snapshot, token);
    three.stranger_had("stranger/old", "1");
    three.stranger_lost("stranger/new");
    three.all_notice().await;
    three.etcd.members[0].restart();
    three.mended();
    three.converged().await;
    three.end().await;
}

async fn restored_from_a_snapshot_as_the_same_cluster_it_is_followed(version: Version) {
    // etcd's default name of a cluster: with the same members it is the same cluster.
    restored_from_a_snapshot(version, "etcd-cluster").await;
}

async fn restored_from_a_snapshot_as_another_cluster_it_is_followed(version: Version) {
    restored_from_a_snapshot(version, "restored").await;
}

async fn compacted_while_all_are_away_it_is_listed_anew(version: Version) {
    let mut three = Three::start(version).await;
    three.stranger_puts("stranger/goes", "1").await;
    three.stranger_puts("stranger/stays", "1").await;
    three.converged().await;
    three.fault("compaction while away");
    (0..3).for_each(|who| three.set_ways(who, DeliveryMode::BlackHole));
    three.all_notice().await;
    three.stranger_deletes("stranger/goes").await;
    let mut last = Revision::ZERO;
    for n in 2..50 {
        last = three.stranger_puts("stranger/stays", &n.to_string()).await;
    }
    three.compact(last).await;
    (0..3).for_each(|who| three.set_ways(who, DeliveryMode::Forward));
    three.mended();
    three.converged().await;
    three.end().await;
}

async fn full_it_is_in_step_and_takes_what_was_wanted_once_there_is_room(version: Version) {
    let etcd = Cluster::start_with(version, 1, &["--quota-backend-bytes=8388608"]);
    let mut three = Three::on(etcd, SHORT).await;
    three.fault("quota exceeded");
    three.fill().await;
    three.all_write(2).await;
    three.cannot_write(0).await;
    assert!((0..3).all(|who| !three.has_noticed(who)), "reading is not disturbed");
    three.make_room().await;
    three.mended();
    three.converged().await;
    three.nothing_else_was_gone();
    three.end().await;
}

async fn damaged_in_a_loop_it_is_repaired(version: Version) {
    let mut three = Three::start(version).await;
    let backend = three.etcd.members[0].backend();
    let mut random = fastrand::Rng::with_seed(5);
    three.fault("own keys deleted and overwritten, 100 times");
    for _ in 0..100 {
        let name = format!("{}/{}", random.u8(..3), random.u8(..10));
        let value = if random.bool() { "garbage".into() } else { serde_json::to_vec(&node("?", "9")).unwrap().into() };
        let action = if random.bool() { WriteAction::Delete } else { WriteAction::Put { value, lease: LeaseId::NONE } };
        meddle(&backend, &name, action).await;
    }
    three.mended();
    three.converged().await;
    three.end().await;
}

async fn with_fifty_thousand_keys_it_is_listed_whole_and_all_deletions_are_told(version: Version) {
    let server = EtcdServer::start(version);
    let backend = || server.backend();
    let publisher = join::<Node>(Config::new(prefix()).backend(backend())).await.unwrap();
    let keys = (0..50_000).map(|n| node(&format!("{n:05}"), &"x".repeat(200))).collect();
    publisher.update_local_keys(keys).await.unwrap();
    let all = async {
        while publisher.reader().len() < 50_000 {
            publisher.reader().clone().changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let shadow = Shadow::default();
    let reader = join::<Node>(Config::new(prefix()).backend(backend())).observer(shadow.observer()).await.unwrap();
    assert_eq!((reader.reader().len(), shadow.map().len()), (50_000, 50_000));
    publisher.close().await.unwrap();
    shadow.until("all keys are gone", |told| told.map.is_empty()).await;
    reader.release().await.unwrap();
}

on_both! {
    killed_it_is_missed_and_what_was_wanted_meanwhile_is_done_afterwards
    stopped_beyond_the_leases_it_gets_all_keys_again
    wiped_it_gets_all_keys_again_and_foreign_ones_are_told_as_deleted
    set_back_to_a_copy_of_its_data_it_is_followed_and_own_keys_are_put_again
    set_back_and_ahead_again_while_all_are_away_it_is_found_out_by_the_audit
    restored_from_a_snapshot_as_the_same_cluster_it_is_followed
    restored_from_a_snapshot_as_another_cluster_it_is_followed
    compacted_while_all_are_away_it_is_listed_anew
    full_it_is_in_step_and_takes_what_was_wanted_once_there_is_room
    damaged_in_a_loop_it_is_repaired
    with_fifty_thousand_keys_it_is_listed_whole_and_all_deletions_are_told
}
