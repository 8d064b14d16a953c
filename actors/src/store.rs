//! Owns the cache and its observers.

mod attaching;
mod closing;
mod commands;
mod saving;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store::store::Refused;
use shared_store::sync::{SyncEvent, SyncStats, Ticket, WriteError};
use shared_store::{AuditReport, Backend, Key, ObserverId, Parcel, Prefix, Revision, State, Store};
use tokio::sync::oneshot;

use self::attaching::Attachment;
use self::closing::Closing;
pub(crate) use self::saving::Prepared;
use self::saving::Saving;
use crate::error::StoreError;
use crate::messages::StateChanged;
use crate::observer::{Observer, Sinks};
use crate::sync::{Events, Inputs, SyncActor, log, now};
use crate::watcher::{Deliver, Distrust, Stop, WatcherActor};

/// The actor that owns the cache: takes what the watcher delivers and what the owner wants, tells observers, and lets
/// the sync write. A shell of [`Store`]; it never waits for the backend. Made by [`join`](crate::join()).
#[derive(Debug)]
pub struct StoreActor<K: Key> {
    store: Store<K>,
    /// Set when started; the children of the actor, which hold it weakly.
    children: Option<Children>,
    start: Option<Start<K>>,
    observers: HashMap<ObserverId, Subscribed<K>>,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Revision, StoreError>>>,
    next_ticket: u64,
    /// Observers given in the configuration that have not handled their first state.
    unsynced: HashSet<ObserverId>,
    joining: Option<oneshot::Sender<()>>,
    stats: SyncStats,
    /// Who waits for the audit under way.
    audits: Vec<oneshot::Sender<AuditReport>>,
    close_timeout: Duration,
    closing: Option<Closing>,
    attachment: Attachment<K>,
    /// Only with a state directory.
    saving: Option<Saving>,
    timer: Option<SpawnHandle>,
    /// The state that was told last, and who is told.
    told: Option<State>,
    state_observers: Vec<WeakRecipient<StateChanged>>,
}

#[derive(Debug)]
struct Children {
    watcher: Addr<WatcherActor>,
    sync: Addr<SyncActor>,
}

/// Starts the watcher and the sync of the store at an address.
pub(crate) type StartChildren<K> = Box<dyn FnOnce(&Addr<StoreActor<K>>) -> (Addr<WatcherActor>, Addr<SyncActor>)>;

/// Starts a watcher of another kvstore or prefix.
pub(crate) type WatchAgain<K> = Box<dyn Fn(&Addr<StoreActor<K>>, Arc<dyn Backend>, Prefix) -> Addr<WatcherActor>>;

/// What the actor needs to start.
pub(crate) struct Start<K: Key> {
    pub(crate) children: StartChildren<K>,
    pub(crate) observers: Vec<Observer<K>>,
    pub(crate) state_observers: Vec<WeakRecipient<StateChanged>>,
    pub(crate) saving: Option<Saving>,
    /// Told when the first state is in the cache and in every one of these observers.
    pub(crate) joined: oneshot::Sender<()>,
}

impl<K: Key> std::fmt::Debug for Start<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Subscribed<K: Key> {
    sinks: Sinks<K>,
    under_way: Option<SpawnHandle>,
    /// Answered when nothing is under way any more.
    leaving: Vec<oneshot::Sender<()>>,
}

impl<K: Key> StoreActor<K> {
    pub(crate) fn new(
        store: Store<K>,
        close_timeout: Duration,
        watch_again: WatchAgain<K>,
        mut start: Start<K>,
    ) -> Self {
        let state_observers = std::mem::take(&mut start.state_observers);
        let saving = start.saving.take();
        Self {
            store,
            children: None,
            start: Some(start),
            observers: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            unsynced: HashSet::new(),
            joining: None,
            stats: SyncStats::default(),
            audits: Vec::new(),
            close_timeout,
            closing: None,
            attachment: Attachment::new(watch_again),
            saving,
            timer: None,
            told: None,
            state_observers,
        }
    }

    /// Hands on what the machine has to say: writes to the sync, parcels to the observers, deadlines to the timer.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let inputs: Vec<_> = std::iter::from_fn(|| self.store.poll_sync()).collect();
        if !inputs.is_empty()
            && let Some(children) = &self.children
        {
            children.sync.do_send(Inputs(inputs));
        }
        while let Some((id, parcel)) = self.store.poll_parcel() {
            self.send(id, parcel, ctx);
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.store.deadline().map(|at| {
            ctx.run_later(at.saturating_duration_since(now()), |actor, ctx| {
                actor.timer = None;
                actor.store.timeout(now());
                actor.pump(ctx);
            })
        });
        self.unsynced.retain(|id| !self.store.has_begun(*id));
        if self.unsynced.is_empty() && self.store.has_state() {
            // Nobody may be waiting any more.
            self.joining.take().map(|joining| joining.send(()));
        }
        self.finish_when_flushed(ctx);
    }

    fn send(&mut self, id: ObserverId, parcel: Parcel<K>, ctx: &mut Context<Self>) {
        let Some(observer) = self.observers.get_mut(&id) else { return };
        let delivery = observer.sinks.send(parcel).into_actor(self).map(move |delivered, actor, ctx| {
            actor.delivered(id, delivered.is_ok(), ctx);
        });
        // A notice nobody wants ends at once; the handle is of a future that may be gone already, which is harmless.
        let handle = ctx.spawn(delivery);
        if let Some(observer) = self.observers.get_mut(&id) {
            observer.under_way = Some(handle);
        }
    }

