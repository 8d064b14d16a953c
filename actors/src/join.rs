//! Joining a store.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store::audit::Audit;
use shared_store::sync::Sync;
use shared_store::watch::{Resume, Watch};
use shared_store::{Config, Index, Key, Reader, State};
use tokio::sync::oneshot;

use crate::error::JoinError;
use crate::handle::SharedStore;
use crate::messages::StateChanged;
use crate::observer::Observer;
use crate::place::Place;
use crate::store::{Prepared, Start, StoreActor};
use crate::sync::{SyncActor, now};
use crate::watcher::WatcherActor;

/// Joins the store that `config` describes: starts its actors, and answers when the whole initial list is in the cache
/// and in every observer given here (Cilium's `JoinSharedStore`).
///
/// With a snapshot in [`Config::state_dir`] it answers when that is in the cache and in every observer, without waiting
/// for the kvstore: the store is [`State::Stale`] until that has answered, and observers are told
/// [`Synced`](crate::Synced) only then, after what has changed since. What [`Config::list_timeout`] limits is then how
/// long observers take.
///
/// Must be awaited where actors can start: inside an actix `System`. Dropping it before it answers stops everything.
#[must_use = "a store is joined by awaiting this"]
pub fn join<K: Key>(config: Config) -> Join<K> {
    Join { config, observers: Vec::new(), indexes: Vec::new(), arbiter: None, state_observers: Vec::new() }
}

/// A store about to be joined: await it.
#[derive(Debug)]
#[must_use = "a store is joined by awaiting this"]
pub struct Join<K: Key> {
    config: Config,
    observers: Vec<Observer<K>>,
    indexes: Vec<Index<K>>,
    arbiter: Option<ArbiterHandle>,
    state_observers: Vec<WeakRecipient<StateChanged>>,
}

impl<K: Key> Join<K> {
    /// Adds an observer that has been told the whole initial list when joining answers.
    pub fn observer(mut self, observer: Observer<K>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Adds a secondary index for [`Reader::lookup`].
    pub fn index(mut self, index: Index<K>) -> Self {
        self.indexes.push(index);
        self
    }

    /// Adds a recipient that is told the state from the start: also why joining takes so long.
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn state_observer(mut self, recipient: Recipient<StateChanged>) -> Self {
        self.state_observers.push(recipient.downgrade());
        self
    }

    /// Where watch, keep-alives and writes run. Default: a thread of their own, which nothing else can hold up.
    pub fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }
}

impl<K: Key> IntoFuture for Join<K> {
    type Output = Result<SharedStore<K>, JoinError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<K: Key> Join<K> {
    async fn run(self) -> Result<SharedStore<K>, JoinError> {
        let Self { config, observers, indexes, arbiter, state_observers } = self;
        config.check()?;
        let (described, now) = (config.clone(), now());
        let prepared = move || Prepared::new(&described, indexes, now);
        let Prepared { store, resume, saving } = if config.state_dir.is_some() {
            let ended = |error: tokio::task::JoinError| JoinError::Ended(error.to_string().into());
            tokio::task::spawn_blocking(prepared).await.map_err(ended)?
        } else {
            prepared()
        };
        let reader = store.reader();
        let (joined, wait) = oneshot::channel();
        let (list_timeout, close_timeout) = (config.list_timeout, config.close_timeout);
        let place = Place::new(arbiter)?;
        let (again, held) = (config.clone(), place.clone());
        let watch_again = Box::new(move |addr: &_, backend, prefix| {
            watcher(addr, &again.clone().shared_backend(backend).prefix(prefix), None, &held)
        });
        let children = Box::new(move |addr: &_| children(addr, config, resume, &place));
        let start = Start { children, observers, state_observers, saving, joined };
        let mut guard = Guard { addr: Some(StoreActor::new(store, close_timeout, watch_again, start).start()) };
        match tokio::time::timeout(list_timeout, wait).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(JoinError::Ended(cause(&reader))),
            Err(_) => return Err(JoinError::ListTimeout { after: list_timeout, cause: cause(&reader) }),
        }
        match guard.addr.take() {
            Some(addr) => Ok(SharedStore::new(addr, reader)),
            None => Err(JoinError::Ended(cause(&reader))),
        }
    }
}

fn watcher<K: Key>(
    addr: &Addr<StoreActor<K>>,
    config: &Config,
    resume: Option<Resume>,
    place: &Place,
) -> Addr<WatcherActor> {
    let (range, silence, seed) = (config.prefix.range(), config.watch_timeout, config.seed);
    let watch = match resume {
        Some(resume) => Watch::resume(range, silence, seed, resume),
        None => Watch::new(range, silence, seed),
    };
    let (store, backend) = (addr.clone().recipient().downgrade(), Arc::clone(&config.backend));
    let audit = Audit::new(config.prefix.range(), config.audit_interval, config.seed);
    place.start(move || WatcherActor::new(backend, watch, store).audit(audit))
}

fn children<K: Key>(
    addr: &Addr<StoreActor<K>>,
    config: Config,
    resume: Option<Resume>,
    place: &Place,
) -> (Addr<WatcherActor>, Addr<SyncActor>) {
    let watcher = watcher(addr, &config, resume, place);
    let (sync, store) = (Sync::new(&config, config.backend.max_writes()), addr.clone().recipient().downgrade());
    // The place lives as long as the actor that lives there longest.
    let held = place.clone();
    let sync = place.start(move || SyncActor::new(config.backend, sync, store, held));
    (watcher, sync)
}

/// Why there is no complete list yet.
fn cause<K: Key>(reader: &Reader<K>) -> Arc<str> {
    let state = reader.state();
    match (state.cause(), &state) {
        (Some(cause), _) => Arc::clone(cause),
        (None, State::Connecting { .. }) => Arc::from("the kvstore has not answered"),
        (None, _) => state.to_string().into(),
    }
}

/// Stops the actors if joining ends any other way than well.
struct Guard<K: Key> {
    addr: Option<Addr<StoreActor<K>>>,
}

impl<K: Key> Drop for Guard<K> {
    fn drop(&mut self) {
        if let Some(addr) = self.addr.take() {
            addr.do_send(crate::store::Abandon);
        }
    }
}
