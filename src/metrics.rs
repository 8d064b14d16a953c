//! Metrics through the facade of the `metrics` crate (feature `metrics`): their names, and what records them.
//!
//! Everything is recorded through the [`METRICS`] table. The application installs a recorder, such as that of
//! `metrics-exporter-prometheus`, before it joins a store. Without a recorder nothing happens.

mod backend;
mod mirror;
mod status;

use std::sync::Once;

use ::metrics::{Counter, Gauge, Histogram, Label, SharedString, Unit};

pub use self::backend::MeasuredBackend;
pub use self::mirror::MirrorMetrics;
pub use self::status::StatusMetrics;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution of measurements.
    Histogram,
}

impl MetricKind {
    /// `counter`, `gauge` or `histogram`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric, as it is documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// `seconds`, or empty for a plain number.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

impl Metric {
    const fn gauge(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Self {
        Self { name, kind: MetricKind::Gauge, unit: "", labels, meaning }
    }

    const fn counter(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Self {
        Self { name, kind: MetricKind::Counter, unit: "", labels, meaning }
    }

    const fn histogram(name: &'static str, labels: &'static [&'static str], meaning: &'static str) -> Self {
        Self { name, kind: MetricKind::Histogram, unit: "", labels, meaning }
    }

    const fn seconds(self) -> Self {
        Self { unit: "seconds", ..self }
    }

    /// The labels with these values.
    fn with(&self, values: &[&SharedString]) -> Vec<Label> {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        self.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).clone())).collect()
    }

    fn set(&self, values: &[&SharedString], value: impl Into<f64>) {
        let gauge: Gauge = ::metrics::gauge!(self.name, self.with(values));
        gauge.set(value.into());
    }

    fn add(&self, values: &[&SharedString], count: u64) {
        let counter: Counter = ::metrics::counter!(self.name, self.with(values));
        counter.increment(count);
    }

