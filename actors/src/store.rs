//! Owns the cache, the own keys and the observers.

mod attaching;
mod closing;
mod commands;
#[cfg(feature = "metrics")]
mod measuring;
mod observing;
mod reading;
mod saving;
mod slow;
mod state_observers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store_core::audit::Audit;
use shared_store_core::own::{OwnEvent, RequestId, Ticket, WriteError};
use shared_store_core::store::{Decoded, Decoder, Refused};
use shared_store_core::watch::{Resume, Watch};
use shared_store_core::{AuditReport, Config, Key, ObserverId, Revision, State, Store};
use tokio::sync::oneshot;

use self::attaching::Attachment;
use self::closing::Closing;
pub(crate) use self::closing::{CLOSED, RELEASED};
use self::observing::Subscribed;
use self::reading::Readers;
pub(crate) use self::saving::Prepared;
use self::saving::Saving;
use self::slow::{Look, Untold};
use self::state_observers::StateObservers;
use crate::clock::now;
use crate::error::{JoinError, StoreError};
#[cfg(feature = "metrics")]
use crate::measuring::{Measure, Measuring};
use crate::notifications::StateChanged;
use crate::observer::{Observer, SLOW};
use crate::sync::{Answered, Perform, SyncActor, log};
use crate::thread::{StoreThread, backend, span};
use crate::watcher::{BeginAudit, Deliver, HistoryChanged, Stop, WatcherActor};

/// The actor that owns the cache and the own keys: takes what the watcher delivers and what the owner wants, tells
/// observers, and says what is written. A shell of [`Store`]; it never waits for the backend. Made by
/// [`join`](crate::join()).
#[derive(Debug)]
pub struct StoreActor<K: Key> {
    store: Store<K>,
    config: Config,
    thread: StoreThread,
    /// Set when started.
    children: Option<Children<K>>,
    start: Option<Start<K>>,
    observers: HashMap<ObserverId, Subscribed<K>>,
    look: Look,
    /// Who waits until observers were told.
    untold: Vec<Untold>,
    /// How many observers there were after ended ones were last removed.
    pruned: usize,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Revision, StoreError>>>,
    next_ticket: u64,
    /// Observers given to `join` that have not handled their first state.
    unsynced: HashSet<ObserverId>,
    joining: Option<oneshot::Sender<Result<(), JoinError>>>,
    /// Who waits for the audit under way.
    audits: Vec<oneshot::Sender<AuditReport>>,
    readers: Readers,
    closing: Option<Closing>,
    attachment: Attachment,
    /// Only with a state directory.
    saving: Option<Saving>,
    timer: Option<SpawnHandle>,
    /// The state that was told last, and who is told.
    told: Option<State>,
    state_observers: StateObservers,
    #[cfg(feature = "metrics")]
    measuring: Measuring,
}

#[derive(Debug)]
struct Children<K: Key> {
    watcher: Addr<WatcherActor<Decoder<K>>>,
    sync: Addr<SyncActor<RequestId>>,
}

/// What the actor needs to start.
#[derive(Debug)]
pub(crate) struct Start<K: Key> {
    pub(crate) resume: Option<Resume>,
    pub(crate) observers: Vec<Observer<K>>,
    pub(crate) state_observers: Vec<WeakRecipient<StateChanged>>,
    pub(crate) saving: Option<Saving>,
    /// Told when the first state is in the cache and in every one of these observers, or why that failed. Without it the
    /// store tries for ever.
    pub(crate) joined: Option<oneshot::Sender<Result<(), JoinError>>>,
}

/// How long after its end a watcher is replaced, so that a watcher that always panics does not keep the thread busy.
pub(crate) const RESTART: Duration = Duration::from_secs(1);

impl<K: Key> StoreActor<K> {
    pub(crate) fn new(store: Store<K>, config: Config, thread: StoreThread, mut start: Start<K>) -> Self {
        let state_observers = StateObservers::new(std::mem::take(&mut start.state_observers));
        let saving = start.saving.take();
        Self {
            store,
            #[cfg(feature = "metrics")]
            measuring: Measuring::new(&config.prefix),
            config,
            thread,
            children: None,
            start: Some(start),
            observers: HashMap::new(),
            look: Look::default(),
            untold: Vec::new(),
            pruned: 0,
            tickets: HashMap::new(),
            next_ticket: 0,
            unsynced: HashSet::new(),
            joining: None,
            audits: Vec::new(),
            readers: Readers::default(),
            closing: None,
            attachment: Attachment::default(),
            saving,
            timer: None,
            told: None,
            state_observers,
        }
    }

