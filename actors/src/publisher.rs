//! Owning keys without a cache: Cilium's `SyncStore`.

mod actor;

use std::marker::PhantomData;
use std::sync::Arc;

use actix::WeakRecipient;
use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::publisher::{LEFT, Publisher as Machine};
use shared_store_core::{Config, Key, KeyName, Prefix, PublisherStatus, Revision, State, encoded};
use tokio::sync::watch;

use self::actor::{Apply, AwaitSynced, Delete, PublisherActor, PublisherState, Put};
use crate::error::{CloseError, JoinError, StoreError};
use crate::handle::key_name;
use crate::messages::{Close, Release};
use crate::notifications::Trouble;
use crate::owner::Owner;
use crate::thread::{StoreThread, span};

/// Publishes keys below the prefix that `config` names, and reads none: its memory grows only with the own keys. They
/// are kept in the kvstore as a joined store keeps its own keys.
///
/// ```no_run
/// # use shared_store::{Config, Key, Prefix, publish};
/// # async fn run<Node: Key>(nodes: Vec<Node>) -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::new(Prefix::new("cilium/state/nodes/v1")?);
/// let publisher = publish::<Node>(config).canary(Prefix::canaries("cluster1")?).start()?;
/// publisher.update_keys(nodes).await?;
/// let status = publisher.synced().await?;
/// assert!(status.refused.is_empty());
/// # Ok(()) }
/// ```
#[must_use = "nothing is published before it is started"]
pub fn publish<K: Key>(config: Config) -> Publish<K> {
    Publish { config, canary: None, observers: Vec::new(), thread: None, key: PhantomData }
}

/// A publisher about to be started.
#[derive(Debug)]
#[must_use = "nothing is published before it is started"]
pub struct Publish<K: Key> {
    config: Config,
    canary: Option<(Prefix, KeyName)>,
    observers: Vec<WeakRecipient<Trouble>>,
    thread: Option<StoreThread>,
    key: PhantomData<fn(K)>,
}

impl<K: Key> Publish<K> {
    /// Writes a canary below `canaries` once [`synced`](Publisher::synced) was called and all keys given before that
    /// call are in the kvstore. See [`Prefix::canaries`].
    pub fn canary(mut self, canaries: Prefix) -> Self {
        self.canary = Some(self.config.prefix.canary(canaries));
        self
    }

    /// As [`canary`](Self::canary), with a name of its own: Cilium's caches announce `cilium/cache/nodes/v1`, not the prefix
    /// of one cluster below it.
    pub fn canary_named(mut self, canaries: Prefix, name: KeyName) -> Self {
        self.canary = Some((canaries, name));
        self
    }

    /// Adds a recipient that is told what is wrong and what is right again. Does not keep its actor alive.
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn observer(mut self, recipient: Recipient<Trouble>) -> Self {
        self.observers.push(recipient.downgrade());
        self
    }

    /// Where it runs. Default: the thread of the backend's watches, or a thread of its own: see [`StoreThread`].
    pub fn on(mut self, thread: StoreThread) -> Self {
        self.thread = Some(thread);
        self
    }

    /// Starts it. It does not wait for the kvstore: keys are taken at once, and written when it can be reached.
    ///
    /// # Errors
    /// [`JoinError::Config`], or [`JoinError::Thread`] if there can be no thread.
    pub fn start(self) -> Result<Publisher<K>, JoinError> {
        let Self { config, canary, observers, thread, key } = self;
        config.check()?;
        let thread = StoreThread::or_of(thread, &*config.backend)?;
        let (told, state) = watch::channel(State::Connecting { cause: None });
        let held = thread.clone();
        let addr = thread.start(span(&config.prefix), move || {
            let machine = Machine::new(&config, config.backend.max_writes(), canary);
            PublisherActor::new(config, machine, told, observers, held)
        });
        Ok(Publisher { owner: Arc::new(Owner(addr)), state, key })
    }
}

/// A started publisher. Cheap to clone, usable from any thread.
///
/// Leave with [`close`](Self::close) or [`release`](Self::release). If all handles are dropped it stops as if the
/// process had died: the own keys go with their lease, and the log says so.
#[derive(Debug)]
#[must_use = "the publisher stops when its last handle is dropped"]
pub struct Publisher<K: Key> {
    owner: Arc<Owner<PublisherActor>>,
    state: watch::Receiver<State>,
    key: PhantomData<fn(K)>,
}

