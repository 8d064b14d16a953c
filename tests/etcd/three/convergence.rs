//! Faults, which collaborators notice them, and when all are equal again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::select_all;
use shared_store_core::State;

use super::{Collaborator, PATIENCE, Three};
use crate::actors::Told;
use crate::support::eventually;

/// A fault: when it began, and when its cause was gone.
#[derive(Debug)]
pub(super) struct Fault {
    name: String,
    began: Instant,
    ended: Option<Instant>,
}

impl Three {
    /// Waits until one has writes pending.
    pub(crate) async fn cannot_write(&self, who: usize) {
        let pending = async || self.each[who].store.status().await.unwrap().pending_writes;
        eventually(&format!("{who} has writes pending"), PATIENCE, pending, |pending| *pending > 0).await;
    }

    /// Records that a fault begins.
    pub(crate) fn fault(&mut self, name: &str) {
        self.fault = Some(Fault { name: name.to_owned(), began: Instant::now(), ended: None });
    }

    /// Waits until all say that they are out of date.
    pub(crate) async fn all_notice(&self) {
        for who in 0..3 {
            self.notices(who).await;
        }
    }

    /// Waits until one has said since the fault began that it is out of date.
    pub(crate) async fn notices(&self, who: usize) {
        self.each[who].states.until_stale(self.began()).await;
    }

    /// Whether one has said since the fault began that it is out of date.
    pub(crate) fn has_noticed(&self, who: usize) -> bool {
        self.each[who].states.stale_since(self.began()).is_some()
    }

    fn began(&self) -> Instant {
        self.fault.as_ref().expect("a fault began").began
    }

    /// All are out of date now, and stay so for this time.
    pub(crate) async fn stays_stale(&self, time: Duration) {
        let leaves = self.each.iter().map(|each| {
            Box::pin(async {
                let mut state = each.store.reader().state();
                while state.name() == "stale" {
                    state = each.store.reader().state_changed(&state).await;
                }
                state
            })
        });
        if let Ok((state, who, _)) = tokio::time::timeout(time, select_all(leaves)).await {
            panic!("{who} is {state}");
        }
    }

    /// Waits until a cache shows a key as it should be.
    pub(crate) async fn seen_by(&self, who: usize, name: &str, ip: &str) {
        let mut key = self.each[who].store.reader().watch_key(name);
        let seen = async {
            let mut value = key.value();
            while value.is_none_or(|node| node.ip != ip) {
                value = key.changed().await.unwrap();
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await.is_ok();
        assert!(seen, "{who} never sees {name}={ip}, but {:?}", key.value());
    }

    /// Waits until an observer has been told that all keys below a name are gone.
    pub(crate) async fn missed_by(&self, who: usize, below: &str) {
        let gone = |told: &Told| !told.map.keys().any(|name| name.starts_with(below));
        self.each[who].shadow.until(&format!("{who} is told that all of {below} is gone"), gone).await;
    }

    /// Records that the cause of the fault is gone.
    pub(crate) fn mended(&mut self) {
        self.fault.as_mut().expect("a fault began").ended = Some(Instant::now());
    }

    /// Waits until etcd, every cache and every map built from an observer's messages hold what is wanted, nothing is
    /// left to be written or told, and all say that they are in step.
    pub(crate) async fn converged(&mut self) {
        let what = format!("all are equal after {:?}", self.fault);
        eventually(&what, PATIENCE, async || self.compare().await, Result::is_ok).await.expect("it is ok");
        for (name, deleted) in self.given_up.drain(..) {
            let deleted = tokio::time::timeout(PATIENCE, deleted).await;
            assert!(matches!(deleted, Ok(Ok(Ok(_)))), "deletion of {name}: {deleted:?}");
        }
        if let Some(fault) = self.fault.take() {
            self.report(&fault);
        }
    }

    /// As [`converged`](Self::converged), and nobody has noticed anything.
    pub(crate) async fn converged_unnoticed(&mut self) {
        let began = self.began();
        self.converged().await;
        let noticed: Vec<_> = self.each.iter().filter_map(|each| each.states.stale_since(began)).collect();
        assert!(noticed.is_empty(), "somebody noticed: {noticed:?}");
    }

    async fn compare(&self) -> Result<(), String> {
        // A member without a leader answers late.
        let truth = tokio::time::timeout(Duration::from_secs(5), self.truth()).await;
        let truth = truth.map_err(|_| "etcd does not answer")?.map_err(|error| error.to_string())?;
        differ("etcd", &truth, &self.wanted)?;
        for (who, Collaborator { store, shadow, .. }) in self.each.iter().enumerate() {
            let cache = store.reader().snapshot().entries;
            let cache = cache.iter().map(|(name, node)| (name.to_string(), node.ip.clone())).collect();
            differ(&format!("cache of {who}"), &cache, &truth)?;
            differ(&format!("observer of {who}"), &shadow.map(), &truth)?;
            let status = store.status().await.map_err(|error| error.to_string())?;
            let lag = status.observers.iter().map(|(_, lag)| lag.pending).sum::<usize>();
            if status.state != State::Synced || status.pending_writes > 0 || lag > 0 {
                return Err(format!("{who} is {}, {} to write, {lag} to tell", status.state, status.pending_writes));
            }
        }
        Ok(())
    }

    /// One line of figures.
    fn report(&self, fault: &Fault) {
        let noticed = self.each.iter().filter_map(|each| each.states.stale_since(fault.began)).collect::<Vec<_>>();
        let latest = noticed.iter().map(|(at, _)| at.duration_since(fault.began)).max();
        let notice = latest.map_or_else(|| "-".to_owned(), |notice| format!("{:.2}", notice.as_secs_f64()));
        let converge = fault.ended.unwrap_or(fault.began).elapsed().as_secs_f64();
        let said: BTreeSet<_> = noticed.iter().map(|(_, cause)| without_ports(cause)).collect();
        let said = said.into_iter().collect::<Vec<_>>().join(" | ");
        let name = &fault.name;
        println!("fault={name:?} notice={notice} converge={converge:.2} noticed={} said={said:?}", noticed.len());
    }

    /// Observers were told exactly the deletions that were asked for, each once.
    pub(crate) fn nothing_else_was_gone(&self) {
        for (who, each) in self.each.iter().enumerate() {
            assert_eq!(each.deletions(), self.gone, "deletions told to the observer of {who}");
        }
    }
}

fn differ(what: &str, is: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Result<(), String> {
    let differs = |name: &&String| is.get(*name) != wanted.get(*name);
    match is.keys().chain(wanted.keys()).find(differs) {
        Some(name) => Err(format!("{name} is {:?} instead of {:?} in {what}", is.get(name), wanted.get(name))),
        None => Ok(()),
    }
}

/// The text without ports, which differ from run to run.
fn without_ports(cause: &str) -> String {
    let mut parts = cause.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "etcd" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
