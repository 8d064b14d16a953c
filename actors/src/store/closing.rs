//! Leaving: watcher first, then the own keys, then the observers, then the snapshot, then the actor itself.

use std::sync::Arc;

use actix::prelude::*;
use shared_store::store::SyncInput;
use shared_store::sync::{Command, Ticket};
use shared_store::{Key, KeyName};
use tokio::sync::oneshot;

use super::StoreActor;
use crate::error::{CloseError, StoreError};
use crate::messages::{Close, Release};
use crate::sync::{Inputs, now};
use crate::watcher::Stop;

/// How far leaving has got.
#[derive(Debug)]
pub(super) struct Closing {
    /// Whether own keys are deleted.
    delete: bool,
    waiting: Vec<oneshot::Sender<Result<(), CloseError>>>,
    /// What the sync could not do, once it has answered.
    left: Option<Vec<(KeyName, Arc<str>)>>,
}

impl<K: Key> StoreActor<K> {
    fn leave(&mut self, delete: bool, ctx: &mut Context<Self>) -> ResponseFuture<Result<(), CloseError>> {
        let (sender, receiver) = oneshot::channel();
        match &mut self.closing {
            Some(closing) => closing.waiting.push(sender),
            None => {
                self.closing = Some(Closing { delete, waiting: vec![sender], left: None });
                self.stop_watching(ctx);
                // Should the sync be gone or stuck, leaving ends all the same.
                ctx.run_later(self.close_timeout * 2, |actor, ctx| actor.give_up("no answer in time", ctx));
            }
        }
        Box::pin(async { receiver.await.unwrap_or(Ok(())) })
    }

    /// First the watcher, so that nothing it still has to say is told after our own deletions.
    fn stop_watching(&mut self, ctx: &mut Context<Self>) {
        let Some(watcher) = self.children.as_ref().map(|children| children.watcher.clone()) else { return };
        // A watcher that is gone already is stopped, too.
        let stopped = async move { watcher.send(Stop).await.unwrap_or(()) };
        ctx.spawn(stopped.into_actor(self).map(|(), actor, ctx| actor.stop_writing(ctx)));
    }

    fn stop_writing(&mut self, ctx: &mut Context<Self>) {
        let Some(closing) = &self.closing else { return };
        let ticket = Ticket(u64::MAX);
        let command = if closing.delete { Command::Close { ticket } } else { Command::Release { ticket } };
        self.pump(ctx);
        let sync = self.children.as_ref().map(|children| children.sync.clone());
        match sync.filter(Addr::connected) {
            Some(sync) => sync.do_send(Inputs(vec![SyncInput::Command(command)])),
            None => self.give_up("the thread for writes has ended", ctx),
        }
    }

    /// Nobody says what became of the own keys.
    fn give_up(&mut self, cause: &str, ctx: &mut Context<Self>) {
        if self.closing.as_ref().is_some_and(|closing| closing.left.is_none()) {
            let cause: Arc<str> = cause.into();
            let left = self.store.own_names().map(|name| (name.clone(), Arc::clone(&cause))).collect();
            self.flush(left, ctx);
            self.pump(ctx);
        }
    }

    /// The sync is done: tells the observers, and waits for them, but not for ever.
    pub(super) fn flush(&mut self, left: Vec<(KeyName, Arc<str>)>, ctx: &mut Context<Self>) {
        let Some(closing) = &mut self.closing else { return };
        if closing.delete {
            let names: Vec<_> = left.iter().map(|(name, _)| name.clone()).collect();
            self.store.retract_local(now(), &names);
        }
        closing.left = Some(left);
        ctx.run_later(self.close_timeout, |actor, ctx| {
            tracing::warn!("left observers behind that do not handle what they are told");
            actor.finish(ctx);
        });
    }

    pub(super) fn finish_when_flushed(&mut self, ctx: &mut Context<Self>) {
        let done = self.closing.as_ref().is_some_and(|closing| closing.left.is_some());
        if done && self.observers.values().all(|observer| observer.under_way.is_none()) {
            self.finish(ctx);
        }
    }

    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        let Some(left) = self.closing.as_ref().and_then(|closing| closing.left.clone()) else { return };
        if self.saves_last(ctx) {
            return;
        }
        let Some(closing) = &mut self.closing else { return };
        let result = if left.is_empty() { Ok(()) } else { Err(CloseError { left }) };
        let waiting = std::mem::take(&mut closing.waiting);
        self.store.close(if closing.delete { "closed" } else { "released" });
        self.tell_state();
        for waiting in waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(result.clone());
        }
        for (_, waiting) in self.tickets.drain() {
            let _ = waiting.send(Err(StoreError::Closed));
        }
        ctx.stop();
    }
}

impl<K: Key> Handler<Close> for StoreActor<K> {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) -> Self::Result {
        self.leave(true, ctx)
    }
}

impl<K: Key> Handler<Release> for StoreActor<K> {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        self.leave(false, ctx)
    }
}
