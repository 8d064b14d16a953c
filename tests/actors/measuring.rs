//! Metrics, as a recorder gets them.

use std::collections::BTreeSet;
use std::time::Instant;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use shared_store::mirror::{MirrorMetrics, MirrorRule, MirrorRules, MirrorTimes};
use shared_store::{BackendError, ConflictPolicy, METRICS, State, publish};
use shared_store_core::backend::WriteAction;
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::mirror::Mirror as Machine;
use shared_store_core::{Backend, LeaseId};

use super::owning::meddle;
use super::publishing::until;
use super::*;

/// What was recorded since the snapshot before: name and labels in text, and the value.
fn recorded(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let text = |key: &metrics::Key| {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        format!("{}{{{}}}", key.name(), labels.join(","))
    };
    let value = |value| match value {
        DebugValue::Counter(count) => f64::from(u32::try_from(count).unwrap()),
        DebugValue::Gauge(value) => value.0,
        DebugValue::Histogram(values) => f64::from(u32::try_from(values.len()).unwrap()),
    };
    let all = snapshotter.snapshot().into_vec();
    all.into_iter().map(|(key, _, _, recorded)| (text(key.key()), value(recorded))).collect()
}

/// Runs a test whose metrics are recorded.
fn measured<T: Future<Output = ()>>(test: impl FnOnce(Snapshotter) -> T) {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || paused(test(recorder.snapshotter())));
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_table_in_the_guide_is_the_table_in_the_code() {
    let documented: Vec<_> =
        include_str!("../../docs/src/metrics.md").lines().filter(|line| line.starts_with("| `")).collect();
    let labels = |labels: &[&str]| labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    let defined: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let (kind, labels) = (metric.kind.name(), labels(metric.labels));
            format!("| `{}` | {kind} | {} | {labels} | {} |", metric.name, metric.unit, metric.meaning)
        })
        .collect();
    assert_eq!(documented, defined, "docs/src/metrics.md is to have:\n{}", defined.join("\n"));
}

#[test]
fn a_run_records_the_documented_metrics_and_no_others() {
    measured(|snapshotter| async move {
        let (backend, shadow) = (MemoryBackend::new(), Shadow::default());
        let observer = shadow.observer().named("routes");
        let store = join(config(&backend)).observer(observer).on(StoreThread::current()).await.unwrap();
        let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
        settled(&store, written).await;
        store.audit(PATIENCE).await.unwrap();
        meddle(&backend, "b", WriteAction::Delete).await;
        store.close().await.unwrap();
        let rule = MirrorRule::new("nodes/v1", Prefix::new("nodes").unwrap(), Prefix::new("copies").unwrap());
        MirrorMetrics::new().record(&[
            Machine::new("c1", MirrorRules::These(vec![rule]), MirrorTimes::default()).status(Instant::now())
        ]);

        let mut found: BTreeSet<(String, String)> = BTreeSet::new();
        for name in recorded(&snapshotter).into_keys() {
            let (name, labels) = name.split_once('{').unwrap();
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
            found.insert((name.to_owned(), labels.map(|(label, _)| label).collect::<Vec<_>>().join(",")));
        }
        let documented = METRICS.iter().map(|metric| (metric.name.to_owned(), metric.labels.join(",")));
        assert_eq!(found, documented.collect());
    });
}