    /// Hands on what the machine has to say: requests to the sync, parcels to the observers, answers to those who wait,
    /// deadlines to the timer.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if let Some(Children { sync, .. }) = &self.children {
            while let Some((id, request)) = self.store.poll_request(now()) {
                sync.do_send(Perform { id, request });
            }
        }
        while let Some(event) = self.store.poll_event() {
            self.take(event, ctx);
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
        // The list is complete, and the watch is open or broken.
        let state = self.store.reader().state();
        if self.unsynced.is_empty() && matches!(state, State::Synced | State::Stale { .. }) {
            // The requester may have been dropped.
            self.joining.take().map(|joining| joining.send(Ok(())));
        }
        self.answer_told();
        #[cfg(feature = "metrics")]
        self.measure(ctx);
        self.finish_when_flushed(ctx);
    }

    /// Takes what has happened to own keys.
    fn take(&mut self, event: OwnEvent, ctx: &mut Context<Self>) {
        log(&event);
        #[cfg(feature = "metrics")]
        self.measuring.metrics.event(&event);
        match event {
            OwnEvent::Done { ticket, result } => self.answer(ticket, result),
            OwnEvent::Closed { left, .. } => self.flush(left, ctx),
            OwnEvent::HistoryChanged => {
                if let Some(children) = &self.children {
                    children.watcher.do_send(HistoryChanged);
                }
            }
            OwnEvent::SetAside { .. }
            | OwnEvent::StillSetAside { .. }
            | OwnEvent::NoLongerSetAside { .. }
            | OwnEvent::Repaired { .. }
            | OwnEvent::LeaseLost { .. }
            | OwnEvent::BackendFailed(_)
            | OwnEvent::Conflict { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Lost { .. } => {}
        }
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
        self.state_observers.tell(&state);
        self.told = Some(state);
    }

    fn start_watcher(&mut self, resume: Option<Resume>, ctx: &mut Context<Self>) -> Addr<WatcherActor<Decoder<K>>> {
        let (range, silence, seed) = (self.config.prefix.range(), self.config.watch_timeout, self.config.seed);
        let watch = match resume {
            Some(resume) => Watch::resume(range, silence, seed, resume),
            None => Watch::new(range, silence, seed),
        };
        let audit = Audit::new(self.config.prefix.range(), self.config.audit_interval, seed);
        let (backend, store) = (backend(&self.config), ctx.address().recipient().downgrade());
        let (decoder, (alive, ended)) = (self.store.decoder(), oneshot::channel::<()>());
        let answers = ctx.address().recipient().downgrade();
        let watch = move || WatcherActor::new(backend, watch, store, decoder, alive).audit(audit).answers(answers);
        let watcher = self.thread.start(span(&self.config.prefix), watch);
        let started = watcher.clone();
        ctx.spawn(ended.into_actor(self).map(move |_, actor, ctx| actor.watcher_ended(started, ctx)));
        self.audits.retain(|waiting| !waiting.is_closed());
        if !self.audits.is_empty() {
            // The watcher that ran the audit has ended.
            watcher.do_send(BeginAudit);
        }
        self.readers.all().into_iter().for_each(|reads| watcher.do_send(reads));
        watcher
    }

    /// A watcher that ended although nobody stopped it is replaced after a pause, and goes on where the cache is.
    fn watcher_ended(&mut self, ended: Addr<WatcherActor<Decoder<K>>>, ctx: &mut Context<Self>) {
        if !self.needs_watcher(&ended) {
            return;
        }
        tracing::error!("the watcher has ended: starting another");
        self.store.watch_ended(now());
        self.tell_state();
        ctx.run_later(RESTART, move |actor, ctx| {
            if actor.needs_watcher(&ended) {
                let watcher = actor.start_watcher(actor.store.resume(), ctx);
                if let Some(children) = &mut actor.children {
                    children.watcher = watcher;
                }
            }
        });
    }

    /// Whether the store should be watching, and this is its watcher.
    fn needs_watcher(&self, watcher: &Addr<WatcherActor<Decoder<K>>>) -> bool {
        let current = self.children.as_ref().is_some_and(|children| children.watcher == *watcher);
        current && self.closing.is_none() && self.attachment.is_attached()
    }

    fn start_sync(&mut self, ctx: &mut Context<Self>) -> Addr<SyncActor<RequestId>> {
        let (backend, store) = (backend(&self.config), ctx.address().recipient().downgrade());
        let (alive, ended) = oneshot::channel::<()>();
        let sync = self.thread.start(span(&self.config.prefix), move || SyncActor::new(backend, store, alive));
        ctx.spawn(ended.into_actor(self).map(|_, actor, ctx| actor.sync_ended(ctx)));
        sync
    }

    /// A sync that ended is replaced: what it had under way has no answer.
    fn sync_ended(&mut self, ctx: &mut Context<Self>) {
        tracing::error!("the sync has ended: starting another");
        let sync = self.start_sync(ctx);
        if let Some(children) = &mut self.children {
            children.sync = sync;
        }
        self.store.requests_lost(now());
        self.pump(ctx);
    }

    /// Joining takes too long.
    fn join_timed_out(&mut self, ctx: &mut Context<Self>) {
        if let Some(joining) = self.joining.take() {
            let after = self.config.list_timeout;
            // The requester may have been dropped.
            let _ = joining.send(Err(JoinError::ListTimeout { after, cause: self.join_cause() }));
            ctx.stop();
        }
    }

    /// Why joining has not answered.
    fn join_cause(&self) -> Arc<str> {
        let state = self.store.reader().state();
        match (state.cause(), &state) {
            _ if self.store.has_state() => {
                let observers = self.unsynced.len();
                let names = self.names_of(self.unsynced.iter().copied());
                format!(
                    "the list is complete, but observers have not handled it ({observers}: {names}); an actor that waits for join in \
                     its own mailbox (ctx.wait) cannot observe: subscribe it after joining"
                )
                .into()
            }
            (Some(cause), _) => Arc::clone(cause),
            (None, State::Connecting { .. }) => "the kvstore has not answered".into(),
            (None, _) => state.to_string().into(),
        }
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
        self.joining = start.joined;
        ctx.run_later(self.config.list_timeout, Self::join_timed_out);
        ctx.run_later(SLOW, |actor, _| {
            if actor.joining.is_some() && actor.store.has_state() {
                tracing::warn!("still joining: {}", actor.join_cause());
            }
        });
        self.tell_state();
        let (watcher, sync) = (self.start_watcher(start.resume, ctx), self.start_sync(ctx));
        self.children = Some(Children { watcher, sync });
        self.save_later(ctx);
        // A snapshot is told at once.
        self.pump(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.store.close("store actor stopped");
        self.tell_state();
        #[cfg(feature = "metrics")]
        self.end_metrics();
        if let Some(Children { watcher, sync }) = self.children.take() {
            watcher.do_send(Stop);
            sync.do_send(Stop);
        }
    }
}

/// The last handle was dropped: stop. The own keys stay until their lease expires.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HandleDropped;

/// The last handle is gone.
pub(crate) fn warn_of_own_keys(own: usize) {
    if own > 0 {
        tracing::warn!(
            own,
            "last handle was dropped without close or release: own keys stay until their lease expires"
        );
    }
}

impl<K: Key> Handler<HandleDropped> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, _: HandleDropped, ctx: &mut Self::Context) {
        if self.closing.is_none() {
            warn_of_own_keys(self.store.status().own);
        }
        ctx.stop();
    }
}

