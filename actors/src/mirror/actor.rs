//! Runs the mirror of one source.

use std::sync::Arc;

use actix::WeakAddr;
use actix::prelude::*;
use bytes::Bytes;
use futures_util::future::join_all;
use shared_store_core::mirror::{Mirror, MirrorAction, MirrorRules, MirrorStatus};
use shared_store_core::{KeyName, Notice, Parcel, State};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::MirrorConfig;
use super::copying::{Copying, Leave, Order};
use super::earlier::cluster_config;
use super::verbatim::Verbatim;
use crate::clock::now;
use crate::error::{CloseError, JoinError, StoreError};
use crate::join::join;
use crate::messages::Release;
use crate::publisher::{Publisher, publish};
use crate::store::{HandleDropped, RESTART};
use crate::thread::StoreThread;

/// The current status.
#[derive(Debug, Message)]
#[rtype(result = "Result<MirrorStatus, StoreError>")]
pub(super) struct GetMirrorStatus;

/// End, and delete the copies.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), CloseError>")]
pub(super) struct Remove;

/// The source's configuration of the cluster is this, or there is none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Configure(Option<Bytes>);

/// The source's configuration of the cluster cannot be read.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ConfigFails(Arc<str>);

/// The source's keys of a rule have this state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct SourceIs {
    pub(super) rule: usize,
    pub(super) state: State,
}

/// So many copies of an earlier mirror are there by a rule.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct TakenOver {
    pub(super) rule: usize,
    pub(super) copies: usize,
}

/// The first list of a rule is copied and announced.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Completed(pub(super) usize);

/// Runs a [`Mirror`].
#[derive(Debug)]
pub(super) struct MirrorActor {
    mirror: Mirror,
    config: Arc<MirrorConfig>,
    thread: Option<StoreThread>,
    copies: Vec<Copying>,
    /// Publishes the configuration of the cluster.
    cluster_config: Option<Publisher<Verbatim>>,
    /// Whether that is in the kvstore.
    config_put: watch::Sender<bool>,
    /// How it leaves.
    leaves: Option<Leave>,
    /// Those who wait for that, each for how it should leave.
    leaving: Vec<(Leave, oneshot::Sender<Result<(), CloseError>>)>,
    timer: Option<SpawnHandle>,
    /// Where this actor runs: the thread ends with it.
    _held: StoreThread,
}

impl MirrorActor {
    pub(super) fn new(config: MirrorConfig, mirror: Mirror, thread: Option<StoreThread>, held: StoreThread) -> Self {
        let needs_config = config.rules == MirrorRules::Cilium;
        Self {
            mirror,
            config: Arc::new(config),
            thread,
            copies: Vec::new(),
            cluster_config: None,
            config_put: watch::Sender::new(!needs_config),
            leaves: None,
            leaving: Vec::new(),
            timer: None,
            _held: held,
        }
    }

