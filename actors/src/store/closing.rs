//! Leaving: watcher first, then the own keys, then the observers, then the snapshot, then the actor itself.

use std::sync::Arc;

use actix::prelude::*;
use shared_store_core::own::Ticket;
use shared_store_core::{Key, KeyName};
use tokio::sync::oneshot;

use super::StoreActor;
use crate::clock::now;
use crate::error::{CloseError, StoreError};
use crate::messages::{Close, Release};
use crate::watcher::Stop;

/// The state's cause after Close.
pub(crate) const CLOSED: &str = "closed";
/// The state's cause after Release.
pub(crate) const RELEASED: &str = "released";

/// What becomes of the own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// They are deleted.
    Close,
    /// They stay until their leases end.
    Release,
}

/// How far leaving has got.
#[derive(Debug)]
pub(super) struct Closing {
    how: Leave,
    waiting: Vec<oneshot::Sender<Result<(), CloseError>>>,
    /// What could not be deleted or written, once that is known.
    left: Option<Vec<(KeyName, Arc<str>)>>,
    /// Parcels that are not waited for. What is not handled when the store has left is cancelled.
    under_way: Vec<oneshot::Sender<()>>,
}

impl Closing {
    /// Whether the own keys are done and the observers are told.
    pub(super) fn is_flushing(&self) -> bool {
        self.left.is_some()
    }

    /// A parcel is cancelled when the store has left, and not before.
    pub(super) fn cancel_later(&mut self, parcel: oneshot::Sender<()>) {
        self.under_way.push(parcel);
    }
}

impl<K: Key> StoreActor<K> {
    fn leave(&mut self, how: Leave, ctx: &mut Context<Self>) -> ResponseFuture<Result<(), CloseError>> {
        let (sender, receiver) = oneshot::channel();
        match &mut self.closing {
            Some(closing) => closing.waiting.push(sender),
            None => {
                self.closing = Some(Closing { how, waiting: vec![sender], left: None, under_way: Vec::new() });
                self.readers.clear();
                self.stop_watching(ctx);
            }
        }
        Box::pin(async { receiver.await.unwrap_or_else(|_| Err(CloseError::ended("store actor stopped"))) })
    }

    /// Stops the watcher first, so that nothing it delivers is told after the deletions of own keys.
    fn stop_watching(&mut self, ctx: &mut Context<Self>) {
        let watcher = self.children.as_ref().map(|children| children.watcher.clone());
        let stopped = async move {
            if let Some(watcher) = watcher {
                // A watcher that is gone already is stopped, too.
                watcher.send(Stop).await.unwrap_or(());
            }
        };
        ctx.spawn(stopped.into_actor(self).map(|(), actor, ctx| actor.stop_writing(ctx)));
    }

    fn stop_writing(&mut self, ctx: &mut Context<Self>) {
        let Some(closing) = &self.closing else { return };
        let ticket = Ticket(u64::MAX);
        match closing.how {
            Leave::Close => self.store.close_own(now(), ticket),
            Leave::Release => self.store.release_own(now(), ticket),
        }
        self.pump(ctx);
    }

    /// The own keys are done: tells the observers and waits for them, for a limited time. It does not wait for parcels
    /// that observers are already handling: an observer can close the store in its own handler.
    pub(super) fn flush(&mut self, left: Vec<(KeyName, Arc<str>)>, ctx: &mut Context<Self>) {
        let Some(closing) = &mut self.closing else { return };
        closing.left = Some(left);
        // Writes that wait until observers were told are answered: the store closes.
        self.untold.clear();
        for (id, observer) in &mut self.observers {
            if let Some(parcel) = observer.take_parcel() {
                closing.cancel_later(parcel);
                self.store.delivered(*id);
            }
        }
        ctx.run_later(self.config.close_timeout, |actor, ctx| {
            let observers = actor.busy_observers();
            tracing::warn!(%observers, "left observers behind that have not handled everything");
            actor.finish(ctx);
        });
    }

    pub(super) fn finish_when_flushed(&mut self, ctx: &mut Context<Self>) {
        let done = self.closing.as_ref().is_some_and(Closing::is_flushing);
        if done && self.observers.values().all(super::Subscribed::is_idle) {
            self.finish(ctx);
        }
    }

    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        let Some(left) = self.closing.as_ref().and_then(|closing| closing.left.clone()) else { return };
        if self.saves_last(ctx) {
            return;
        }
        // Nothing is delivered after the answer.
        self.cancel_deliveries();
        let Some(closing) = &mut self.closing else { return };
        closing.under_way.clear();
        let result = if left.is_empty() { Ok(()) } else { Err(CloseError { left, ended: None }) };
        let waiting = std::mem::take(&mut closing.waiting);
        self.store.close(match closing.how {
            Leave::Close => CLOSED,
            Leave::Release => RELEASED,
        });
        self.tell_state();
        for (_, waiting) in self.tickets.drain() {
            // The requester may have been dropped.
            let _ = waiting.send(Err(StoreError::Closed));
        }
        // In a later turn: until then the cancelled messages are given up.
        let answers = async move {
            tokio::task::yield_now().await;
            for waiting in waiting {
                let _ = waiting.send(result.clone());
            }
        };
        ctx.spawn(answers.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl<K: Key> Handler<Close> for StoreActor<K> {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) -> Self::Result {
        self.leave(Leave::Close, ctx)
    }
}

impl<K: Key> Handler<Release> for StoreActor<K> {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        self.leave(Leave::Release, ctx)
    }
}
