//! How the sources of a mirror are, as gauges.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use ::metrics::SharedString;

use super::*;
use crate::mirror::{CopyStatus, MirrorStatus};

/// Records the metrics of all mirrors of a process: those of Cilium's KVStoreMesh under its names, and the numbers of keys.
/// What counts for it is the status, so an application records when it is asked for its metrics.
#[derive(Debug, Default)]
pub struct MirrorMetrics {
    clusters: BTreeMap<String, Cluster>,
}

/// What was recorded of a cluster.
#[derive(Debug, Default)]
struct Cluster {
    rules: BTreeSet<String>,
    failures: u64,
    /// Unix time of the last one.
    failed_at: f64,
}

impl MirrorMetrics {
    /// Nothing is recorded yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records how all sources are. The gauges of those that were recorded before and are not there any more are 0.
    pub fn record(&mut self, sources: &[MirrorStatus]) {
        describe();
        REMOTE_CLUSTERS.set(&[], float(sources.len() as u64));
        let there: BTreeSet<_> = sources.iter().map(|source| source.cluster.as_str()).collect();
        let gone: Vec<_> = self.clusters.keys().filter(|cluster| !there.contains(cluster.as_str())).cloned().collect();
        for cluster in gone {
            let label = SharedString::from(cluster.clone());
            for metric in [&REMOTE_FAILURES, &REMOTE_LAST_FAILURE, &REMOTE_READINESS] {
                metric.set(&[&label], 0);
            }
            for rule in self.clusters.remove(&cluster).unwrap_or_default().rules {
                counts(&label, rule, [0; 3]);
            }
        }
        for source in sources {
            self.source(source);
        }
    }

    fn source(&mut self, source: &MirrorStatus) {
        let label = SharedString::from(source.cluster.clone());
        let known = self.clusters.entry(source.cluster.clone()).or_default();
        REMOTE_READINESS.set(&[&label], u32::from(source.ready));
        REMOTE_FAILURES.set(&[&label], float(source.failures));
        // Worked out anew each time, it would change a little.
        if known.failures != source.failures {
            let failed = source.last_failure.as_ref();
            known.failed_at = failed.map_or(0.0, |failed| unix_time() - failed.seconds_ago);
            known.failures = source.failures;
        }
        REMOTE_LAST_FAILURE.set(&[&label], known.failed_at);
        for CopyStatus { name, keys, pending, refused, .. } in &source.copies {
            counts(&label, name.clone(), [*keys, *pending, *refused]);
            known.rules.insert(name.clone());
        }
    }
}

fn counts(cluster: &SharedString, rule: String, counts: [usize; 3]) {
    let rule = SharedString::from(rule);
    for (metric, count) in [MIRROR_KEYS, MIRROR_PENDING, MIRROR_REFUSED].iter().zip(counts) {
        metric.set(&[cluster, &rule], float(count as u64));
    }
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
