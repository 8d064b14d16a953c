//! Keeps the own keys in the kvstore.

use std::sync::Arc;
use std::time::Instant;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store::LeaseId;
use shared_store::backend::Backend;
use shared_store::store::SyncInput;
use shared_store::sync::{Answer, Request, RequestId, Sync, SyncEvent, SyncStats};

use crate::place::Place;
use crate::watcher::{Stop, guarded};

/// To the sync: what the store wants of it, in order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Inputs(pub(crate) Vec<SyncInput>);

/// To the store: what became of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Events {
    pub(crate) events: Vec<SyncEvent>,
    pub(crate) stats: SyncStats,
}

/// Runs a [`Sync`] against the backend.
#[derive(Debug)]
pub(crate) struct SyncActor {
    backend: Arc<dyn Backend>,
    sync: Sync,
    store: WeakRecipient<Events>,
    timer: Option<SpawnHandle>,
    /// The thread this runs on, if it is the store's own: it ends with this actor.
    _place: Place,
}

impl SyncActor {
    pub(crate) fn new(backend: Arc<dyn Backend>, sync: Sync, store: WeakRecipient<Events>, place: Place) -> Self {
        Self { backend, sync, store, timer: None, _place: place }
    }

    /// Performs what the machine asks for, and hands on what it says.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        while let Some((id, request)) = self.sync.poll_request(now) {
            let call = perform(Arc::clone(&self.backend), request);
            ctx.spawn(call.into_actor(self).map(move |answer, actor, ctx| actor.answered(id, answer, ctx)));
        }
        let events: Vec<_> = std::iter::from_fn(|| self.sync.poll_event()).collect();
        if let Some(store) = self.store.upgrade() {
            store.do_send(Events { events, stats: self.sync.stats() });
        } else {
            ctx.stop();
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.sync.deadline().map(|at| {
            ctx.run_later(at.saturating_duration_since(now), |actor, ctx| {
                actor.timer = None;
                actor.pump(ctx);
            })
        });
    }

    fn answered(&mut self, id: RequestId, answer: Answer, ctx: &mut Context<Self>) {
        self.sync.answer(now(), id, answer);
        self.pump(ctx);
    }
}

impl Actor for SyncActor {
    type Context = Context<Self>;
}

impl Handler<Inputs> for SyncActor {
    type Result = ();

    fn handle(&mut self, Inputs(inputs): Inputs, ctx: &mut Self::Context) {
        let now = now();
        for input in inputs {
            match input {
                SyncInput::Command(command) => self.sync.command(now, command),
                SyncInput::Observed(observation) => self.sync.observe(now, observation),
                SyncInput::BackendUp => self.sync.backend_up(now),
                SyncInput::Forget => self.sync.forget(now),
                SyncInput::Owners(owners) => self.sync.owners(owners),
            }
        }
        self.pump(ctx);
    }
}

impl Handler<Stop> for SyncActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// The runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Performs a request.
pub(crate) async fn perform(backend: Arc<dyn Backend>, request: Request) -> Answer {
    match request {
        Request::Grant { ttl } => Answer::Granted(guarded(backend.grant(LeaseId::NONE, ttl)).await),
        Request::KeepAlive(lease) => Answer::KeptAlive(guarded(backend.keep_alive(lease)).await),
        Request::Revoke(lease) => Answer::Revoked(guarded(backend.revoke(lease)).await),
        Request::Write(writes) => Answer::Written(guarded(backend.write(writes)).await),
    }
}

/// Logs what somebody should look at.
pub(crate) fn log(event: &SyncEvent) {
    match event {
        SyncEvent::SetAside { name, cause } => tracing::error!(key = %name, %cause, "the kvstore refuses an own key"),
        SyncEvent::LeaseLost { lease, cause } => tracing::warn!(%lease, %cause, "lease is lost"),
        SyncEvent::HistoryWentBack => tracing::warn!("a write was answered from another history: listing again"),
        SyncEvent::BackendFailed(cause) => tracing::warn!(%cause, "write failed, trying again"),
        SyncEvent::Conflict { name, revision, lease, policy } => {
            tracing::warn!(key = %name, %revision, %lease, ?policy, "another owner writes an own key");
        }
        SyncEvent::Done { .. }
        | SyncEvent::Closed { .. }
        | SyncEvent::Stored { .. }
        | SyncEvent::Deleted { .. }
        | SyncEvent::Lost { .. } => {}
    }
}
