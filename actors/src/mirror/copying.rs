//! Copies the keys of one rule.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::WeakAddr;
use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::mirror::{GatedBackend, MirrorRule};
use shared_store_core::{Backend, Changes, KeyName, Notice, Parcel, PublisherStatus, State};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::MirrorConfig;
use super::actor::{Completed, MirrorActor, SourceIs, TakenOver, and};
use super::earlier::take_over;
use super::verbatim::Verbatim;
use crate::error::{CloseError, JoinError, StoreError};
use crate::join::join;
use crate::publisher::{Publisher, publish};
use crate::thread::StoreThread;

/// How long to wait before something is started again that has ended by itself.
const RESTART: Duration = Duration::from_secs(1);

/// What a removal is answered that comes too early.
const NOT_READ: &str = "the copies of an earlier mirror were not read yet: they go with their leases";

/// What a task is told to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Follow this rule from now on.
    Follow(MirrorRule),
    /// Delete the copies, and follow the source on.
    Expire,
    /// Put the copies again.
    Fill,
    Leave {
        how: Leave,
        done: oneshot::Sender<Result<(), CloseError>>,
    },
}

/// What becomes of the copies when the task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Delete,
    /// They stay until their leases end.
    Release,
}

impl Leave {
    pub(super) async fn of(self, publisher: &Publisher<Verbatim>) -> Result<(), CloseError> {
        match self {
            Self::Delete => publisher.close().await,
            Self::Release => publisher.release().await,
        }
    }
}

/// A task that copies the keys of one rule. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Copying {
    /// Few: the machine gives each of its decisions once.
    orders: mpsc::UnboundedSender<Order>,
    publisher: Shared,
}

/// The publisher of the copies, for the status.
type Shared = Arc<Mutex<Option<Publisher<Verbatim>>>>;

impl Copying {
    /// Takes over the copies of an earlier mirror, and follows the source when it is told to.
    pub(super) fn start(
        index: usize,
        rule: MirrorRule,
        config: Arc<MirrorConfig>,
        thread: Option<StoreThread>,
        config_put: watch::Receiver<bool>,
        mirror: WeakAddr<MirrorActor>,
    ) -> Self {
        let (orders, receiver) = mpsc::unbounded_channel();
        let publisher = Shared::default();
        let copier = Copier {
            index,
            config,
            thread,
            config_put,
            mirror,
            orders: receiver,
            shared: Arc::clone(&publisher),
            publisher: None,
            given: HashSet::new(),
            follows: false,
            expired: false,
        };
        actix_rt::spawn(copier.run(rule));
        Self { orders, publisher }
    }

    /// Tells the task. One that has ended needs no order.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    pub(super) async fn leave(&self, how: Leave) -> Result<(), CloseError> {
        let (done, left) = oneshot::channel();
        self.order(Order::Leave { how, done });
        left.await.unwrap_or_else(|_| Err(CloseError::ended("the copying has ended")))
    }

    pub(super) fn publisher(&self) -> Option<Publisher<Verbatim>> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Copier {
    index: usize,
    config: Arc<MirrorConfig>,
    thread: Option<StoreThread>,
    config_put: watch::Receiver<bool>,
    mirror: WeakAddr<MirrorActor>,
    orders: mpsc::UnboundedReceiver<Order>,
    shared: Shared,
    /// None before it is started, and after it has ended by itself.
    publisher: Option<Publisher<Verbatim>>,
    /// The names of all copies.
    given: HashSet<KeyName>,
    /// The source is known.
    follows: bool,
    /// The copies are deleted, and nothing is copied until they are wanted again.
    expired: bool,
}

/// What the task does next.
enum Next {
    /// Follow this rule from now on.
    Follow(MirrorRule),
    /// This step is done.
    Go,
    /// Something has ended by itself: begin again, after a while.
    Restart,
    End,
}

/// What answers when the copies are in the kvstore.
type Completing = Pin<Box<dyn Future<Output = Result<PublisherStatus, StoreError>>>>;

