//! Joining a store.

use std::future::IntoFuture;
use std::pin::Pin;

use actix::WeakRecipient;
use actix::prelude::*;
use shared_store_core::{Config, Index, Key};
use tokio::sync::oneshot;

use crate::error::JoinError;
use crate::handle::SharedStore;
use crate::notifications::StateChanged;
use crate::observer::Observer;
use crate::owner::Owner;
use crate::store::{Prepared, Start, StoreActor};
use crate::thread::{StoreThread, can_start, no_thread, span};

/// Joins the store that `config` describes: starts its actors, and answers when the whole initial list is in the cache
/// and in every observer given here (Cilium's `JoinSharedStore`).
///
/// With a snapshot in [`Config::state_dir`] it answers when the snapshot is in the cache and in every observer,
/// without waiting for the kvstore. The store is [`State::Stale`](crate::State::Stale) until the kvstore has answered.
/// Then observers are told what has changed since the snapshot, and only then [`Synced`](crate::Synced).
/// [`Config::list_timeout`] limits how long observers take.
///
/// Works in an actix `System`, in plain tokio and on a `LocalSet`: the actors run on the thread of the backend's
/// watches, on a thread of their own if it has none, or where [`Join::on`] says. Dropping it before it answers stops everything.
///
/// It answers once every observer given here has handled its first state. So an actor that waits for `join` inside
/// `ctx.wait` cannot be one of these observers: its mailbox is not read meanwhile. Subscribe it afterwards.
#[must_use = "a store is joined by awaiting this"]
pub fn join<K: Key>(config: Config) -> Join<K> {
    Join { config, observers: Vec::new(), indexes: Vec::new(), thread: None, state_observers: Vec::new() }
}

/// A store about to be joined: await it.
#[derive(Debug)]
#[must_use = "a store is joined by awaiting this"]
pub struct Join<K: Key> {
    config: Config,
    observers: Vec<Observer<K>>,
    indexes: Vec<Index<K>>,
    thread: Option<StoreThread>,
    state_observers: Vec<WeakRecipient<StateChanged>>,
}

impl<K: Key> Join<K> {
    /// Adds an observer that has been told the whole initial list when joining answers.
    pub fn observer(mut self, observer: Observer<K>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Adds a secondary index for [`Reader::lookup`](crate::Reader::lookup).
    pub fn index(mut self, index: Index<K>) -> Self {
        self.indexes.push(index);
        self
    }

    /// Adds a recipient that is told the state from the start, so it also learns why joining takes long.
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn state_observer(mut self, recipient: Recipient<StateChanged>) -> Self {
        self.state_observers.push(recipient.downgrade());
        self
    }

    /// Where the store runs. Default: the thread of the backend's watches, or a thread of its own: see [`StoreThread`].
    pub fn on(mut self, thread: StoreThread) -> Self {
        self.thread = Some(thread);
        self
    }
}

impl<K: Key> IntoFuture for Join<K> {
    type Output = Result<SharedStore<K>, JoinError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<K: Key> Join<K> {
    /// Starts the store and answers at once, whether the kvstore can be reached or not: a service can open its port and
    /// answer whether it is ready while etcd is unavailable. Keys can be owned and observers added right away; the
    /// cache is empty until the first list is complete. The store tries until it is closed: [`Config::list_timeout`]
    /// has no effect. With a [`Config::state_dir`] the snapshot is read first.
    ///
    /// ```no_run
    /// # use shared_store::{Config, Key, State, join};
    /// # async fn run<Node: Key>(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    /// let store = join::<Node>(config).start().await?;
    /// // What a readiness probe asks:
    /// let ready = store.reader().state() == State::Synced;
    /// // Or wait until it is ready:
    /// store.synced().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`JoinError::Config`], or [`JoinError::Ended`] if there can be no thread.
    pub async fn start(self) -> Result<SharedStore<K>, JoinError> {
        self.begin(None).await
    }

    async fn run(self) -> Result<SharedStore<K>, JoinError> {
        let (joined, wait) = oneshot::channel();
        // Dropping the future stops the actor.
        let store = self.begin(Some(joined)).await?;
        match wait.await {
            Ok(joined) => joined.map(|()| store),
            Err(_) => Err(JoinError::Ended(store.reader().state().to_string().into())),
        }
    }

    /// Starts the actor, which sends the outcome to `joined`.
    async fn begin(self, joined: Option<oneshot::Sender<Result<(), JoinError>>>) -> Result<SharedStore<K>, JoinError> {
        let Self { config, observers, indexes, thread, state_observers } = self;
        config.check()?;
        let described = config.clone();
        let span = span(&config.prefix);
        let within = span.clone();
        let prepared = move || within.in_scope(|| Prepared::new(&described, indexes));
        let Prepared { store, resume, saving } = if config.state_dir.is_some() {
            can_start().map_err(|error| no_thread(&error))?;
            let ended = |_| JoinError::Ended("the snapshot could not be loaded".into());
            tokio::task::spawn_blocking(prepared).await.map_err(ended)?
        } else {
            prepared()
        };
        let reader = store.reader();
        let thread = StoreThread::or_of(thread, &*config.backend)?;
        let store_thread = thread.clone();
        let start = Start { resume, observers, state_observers, saving, joined };
        let owner = Owner(thread.start(span, move || StoreActor::new(store, config, store_thread, start)));
        Ok(SharedStore::new(owner, reader))
    }
}
