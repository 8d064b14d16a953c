//! Sends the requests for own keys to the kvstore.

use std::sync::Arc;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store_core::backend::Backend;
use shared_store_core::own::{Answer, OwnEvent, Request};
use tokio::sync::oneshot;

use crate::watcher::{Stop, guarded};

/// To the sync: send this request.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Perform<Id> {
    pub(crate) id: Id,
    pub(crate) request: Request,
}

/// To the owner of the keys: what the kvstore answered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Answered<Id> {
    pub(crate) id: Id,
    pub(crate) answer: Answer,
}

/// Sends requests to the backend, many at a time, and brings their answers. It decides nothing: which request is sent
/// when follows from [`OwnKeys`](shared_store_core::own::OwnKeys), which lives with the cache.
#[derive(Debug)]
pub(crate) struct SyncActor<Id: Send + 'static> {
    backend: Arc<dyn Backend>,
    owner: WeakRecipient<Answered<Id>>,
    /// Dropped when this actor ends, however it ends.
    _alive: oneshot::Sender<()>,
}

impl<Id: Send + 'static> SyncActor<Id> {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        owner: WeakRecipient<Answered<Id>>,
        alive: oneshot::Sender<()>,
    ) -> Self {
        Self { backend, owner, _alive: alive }
    }
}

impl<Id: Send + Unpin + 'static> Actor for SyncActor<Id> {
    type Context = Context<Self>;
}

impl<Id: Send + Unpin + 'static> Handler<Perform<Id>> for SyncActor<Id> {
    type Result = ();

    fn handle(&mut self, Perform { id, request }: Perform<Id>, ctx: &mut Self::Context) {
        let call = perform(Arc::clone(&self.backend), request);
        ctx.spawn(call.into_actor(self).map(move |answer, actor, ctx| match actor.owner.upgrade() {
            Some(owner) => owner.do_send(Answered { id, answer }),
            None => ctx.stop(),
        }));
    }
}

impl<Id: Send + Unpin + 'static> Handler<Stop> for SyncActor<Id> {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Sends a request.
async fn perform(backend: Arc<dyn Backend>, request: Request) -> Answer {
    match request {
        Request::Grant { lease, ttl } => Answer::Granted(guarded(backend.grant(lease, ttl)).await),
        Request::KeepAlive(lease) => Answer::KeptAlive(guarded(backend.keep_alive(lease)).await),
        Request::Revoke(lease) => Answer::Revoked(guarded(backend.revoke(lease)).await),
        Request::Write(writes) => Answer::Written(guarded(backend.write(writes)).await),
    }
}

/// Logs what somebody should look at.
pub(crate) fn log(event: &OwnEvent) {
    match event {
        OwnEvent::SetAside { name, cause } => tracing::warn!(key = %name, %cause, "the kvstore refuses an own key"),
        OwnEvent::NoLongerSetAside { name } => tracing::info!(key = %name, "own key is set aside no longer"),
        OwnEvent::Repaired { name, damage, revision } => {
            tracing::info!(key = %name, %revision, "own key was {damage} by someone else and was put back");
        }
        OwnEvent::LeaseLost { lease, cause } => tracing::warn!(%lease, %cause, "lease is lost"),
        OwnEvent::HistoryChanged => tracing::warn!("a write was answered from another history: listing again"),
        OwnEvent::BackendFailed(cause) => tracing::warn!(%cause, "write failed, trying again"),
        OwnEvent::Conflict { name, revision, lease, policy } => {
            tracing::warn!(key = %name, %revision, %lease, ?policy, "another owner, or another process with the same owner name, writes an own key");
        }
        OwnEvent::Done { .. }
        | OwnEvent::Closed { .. }
        | OwnEvent::Stored { .. }
        | OwnEvent::Released { .. }
        | OwnEvent::StillSetAside { .. }
        | OwnEvent::Lost { .. } => {}
    }
}
