//! One collaborator, and the states and changes it has reported.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use shared_store::{Config, SharedStore, StateChanged, join};
use shared_store_core::{EtcdBackend, EtcdConfig, State};
use tokio::sync::watch;

use super::PATIENCE;
use crate::actors::{Node, Shadow};
use crate::support::Cluster;
use crate::support::Proxy;

/// A dead connection is closed after twice this.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Collaborator {
    pub(crate) store: SharedStore<Node>,
    pub(crate) shadow: Shadow,
    pub(crate) backend: EtcdBackend,
    pub(crate) ways: Vec<Proxy>,
    pub(super) states: States,
    /// Kept here: subscriptions do not keep actors alive.
    _told: (Addr<Shadow>, Addr<States>),
}

impl Collaborator {
    pub(super) async fn join(etcd: &Cluster, who: usize, config: &Config) -> Self {
        let mut ways: Vec<_> = etcd.members.iter().map(|member| Proxy::to(&member.endpoint())).collect();
        // Not all begin at the same member.
        let first = who % ways.len();
        ways.rotate_left(first);
        let backend = EtcdConfig::new(ways.iter().map(Proxy::endpoint))
            .call_timeout(CALL_TIMEOUT)
            .connect_timeout(Duration::from_secs(1))
            .keep_alive(KEEP_ALIVE, KEEP_ALIVE);
        let backend = EtcdBackend::new(backend).unwrap();
        let config =
            config.clone().backend(backend.clone()).seed(fastrand::u64(..)).close_timeout(Duration::from_secs(20));
        let (shadow, states) = (Shadow::default(), States::default());
        let told = (shadow.actor(), states.clone().start());
        let joining = join::<Node>(config).observer(Shadow::at(&told.0)).state_observer(told.1.clone().recipient());
        Self { store: joining.await.unwrap(), shadow, backend, ways, states, _told: told }
    }

    /// How often its observer was told that a key is gone.
    pub(crate) fn deletions(&self) -> BTreeMap<String, usize> {
        let mut deletions = BTreeMap::new();
        for name in self.shadow.log().iter().filter_map(|line| line.strip_prefix('-')) {
            *deletions.entry(name.to_owned()).or_default() += 1;
        }
        deletions
    }
}

/// Every state a store has told, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct States(Arc<watch::Sender<Vec<(Instant, State)>>>);

impl States {
    /// Drops what was told so far.
    pub(super) fn forget(&self) {
        self.0.send_modify(Vec::clear);
    }

    /// When it first said since then that it is out of date, and why.
    pub(super) fn stale_since(&self, began: Instant) -> Option<(Instant, Arc<str>)> {
        stale(&self.0.borrow(), began)
    }

    /// Waits until it has said since then that it is out of date.
    pub(super) async fn until_stale(&self, began: Instant) {
        let mut states = self.0.subscribe();
        let noticed = states.wait_for(|states| stale(states, began).is_some());
        let noticed = tokio::time::timeout(PATIENCE, noticed).await.is_ok();
        assert!(noticed, "never stale, told: {:?}", self.0.borrow());
    }
}

fn stale(states: &[(Instant, State)], began: Instant) -> Option<(Instant, Arc<str>)> {
    let (at, state) = states.iter().find(|(at, state)| *at >= began && state.name() == "stale")?;
    Some((*at, Arc::clone(state.cause()?)))
}

impl Actor for States {
    type Context = Context<Self>;
}

impl Handler<StateChanged> for States {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        self.0.send_modify(|states| states.push((Instant::now(), state)));
    }
}
