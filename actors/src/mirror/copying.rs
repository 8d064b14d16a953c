//! Copies the keys of one rule.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::WeakAddr;
use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::backend::ListRequest;
use shared_store_core::mirror::{GatedBackend, MirrorRule};
use shared_store_core::{
    Backend, BackendError, Backoff, Changes, Config, KeyName, Notice, Parcel, Prefix, PublisherStatus, State,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::MirrorConfig;
use super::actor::{Completed, MirrorActor, SourceIs};
use super::verbatim::Verbatim;
use crate::error::{CloseError, JoinError, StoreError};
use crate::join::join;
use crate::publisher::{Publisher, publish};
use crate::thread::StoreThread;

/// How long to wait before something is started again that has ended by itself.
const RESTART: Duration = Duration::from_secs(1);
/// How many names a page of the copies of before has.
const PAGE: usize = 10_000;

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
    publisher: Option<Publisher<Verbatim>>,
    /// The names of all copies.
    given: HashSet<KeyName>,
    /// The copies are deleted, and nothing is copied until they are wanted again.
    expired: bool,
}

/// What the task does next.
enum Next {
    Follow(MirrorRule),
    /// Something has ended by itself.
    Again,
    End,
}

/// What has to be done before copying: it ends when it is done.
type Doing<T> = Pin<Box<dyn Future<Output = T>>>;

async fn done<T>(doing: &mut Option<Doing<T>>) -> T {
    match doing {
        Some(doing) => doing.await,
        None => pending().await,
    }
}

impl Copier {
    async fn run(mut self, mut rule: MirrorRule) {
        loop {
            match self.follow(&rule).await {
                Ok(Next::Follow(next)) => rule = next,
                Ok(Next::End) => return,
                Ok(Next::Again) => sleep(RESTART).await,
                Err(error) => {
                    tracing::error!(%error, rule = rule.name, "copying has ended: starting again");
                    sleep(RESTART).await;
                }
            }
        }
    }

    async fn follow(&mut self, rule: &MirrorRule) -> Result<Next, JoinError> {
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
        // The names of the copies that are there already, and then what the canary waits for.
        let (mut listing, mut completing) =
            (None::<Doing<Vec<KeyName>>>, None::<Doing<Result<PublisherStatus, StoreError>>>);
        loop {
            tokio::select! {
                // An order is never left to wait.
                biased;
                order = self.orders.recv() => match order {
                    None => return Ok(Next::End),
                    Some(Order::Follow(rule)) => return Ok(Next::Follow(rule)),
                    Some(Order::Expire) => {
                        self.expired = true;
                        (first, listing) = (None, None);
                        let deletes = self.given.drain().collect();
                        if self.apply(Vec::new(), deletes).await.is_err() {
                            return Ok(Next::Again);
                        }
                    }
                    Some(Order::Fill) => {
                        self.expired = false;
                        // A first state that was complete before is not this one.
                        listing = None;
                        (parcels, first) = (source.changes().await.map_err(ended)?.into_parcels(), Some(BTreeMap::new()));
                    }
                    Some(Order::Leave { how, done }) => {
                        // First, so that nothing that the source's end causes is copied.
                        drop(parcels);
                        let result = match &self.publisher {
                            Some(publisher) => how.of(publisher).await,
                            None => Ok(()),
                        };
                        let _ = done.send(result);
                        return Ok(Next::End);
                    }
                },
                now = source.reader().state_changed(&state) => {
                    state = now;
                    self.tell_state(&state);
                    if let State::Closed { .. } = state {
                        return Ok(Next::Again);
                    }
                }
                names = done(&mut listing), if listing.is_some() => {
                    listing = None;
                    let copies = first.take().unwrap_or_default();
                    if self.replace(rule, copies, names).await.is_err() {
                        return Ok(Next::Again);
                    }
                    completing = self.publisher.clone().map(|publisher| -> Doing<_> { Box::pin(async move { publisher.synced().await }) });
                }
                completed = done(&mut completing), if completing.is_some() => {
                    completing = None;
                    if completed.is_err() {
                        return Ok(Next::Again);
                    }
                    self.tell(Completed(self.index));
                }
                parcel = parcels.next(), if listing.is_none() => {
                    let Some(parcel) = parcel else { return Ok(Next::Again) };
                    if self.expired {
                        continue;
                    }
                    match (parcel, &mut first) {
                        (Parcel::Changes(changes), Some(first)) => stage(first, &changes),
                        (Parcel::Changes(changes), None) => {
                            if self.copy(&changes).await.is_err() {
                                return Ok(Next::Again);
                            }
                        }
                        (Parcel::Notice(Notice::Synced { .. }), Some(_)) => listing = Some(self.names(rule)),
                        (Parcel::Notice(_), _) => {}
                    }
                }
            }
        }
    }