impl Copier {
    async fn run(mut self, mut rule: MirrorRule) {
        loop {
            let next = match self.publisher.clone() {
                None => self.take_over(&mut rule).await,
                Some(publisher) if self.follows => self.follow(&rule, publisher).await,
                Some(publisher) => self.wait(&publisher).await,
            };
            match next {
                Ok(Next::Follow(next)) => (self.follows, rule) = (true, next),
                Ok(Next::Go) => {}
                Ok(Next::End) => return,
                Ok(Next::Restart) => sleep(RESTART).await,
                Err(error) => {
                    tracing::error!(%error, rule = rule.name, "copying has ended: starting again");
                    sleep(RESTART).await;
                }
            }
        }
    }

    /// Starts a publisher, which owns the copies that are there: so they stay, whatever the source is.
    async fn take_over(&mut self, rule: &mut MirrorRule) -> Result<Next, JoinError> {
        let mut publishing = publish::<Verbatim>(self.config.owned(rule.to.clone()));
        if let Some((canaries, name)) = rule.announce.clone() {
            publishing = publishing.canary_named(canaries, name);
        }
        if let Some(thread) = &self.thread {
            publishing = publishing.on(thread.clone());
        }
        let publisher = publishing.start()?;
        let mut follow = None;
        let given = {
            let mut taking_over = pin!(take_over(&self.config, rule, &publisher));
            loop {
                tokio::select! {
                    biased;
                    order = self.orders.recv() => match order {
                        None => return Ok(Next::End),
                        Some(Order::Follow(rule)) => follow = Some(rule),
                        Some(Order::Expire) => self.expired = true,
                        Some(Order::Fill) => self.expired = false,
                        Some(Order::Leave { how, done }) => {
                            let left = how.of(&publisher).await;
                            // Those that were not read cannot be deleted.
                            let stays = if how == Leave::Delete { Err(CloseError::ended(NOT_READ)) } else { Ok(()) };
                            let _ = done.send(and(left, stays));
                            return Ok(Next::End);
                        }
                    },
                    given = &mut taking_over => break given,
                }
            }
        };
        if let Some(next) = follow {
            (self.follows, *rule) = (true, next);
        }
        let given = given.map_err(|error| JoinError::Ended(error.to_string().into()))?;
        self.tell(TakenOver { rule: self.index, copies: given.len() });
        self.given = given;
        self.share(Some(publisher));
        if self.expired {
            self.expire().await;
        }
        Ok(Next::Go)
    }

    /// Waits until the source is known.
    async fn wait(&mut self, publisher: &Publisher<Verbatim>) -> Result<Next, JoinError> {
        match self.orders.recv().await {
            None => return Ok(Next::End),
            Some(Order::Follow(rule)) => return Ok(Next::Follow(rule)),
            Some(Order::Expire) => {
                self.expired = true;
                self.expire().await;
            }
            Some(Order::Fill) => self.expired = false,
            Some(Order::Leave { how, done }) => {
                let _ = done.send(how.of(publisher).await);
                return Ok(Next::End);
            }
        }
        Ok(Next::Go)
    }