    fn measured(&self, values: &[&SharedString], value: f64) {
        let histogram: Histogram = ::metrics::histogram!(self.name, self.with(values));
        histogram.record(value);
    }
}

const SCOPE: &[&str] = &["scope"];

const OPERATIONS: Metric = Metric::histogram(
    "kvstore_operations_duration_seconds",
    &["scope", "kind", "action", "outcome"],
    "Duration of a request to the kvstore.",
)
.seconds();
const EVENTS_QUEUE: Metric = Metric::histogram(
    "kvstore_events_queue_seconds",
    SCOPE,
    "How long a response of the watch waited until the store had taken it in.",
)
.seconds();
const SYNC_QUEUE: Metric = Metric::gauge(
    "kvstore_sync_queue_size",
    SCOPE,
    "Own keys that are not in the kvstore as they should be (pending writes).",
);
const SYNC_ERRORS: Metric = Metric::counter(
    "kvstore_sync_errors_total",
    SCOPE,
    "Requests for own keys that failed and are repeated, and own keys that the kvstore refused.",
);
const INITIAL_SYNC: Metric = Metric::gauge(
    "kvstore_initial_sync_completed",
    &["scope", "action"],
    "1 when the first list is in the cache (`read`), or all keys of a publisher are in the kvstore (`write`).",
);
const STATE: Metric =
    Metric::gauge("shared_store_state", &["scope", "state"], "1 for the current state, 0 for each other one.");
const REVISION: Metric = Metric::gauge("shared_store_revision", SCOPE, "The revision that the cache shows.");
const KVSTORE_REVISION: Metric = Metric::gauge(
    "shared_store_kvstore_revision",
    SCOPE,
    "The revision of the kvstore in its last answer. Changes below other prefixes count, too.",
);
const WATCH_RESPONSE: Metric = Metric::gauge(
    "shared_store_watch_last_response_timestamp_seconds",
    SCOPE,
    "Unix time of the last response of the watch, changes or progress.",
)
.seconds();
const KEYS: Metric = Metric::gauge("shared_store_keys", SCOPE, "Keys in the cache.");
const OWN_KEYS: Metric = Metric::gauge("shared_store_own_keys", SCOPE, "Keys that this process owns.");
const SET_ASIDE: Metric = Metric::gauge(
    "shared_store_set_aside_keys",
    SCOPE,
    "Own keys that the kvstore refuses. A publisher also counts keys that are left to another owner.",
);
const LEASES: Metric = Metric::gauge("shared_store_leases", SCOPE, "Leases held for own keys.");
const HELD_BACK: Metric =
    Metric::gauge("shared_store_held_back_keys", SCOPE, "Keys shown although they are deleted, until a delay is over.");
const UNDECODABLE: Metric =
    Metric::gauge("shared_store_undecodable_keys", SCOPE, "Keys whose values are not of the store's type.");
const IGNORED: Metric = Metric::gauge("shared_store_ignored_keys", SCOPE, "Keys whose names are empty or not UTF-8.");
const RELISTS: Metric = Metric::counter("shared_store_relists_total", SCOPE, "Lists taken in after the first one.");
const OTHER_HISTORIES: Metric = Metric::counter(
    "shared_store_other_histories_total",
    SCOPE,
    "Lists of another history: the kvstore was set back, or another one answers.",
);
const REPAIRS: Metric = Metric::counter(
    "shared_store_repairs_total",
    SCOPE,
    "Own keys that were put back after somebody else had deleted or overwritten them.",
);
const CONFLICTS: Metric =
    Metric::counter("shared_store_conflicts_total", SCOPE, "Writes of another live owner to own names.");
const LEASES_LOST: Metric =
    Metric::counter("shared_store_leases_lost_total", SCOPE, "Leases that ended against the owner's will.");
const HEALED: Metric =
    Metric::counter("shared_store_healed_total", SCOPE, "Undecodable keys that got a good value or were deleted.");
const AUDITS: Metric =
    Metric::counter("shared_store_audits_total", SCOPE, "Times that the whole cache was compared with the kvstore.");
const AUDITED_KEYS: Metric =
    Metric::counter("shared_store_audited_keys_total", SCOPE, "Keys that were compared with the kvstore.");
const DIFFERENCES: Metric = Metric::counter(
    "shared_store_audit_differences_total",
    SCOPE,
    "Keys that differed although nothing explains it. Each one is a bug here or in the kvstore.",
);
const PANICS: Metric =
    Metric::counter("shared_store_panics_total", SCOPE, "Panics of codecs, filters and indexes in the store.");
const OBSERVER: &[&str] = &["scope", "observer"];
const OBSERVER_PENDING: Metric = Metric::gauge(
    "shared_store_observer_pending_changes",
    OBSERVER,
    "Changes that an observer has still to be told or to handle.",
);
const OBSERVER_LAG: Metric =
    Metric::gauge("shared_store_observer_lag_seconds", OBSERVER, "How long an observer has not been up to date.")
        .seconds();
const OBSERVER_PANICS: Metric =
    Metric::counter("shared_store_observer_panics_total", OBSERVER, "Panics of an observer or of its filter.");
const CLUSTER: &[&str] = &["target_cluster"];
const CLUSTER_RULE: &[&str] = &["target_cluster", "rule"];
const REMOTE_CLUSTERS: Metric = Metric::gauge("remote_clusters", &[], "Sources of the mirror.");
const REMOTE_FAILURES: Metric = Metric::gauge(
    "remote_cluster_failures",
    CLUSTER,
    "How often a source was lost, or told something that makes no sense.",
);
const REMOTE_LAST_FAILURE: Metric =
    Metric::gauge("remote_cluster_last_failure_ts", CLUSTER, "Unix time of the last of these failures, or 0.")
        .seconds();
const REMOTE_READINESS: Metric = Metric::gauge(
    "remote_cluster_readiness_status",
    CLUSTER,
    "1 if every copy of a source is complete and follows it, else 0.",
);
const MIRROR_KEYS: Metric = Metric::gauge("shared_store_mirror_keys", CLUSTER_RULE, "Keys that are copied.");
const MIRROR_PENDING: Metric = Metric::gauge(
    "shared_store_mirror_pending_keys",
    CLUSTER_RULE,
    "Copies that are not in the kvstore as they should be, yet.",
);
const MIRROR_REFUSED: Metric =
    Metric::gauge("shared_store_mirror_refused_keys", CLUSTER_RULE, "Copies that the kvstore refuses.");

/// All metrics. The guide's chapter "Metrics" has the same table; a test compares them.
pub const METRICS: &[Metric] = &[
    OPERATIONS,
    EVENTS_QUEUE,
    SYNC_QUEUE,
    SYNC_ERRORS,
    INITIAL_SYNC,
    STATE,
    REVISION,
    KVSTORE_REVISION,
    WATCH_RESPONSE,
    KEYS,
    OWN_KEYS,
    SET_ASIDE,
    LEASES,
    HELD_BACK,
    UNDECODABLE,
    IGNORED,
    RELISTS,
    OTHER_HISTORIES,
    REPAIRS,
    CONFLICTS,
    LEASES_LOST,
    HEALED,
    AUDITS,
    AUDITED_KEYS,
    DIFFERENCES,
    PANICS,
    OBSERVER_PENDING,
    OBSERVER_LAG,
    OBSERVER_PANICS,
    REMOTE_CLUSTERS,
    REMOTE_FAILURES,
    REMOTE_LAST_FAILURE,
    REMOTE_READINESS,
    MIRROR_KEYS,
    MIRROR_PENDING,
    MIRROR_REFUSED,
];

/// Tells the recorder what the metrics mean: once in a process, when the first store begins.
fn describe() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        for metric in METRICS {
            let unit = if metric.unit.is_empty() { Unit::Count } else { Unit::Seconds };
            match metric.kind {
                MetricKind::Counter => ::metrics::describe_counter!(metric.name, unit, metric.meaning),
                MetricKind::Gauge => ::metrics::describe_gauge!(metric.name, unit, metric.meaning),
                MetricKind::Histogram => ::metrics::describe_histogram!(metric.name, unit, metric.meaning),
            }
        }
    });
}

/// A number as a metric has it: exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "a metric is a float")]
fn float(number: u64) -> f64 {
    number as f64
}