    /// The names of all copies, once the configuration of the cluster is there.
    fn names(&self, rule: &MirrorRule) -> Doing<Vec<KeyName>> {
        if self.publisher.is_some() {
            let given = self.given.iter().cloned().collect();
            return Box::pin(async { given });
        }
        let (target, prefix, mut config_put) =
            (Arc::clone(&self.config.target), rule.to.clone(), self.config_put.clone());
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), self.config.copies.seed);
        Box::pin(async move {
            // The mirror is gone if it fails, and so is this task.
            let _ = config_put.wait_for(|put| *put).await;
            loop {
                match names(&*target, &prefix).await {
                    Ok(names) => return names,
                    Err(error) => {
                        tracing::warn!(%error, %prefix, "cannot list the copies of before: trying again");
                        sleep(backoff.fail()).await;
                    }
                }
            }
        })
    }

    /// Makes the copies what the source has.
    async fn replace(
        &mut self,
        rule: &MirrorRule,
        copies: BTreeMap<KeyName, Bytes>,
        before: Vec<KeyName>,
    ) -> Result<(), StoreError> {
        if self.publisher.is_none() {
            let mut publishing = publish::<Verbatim>(self.owned(rule));
            if let Some((canaries, name)) = rule.announce.clone() {
                publishing = publishing.canary_named(canaries, name);
            }
            if let Some(thread) = &self.thread {
                publishing = publishing.on(thread.clone());
            }
            let publisher = publishing.start().map_err(|_| StoreError::Closed)?;
            self.share(Some(publisher));
        }
        let deletes = before.into_iter().filter(|name| !copies.contains_key(name)).collect();
        self.given = copies.keys().cloned().collect();
        self.apply(copies.into_iter().collect(), deletes).await
    }

    fn owned(&self, rule: &MirrorRule) -> Config {
        self.config.owned(rule.to.clone())
    }

    async fn copy(&mut self, changes: &Changes<Verbatim>) -> Result<(), StoreError> {
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
        self.apply(puts, deletes).await
    }

    async fn apply(&mut self, puts: Vec<(KeyName, Bytes)>, deletes: Vec<KeyName>) -> Result<(), StoreError> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        let applied = publisher.apply(puts, deletes).await;
        if applied.is_err() {
            // It has ended by itself: another one begins with all keys.
            self.share(None);
        }
        applied
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

/// The names of all keys below a prefix.
async fn names(backend: &dyn Backend, prefix: &Prefix) -> Result<Vec<KeyName>, BackendError> {
    let mut request = ListRequest::new(prefix.range());
    (request.limit, request.keys_only) = (PAGE, true);
    let mut names = Vec::new();
    loop {
        let page = backend.list(request.clone()).await?;
        names.extend(page.kvs.iter().filter_map(|kv| prefix.strip(&kv.path)));
        match page.kvs.last() {
            Some(last) if page.more => request.range.start = shared_store_core::KeyRange::one(&last.path).end,
            Some(_) | None => return Ok(names),
        }
        request.revision.get_or_insert(page.header.revision);
    }
}