impl<K: Key> Handler<Deliver<Decoded<K>>> for StoreActor<K> {
    type Result = Result<(), Refused>;

    fn handle(&mut self, Deliver { delivery, decoded }: Deliver<Decoded<K>>, ctx: &mut Self::Context) -> Self::Result {
        if self.closing.is_some() || !self.attachment.is_attached() {
            return Ok(());
        }
        let delivered = self.store.deliver_decoded(now(), delivery, decoded);
        if let Some(report) = self.store.poll_audit() {
            for waiting in self.audits.drain(..) {
                // The requester may have been dropped.
                let _ = waiting.send(report.clone());
            }
        }
        self.tell_state();
        self.pump(ctx);
        delivered
    }
}

impl<K: Key> Handler<Answered<RequestId>> for StoreActor<K> {
    type Result = ();

    fn handle(&mut self, Answered { id, answer }: Answered<RequestId>, ctx: &mut Self::Context) {
        self.store.answer(now(), id, answer);
        self.pump(ctx);
    }
}

impl<K: Key> StoreActor<K> {
    fn answer(&mut self, ticket: Ticket, result: Result<Revision, WriteError>) {
        if let Some(waiting) = self.tickets.remove(&ticket) {
            // The requester may have been dropped.
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

/// An answer that comes later; [`StoreError::Closed`] if the store ends before.
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
