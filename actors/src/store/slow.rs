//! Observers that take long, and writes that wait until observers were told.

use std::collections::BTreeMap;
use std::time::Instant;

use actix::prelude::*;
use shared_store_core::store::Mark;
use shared_store_core::{Key, ObserverId};
use tokio::sync::oneshot;

use super::{Closing, StoreActor};
use crate::clock::now;
use crate::messages::{AwaitTold, Told};

/// When the observers are looked at next.
#[derive(Debug, Default)]
pub(super) struct Look(Option<(Instant, SpawnHandle)>);

impl<K: Key> StoreActor<K> {
    /// Looks at the observers then, if not before.
    pub(super) fn look_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if let Some((next, timer)) = self.look.0 {
            if next <= at {
                return;
            }
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at.saturating_duration_since(now()), |actor, ctx| {
            actor.look.0 = None;
            actor.look_for_slow(ctx);
        });
        self.look.0 = Some((at, timer));
    }

    /// Warns of observers that have had a parcel for too long, once a parcel. There is one timer for all observers,
    /// and none while nothing is under way.
    fn look_for_slow(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        let mut next: Option<Instant> = None;
        for observer in self.observers.values_mut() {
            let Some(since) = observer.since else { continue };
            let at = since + observer.slow_after;
            if at <= now {
                observer.since = None;
                let seconds = observer.slow_after.as_secs_f64();
                tracing::warn!(observer = %observer.name, "observer has not handled what it was told for {seconds} s");
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        if let Some(at) = next {
            self.look_at(at, ctx);
        }
    }

    /// Names the observers that have still something to handle.
    pub(super) fn busy_observers(&self) -> String {
        self.names_of(self.observers.iter().filter(|(_, observer)| !observer.is_idle()).map(|(id, _)| *id))
    }

    /// Names observers, in the order in which they came.
    pub(super) fn names_of(&self, ids: impl Iterator<Item = ObserverId>) -> String {
        let known: BTreeMap<_, _> = ids.filter_map(|id| Some((id, &*self.observers.get(&id)?.name))).collect();
        known.into_values().collect::<Vec<_>>().join(", ")
    }

    /// An observer's own code panicked.
    pub(super) fn observer_panicked(&mut self, id: ObserverId) {
        if let Some(observer) = self.observers.get(&id) {
            tracing::error!(observer = %observer.name, "observer panicked: see what the panic hook printed");
            self.store.observer_panicked(id);
        }
    }

    /// Answers those that wait until observers were told.
    pub(super) fn answer_told(&mut self) {
        let store = &self.store;
        for (_, waiting) in self.untold.extract_if(.., |(mark, waiting)| waiting.is_closed() || store.have_passed(mark))
        {
            // The requester may have been dropped.
            let _ = waiting.send(());
        }
    }
}

/// Somebody who waits until observers were told.
pub(super) type Untold = (Mark, oneshot::Sender<()>);

impl<K: Key> Handler<AwaitTold> for StoreActor<K> {
    type Result = ResponseFuture<Told>;

    fn handle(&mut self, AwaitTold { timeout }: AwaitTold, _: &mut Self::Context) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        if !self.closing.as_ref().is_some_and(Closing::is_flushing) {
            self.untold.push((self.store.mark(), sender));
            self.answer_told();
        }
        Box::pin(async move {
            match tokio::time::timeout(timeout, receiver).await {
                Ok(Ok(())) => Told::All,
                Ok(Err(_)) => Told::Closed,
                Err(_) => Told::NotYet,
            }
        })
    }
}
