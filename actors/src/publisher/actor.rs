//! Keeps the keys of a publisher in the kvstore.

use std::collections::HashMap;
use std::time::SystemTime;

use actix::WeakRecipient;
use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::own::{OwnEvent, Ticket};
use shared_store_core::publisher::{PublishEvent, PublishRequestId, Publisher};
use shared_store_core::store::Refused;
use shared_store_core::watch::Watch;
use shared_store_core::{Config, KeyName, PublisherStatus, Revision, State};
use tokio::sync::{oneshot, watch};

use crate::clock::now;
use crate::error::{CloseError, StoreError};
#[cfg(feature = "metrics")]
use crate::measuring::{Measure, Measuring};
use crate::messages::{Close, Release};
use crate::notifications::Trouble;
use crate::store::{HandleDropped, RESTART, all_of, at_once, later, warn_of_own_keys};
use crate::sync::{Answered, Perform, SyncActor, log};
use crate::thread::{StoreThread, backend, span};
use crate::watcher::{Deliver, HistoryChanged, Stop, WatcherActor};

/// Own these keys.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct Put(pub(super) Vec<(KeyName, Bytes)>);

/// Own these keys and give up those; answered at once.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct Apply {
    pub(super) puts: Vec<(KeyName, Bytes)>,
    pub(super) deletes: Vec<KeyName>,
}

/// Give these keys up; answered when they are gone.
#[derive(Debug, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub(super) struct Delete(pub(super) Vec<KeyName>);

/// Answered when all is in the kvstore.
#[derive(Debug, Message)]
#[rtype(result = "Result<PublisherStatus, StoreError>")]
pub(super) struct AwaitSynced;

/// The current status.
#[derive(Debug, Message)]
#[rtype(result = "Result<PublisherStatus, StoreError>")]
pub(super) struct PublisherState;

/// Runs a [`Publisher`] and its watch against the backend.
#[derive(Debug)]
pub(super) struct PublisherActor {
    publisher: Publisher,
    config: Config,
    children: Option<Children>,
    state: watch::Sender<State>,
    observers: Vec<WeakRecipient<Trouble>>,
    next_ticket: u64,
    deletes: HashMap<Ticket, oneshot::Sender<Result<Revision, StoreError>>>,
    syncing: HashMap<Ticket, oneshot::Sender<PublisherStatus>>,
    closing: Option<Vec<oneshot::Sender<Result<(), CloseError>>>>,
    timer: Option<SpawnHandle>,
    thread: StoreThread,
    #[cfg(feature = "metrics")]
    measuring: Measuring,
}

#[derive(Debug)]
struct Children {
    watcher: Addr<WatcherActor>,
    sync: Addr<SyncActor<PublishRequestId>>,
}

impl PublisherActor {
    pub(super) fn new(
        config: Config,
        publisher: Publisher,
        state: watch::Sender<State>,
        observers: Vec<WeakRecipient<Trouble>>,
        thread: StoreThread,
    ) -> Self {
        Self {
            publisher,
            #[cfg(feature = "metrics")]
            measuring: Measuring::new(&config.prefix),
            config,
            children: None,
            state,
            observers,
            next_ticket: 0,
            deletes: HashMap::new(),
            syncing: HashMap::new(),
            closing: None,
            timer: None,
            thread,
        }
    }