    fn pump(&mut self, ctx: &mut Context<Self>) {
        while let Some(action) = self.mirror.poll_action() {
            match action {
                MirrorAction::PutConfig(value) => {
                    if let Err(error) = self.put_config(value, ctx) {
                        tracing::error!(%error, "cannot publish the configuration of the cluster");
                    }
                }
                MirrorAction::TakeOver(rules) => {
                    let start = |(index, rule)| {
                        let (config, mirror) = (Arc::clone(&self.config), ctx.address().downgrade());
                        Copying::start(index, rule, config, self.thread.clone(), self.config_put.subscribe(), mirror)
                    };
                    self.copies = rules.into_iter().enumerate().map(start).collect();
                }
                MirrorAction::Copy(rules) => {
                    for (copying, rule) in self.copies.iter().zip(rules) {
                        copying.order(Order::Follow(rule));
                    }
                }
                MirrorAction::Expire(rule) => {
                    tracing::warn!(rule, "the source is lost for too long: deleting the copies");
                    self.copies[rule].order(Order::Expire);
                }
                MirrorAction::Fill(rule) => {
                    tracing::info!(rule, "the source is back: putting the copies again");
                    self.copies[rule].order(Order::Fill);
                }
                MirrorAction::DeleteConfig => {
                    tracing::info!("the mirror is removed: deleting the configuration of the cluster");
                    if let Some(publisher) = self.cluster_config.clone() {
                        ctx.spawn(async move { publisher.close().await }.into_actor(self).map(|deleted, _, _| {
                            if let Err(error) = deleted {
                                tracing::warn!(%error, "the configuration of the cluster goes with its lease");
                            }
                        }));
                    }
                }
                MirrorAction::DeleteCopies => self.leave(Leave::Delete, ctx),
            }
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = self.mirror.deadline().map(|at| {
            ctx.run_later(at.saturating_duration_since(now()), |actor, ctx| {
                actor.timer = None;
                actor.mirror.timeout(now());
                actor.pump(ctx);
            })
        });
    }

    fn put_config(&mut self, value: Bytes, ctx: &mut Context<Self>) -> Result<(), JoinError> {
        let name =
            KeyName::new(self.config.cluster.as_str()).map_err(|error| JoinError::Ended(error.to_string().into()))?;
        let publisher = match &self.cluster_config {
            Some(publisher) => publisher.clone(),
            None => {
                let mut publishing = publish::<Verbatim>(self.config.owned(MirrorConfig::cluster_configs()));
                if let Some(thread) = &self.thread {
                    publishing = publishing.on(thread.clone());
                }
                self.cluster_config.insert(publishing.start()?).clone()
            }
        };
        let put = async move {
            publisher.apply(vec![(name, value)], Vec::new()).await?;
            publisher.synced().await
        };
        ctx.spawn(put.into_actor(self).map(|put, actor, _| match put {
            Ok(_) => drop(actor.config_put.send_replace(true)),
            Err(error) => tracing::error!(%error, "the configuration of the cluster is not published"),
        }));
        Ok(())
    }

    /// Ends all copying, and then this actor. The first call counts.
    fn leave(&mut self, how: Leave, ctx: &mut Context<Self>) {
        if self.leaves.is_some() {
            return;
        }
        self.leaves = Some(how);
        let copies = std::mem::take(&mut self.copies);
        let cluster_config = self.cluster_config.take();
        let left = async move {
            let config = async {
                match &cluster_config {
                    Some(publisher) => how.of(publisher).await,
                    None => Ok(()),
                }
            };
            let (config, copies) = tokio::join!(config, join_all(copies.iter().map(|copying| copying.leave(how))));
            copies.into_iter().fold(config, and)
        };
        ctx.spawn(left.into_actor(self).map(move |left, actor, ctx| {
            for (wanted, waiting) in actor.leaving.drain(..) {
                let stays = wanted == Leave::Delete && how == Leave::Release;
                let stays = if stays { Err(CloseError::ended(RELEASED)) } else { Ok(()) };
                let _ = waiting.send(and(left.clone(), stays));
            }
            ctx.stop();
        }));
    }

    /// Answers when the mirror has left.
    fn left(&mut self, how: Leave) -> ResponseFuture<Result<(), CloseError>> {
        let (sender, left) = oneshot::channel();
        self.leaving.push((how, sender));
        Box::pin(async { left.await.unwrap_or_else(|_| Err(CloseError::ended("the mirror has ended"))) })
    }
}

/// What a removal is answered that a release has overtaken.
const RELEASED: &str = "the mirror was released: its copies stay until their leases end";

/// What both have left.
pub(super) fn and(one: Result<(), CloseError>, other: Result<(), CloseError>) -> Result<(), CloseError> {
    match (one, other) {
        (Ok(()), other) => other,
        (one, Ok(())) => one,
        (Err(mut one), Err(other)) => {
            one.left.extend(other.left);
            one.ended = one.ended.or(other.ended);
            Err(one)
        }
    }
}

/// Tells the mirror what the source's configuration of the cluster is, for ever.
async fn follow_config(config: Arc<MirrorConfig>, thread: Option<StoreThread>, mirror: WeakAddr<MirrorActor>) {
    loop {
        if let Err(error) = follow_config_once(&config, thread.clone(), &mirror).await {
            tracing::error!(%error, "cannot read the configuration of the cluster: starting again");
        }
        if mirror.upgrade().is_none() {
            return;
        }
        sleep(RESTART).await;
    }
}

async fn follow_config_once(
    config: &MirrorConfig,
    thread: Option<StoreThread>,
    mirror: &WeakAddr<MirrorActor>,
) -> Result<(), JoinError> {
    let mut joining = join::<Verbatim>(config.read(MirrorConfig::cluster_configs(), Arc::clone(&config.source)));
    if let Some(thread) = thread {
        joining = joining.on(thread);
    }
    let store = joining.start().await?;
    let changes = store.changes().await.map_err(|_| JoinError::Ended("the store of the source".into()))?;
    let mut parcels = changes.into_parcels();
    let (mut value, mut state) = (None, store.reader().state());
    loop {
        let parcel = tokio::select! {
            parcel = parcels.next() => parcel,
            now = store.reader().state_changed(&state) => {
                state = now;
                let Some(mirror) = mirror.upgrade() else { return Ok(()) };
                if let Some(cause) = state.cause() {
                    mirror.do_send(ConfigFails(Arc::clone(cause)));
                }
                continue;
            }
        };
        let news = match parcel {
            Some(Parcel::Changes(changes)) => {
                let mut ours = changes.iter().filter(|change| change.name.as_str() == config.cluster);
                ours.next_back().is_some_and(|change| {
                    value = change.new.as_ref().map(|new| new.value.clone());
                    // One of the first state is told when that is complete.
                    !change.initial
                })
            }
            Some(Parcel::Notice(notice)) => matches!(notice, Notice::Synced { .. }),
            None => return Ok(()),
        };
        let Some(mirror) = mirror.upgrade() else { return Ok(()) };
        if news {
            mirror.do_send(Configure(value.clone()));
        }
    }
}

impl Actor for MirrorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.config.rules == MirrorRules::Cilium {
            let follow = follow_config(Arc::clone(&self.config), self.thread.clone(), ctx.address().downgrade());
            let config = Arc::clone(&self.config);
            let of_before = async move { cluster_config(&config).await };
            // Both end with this actor.
            ctx.spawn(follow.into_actor(self));
            ctx.spawn(of_before.into_actor(self).map(|value, actor, ctx| {
                if let Some(value) = value {
                    actor.mirror.take_over_configuration(value);
                    actor.pump(ctx);
                }
            }));
        }
        self.pump(ctx);
    }
}

