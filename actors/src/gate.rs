//! Starts read-only stores as their canaries appear.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use actix::prelude::*;
use shared_store_core::gate::{Gate, GateId};
use shared_store_core::store::Refused;
use shared_store_core::watch::Watch;
use shared_store_core::{Backend, Config, GateStatus, GatedStore};
use tokio::sync::oneshot;
use tracing::Span;

use crate::clock::now;
use crate::error::{JoinError, StoreError};
use crate::owner::Owner;
use crate::store::HandleDropped;
use crate::thread::{StoreThread, backend, span};
use crate::watcher::{Deliver, Stop, WatcherActor};

/// Waits for the canaries of one cluster, and starts each store when its canary is seen. A prefix without a canary is
/// still being filled: a store that started there would take the keys it finds for all keys.
///
/// Cheap to clone, usable from any thread. When all clones are dropped, no further store is started; started stores go
/// on.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use shared_store::{GatedStore, Backend, CanaryGate, Config, Key, Prefix, join};
/// # async fn run<Node: Key>(backend: Arc<dyn Backend>) -> Result<(), Box<dyn std::error::Error>> {
/// let gate = CanaryGate::start(&Config::new(Prefix::canaries("cluster1")?).shared_backend(Arc::clone(&backend)))?;
/// let prefix = Prefix::new("cilium/state/nodes/v1")?;
/// gate.register(GatedStore::new(prefix.clone()), || async move {
///     let store = join::<Node>(Config::new(prefix).shared_backend(backend)).await;
///     // ...
/// }).await?;
/// for (prefix, progress) in gate.status().await?.stores {
///     println!("{prefix}: {progress}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct CanaryGate {
    owner: Arc<Owner<GateActor>>,
}

impl CanaryGate {
    /// Begins to watch the canaries below the prefix of `config`: see [`Prefix::canaries`](shared_store_core::Prefix::canaries).
    /// Must be called where actors can start; stores start there.
    ///
    /// # Errors
    /// [`JoinError::Config`], or [`JoinError::Thread`] if there can be no thread for the watch.
    pub fn start(config: &Config) -> Result<Self, JoinError> {
        Self::start_at(config, None)
    }

    /// As [`start`](Self::start), with the watch on a given thread.
    ///
    /// # Errors
    /// [`JoinError::Config`].
    pub fn start_on(config: &Config, thread: StoreThread) -> Result<Self, JoinError> {
        Self::start_at(config, Some(thread))
    }

    fn start_at(config: &Config, thread: Option<StoreThread>) -> Result<Self, JoinError> {
        config.check()?;
        let watch = Watch::new(config.prefix.range(), config.watch_timeout, config.seed);
        let actor = GateActor {
            gate: Gate::new(config.prefix.clone()),
            stores: HashMap::new(),
            start: Some((backend(config), watch, span(&config.prefix))),
            watcher: None,
            thread: StoreThread::or_of(thread, &*config.backend)?,
            timer: None,
        };
        Ok(Self { owner: Arc::new(Owner(actor.start())) })
    }

    /// Starts `store` when the canary is seen, once: on the thread of the gate, in a task of its own.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn register<F, S>(&self, awaited: GatedStore, store: F) -> Result<(), StoreError>
    where
        F: FnOnce() -> S + Send + 'static,
        S: Future<Output = ()> + 'static,
    {
        let start: StartStore = Box::new(move || Box::pin(async move { store().await }));
        Ok(self.owner.0.send(Register { awaited, start }).await?)
    }

    /// Which stores wait, and for how long, and which have started.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn status(&self) -> Result<GateStatus, StoreError> {
        self.owner.0.send(GetGateStatus).await?
    }
}

type StartStore = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

#[derive(Message)]
#[rtype(result = "()")]
struct Register {
    awaited: GatedStore,
    start: StartStore,
}

#[derive(Debug, Message)]
#[rtype(result = "Result<GateStatus, StoreError>")]
struct GetGateStatus;

/// Runs a [`Gate`].
struct GateActor {
    gate: Gate,
    /// Stores that have not been started.
    stores: HashMap<GateId, StartStore>,
    start: Option<(Arc<dyn Backend>, Watch, Span)>,
    watcher: Option<Addr<WatcherActor>>,
    /// The thread of the watch, if it is the gate's own: it ends with this actor.
    thread: StoreThread,
    timer: Option<SpawnHandle>,
}

impl std::fmt::Debug for GateActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GateActor").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl GateActor {
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while let Some(id) = self.gate.poll_start() {
            if let Some(start) = self.stores.remove(&id) {
                tracing::info!(prefix = %self.gate.prefix(id), "starting the store");
                // In a task of its own: a panic in it harms no other store.
                actix_rt::spawn(async move { start().await });
            }
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.gate.deadline().map(|at| {
            ctx.run_later(at.saturating_duration_since(now()), |actor, ctx| {
                actor.timer = None;
                for id in actor.gate.timeout(now()) {
                    tracing::warn!(prefix = %actor.gate.prefix(id), "canary not seen in time");
                }
                actor.pump(ctx);
            })
        });
    }
}

impl Actor for GateActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some((backend, watch, span)) = self.start.take() {
            let (alive, ended) = oneshot::channel::<()>();
            // Without the watch nothing would ever start: the gate says that it is closed.
            ctx.spawn(ended.into_actor(self).map(|_, _, ctx| ctx.stop()));
            let gate = ctx.address().recipient().downgrade();
            self.watcher = Some(self.thread.start(span, move || WatcherActor::new(backend, watch, gate, (), alive)));
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        if let Some(watcher) = self.watcher.take() {
            watcher.do_send(Stop);
        }
    }
}

impl Handler<Deliver> for GateActor {
    type Result = Result<(), Refused>;

    fn handle(&mut self, Deliver { delivery, .. }: Deliver, ctx: &mut Self::Context) -> Self::Result {
        let delivered = self.gate.deliver(now(), delivery);
        self.pump(ctx);
        delivered
    }
}

impl Handler<Register> for GateActor {
    type Result = ();

    fn handle(&mut self, Register { awaited, start }: Register, ctx: &mut Self::Context) {
        let id = self.gate.register(now(), awaited);
        self.stores.insert(id, start);
        self.pump(ctx);
    }
}

impl Handler<GetGateStatus> for GateActor {
    type Result = Result<GateStatus, StoreError>;

    fn handle(&mut self, _: GetGateStatus, _: &mut Self::Context) -> Self::Result {
        Ok(self.gate.status(now()))
    }
}

impl Handler<HandleDropped> for GateActor {
    type Result = ();

    fn handle(&mut self, _: HandleDropped, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
