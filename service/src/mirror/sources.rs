//! The sources of the configuration: they start, change and leave with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use shared_store::mirror::{Mirror, MirrorConfig, MirrorRules, MirrorStatus};
use shared_store::{Config, EtcdBackend, Prefix};

use super::settings::Wanted;
use crate::cli::Common;
use crate::setup::{self, Failure, say};

/// All sources, by cluster. Requests read them while a reload changes them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    running: Mutex<BTreeMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    wanted: Wanted,
    mirror: Mirror,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Copies,
    /// It is not in the configuration any more. What to start once it has left: it was added again.
    Leaves(Option<Box<MirrorConfig>>),
}

/// The kvstore of the copies. All sources share its threads.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) backend: EtcdBackend,
    common: Common,
}

impl Local {
    pub(super) fn open(common: Common) -> Result<Self, Failure> {
        let backend = EtcdBackend::new(setup::etcd_config(&common)?).map_err(|error| setup::bad_etcd(&error))?;
        Ok(Self { backend, common })
    }

    pub(super) fn config(&self, wanted: &Wanted) -> Result<MirrorConfig, Failure> {
        let cluster = &wanted.source.cluster;
        let named = |failure: Failure| Failure::usage(format_args!("source {cluster:?}: {failure}"));
        let etcd = setup::etcd_config(&wanted.source.common(&self.common)).map_err(named)?;
        let source = Arc::new(self.backend.beside(etcd).map_err(|error| named(setup::bad_etcd(&error)))?);
        let target = Arc::new(self.backend.clone());
        let config = match wanted.source.rules() {
            MirrorRules::Cilium => MirrorConfig::cilium(cluster, source, target),
            MirrorRules::These(rules) => MirrorConfig::new(cluster, rules, source, target),
        };
        let unused = Prefix::new("unused").expect("it is a prefix");
        let mut copies = Config::new(unused).owner(wanted.owner.clone()).list_timeout(self.common.list_timeout);
        if let Some(ttl) = wanted.lease_ttl {
            copies = copies.lease_ttl(ttl);
        }
        copies.check().map_err(Failure::usage)?;
        Ok(config.times(wanted.times).copies(copies))
    }
}

impl Sources {
    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts, changes and removes sources, so that they are the wanted ones. Those that stay the same are not touched,
    /// unless the kvstore of the copies is another one. If a source cannot be, nothing changes.
    pub(super) async fn apply(
        self: &Arc<Self>,
        local: &Local,
        wanted: BTreeMap<String, Wanted>,
        renew: bool,
    ) -> Result<(), Failure> {
        let stays = |running: &Running, wanted: &Wanted| {
            !renew && matches!(running.phase, Phase::Copies) && running.wanted == *wanted
        };
        let mut starts = Vec::new();
        for (cluster, wanted) in &wanted {
            if !self.running().get(cluster).is_some_and(|running| stays(running, wanted)) {
                starts.push((wanted.clone(), local.config(wanted)?));
            }
        }
        self.remove_all_but(&wanted);
        let changed: Vec<_> = {
            let running = self.running();
            let copies = |wanted: &Wanted| {
                running.get(&wanted.source.cluster).filter(|running| matches!(running.phase, Phase::Copies))
            };
            starts.iter().filter_map(|(wanted, _)| Some(copies(wanted)?.mirror.clone())).collect()
        };
        // Their copies stay, and the next mirrors take them over.
        release(changed).await;
        for (wanted, config) in starts {
            self.start(wanted, config)?;
        }
        Ok(())
    }

    fn start(&self, wanted: Wanted, config: MirrorConfig) -> Result<(), Failure> {
        let cluster = wanted.source.cluster.clone();
        let mut running = self.running();
        if let Some(Running { phase: Phase::Leaves(next), wanted: old, .. }) = running.get_mut(&cluster) {
            say(format_args!("source {cluster:?} is on its way out: it starts again when its copies are gone"));
            (*next, *old) = (Some(Box::new(config)), wanted);
            return Ok(());
        }
        tracing::info!(cluster, "the source starts");
        let mirror = Mirror::start(config)?;
        running.insert(cluster, Running { wanted, mirror, phase: Phase::Copies });
        Ok(())
    }

    /// Begins to remove the sources that are not wanted.
    fn remove_all_but(self: &Arc<Self>, wanted: &BTreeMap<String, Wanted>) {
        for (cluster, running) in self.running().iter_mut().filter(|(cluster, _)| !wanted.contains_key(*cluster)) {
            let first = matches!(running.phase, Phase::Copies);
            running.phase = Phase::Leaves(None);
            if first {
                tracing::info!(cluster, "the source is removed");
                actix_rt::spawn(Arc::clone(self).removed(cluster.clone(), running.mirror.clone()));
            }
        }
    }

    /// Removes a source, and starts it again if it was added meanwhile.
    async fn removed(self: Arc<Self>, cluster: String, mirror: Mirror) {
        match mirror.remove().await {
            Ok(()) => say(format_args!("source {cluster:?} is removed, and its copies are deleted")),
            Err(error) => say(format_args!("source {cluster:?} is removed: {error}")),
        }
        let left = self.running().remove(&cluster);
        if let Some(Running { wanted, phase: Phase::Leaves(Some(config)), .. }) = left
            && let Err(failure) = self.start(wanted, *config)
        {
            say(format_args!("source {cluster:?} cannot start: {failure}"));
        }
    }

    /// How all sources are.
    pub(super) async fn status(&self) -> Vec<MirrorStatus> {
        let of = |running: &Running| (running.mirror.clone(), matches!(running.phase, Phase::Leaves(_)));
        let all: Vec<_> = self.running().values().map(of).collect();
        let statuses = all.iter().map(async |(mirror, leaves)| {
            // One that has just left has no status any more.
            let mut status = mirror.status().await.ok()?;
            // It may not have heard of it yet.
            status.leaves |= leaves;
            status.ready &= !status.leaves;
            Some(status)
        });
        join_all(statuses).await.into_iter().flatten().collect()
    }

    /// All sources end. Their copies stay until their leases end.
    pub(super) async fn release(&self) {
        let mirrors = {
            let mut running = self.running();
            for running in running.values_mut() {
                running.phase = Phase::Leaves(None);
            }
            running.values().map(|running| running.mirror.clone()).collect()
        };
        release(mirrors).await;
    }
}

async fn release(mirrors: Vec<Mirror>) {
    for released in join_all(mirrors.iter().map(Mirror::release)).await {
        if let Err(error) = released {
            say(error);
        }
    }
}
