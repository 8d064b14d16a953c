use super::*;

/// As a cluster of Cilium 1.16 writes it, with a field that nobody knows yet.
const CONFIG: &[u8] =
    br#"{"id":3,"capabilities":{"syncedCanaries":true,"maxConnectedClusters":255,"later":[1]},"more":{"a":1}}"#;
const LOST: Duration = Duration::from_secs(600);

struct Bench {
    mirror: Mirror,
    now: Instant,
}

impl Bench {
    fn new(times: MirrorTimes) -> Self {
        let mut mirror = Mirror::new("c3", MirrorRules::Cilium, times);
        let Some(MirrorAction::TakeOver(rules)) = mirror.poll_action() else { panic!("nothing is taken over") };
        assert_eq!(rules.len(), 5);
        Self { mirror, now: Instant::now() }
    }

    /// A mirror that copies all, and what it did for that is taken.
    fn complete(times: MirrorTimes) -> Self {
        let mut bench = Self::new(times);
        bench.configure(Some(CONFIG));
        for rule in 0..5 {
            bench.is(rule, State::Synced);
            bench.mirror.completed(rule);
        }
        bench.actions();
        assert!(bench.mirror.status(bench.now).ready);
        bench
    }

    fn configure(&mut self, value: Option<&[u8]>) {
        self.mirror.configure(self.now, value);
    }

    fn is(&mut self, rule: usize, state: State) {
        self.mirror.source_is(self.now, rule, state);
    }

    fn is_lost(&mut self) {
        for rule in 0..5 {
            self.is(rule, State::Stale { since: self.now, cause: "cut".into() });
        }
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.mirror.timeout(self.now);
    }

    fn actions(&mut self) -> Vec<MirrorAction> {
        std::iter::from_fn(|| self.mirror.poll_action()).collect()
    }
}

fn kept_for(keep: Duration) -> MirrorTimes {
    MirrorTimes { keep: Some(keep), ..MirrorTimes::default() }
}

#[test]
fn the_configuration_is_published_first_with_its_flags_set_and_all_else_kept() {
    let mut bench = Bench::new(MirrorTimes::default());
    assert_eq!(bench.actions(), []);
    bench.configure(Some(CONFIG));
    let actions = bench.actions();
    let [MirrorAction::PutConfig(value), MirrorAction::Copy(rules)] = &actions[..] else { panic!("{actions:?}") };
    let published: serde_json::Value = serde_json::from_slice(value).unwrap();
    let expected = serde_json::json!({
        "id": 3,
        "capabilities": {"syncedCanaries": true, "cached": true, "maxConnectedClusters": 255, "later": [1]},
        "more": {"a": 1},
    });
    assert_eq!(published, expected);
    assert_eq!(rules.len(), 5);
    bench.configure(Some(CONFIG));
    assert_eq!(bench.actions(), [], "the same again is no news");
}

#[test]
fn a_cluster_is_copied_from_its_state_to_a_cache_as_cilium_does() {
    let rules = cilium_rules("c3", &ClusterConfig::parse(CONFIG).unwrap());
    let told: Vec<_> = rules
        .iter()
        .map(|rule| {
            let canary = String::from_utf8(rule.canary.clone().unwrap().to_vec()).unwrap();
            let (canaries, name) = rule.announce.clone().unwrap();
            let announced = String::from_utf8(canaries.path(&name).to_vec()).unwrap();
            format!("{} -> {}, after {canary}, then {announced}, {}", rule.from, rule.to, rule.expires)
        })
        .collect();
    assert_eq!(
        told,
        [
            "cilium/state/nodes/v1/c3 -> cilium/cache/nodes/v1/c3, after cilium/synced/c3/cilium/state/nodes/v1, \
             then cilium/synced/c3/cilium/cache/nodes/v1, false",
            "cilium/state/services/v1/c3 -> cilium/cache/services/v1/c3, after cilium/synced/c3/cilium/state/services/v1, \
             then cilium/synced/c3/cilium/cache/services/v1, true",
            "cilium/state/serviceexports/v1/c3 -> cilium/cache/serviceexports/v1/c3, \
             after cilium/synced/c3/cilium/state/serviceexports/v1, \
             then cilium/synced/c3/cilium/cache/serviceexports/v1, true",
            "cilium/state/identities/v1/id -> cilium/cache/identities/v1/c3/id, \
             after cilium/synced/c3/cilium/state/identities/v1, then cilium/synced/c3/cilium/cache/identities/v1, false",
            "cilium/state/ip/v1/default -> cilium/cache/ip/v1/c3, after cilium/synced/c3/cilium/state/ip/v1, \
             then cilium/synced/c3/cilium/cache/ip/v1, false",
        ]
    );
}