impl Handler<Configure> for MirrorActor {
    type Result = ();

    fn handle(&mut self, Configure(value): Configure, ctx: &mut Self::Context) {
        self.mirror.configure(now(), value.as_deref());
        self.pump(ctx);
    }
}

impl Handler<ConfigFails> for MirrorActor {
    type Result = ();

    fn handle(&mut self, ConfigFails(cause): ConfigFails, _: &mut Self::Context) {
        self.mirror.configuration_fails(now(), &cause);
    }
}

impl Handler<TakenOver> for MirrorActor {
    type Result = ();

    fn handle(&mut self, TakenOver { rule, copies }: TakenOver, ctx: &mut Self::Context) {
        self.mirror.taken_over(now(), rule, copies);
        self.pump(ctx);
    }
}

impl Handler<SourceIs> for MirrorActor {
    type Result = ();

    fn handle(&mut self, SourceIs { rule, state }: SourceIs, ctx: &mut Self::Context) {
        self.mirror.source_is(now(), rule, state);
        self.pump(ctx);
    }
}

impl Handler<Completed> for MirrorActor {
    type Result = ();

    fn handle(&mut self, Completed(rule): Completed, _: &mut Self::Context) {
        self.mirror.completed(rule);
    }
}

impl Handler<GetMirrorStatus> for MirrorActor {
    type Result = ResponseFuture<Result<MirrorStatus, StoreError>>;

    fn handle(&mut self, _: GetMirrorStatus, _: &mut Self::Context) -> Self::Result {
        let mut status = self.mirror.status(now());
        let publishers: Vec<_> = self.copies.iter().map(Copying::publisher).collect();
        Box::pin(async move {
            for (copy, publisher) in status.copies.iter_mut().zip(publishers) {
                let Some(publisher) = publisher else { continue };
                if let Ok(status) = publisher.status().await {
                    (copy.keys, copy.pending, copy.refused) = (status.own, status.pending, status.refused.len());
                }
            }
            Ok(status)
        })
    }
}

impl Handler<Remove> for MirrorActor {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Remove, ctx: &mut Self::Context) -> Self::Result {
        let left = self.left(Leave::Delete);
        self.mirror.remove(now());
        self.pump(ctx);
        left
    }
}

impl Handler<Release> for MirrorActor {
    type Result = ResponseFuture<Result<(), CloseError>>;

    fn handle(&mut self, _: Release, ctx: &mut Self::Context) -> Self::Result {
        let left = self.left(Leave::Release);
        self.leave(Leave::Release, ctx);
        left
    }
}

impl Handler<HandleDropped> for MirrorActor {
    type Result = ();

    fn handle(&mut self, _: HandleDropped, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
