//! How a store or a publisher is, as gauges and counters.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use ::metrics::SharedString;

use super::*;
use crate::outbox::Lag;
use crate::outbox::ObserverId;
use crate::own::OwnEvent;
use crate::prefix::Prefix;
use crate::publisher::PublisherStatus;
use crate::status::{State, Status};

/// Records the metrics of one store or publisher.
///
/// The label `scope` is its prefix. Stores and publishers of one prefix in one process have the same gauges: the last one
/// that records wins.
#[derive(Debug)]
pub struct StatusMetrics {
    scope: SharedString,
    /// What was added to each counter of the scope.
    totals: BTreeMap<&'static str, u64>,
    panics: HashMap<ObserverId, u64>,
    /// The observers with gauges that are not 0 by definition.
    observers: BTreeMap<SharedString, Behind>,
}

/// How far the observers of one name are behind.
#[derive(Debug, Default)]
struct Behind {
    pending: usize,
    seconds: f64,
}

impl StatusMetrics {
    /// Nothing is recorded yet but the counters of events, at 0.
    #[must_use]
    pub fn new(prefix: &Prefix) -> Self {
        describe();
        let scope: SharedString = prefix.as_str().to_owned().into();
        for metric in [CONFLICTS, LEASES_LOST, SYNC_ERRORS] {
            metric.add(&[&scope], 0);
        }
        Self { scope, totals: BTreeMap::new(), panics: HashMap::new(), observers: BTreeMap::new() }
    }

    /// Records how a store is. Answers whether that changes with time alone.
    pub fn store(&mut self, now: Instant, status: &Status) -> bool {
        self.state(&status.state);
        REVISION.set(&[&self.scope], float(status.revision.0));
        self.initial_sync("read", status.relists.lists > 0);
        self.count(&KEYS, status.entries);
        self.count(&OWN_KEYS, status.own);
        self.count(&SYNC_QUEUE, status.pending_writes);
        self.count(&SET_ASIDE, status.set_aside.len());
        self.count(&LEASES, status.leases);
        self.count(&HELD_BACK, status.held_back);
        self.count(&UNDECODABLE, status.undecodable);
        self.count(&IGNORED, status.ignored.count);
        self.total(&RELISTS, status.relists.lists.saturating_sub(1));
        self.total(&OTHER_HISTORIES, status.relists.other_histories);
        self.total(&REPAIRS, status.repairs);
        self.total(&HEALED, status.healed);
        self.total(&AUDITS, status.audits.rounds);
        self.total(&AUDITED_KEYS, status.audits.keys);
        self.total(&DIFFERENCES, status.audits.differences);
        self.total(&PANICS, status.panics);
        self.observers(now, &status.observers);
        self.observers.values().any(|behind| behind.pending > 0)
    }

    /// Records how a publisher is.
    pub fn publisher(&mut self, status: &PublisherStatus) {
        self.state(&status.state);
        self.count(&OWN_KEYS, status.own);
        self.count(&SYNC_QUEUE, status.pending);
        self.count(&SET_ASIDE, status.refused.len());
        self.count(&LEASES, status.leases);
        self.total(&REPAIRS, status.repairs);
    }

    /// Records whether the first list is in the cache (`read`), or all keys are in the kvstore (`write`).
    pub fn initial_sync(&self, action: &'static str, completed: bool) {
        INITIAL_SYNC.set(&[&self.scope, &action.into()], u8::from(completed));
    }

    /// Counts what has happened to own keys.
    pub fn event(&self, event: &OwnEvent) {
        let metric = match event {
            OwnEvent::Conflict { .. } => CONFLICTS,
            OwnEvent::LeaseLost { .. } => LEASES_LOST,
            OwnEvent::BackendFailed(_) | OwnEvent::SetAside { .. } | OwnEvent::StillSetAside { .. } => SYNC_ERRORS,
            // In the status, or no fault.
            OwnEvent::Repaired { .. }
            | OwnEvent::Done { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Lost { .. }
            | OwnEvent::NoLongerSetAside { .. }
            | OwnEvent::HistoryChanged
            | OwnEvent::Closed { .. } => return,
        };
        metric.add(&[&self.scope], 1);
    }

    /// The store has ended, or goes on below another prefix: it is closed here, and every other gauge is 0.
    pub fn end(&mut self) {
        self.state(&State::Closed { cause: "ended".into() });
        for gauge in [KEYS, OWN_KEYS, SYNC_QUEUE, SET_ASIDE, LEASES, HELD_BACK, UNDECODABLE, IGNORED] {
            self.count(&gauge, 0);
        }
        for (observer, _) in std::mem::take(&mut self.observers) {
            self.behind(&observer, &Behind::default());
        }
    }

    /// The store goes on below another prefix.
    pub fn moved(&mut self, prefix: &Prefix) {
        self.end();
        let totals = std::mem::take(&mut self.totals);
        *self = Self { totals, panics: std::mem::take(&mut self.panics), ..Self::new(prefix) };
    }

    fn state(&self, state: &State) {
        for name in State::NAMES {
            STATE.set(&[&self.scope, &name.into()], u8::from(name == state.name()));
        }
    }

    fn count(&self, gauge: &Metric, count: usize) {
        gauge.set(&[&self.scope], float(count as u64));
    }

    /// Adds what is new of a total. Not absolute: a store that is joined again begins at 0.
    fn total(&mut self, counter: &Metric, total: u64) {
        let added = self.totals.entry(counter.name).or_default();
        counter.add(&[&self.scope], total.saturating_sub(*added));
        *added = total;
    }

    fn observers(&mut self, now: Instant, lags: &[(ObserverId, Lag)]) {
        let mut all: BTreeMap<SharedString, Behind> = BTreeMap::new();
        let panics = std::mem::take(&mut self.panics);
        for (id, lag) in lags {
            let name = lag.name.as_ref().map_or(SharedString::const_str("unnamed"), |name| name.to_string().into());
            let before = panics.get(id).copied().unwrap_or(0);
            OBSERVER_PANICS.add(&[&self.scope, &name], lag.panics.saturating_sub(before));
            self.panics.insert(*id, lag.panics);
            let seconds = lag.behind_since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64());
            let behind = all.entry(name).or_default();
            behind.pending += lag.pending;
            behind.seconds = behind.seconds.max(seconds);
        }
        for gone in self.observers.keys().filter(|name| !all.contains_key(*name)) {
            self.behind(gone, &Behind::default());
        }
        for (name, behind) in &all {
            self.behind(name, behind);
        }
        self.observers = all;
    }

    fn behind(&self, observer: &SharedString, behind: &Behind) {
        let labels = [&self.scope, observer];
        OBSERVER_PENDING.set(&labels, float(behind.pending as u64));
        OBSERVER_LAG.set(&labels, behind.seconds);
    }
}
