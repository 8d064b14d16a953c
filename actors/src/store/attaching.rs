//! Leaving one kvstore or prefix for another.
//!
//! The store and its watcher stay on the thread on which the store was joined, whatever the thread of the new backend is:
//! observers, timers and the handle know the actor by its address, and an actor does not move.

use actix::prelude::*;
use shared_store_core::Key;

use super::StoreActor;
use crate::clock::now;
use crate::error::StoreError;
use crate::messages::{Attach, Detach, Drain};
use crate::watcher::Stop;

/// Whether somebody watches for the store.
#[derive(Debug, Default)]
pub(super) struct Attachment {
    state: State,
    /// It can own nothing: its keys would be in a kvstore that it does not watch.
    read_only: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Attached,
    /// The watcher has still to stop.
    Detaching,
    Detached,
}

impl Attachment {
    pub(super) fn is_attached(&self) -> bool {
        self.state == State::Attached
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl<K: Key> StoreActor<K> {
    fn is_detached(&self) -> Result<(), StoreError> {
        self.is_open()?;
        if self.attachment.state == State::Detached { Ok(()) } else { Err(StoreError::Attached) }
    }

    fn detached(&mut self, ctx: &mut Context<Self>) {
        // It may have been attached again since.
        if self.attachment.state == State::Detaching {
            self.attachment.state = State::Detached;
            self.store.detach(now());
            self.tell_state();
            self.pump(ctx);
        }
    }
}

impl<K: Key> Handler<Detach> for StoreActor<K> {
    type Result = ResponseActFuture<Self, Result<(), StoreError>>;

    fn handle(&mut self, _: Detach, _: &mut Self::Context) -> Self::Result {
        let owns = self.store.is_owner() || !self.tickets.is_empty();
        let refused = self.is_open().and(if owns { Err(StoreError::Owner) } else { Ok(()) });
        let watcher = self.children.as_ref().map(|children| children.watcher.clone());
        let (Ok(()), Some(watcher)) = (&refused, watcher) else {
            return Box::pin(std::future::ready(refused).into_actor(self));
        };
        self.attachment.read_only = true;
        // No audit can be completed any more: requests for one are answered now.
        self.audits.clear();
        // From now on the cache shows another kvstore or prefix, which the snapshot of this prefix must not contain.
        self.saving = None;
        if self.attachment.is_attached() {
            self.attachment.state = State::Detaching;
        }
        // A watcher that is gone already is stopped, too.
        let stopped = async move { watcher.send(Stop).await.unwrap_or(()) };
        Box::pin(stopped.into_actor(self).map(|(), actor, ctx| {
            actor.detached(ctx);
            Ok(())
        }))
    }
}

impl<K: Key> Handler<Attach> for StoreActor<K> {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, Attach { backend, prefix }: Attach, ctx: &mut Self::Context) -> Self::Result {
        self.is_detached()?;
        self.attachment.state = State::Attached;
        self.store.attach(prefix.clone());
        #[cfg(feature = "metrics")]
        self.measuring.metrics.moved(&prefix);
        self.config = self.config.clone().shared_backend(backend).prefix(prefix);
        let watcher = self.start_watcher(None, ctx);
        if let Some(children) = &mut self.children {
            children.watcher = watcher;
        }
        Ok(())
    }
}

impl<K: Key> Handler<Drain> for StoreActor<K> {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) -> Self::Result {
        self.is_detached()?;
        self.store.drain(now());
        self.pump(ctx);
        Ok(())
    }
}