    /// Performs what the machine asks for, and hands on what it says.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        let now = now();
        loop {
            if let Some(Children { sync, .. }) = &self.children {
                while let Some((id, request)) = self.publisher.poll_request(now) {
                    sync.do_send(Perform { id, request });
                }
            }
            if !self.publisher.canary_is_due() {
                break;
            }
            let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            tracing::info!("all keys are in the kvstore: writing the canary");
            self.publisher.write_canary(now, time.into());
        }
        while let Some(event) = self.publisher.poll_event() {
            #[cfg(feature = "metrics")]
            self.count(&event);
            self.take(&event, ctx);
        }
        #[cfg(feature = "metrics")]
        self.measure(ctx);
        let state = self.publisher.state();
        self.state.send_if_modified(|told| {
            let news = told != state;
            if news {
                tracing::info!(%state, "publisher");
                told.clone_from(state);
            }
            news
        });
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.publisher.deadline().map(|at| {
            ctx.run_later(at.saturating_duration_since(now), |actor, ctx| {
                actor.timer = None;
                actor.pump(ctx);
            })
        });
    }

    #[cfg(feature = "metrics")]
    fn count(&self, event: &PublishEvent) {
        match event {
            PublishEvent::Keys(event) | PublishEvent::Canary(event) => self.measuring.metrics.event(event),
            PublishEvent::Synced { .. } => self.measuring.metrics.initial_sync("write", true),
            PublishEvent::Closed { .. } => {}
        }
    }

    fn start_watcher(&mut self, ctx: &mut Context<Self>) -> Addr<WatcherActor> {
        let watch = Watch::from_now(self.config.prefix.range(), self.config.watch_timeout, self.config.seed);
        let (backend, publisher) = (backend(&self.config), ctx.address().recipient().downgrade());
        let (alive, ended) = oneshot::channel::<()>();
        ctx.spawn(ended.into_actor(self).map(|_, actor, ctx| {
            tracing::error!("the watcher has ended: starting another");
            actor.publisher.watch_ended(now());
            actor.pump(ctx);
            ctx.run_later(RESTART, |actor, ctx| {
                let watcher = actor.start_watcher(ctx);
                if let Some(children) = &mut actor.children {
                    children.watcher = watcher;
                }
            });
        }));
        let span = span(&self.config.prefix);
        self.thread.start(span, move || WatcherActor::new(backend, watch, publisher, (), alive))
    }

    fn start_sync(&mut self, ctx: &mut Context<Self>) -> Addr<SyncActor<PublishRequestId>> {
        let (backend, publisher) = (backend(&self.config), ctx.address().recipient().downgrade());
        let (alive, ended) = oneshot::channel::<()>();
        ctx.spawn(ended.into_actor(self).map(|_, actor, ctx| {
            tracing::error!("the sync has ended: starting another");
            let sync = actor.start_sync(ctx);
            if let Some(children) = &mut actor.children {
                children.sync = sync;
            }
            actor.publisher.requests_lost(now());
            actor.pump(ctx);
        }));
        self.thread.start(span(&self.config.prefix), move || SyncActor::new(backend, publisher, alive))
    }

    /// Answers those who wait; a requester may have been dropped.
    fn take(&mut self, event: &PublishEvent, ctx: &mut Context<Self>) {
        match event {
            PublishEvent::Keys(OwnEvent::Done { ticket, result }) => {
                let waiting = self.deletes.remove(ticket);
                waiting.map(|waiting| waiting.send(result.clone().map_err(StoreError::from)));
            }
            PublishEvent::Keys(event) | PublishEvent::Canary(event) => {
                log(event);
                if let (OwnEvent::HistoryChanged, Some(Children { watcher, .. })) = (event, &self.children) {
                    watcher.do_send(HistoryChanged);
                }
            }
            PublishEvent::Synced { ticket } => {
                let waiting = self.syncing.remove(ticket);
                waiting.map(|waiting| waiting.send(self.publisher.status()));
            }
            PublishEvent::Closed { left } => {
                let result = if left.is_empty() { Ok(()) } else { Err(CloseError { left: left.clone(), ended: None }) };
                for waiting in self.closing.iter_mut().flat_map(|waiting| waiting.drain(..)) {
                    let _ = waiting.send(result.clone());
                }
                ctx.stop();
            }
        }
        if is_trouble(event) {
            self.observers.retain(|observer| match observer.upgrade().filter(Recipient::connected) {
                Some(observer) => {
                    observer.do_send(Trouble(event.clone()));
                    true
                }
                None => false,
            });
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    fn leave(
        &mut self,
        ctx: &mut Context<Self>,
        how: impl FnOnce(&mut Publisher),
    ) -> ResponseFuture<Result<(), CloseError>> {
        let (sender, receiver) = oneshot::channel();
        let begins = self.closing.is_none();
        self.closing.get_or_insert_default().push(sender);
        if begins {
            how(&mut self.publisher);
            self.pump(ctx);
        }
        Box::pin(async { receiver.await.unwrap_or_else(|_| Err(CloseError::ended("publisher actor stopped"))) })
    }
}

#[cfg(feature = "metrics")]
impl Measure for PublisherActor {
    fn measuring(&mut self) -> &mut Measuring {
        &mut self.measuring
    }

    fn record(&mut self) -> bool {
        self.measuring.metrics.publisher(&self.publisher.status());
        false
    }
}

fn is_trouble(event: &PublishEvent) -> bool {
    match event {
        PublishEvent::Keys(event) | PublishEvent::Canary(event) => match event {
            OwnEvent::Conflict { .. }
            | OwnEvent::Lost { .. }
            | OwnEvent::SetAside { .. }
            | OwnEvent::NoLongerSetAside { .. }
            | OwnEvent::Repaired { .. }
            | OwnEvent::LeaseLost { .. }
            | OwnEvent::HistoryChanged
            | OwnEvent::BackendFailed(_) => true,
            OwnEvent::StillSetAside { .. }
            | OwnEvent::Done { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Closed { .. } => false,
        },
        PublishEvent::Synced { .. } | PublishEvent::Closed { .. } => false,
    }
}

impl Actor for PublisherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        #[cfg(feature = "metrics")]
        self.measuring.metrics.initial_sync("write", false);
        let (watcher, sync) = (self.start_watcher(ctx), self.start_sync(ctx));
        self.children = Some(Children { watcher, sync });
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        #[cfg(feature = "metrics")]
        {
            self.record();
            self.measuring.metrics.end();
        }
        let closed = |state: &State| matches!(state, State::Closed { .. });
        if !closed(&self.state.borrow()) {
            self.state.send_replace(State::Closed { cause: "publisher stopped".into() });
        }
        if let Some(Children { watcher, sync }) = self.children.take() {
            watcher.do_send(Stop);
            sync.do_send(Stop);
        }
    }
}

