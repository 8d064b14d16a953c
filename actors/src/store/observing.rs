//! Observers of a store: who they are, and what is on its way to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use shared_store_core::{Key, ObserverId, Parcel, Status};
use tokio::sync::oneshot;

use super::StoreActor;
use crate::clock::now;
use crate::delivery::Undelivered;
use crate::error::StoreError;
use crate::messages::{Subscribe, SubscribeState, Unsubscribe};
use crate::observer::{Observer, Sinks};

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscribed<K: Key> {
    sinks: Sinks<K>,
    /// What the log calls it: its own name, or its number.
    pub(super) name: Arc<str>,
    named: bool,
    pub(super) slow_after: Duration,
    /// Since when it has had a parcel; `None` once the log has warned.
    pub(super) since: Option<Instant>,
    /// The parcel under way: it is cancelled when this is dropped. What the observer has begun to handle is not.
    under_way: Option<oneshot::Sender<()>>,
    /// Counts the parcels.
    parcels: u64,
}

impl<K: Key> Subscribed<K> {
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// The parcel under way is not waited for any more. It is cancelled when the answer is dropped.
    pub(super) fn take_parcel(&mut self) -> Option<oneshot::Sender<()>> {
        self.parcels += 1;
        self.since = None;
        self.under_way.take()
    }
}

impl<K: Key> StoreActor<K> {
    pub(super) fn subscribe(&mut self, observer: Observer<K>) -> ObserverId {
        let Observer { filter, mode, name, slow_after, sinks } = observer;
        let id = self.store.subscribe(now(), filter, mode);
        if sinks.wants_progress() {
            self.store.want_progress(id);
        }
        let named = name.is_some();
        let name = name.unwrap_or_else(|| format!("{id:?}").into());
        let since = None;
        let subscribed = Subscribed { sinks, name, named, slow_after, since, under_way: None, parcels: 0 };
        self.observers.insert(id, subscribed);
        id
    }

    pub(super) fn send(&mut self, id: ObserverId, parcel: Parcel<K>, ctx: &mut Context<Self>) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        observer.parcels += 1;
        let sent = now();
        let (since, slow_at) = (Some(sent), sent + observer.slow_after);
        observer.since = since;
        // Kept until it is handled, so that this thread frees it and not the observer's.
        let shared = parcel.clone();
        let (number, delivery) = (observer.parcels, observer.sinks.send(parcel));
        let (sender, cancelled) = oneshot::channel();
        // While the store leaves, the parcels before the last one are not waited for: an observer that closes the store in
        // its own handler handles them only after it was answered, or not at all.
        if let Some(before) = observer.under_way.replace(sender)
            && let Some(closing) = &mut self.closing
        {
            closing.cancel_later(before);
        }
        let delivery = async move {
            tokio::select! {
                delivered = delivery => Some(delivered),
                _ = cancelled => None,
            }
        };
        ctx.spawn(delivery.into_actor(self).map(move |delivered, actor, ctx| {
            if let Some(delivered) = delivered {
                actor.delivered(id, number, delivered, ctx);
            }
            drop(shared);
        }));
        if self.closing.as_ref().is_some_and(super::Closing::is_flushing) {
            self.store.delivered(id);
        }
        self.look_at(slow_at, ctx);
    }

    fn delivered(&mut self, id: ObserverId, number: u64, delivered: Result<(), Undelivered>, ctx: &mut Context<Self>) {
        if let Some(observer) = self.observers.get_mut(&id).filter(|observer| observer.parcels == number) {
            observer.under_way = None;
            observer.since = None;
            match delivered {
                Ok(()) => self.store.delivered(id),
                Err(Undelivered::Panicked) => {
                    self.observer_panicked(id);
                    self.store.delivered(id);
                }
                Err(Undelivered::Gone) => {
                    tracing::info!(observer = %observer.name, "observer is gone");
                    self.remove_observer(id);
                }
            }
        }
        self.pump(ctx);
    }

    /// Drops an observer. What is on its way to it is cancelled.
    pub(super) fn remove_observer(&mut self, id: ObserverId) {
        self.store.unsubscribe(id);
        self.unsynced.remove(&id);
        self.observers.remove(&id);
    }

    /// Removes observers whose actors have ended. Without this they would stay until the next change.
    pub(super) fn prune(&mut self) {
        let gone: Vec<_> =
            self.observers.iter().filter(|(_, observer)| !observer.sinks.connected()).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.remove_observer(id));
        self.pruned = self.observers.len();
    }

    /// Adds the names that observers were given.
    pub(super) fn name_observers(&self, status: &mut Status) {
        for (id, lag) in &mut status.observers {
            lag.name =
                self.observers.get(id).filter(|observer| observer.named).map(|observer| Arc::clone(&observer.name));
        }
    }

    /// Cancels all that is on its way to observers.
    pub(super) fn cancel_deliveries(&mut self) {
        for observer in self.observers.values_mut() {
            observer.under_way = None;
        }
    }
}

impl<K: Key> Handler<Subscribe<K>> for StoreActor<K> {
    type Result = Result<ObserverId, StoreError>;

    fn handle(&mut self, Subscribe(observer): Subscribe<K>, ctx: &mut Self::Context) -> Self::Result {
        self.is_open()?;
        // Ended observers are removed whenever the number has doubled: the cost is spread over the subscriptions.
        if self.observers.len() > 2 * self.pruned + 8 {
            self.prune();
        }
        let id = self.subscribe(observer);
        self.pump(ctx);
        Ok(id)
    }
}

impl<K: Key> Handler<Unsubscribe> for StoreActor<K> {
    type Result = ();

    /// What the observer has not begun to handle is cancelled, so nobody has to wait: an observer can unsubscribe itself
    /// while it is told something.
    fn handle(&mut self, Unsubscribe(id): Unsubscribe, ctx: &mut Self::Context) {
        self.remove_observer(id);
        self.pump(ctx);
    }
}

impl<K: Key> Handler<SubscribeState> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, SubscribeState(recipient): SubscribeState, _: &mut Self::Context) {
        self.state_observers.add(&recipient, self.store.reader().state());
    }
}