#[test]
fn a_source_that_is_a_cache_is_read_there_and_one_without_canaries_is_not_waited_for() {
    let config = ClusterConfig::parse(br#"{"id":3,"capabilities":{"cached":true}}"#).unwrap();
    let rules = cilium_rules("c3", &config);
    assert!(rules.iter().all(|rule| rule.from == rule.to && rule.canary.is_none()), "{rules:?}");
    let config = ClusterConfig::parse(br#"{"id":3,"capabilities":{"cached":true,"syncedCanaries":true}}"#).unwrap();
    let ip = cilium_rules("c3", &config).pop().unwrap();
    assert_eq!(ip.canary.unwrap(), "cilium/synced/c3/cilium/cache/ip/v1");
}

#[test]
fn what_is_no_configuration_copies_nothing_and_says_why() {
    for (value, problem) in [
        (None, "the source has no key cilium/cluster-config/c3"),
        (Some("{"), "the cluster's configuration is no JSON object"),
        (Some("7"), "the cluster's configuration is no JSON object"),
        (Some("{}"), "the cluster's configuration has no \"id\" from 1 to 511"),
        (Some(r#"{"id":0}"#), "the cluster's configuration has no \"id\" from 1 to 511"),
        (Some(r#"{"id":512}"#), "the cluster's configuration has no \"id\" from 1 to 511"),
        (Some(r#"{"id":1,"capabilities":[]}"#), "\"capabilities\" in the cluster's configuration is not an object"),
        (
            Some(r#"{"id":1,"capabilities":{"cached":"yes"}}"#),
            "\"cached\" in the cluster's configuration is not true or false",
        ),
    ] {
        let mut bench = Bench::new(MirrorTimes::default());
        bench.configure(value.map(str::as_bytes));
        assert_eq!(bench.actions(), [], "{value:?}");
        let status = bench.mirror.status(bench.now);
        assert_eq!((status.problem.as_deref(), status.failures, status.ready), (Some(problem), 1, false));
        bench.configure(Some(CONFIG));
        assert_eq!((bench.actions().len(), bench.mirror.status(bench.now).problem), (2, None));
    }
}

#[test]
fn a_source_that_was_never_reached_has_a_cause() {
    let mut bench = Bench::new(MirrorTimes::default());
    let cause: Arc<str> = "connection refused".into();
    bench.mirror.configuration_fails(bench.now, &cause);
    bench.mirror.configuration_fails(bench.now, &cause);
    let status = bench.mirror.status(bench.now);
    assert_eq!((status.problem.as_deref(), status.failures), (Some(&*cause), 1));
    bench.configure(Some(CONFIG));
    bench.mirror.configuration_fails(bench.now, &cause);
    let status = bench.mirror.status(bench.now);
    assert_eq!((status.problem, status.failures), (None, 1), "what is known stays");
}

#[test]
fn a_configuration_without_capabilities_is_one() {
    for value in [r#"{"id":1}"#, r#"{"id":1,"capabilities":null}"#] {
        let config = ClusterConfig::parse(value.as_bytes()).unwrap();
        assert_eq!(config.of_a_cache(), r#"{"capabilities":{"cached":true,"syncedCanaries":true},"id":1}"#);
    }
}

#[test]
fn what_was_known_stays_when_the_source_has_no_configuration_any_more() {
    let mut bench = Bench::complete(MirrorTimes::default());
    bench.configure(None);
    bench.configure(Some(b"nonsense"));
    bench.passes(LOST * 100);
    assert_eq!(bench.actions(), []);
    assert!(!bench.mirror.status(bench.now).ready && bench.mirror.has_been_complete());
}

#[test]
fn a_source_that_becomes_a_cache_is_read_there_from_then_on() {
    let mut bench = Bench::complete(MirrorTimes::default());
    bench.configure(Some(br#"{"id":3,"capabilities":{"syncedCanaries":true,"cached":true}}"#));
    let actions = bench.actions();
    let [MirrorAction::PutConfig(_), MirrorAction::Copy(rules)] = &actions[..] else { panic!("{actions:?}") };
    assert!(rules.iter().all(|rule| rule.from == rule.to));
    bench.configure(Some(br#"{"id":4,"capabilities":{"syncedCanaries":true,"cached":true}}"#));
    assert!(matches!(bench.actions()[..], [MirrorAction::PutConfig(_)]), "the same rules are followed on");
}

#[test]
fn the_loss_of_the_source_deletes_nothing_by_default() {
    let mut bench = Bench::complete(MirrorTimes::default());
    bench.is_lost();
    assert_eq!(bench.mirror.deadline(), None);
    bench.passes(LOST * 1000);
    let status = bench.mirror.status(bench.now);
    assert_eq!((bench.actions(), status.ready, status.connected, status.failures), (vec![], false, false, 5));
    assert_eq!(status.last_failure.unwrap().cause, "cut");
}

#[test]
fn services_of_a_lost_source_expire_on_wish_and_are_put_again_when_it_is_back() {
    let mut bench = Bench::complete(kept_for(LOST));
    bench.is_lost();
    assert_eq!(bench.mirror.deadline(), Some(bench.now + LOST));
    bench.passes(LOST - Duration::from_millis(1));
    // Another failure does not begin the time anew.
    bench.is_lost();
    assert_eq!(bench.actions(), []);
    bench.passes(Duration::from_millis(1));
    assert_eq!(bench.actions(), [MirrorAction::Expire(1), MirrorAction::Expire(2)]);
    assert_eq!(bench.mirror.deadline(), None);
    bench.passes(LOST * 10);
    assert_eq!(bench.actions(), [], "once");
    bench.is(1, State::Synced);
    assert_eq!(bench.actions(), [MirrorAction::Fill(1)]);
    assert!(!bench.mirror.status(bench.now).copies[1].expired);
}

#[test]
fn what_was_never_complete_does_not_expire() {
    let mut bench = Bench::new(kept_for(LOST));
    bench.configure(Some(CONFIG));
    bench.is_lost();
    bench.actions();
    bench.passes(LOST * 10);
    assert_eq!((bench.actions(), bench.mirror.deadline()), (vec![], None));
}

#[test]
fn what_an_earlier_mirror_left_stays_until_the_source_is_known_and_expires_as_if_it_was_lost_now() {
    let of_before = Bytes::from_static(br#"{"id":3,"capabilities":{"cached":true,"syncedCanaries":true}}"#);
    let mut bench = Bench::new(kept_for(LOST));
    bench.mirror.take_over_configuration("nonsense".into());
    assert_eq!(bench.actions(), [], "nobody takes that over");
    bench.mirror.take_over_configuration(of_before.clone());
    assert_eq!(bench.actions(), [MirrorAction::PutConfig(of_before.clone())]);
    for (rule, copies) in [(0, 7), (1, 1), (2, 0)] {
        bench.mirror.taken_over(bench.now, rule, copies);
    }
    bench.is_lost();
    bench.passes(LOST);
    assert_eq!(bench.actions(), [MirrorAction::Expire(1)], "services, if there are any");
    // The source is there at last: its configuration and its rules count.
    bench.configure(Some(CONFIG));
    assert!(matches!(bench.actions()[..], [MirrorAction::PutConfig(_), MirrorAction::Copy(_)]));
    bench.mirror.take_over_configuration(of_before);
    bench.is(1, State::Synced);
    assert_eq!(bench.actions(), [MirrorAction::Fill(1)], "a configuration of before is not news any more");
}

#[test]
fn copies_of_a_source_that_is_there_do_not_expire() {
    let mut bench = Bench::new(kept_for(LOST));
    bench.configure(Some(CONFIG));
    bench.is(1, State::Synced);
    bench.mirror.taken_over(bench.now, 1, 1);
    assert_eq!(bench.mirror.deadline(), None);
}

#[test]
fn agents_have_time_to_leave_a_cluster_that_only_an_earlier_mirror_knew() {
    let mut bench = Bench::new(MirrorTimes::default());
    bench.mirror.take_over_configuration(CONFIG.into());
    bench.mirror.remove(bench.now);
    assert_eq!(bench.actions()[1..], [MirrorAction::DeleteConfig]);
    bench.passes(Duration::from_secs(179));
    assert_eq!(bench.actions(), []);
    bench.passes(Duration::from_secs(1));
    assert_eq!(bench.actions(), [MirrorAction::DeleteCopies]);
}

#[test]
fn a_removed_source_loses_its_configuration_at_once_and_its_copies_after_three_minutes() {
    let mut bench = Bench::complete(kept_for(LOST));
    bench.mirror.remove(bench.now);
    assert_eq!(bench.actions(), [MirrorAction::DeleteConfig]);
    assert_eq!(bench.mirror.deadline(), Some(bench.now + Duration::from_secs(180)));
    bench.configure(Some(br#"{"id":9}"#));
    bench.is_lost();
    bench.passes(Duration::from_secs(179));
    assert_eq!(bench.actions(), []);
    bench.passes(Duration::from_secs(1));
    assert_eq!(bench.actions(), [MirrorAction::DeleteCopies]);
    bench.mirror.remove(bench.now);
    bench.passes(LOST);
    assert_eq!((bench.actions(), bench.mirror.deadline()), (vec![], None));
}

#[test]
fn rules_of_ones_own_begin_at_once_and_have_nothing_to_wait_for_when_they_are_removed() {
    let rule = MirrorRule::new("nodes", Prefix::new("nodes").unwrap(), Prefix::new("eu/nodes").unwrap());
    let rules = MirrorRules::These(vec![rule.clone()]);
    let mut mirror = Mirror::new("eu", rules, MirrorTimes::default());
    assert_eq!(mirror.poll_action(), Some(MirrorAction::TakeOver(vec![rule.clone()])));
    assert_eq!(mirror.poll_action(), Some(MirrorAction::Copy(vec![rule])));
    mirror.remove(Instant::now());
    assert_eq!(mirror.poll_action(), Some(MirrorAction::DeleteConfig));
    assert_eq!(mirror.poll_action(), Some(MirrorAction::DeleteCopies));
}

mod gated {
    use super::*;
    use crate::backend::memory::MemoryBackend;
    use crate::backend::{Backend, BackendError, Expect, ListRequest, Write, WriteAction};
    use crate::kv::{KeyRange, LeaseId};

    fn write(path: &'static str, action: WriteAction) -> Vec<Write> {
        vec![Write { path: path.into(), expect: Expect::Any, action }]
    }

    fn put(path: &'static str) -> Vec<Write> {
        write(path, WriteAction::Put { value: "1".into(), lease: LeaseId::NONE })
    }

    #[tokio::test]
    async fn a_list_counts_only_while_the_canary_is_there() {
        let inner = MemoryBackend::new();
        let gated = GatedBackend::new(Arc::new(inner.clone()), "canary".into());
        let request = ListRequest::new(KeyRange { start: "a/".into(), end: "a0".into() });
        inner.write(put("a/1")).await.unwrap();
        let Err(BackendError::Unavailable { cause, .. }) = gated.list(request.clone()).await else { panic!() };
        assert_eq!(&*cause, "the source is not complete: it has no key canary");
        inner.write(put("canary")).await.unwrap();
        let page = gated.list(request.clone()).await.unwrap();
        assert_eq!(page.kvs.len(), 1);
        inner.write(write("canary", WriteAction::Delete)).await.unwrap();
        assert!(gated.list(request.clone()).await.is_err());
        // The other pages of a list that was checked.
        let pinned = ListRequest { revision: Some(page.header.revision), ..request };
        assert_eq!(gated.list(pinned).await.unwrap().kvs.len(), 1);
    }

    /// Answers the first question for the canary, then loses it, as a kvstore does that is wiped in between.
    #[derive(Debug)]
    struct Wiped(MemoryBackend);

    #[async_trait::async_trait]
    impl Backend for Wiped {
        async fn list(&self, request: ListRequest) -> Result<crate::backend::ListPage, BackendError> {
            let page = self.0.list(request.clone()).await;
            if request.keys_only && request.revision.is_none() {
                self.0.write(write("canary", WriteAction::Delete)).await?;
            }
            page
        }
        async fn watch(
            &self,
            request: crate::backend::WatchRequest,
        ) -> Result<Box<dyn crate::backend::WatchStream>, BackendError> {
            self.0.watch(request).await
        }
        async fn write(&self, writes: Vec<Write>) -> Result<crate::backend::WriteOutcome, BackendError> {
            self.0.write(writes).await
        }
        async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<crate::backend::LeaseGrant, BackendError> {
            self.0.grant(lease, ttl).await
        }
        async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
            self.0.keep_alive(lease).await
        }
        async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
            self.0.revoke(lease).await
        }
    }

    #[tokio::test]
    async fn a_canary_that_goes_between_the_question_and_the_list_is_missed() {
        let inner = MemoryBackend::new();
        inner.write(put("canary")).await.unwrap();
        let gated = GatedBackend::new(Arc::new(Wiped(inner)), "canary".into());
        assert!(gated.list(ListRequest::new(KeyRange { start: "a/".into(), end: "a0".into() })).await.is_err());
    }
}