    async fn follow(&mut self, rule: &MirrorRule, publisher: Publisher<Verbatim>) -> Result<Next, JoinError> {
        let backend: Arc<dyn Backend> = match rule.canary.clone() {
            Some(canary) => Arc::new(GatedBackend::new(Arc::clone(&self.config.source), canary)),
            None => Arc::clone(&self.config.source),
        };
        let mut joining = join::<Verbatim>(self.config.read(rule.from.clone(), backend));
        if let Some(thread) = &self.thread {
            joining = joining.on(thread.clone());
        }
        let source = joining.start().await?;
        let ended = |_: StoreError| JoinError::Ended("the store of the source".into());
        let mut parcels = source.changes().await.map_err(ended)?.into_parcels();
        let mut first = Some(BTreeMap::new());
        let mut state = source.reader().state();
        self.tell_state(&state);
        let mut config_put = *self.config_put.borrow();
        let mut completing = None::<Completing>;
        loop {
            tokio::select! {
                // An order is never left to wait.
                biased;
                order = self.orders.recv() => match order {
                    None => return Ok(Next::End),
                    Some(Order::Follow(rule)) => return Ok(Next::Follow(rule)),
                    Some(Order::Expire) => {
                        (self.expired, first) = (true, None);
                        self.expire().await;
                    }
                    Some(Order::Fill) => {
                        self.expired = false;
                        // A first state that was complete before is not this one.
                        (parcels, first) = (source.changes().await.map_err(ended)?.into_parcels(), Some(BTreeMap::new()));
                    }
                    Some(Order::Leave { how, done }) => {
                        // First, so that nothing that the source's end causes is copied.
                        drop(parcels);
                        let _ = done.send(how.of(&publisher).await);
                        return Ok(Next::End);
                    }
                },
                now = source.reader().state_changed(&state) => {
                    state = now;
                    self.tell_state(&state);
                    if let State::Closed { .. } = state {
                        return Ok(Next::Restart);
                    }
                }
                // When the mirror is gone, so are the orders.
                _ = self.config_put.changed(), if !config_put => config_put = *self.config_put.borrow(),
                completed = done(&mut completing), if completing.is_some() => {
                    completing = None;
                    match completed {
                        Ok(_) => self.tell(Completed(self.index)),
                        Err(_) => self.share(None),
                    }
                }
                parcel = parcels.next(), if config_put => {
                    let Some(parcel) = parcel else { return Ok(Next::Restart) };
                    if self.expired {
                        continue;
                    }
                    match parcel {
                        Parcel::Changes(changes) => match &mut first {
                            Some(first) => stage(first, &changes),
                            None => self.copy(&changes).await,
                        },
                        Parcel::Notice(Notice::Synced { .. }) => {
                            let Some(first) = first.take() else { continue };
                            self.replace(first).await;
                            let publisher = publisher.clone();
                            completing = Some(Box::pin(async move { publisher.synced().await }));
                        }
                        Parcel::Notice(_) => {}
                    }
                }
            }
            if self.publisher.is_none() {
                // It has ended by itself: another one begins with all keys.
                return Ok(Next::Restart);
            }
        }
    }

    /// Makes the copies what the source has.
    async fn replace(&mut self, copies: BTreeMap<KeyName, Bytes>) {
        let given = copies.keys().cloned().collect();
        let deletes = std::mem::replace(&mut self.given, given);
        let deletes = deletes.into_iter().filter(|name| !copies.contains_key(name)).collect();
        self.apply(copies.into_iter().collect(), deletes).await;
    }

    /// Deletes the copies.
    async fn expire(&mut self) {
        let deletes = self.given.drain().collect();
        self.apply(Vec::new(), deletes).await;
    }

    async fn copy(&mut self, changes: &Changes<Verbatim>) {
        // Of several changes of a key the last one counts.
        let last: HashMap<_, _> = changes.iter().map(|change| (&change.name, change.new.as_ref())).collect();
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for (name, value) in last {
            if let Some(value) = value {
                self.given.insert(name.clone());
                puts.push((name.clone(), value.value.clone()));
            } else {
                self.given.remove(name);
                deletes.push(name.clone());
            }
        }
        self.apply(puts, deletes).await;
    }

    async fn apply(&mut self, puts: Vec<(KeyName, Bytes)>, deletes: Vec<KeyName>) {
        let Some(publisher) = &self.publisher else { return };
        if publisher.apply(puts, deletes).await.is_err() {
            self.share(None);
        }
    }

    fn share(&mut self, publisher: Option<Publisher<Verbatim>>) {
        self.publisher.clone_from(&publisher);
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = publisher;
    }

    fn tell_state(&self, state: &State) {
        self.tell(SourceIs { rule: self.index, state: state.clone() });
    }

    fn tell<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        MirrorActor: Handler<M>,
    {
        if let Some(mirror) = self.mirror.upgrade() {
            mirror.do_send(message);
        }
    }
}

/// Adds changes to a first state.
fn stage(first: &mut BTreeMap<KeyName, Bytes>, changes: &Changes<Verbatim>) {
    for change in changes.iter() {
        match &change.new {
            Some(value) => first.insert(change.name.clone(), value.value.clone()),
            None => first.remove(&change.name),
        };
    }
}

async fn done(completing: &mut Option<Completing>) -> Result<PublisherStatus, StoreError> {
    match completing {
        Some(completing) => completing.await,
        None => pending().await,
    }
}