impl<K: Key> Clone for Publisher<K> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), state: self.state.clone(), key: PhantomData }
    }
}

impl<K: Key> Publisher<K> {
    /// Owns a key: it is in the kvstore soon, and stays there until it is deleted. Answered at once.
    ///
    /// # Errors
    /// [`StoreError::Key`] if it has no name or no encoding, [`StoreError::Closed`].
    pub async fn update_key(&self, key: K) -> Result<(), StoreError> {
        self.update_keys(vec![key]).await
    }

    /// Owns many keys.
    ///
    /// # Errors
    /// [`StoreError::Key`] if one has no name or no encoding, and then none is owned; [`StoreError::Closed`].
    pub async fn update_keys(&self, keys: Vec<K>) -> Result<(), StoreError> {
        let keys = keys.iter().map(encoded).collect::<Result<Vec<_>, _>>()?;
        self.owner.0.send(Put(keys)).await?
    }

    /// Owns keys and gives up others, as bytes. Answered at once.
    pub(crate) async fn apply(&self, puts: Vec<(KeyName, Bytes)>, deletes: Vec<KeyName>) -> Result<(), StoreError> {
        self.owner.0.send(Apply { puts, deletes }).await?
    }

    /// Gives up a key and answers when it is gone. What another owner has put there meanwhile stays.
    ///
    /// # Errors
    /// [`StoreError::Key`] if the name is empty, otherwise any [`StoreError`].
    pub async fn delete_key(&self, name: impl AsRef<str>) -> Result<Revision, StoreError> {
        self.delete_keys([name]).await
    }

    /// Gives up many keys and answers when all are gone.
    ///
    /// # Errors
    /// [`StoreError::Key`] if a name is empty, and then none is given up; otherwise the first [`StoreError`] of them.
    pub async fn delete_keys(&self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Revision, StoreError> {
        let names = names.into_iter().map(key_name).collect::<Result<_, _>>()?;
        self.owner.0.send(Delete(names)).await?
    }

    /// Says that all keys have been given for now, and answers when these keys are in the kvstore, and then the
    /// canary, if there is one. Keys that the kvstore refuses for good, or that are left to another owner, are not
    /// waited for, and do not delay the canary: they are in [`PublisherStatus::refused`]. The canary is written once,
    /// however often this is called, and written again after a lease was lost, when the keys of that lease are back.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn synced(&self) -> Result<PublisherStatus, StoreError> {
        self.owner.0.send(AwaitSynced).await?
    }

    /// As [`synced`](Self::synced), without an answer: who waits for one keeps the publisher running.
    pub(crate) fn announce(&self) {
        self.owner.0.do_send(AwaitSynced);
    }

    /// The current status.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn status(&self) -> Result<PublisherStatus, StoreError> {
        self.owner.0.send(PublisherState).await?
    }

    /// How far its knowledge of its keys can be trusted, without a message.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until the state is not `known` any more. Cancel-safe.
    pub async fn state_changed(&self, known: &State) -> State {
        let mut state = self.state.clone();
        // The last state stays when the actor is gone.
        let _ = state.wait_for(|state| state != known).await;
        state.borrow().clone()
    }

    /// Leaves and deletes the canary and the own keys. Does nothing if the publisher has left already.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be deleted.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.owner.0.send(Close).await.unwrap_or_else(|_| self.has_left())
    }

    /// Leaves. The canary and the own keys stay until their leases expire. Pending writes are flushed first.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be written before.
    pub async fn release(&self) -> Result<(), CloseError> {
        self.owner.0.send(Release).await.unwrap_or_else(|_| self.has_left())
    }

    /// The actor has ended: an error unless the publisher had left before.
    fn has_left(&self) -> Result<(), CloseError> {
        let State::Closed { cause } = self.state() else {
            return Err(CloseError::ended("publisher actor is gone"));
        };
        if &*cause == LEFT { Ok(()) } else { Err(CloseError::ended(cause)) }
    }
}
