//! A network that fails between the collaborators and a healthy etcd.

use super::three::Three;
use super::*;
use crate::actors::node;
use crate::support::{DeliveryMode, Proxy};

/// Sets all proxies to a mode until all members have noticed; what is written meanwhile arrives afterwards.
async fn until_all_notice(what: &str, mode: DeliveryMode) {
    let mut three = Three::start(Version::V35).await;
    three.fault(what);
    three.set_all_ways(mode);
    three.all_notice().await;
    three.all_write(2).await;
    three.set_all_ways(DeliveryMode::Forward);
    three.mended();
    three.converged().await;
    three.nothing_else_was_gone();
    three.end().await;
}

#[test]
fn stalled_requests_are_noticed_and_arrive_in_the_end() {
    on_etcd(until_all_notice("requests stalled", DeliveryMode::StallRequests));
}

#[test]
fn stalled_answers_are_noticed_and_arrive_in_the_end() {
    on_etcd(until_all_notice("answers stalled", DeliveryMode::StallAnswers));
}

#[test]
fn a_black_hole_is_noticed_and_nothing_is_lost_in_it() {
    on_etcd(until_all_notice("black hole", DeliveryMode::BlackHole));
}

#[test]
fn nobody_listening_any_more_is_noticed_and_waited_out() {
    on_etcd(async {
        let mut three = Three::start(Version::V35).await;
        three.fault("connections cut and refused");
        three.set_all_ways(DeliveryMode::Refuse);
        three.all_ways().for_each(Proxy::cut);
        three.all_notice().await;
        three.all_write(2).await;
        three.set_all_ways(DeliveryMode::Forward);
        three.mended();
        three.converged().await;
        three.nothing_else_was_gone();
        three.end().await;
    });
}

/// Connections that end while everybody writes, and exist again at once.
async fn again_and_again(what: &str, end: fn(&Proxy)) {
    let mut three = Three::start(Version::V35).await;
    for round in 2..12 {
        three.fault(what);
        three.all_write(round).await;
        three.all_ways().for_each(end);
        three.mended();
        three.converged().await;
        three.nothing_else_was_gone();
    }
    three.end().await;
}

#[test]
fn connections_that_are_closed_in_the_midst_of_writes_lose_nothing() {
    on_etcd(again_and_again("connections closed", Proxy::cut));
}

#[test]
fn connections_that_are_reset_in_the_midst_of_writes_lose_nothing() {
    on_etcd(again_and_again("connections reset", Proxy::reset));
}

#[test]
fn a_connection_that_outlives_its_server_is_noticed() {
    on_etcd(async {
        let mut three = Three::start(Version::V35).await;
        three.fault("half-open connections");
        three.set_all_ways(DeliveryMode::HalfOpen);
        three.etcd.members[0].kill();
        three.all_notice().await;
        three.all_write(2).await;
        three.etcd.members[0].restart();
        three.mended();
        three.converged().await;
        three.nothing_else_was_gone();
        three.end().await;
    });
}

#[test]
fn over_a_slow_line_everything_arrives_and_nobody_takes_it_for_a_dead_one() {
    on_etcd(async {
        let mut three = Three::start(Version::V35).await;
        three.fault("10 kB/s");
        three.set_all_ways(DeliveryMode::Slow(10_000));
        three.all_write(2).await;
        three.mended();
        three.converged_unnoticed().await;
        three.nothing_else_was_gone();
        three.end().await;
    });
}

#[test]
fn one_cut_off_beyond_its_lease_is_missed_by_the_others_once_and_comes_back_once() {
    on_etcd(async {
        let mut three = Three::start_with_short_leases(Version::V35).await;
        three.fault("one cut off longer than its lease lives");
        three.set_ways(2, DeliveryMode::BlackHole);
        three.notices(2).await;
        let own: Vec<_> = three.each[2].store.reader().scan("2/").entries;
        assert_eq!(own.len(), 11, "its own keys stay in its own cache");
        three.missed_by(0, "2/").await;
        three.missed_by(1, "2/").await;
        // The others go on writing.
        three.own(0, vec![node("0/0", "2")]).await;
        three.give_up(1, "1/0");
        three.seen_by(0, "0/0", "2").await;
        assert!(!three.has_noticed(0) && !three.has_noticed(1), "the others are not disturbed");
        three.set_ways(2, DeliveryMode::Forward);
        three.mended();
        three.converged().await;
        let own = |log: Vec<String>| log.into_iter().filter(|line| line.trim_start_matches('-').starts_with("2/"));
        for who in 0..2 {
            let log: Vec<_> = own(three.each[who].shadow.log()).collect();
            let (deletions, puts): (Vec<_>, Vec<_>) = log.iter().partition(|line| line.starts_with('-'));
            assert_eq!((deletions.len(), puts.len()), (11, 22), "{who} was told {log:?}");
        }
        let log: Vec<_> = own(three.each[2].shadow.log()).collect();
        assert_eq!(log.len(), 11, "its own observer is told of nothing but what it put: {log:?}");
        three.end().await;
    });
}