impl Handler<Deliver> for PublisherActor {
    type Result = Result<(), Refused>;

    fn handle(&mut self, Deliver { delivery, .. }: Deliver, ctx: &mut Self::Context) -> Self::Result {
        let delivered = self.publisher.deliver(now(), delivery);
        self.pump(ctx);
        delivered
    }
}

impl Handler<Answered<PublishRequestId>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, Answered { id, answer }: Answered<PublishRequestId>, ctx: &mut Self::Context) {
        self.publisher.answer(now(), id, answer);
        self.pump(ctx);
    }
}

impl Handler<Put> for PublisherActor {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, Put(puts): Put, ctx: &mut Self::Context) -> Self::Result {
        self.handle(Apply { puts, deletes: Vec::new() }, ctx)
    }
}

impl Handler<Apply> for PublisherActor {
    type Result = Result<(), StoreError>;

    fn handle(&mut self, Apply { puts, deletes }: Apply, ctx: &mut Self::Context) -> Self::Result {
        if self.closing.is_some() {
            return Err(StoreError::Closed);
        }
        for (name, value) in puts {
            self.publisher.put(now(), name, value);
        }
        for name in deletes {
            self.publisher.delete(now(), name, None);
        }
        self.pump(ctx);
        Ok(())
    }
}

impl Handler<Delete> for PublisherActor {
    type Result = ResponseFuture<Result<Revision, StoreError>>;

    fn handle(&mut self, Delete(names): Delete, ctx: &mut Self::Context) -> Self::Result {
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let (ticket, (sender, receiver)) = (self.ticket(), oneshot::channel());
            self.deletes.insert(ticket, sender);
            self.publisher.delete(now(), name, Some(ticket));
            answers.push(later(receiver));
        }
        self.pump(ctx);
        all_of(answers)
    }
}

impl Handler<AwaitSynced> for PublisherActor {
    type Result = ResponseFuture<Result<PublisherStatus, StoreError>>;

    fn handle(&mut self, _: AwaitSynced, ctx: &mut Self::Context) -> Self::Result {
        if self.closing.is_some() {
            return at_once(Err(StoreError::Closed));
        }
        let (ticket, (sender, receiver)) = (self.ticket(), oneshot::channel());
        self.syncing.insert(ticket, sender);
        self.publisher.synced(now(), ticket);
        self.pump(ctx);
        Box::pin(async { receiver.await.map_err(|_| StoreError::Closed) })
    }
}

impl Handler<PublisherState> for PublisherActor {
    type Result = Result<PublisherStatus, StoreError>;

    fn handle(&mut self, _: PublisherState, _: &mut Self::Context) -> Self::Result {
        Ok(self.publisher.status())
    }
}

impl Handler<HandleDropped> for PublisherActor {
    type Result = ();

    fn handle(&mut self, _: HandleDropped, ctx: &mut Self::Context) {
        if self.closing.is_none() {
            warn_of_own_keys(self.publisher.status().own);
        }
        ctx.stop();
    }
}

impl Handler<Close> for PublisherActor {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) -> Self::Result {
        self.leave(ctx, |publisher| publisher.close(now()))
    }
}

impl Handler<Release> for PublisherActor {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        self.leave(ctx, |publisher| publisher.release(now()))
    }
}