#[test]
fn metrics_tell_what_has_happened_to_keys_and_how_the_store_is() {
    measured(|snapshotter| async move {
        let memory = MemoryBackend::new();
        let backend = Faulty::new(memory.clone());
        let config = Config::new(Prefix::new("nodes").unwrap()).backend(backend.clone()).seed(1);
        let store = join(config).observer(Shadow::default().observer()).on(StoreThread::current()).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        let other = memory.grant(LeaseId::NONE, Duration::from_secs(900)).await.unwrap().lease;
        // The key is overwritten, then another owner takes it; one value cannot be decoded.
        meddle(&memory, "a", WriteAction::Put { value: "garbage".into(), lease: LeaseId::NONE }).await;
        until(async || store.status().await.unwrap().repairs == 1).await;
        let theirs = serde_json::to_vec(&node("a", "theirs")).unwrap();
        meddle(&memory, "a", WriteAction::Put { value: theirs.into(), lease: other }).await;
        until(async || store.status().await.unwrap().repairs == 2).await;
        meddle(&memory, "bad", WriteAction::Put { value: "garbage".into(), lease: LeaseId::NONE }).await;
        // One write fails and is repeated, one is refused.
        backend.fail(Op::Write, 1, When::Before, BackendError::unavailable("no"));
        store.update_local_key_sync(node("b", "1")).await.unwrap();
        backend.fail(Op::Write, 2, When::Before, BackendError::rejected("too large"));
        store.update_local_key(node("c", "1")).await.unwrap();
        until(async || store.status().await.unwrap().set_aside.len() == 1).await;
        pass(2 * SECOND).await;

        let metrics = recorded(&snapshotter);
        let of = |name: &str| metrics.get(name).copied().unwrap_or_else(|| panic!("{name} in {metrics:#?}"));
        let scoped = |name: &str| of(&format!("{name}{{scope=nodes}}"));
        assert_eq!(scoped("shared_store_repairs_total"), 2.0);
        assert_eq!(scoped("shared_store_conflicts_total"), 1.0);
        assert_eq!(scoped("shared_store_undecodable_keys"), 1.0);
        assert_eq!(scoped("shared_store_set_aside_keys"), 1.0);
        assert!(scoped("kvstore_sync_errors_total") >= 2.0, "{metrics:#?}");
        assert_eq!(scoped("kvstore_sync_queue_size"), 0.0);
        assert_eq!(scoped("shared_store_own_keys"), 3.0);
        assert_eq!(scoped("shared_store_leases"), 1.0);
        assert_eq!(scoped("shared_store_keys"), 2.0);
        let revision = f64::from(u32::try_from(store.reader().revision().0).unwrap());
        assert_eq!(scoped("shared_store_revision"), revision);
        assert_eq!(scoped("shared_store_kvstore_revision"), revision);
        assert_eq!(of("shared_store_state{scope=nodes,state=synced}"), 1.0);
        assert_eq!(of("shared_store_state{scope=nodes,state=stale}"), 0.0);
        assert_eq!(of("kvstore_initial_sync_completed{scope=nodes,action=read}"), 1.0);
        let grant = "kvstore_operations_duration_seconds{scope=nodes,kind=lease,action=grant,outcome=success}";
        assert_eq!(of(grant), 1.0);
        let failed = "kvstore_operations_duration_seconds{scope=nodes,kind=set,action=write,outcome=fail}";
        assert!(of(failed) >= 2.0);
        let observer = "{scope=nodes,observer=unnamed}";
        assert_eq!(of(&format!("shared_store_observer_pending_changes{observer}")), 0.0);

        store.close().await.unwrap();
        pass(SECOND).await;
        let metrics = recorded(&snapshotter);
        assert_eq!(metrics["shared_store_state{scope=nodes,state=closed}"], 1.0);
        assert_eq!(metrics["shared_store_own_keys{scope=nodes}"], 0.0);
    });
}

/// An actor that never handles anything.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.wait(std::future::pending::<()>().into_actor(self));
    }
}

impl Handler<Changes<Node>> for Stuck {
    type Result = ();

    fn handle(&mut self, _: Changes<Node>, _: &mut Self::Context) {}
}

#[test]
fn the_lag_of_a_stuck_observer_grows_though_nothing_happens_and_ends_with_it() {
    measured(|snapshotter| async move {
        let backend = MemoryBackend::new();
        let store = joined(&backend).await;
        let stuck = Stuck.start();
        let id = store.subscribe(Observer::batched(&stuck).named("stuck")).await.unwrap();
        store.update_local_key_sync(node("a", "1")).await.unwrap();
        pass(100 * SECOND).await;
        let (pending, lag) = (
            "shared_store_observer_pending_changes{scope=nodes,observer=stuck}",
            "shared_store_observer_lag_seconds{scope=nodes,observer=stuck}",
        );
        let metrics = recorded(&snapshotter);
        assert_eq!(metrics[pending], 1.0);
        assert!((98.0..=100.0).contains(&metrics[lag]), "{}", metrics[lag]);
        store.unsubscribe(id).await;
        pass(2 * SECOND).await;
        let metrics = recorded(&snapshotter);
        assert_eq!((metrics[pending], metrics[lag]), (0.0, 0.0));
    });
}