    fn delivered(&mut self, id: ObserverId, alive: bool, ctx: &mut Context<Self>) {
        if let Some(observer) = self.observers.get_mut(&id) {
            observer.under_way = None;
            if alive && observer.leaving.is_empty() {
                self.store.delivered(id);
            } else {
                if !alive {
                    tracing::info!(observer = ?id, "observer is gone");
                }
                self.forget(id);
            }
        }
        self.pump(ctx);
    }

    fn forget(&mut self, id: ObserverId) {
        self.store.unsubscribe(id);
        self.unsynced.remove(&id);
        if let Some(observer) = self.observers.remove(&id) {
            for leaving in observer.leaving {
                // Whoever asked may have gone.
                let _ = leaving.send(());
            }
        }
    }

    fn subscribe(&mut self, observer: Observer<K>) -> ObserverId {
        let Observer { filter, mode, sinks } = observer;
        let id = self.store.subscribe(now(), filter, mode);
        self.observers.insert(id, Subscribed { sinks, under_way: None, leaving: Vec::new() });
        id
    }

    /// Logs the state and tells it, if it has changed.
    fn tell_state(&mut self) {
        let state = self.store.reader().state();
        if self.told.as_ref() == Some(&state) {
            return;
        }
        if self.told.as_ref().map(State::name) != Some(state.name()) {
            // Between its first list and its watch a store is stale, and nothing is wrong.
            let joining = matches!(self.told, Some(State::Connecting { .. } | State::Listing { .. }));
            if let State::Stale { cause, .. } = &state
                && !joining
            {
                tracing::warn!(%cause, "store is stale");
            } else {
                tracing::info!(%state, "store");
            }
        }
        self.state_observers.retain(|observer| match observer.upgrade() {
            Some(observer) if observer.connected() => {
                observer.do_send(StateChanged(state.clone()));
                true
            }
            Some(_) | None => false,
        });
        self.told = Some(state);
    }
}

impl<K: Key> Actor for StoreActor<K> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(start) = self.start.take() else { return };
        for observer in start.observers {
            let id = self.subscribe(observer);
            self.unsynced.insert(id);
        }
        self.joining = Some(start.joined);
        self.tell_state();
        let (watcher, sync) = (start.children)(&ctx.address());
        self.children = Some(Children { watcher, sync });
        self.save_later(ctx);
        // A snapshot is told at once.
        self.pump(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.store.close("store actor stopped");
        self.tell_state();
        if let Some(Children { watcher, sync }) = self.children.take() {
            watcher.do_send(Stop);
            sync.do_send(Stop);
        }
    }
}

/// Nobody wants this store any more: stop, and leave the own keys to their lease.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Abandon;

impl<K: Key> Handler<Abandon> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, _: Abandon, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl<K: Key> Handler<Deliver> for StoreActor<K> {
    type Result = Result<(), Refused>;

    fn handle(&mut self, Deliver(delivery): Deliver, ctx: &mut Self::Context) -> Self::Result {
        if self.closing.is_some() || !self.attachment.is_attached() {
            return Ok(());
        }
        let delivered = self.store.deliver(now(), delivery);
        if let Some(report) = self.store.poll_audit() {
            for waiting in self.audits.drain(..) {
                // Whoever asked may have gone.
                let _ = waiting.send(report.clone());
            }
        }
        self.tell_state();
        self.pump(ctx);
        delivered
    }
}

impl<K: Key> Handler<Events> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, Events { events, stats }: Events, ctx: &mut Self::Context) {
        self.stats = stats;
        for event in events {
            self.store.sync_event(now(), &event);
            log(&event);
            match event {
                SyncEvent::Done { ticket, result } => self.answer(ticket, result),
                SyncEvent::Closed { left, .. } => self.flush(left, ctx),
                SyncEvent::HistoryWentBack => {
                    if let Some(children) = &self.children {
                        children.watcher.do_send(Distrust);
                    }
                }
                SyncEvent::SetAside { .. }
                | SyncEvent::LeaseLost { .. }
                | SyncEvent::BackendFailed(_)
                | SyncEvent::Conflict { .. }
                | SyncEvent::Stored { .. }
                | SyncEvent::Deleted { .. }
                | SyncEvent::Lost { .. } => {}
            }
        }
        self.pump(ctx);
    }
}

impl<K: Key> StoreActor<K> {
    fn answer(&mut self, ticket: Ticket, result: Result<Revision, WriteError>) {
        if let Some(waiting) = self.tickets.remove(&ticket) {
            // Whoever asked may have gone.
            let _ = waiting.send(result.map_err(StoreError::from));
        }
    }

    /// A ticket for a write, and where its answer will be.
    fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Result<Revision, StoreError>>) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let (sender, receiver) = oneshot::channel();
        self.tickets.insert(ticket, sender);
        (ticket, receiver)
    }
}

/// An answer that comes later; [`StoreError::Closed`] if the store goes before.
pub(crate) fn later(
    receiver: oneshot::Receiver<Result<Revision, StoreError>>,
) -> ResponseFuture<Result<Revision, StoreError>> {
    Box::pin(async { receiver.await.unwrap_or(Err(StoreError::Closed)) })
}

/// The answers to many writes: the last revision, or the first error once all have ended.
pub(crate) fn all_of(
    answers: Vec<ResponseFuture<Result<Revision, StoreError>>>,
) -> ResponseFuture<Result<Revision, StoreError>> {
    Box::pin(async {
        let mut last = Ok(Revision::ZERO);
        for answer in answers {
            let answer = answer.await;
            last = last.and_then(|last| answer.map(|revision| revision.max(last)));
        }
        last
    })
}

pub(crate) fn at_once<T: 'static>(result: Result<T, StoreError>) -> ResponseFuture<Result<T, StoreError>> {
    Box::pin(std::future::ready(result))
}