#[test]
fn counters_go_on_when_a_store_is_joined_again() {
    measured(|snapshotter| async move {
        let backend = MemoryBackend::new();
        for _ in 0..3 {
            let store = joined(&backend).await;
            store.update_local_key_sync(node("a", "1")).await.unwrap();
            meddle(&backend, "a", WriteAction::Delete).await;
            until(async || store.status().await.unwrap().repairs == 1).await;
            // It is recorded more than once, and counted once.
            for value in ["1", "2"] {
                pass(2 * SECOND).await;
                store.update_local_key_sync(node("b", value)).await.unwrap();
            }
            store.close().await.unwrap();
            pass(SECOND).await;
        }
        assert_eq!(recorded(&snapshotter)["shared_store_repairs_total{scope=nodes}"], 3.0);
    });
}

#[test]
fn a_publisher_records_its_keys_and_when_all_are_in_the_kvstore() {
    measured(|snapshotter| async move {
        let backend = MemoryBackend::new();
        let config = config(&backend).conflict(ConflictPolicy::Overwrite);
        let publisher = publish::<Node>(config).on(StoreThread::current()).start().unwrap();
        let completed = "kvstore_initial_sync_completed{scope=nodes,action=write}";
        publisher.update_key(node("a", "1")).await.unwrap();
        assert_eq!(recorded(&snapshotter)[completed], 0.0);
        publisher.synced().await.unwrap();
        pass(2 * SECOND).await;
        let metrics = recorded(&snapshotter);
        assert_eq!(metrics[completed], 1.0);
        assert_eq!(metrics["shared_store_own_keys{scope=nodes}"], 1.0);
        assert_eq!(metrics["shared_store_state{scope=nodes,state=synced}"], 1.0);
        publisher.close().await.unwrap();
    });
}

#[test]
fn the_sources_of_a_mirror_are_recorded_and_those_that_have_left_are_0() {
    measured(|snapshotter| async move {
        let rule = MirrorRule::new("nodes/v1", Prefix::new("nodes").unwrap(), Prefix::new("copies").unwrap());
        let mut machine = Machine::new("c1", MirrorRules::These(vec![rule]), MirrorTimes::default());
        let start = Instant::now();
        machine.source_is(start, 0, State::Connecting { cause: Some("it is away".into()) });
        let lost = machine.status(start + SECOND);
        machine.completed(0);
        machine.source_is(start, 0, State::Synced);
        let mut ready = machine.status(start + 2 * SECOND);
        ready.copies[0].keys = 5;
        let mut metrics = MirrorMetrics::new();
        let c1 = "{target_cluster=c1}";
        let recorded = || recorded(&snapshotter);

        metrics.record(&[lost]);
        let before = recorded();
        let failed = before[&format!("remote_cluster_last_failure_ts{c1}")];
        assert_eq!((before["remote_clusters{}"], before[&format!("remote_cluster_readiness_status{c1}")]), (1.0, 0.0));
        assert_eq!(before[&format!("remote_cluster_failures{c1}")], 1.0);
        assert!(failed > 1e9, "{failed}");

        metrics.record(&[ready]);
        let after = recorded();
        assert_eq!(after[&format!("remote_cluster_readiness_status{c1}")], 1.0);
        assert_eq!(after["shared_store_mirror_keys{target_cluster=c1,rule=nodes/v1}"], 5.0);
        assert_eq!(after[&format!("remote_cluster_last_failure_ts{c1}")], failed, "the same failure has the same time");

        metrics.record(&[]);
        let none = recorded();
        assert_eq!((none["remote_clusters{}"], none[&format!("remote_cluster_readiness_status{c1}")]), (0.0, 0.0));
        assert_eq!(none["shared_store_mirror_keys{target_cluster=c1,rule=nodes/v1}"], 0.0);
    });
}
