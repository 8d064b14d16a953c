//! The store as its owner holds it.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;
use shared_store_core::own::Lifetime;
use shared_store_core::{
    AuditReport, Backend, Closed, Key, KeyError, KeyName, ObserverId, Prefix, Reader, Revision, State, Status,
};

use crate::error::{AuditError, CatchUpError, CloseError, StoreError};
use crate::messages::{
    Attach, Audit, CatchUp, Close, DeleteLocalKey, DeleteLocalKeys, Detach, Drain, GetQuarantined, GetStatus, Release,
    Subscribe, Unsubscribe, UpdateKeySync, UpdateLocalKey, UpdateLocalKeySync, UpdateLocalKeys, WriteOnce,
};
use crate::observer::Observer;
use crate::owner::Owner;
use crate::store::{CLOSED, RELEASED, StoreActor};
use crate::stream::{ChangeStream, channel};

/// A joined store: its address and a reader, with a method for every message. Cheap to clone, usable from any thread.
///
/// Leave with [`close`](Self::close) or [`release`](Self::release). When the last handle is dropped, the store stops as if
/// the process had died: the own keys stay until their lease expires, and the log says so.
#[derive(Debug)]
#[must_use = "the store stops when its last handle is dropped"]
pub struct SharedStore<K: Key> {
    owner: Arc<Owner<StoreActor<K>>>,
    reader: Reader<K>,
}

impl<K: Key> Clone for SharedStore<K> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), reader: self.reader.clone() }
    }
}

impl<K: Key> SharedStore<K> {
    pub(crate) fn new(owner: Owner<StoreActor<K>>, reader: Reader<K>) -> Self {
        Self { owner: Arc::new(owner), reader }
    }

    /// The actor, to send messages to it directly. An address does not keep the store running.
    #[must_use]
    pub fn addr(&self) -> &Addr<StoreActor<K>> {
        &self.owner.0
    }

    /// Reads the cache from any thread, without a message.
    #[must_use]
    pub fn reader(&self) -> &Reader<K> {
        &self.reader
    }

    /// Waits until the cache shows the kvstore ([`State::Synced`]), also after [`Join::start`](crate::Join::start).
    /// Observers may not have been told everything by then. Cancel-safe.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn synced(&self) -> Result<(), StoreError> {
        self.reader.synced().await.map_err(|Closed| StoreError::Closed)
    }

    /// Waits until the cache shows every write that the kvstore acknowledged before this call, of any client: a read
    /// after it is linearizable. Answers with a revision that the cache shows. See [`CatchUp`].
    ///
    /// It costs one request without a value, which all calls that wait share, and takes as long as that: the watch is
    /// seldom behind. If the newest write is of a key elsewhere in etcd, the watch is asked for its progress (since etcd
    /// 3.4.31 and 3.5.13), or the names of all keys are listed, and the values that changed (before). During an outage it waits.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn run<K: shared_store::Key>(store: shared_store::SharedStore<K>)
    /// # -> Result<(), shared_store::CatchUpError> {
    /// store.catch_up(Duration::from_secs(5)).await?;
    /// let there_is_one = store.reader().get("node1").is_some();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`CatchUpError`].
    pub async fn catch_up(&self, timeout: Duration) -> Result<Revision, CatchUpError> {
        match tokio::time::timeout(timeout, self.addr().send(CatchUp { timeout })).await {
            Ok(answer) => answer.unwrap_or(Err(CatchUpError::Closed)),
            Err(_) => Err(CatchUpError::timed_out(timeout, &self.reader)),
        }
    }

    /// Owns `key`: see [`UpdateLocalKey`].
    ///
    /// # Errors
    /// [`StoreError::Key`] if it has no name or no encoding, [`StoreError::Closed`].
    pub async fn update_local_key(&self, key: K) -> Result<(), StoreError> {
        self.addr().send(UpdateLocalKey(key)).await?
    }

    /// Owns `key`, and answers with its revision when it is in the kvstore: see [`UpdateLocalKeySync`].
    ///
    /// # Errors
    /// [`StoreError`]; see [`UpdateLocalKeySync`] for what is owned then.
    pub async fn update_local_key_sync(&self, key: K) -> Result<Revision, StoreError> {
        self.addr().send(UpdateLocalKeySync(key)).await?
    }

    /// Writes `key` once without owning it: see [`UpdateKeySync`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_key_sync(&self, key: K) -> Result<Revision, StoreError> {
        self.addr().send(UpdateKeySync(key)).await?
    }

    /// Writes `key` once without owning it, for as long as this store lives or for good: see [`WriteOnce`].
    ///
    /// ```no_run
    /// # use shared_store::{Key, Lifetime, SharedStore, StoreError};
    /// # async fn run<Node: Key>(store: SharedStore<Node>, node: Node) -> Result<(), StoreError> {
    /// // Close does not take it back.
    /// store.write_once(node, Lifetime::Unlimited).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_once(&self, key: K, lifetime: Lifetime) -> Result<Revision, StoreError> {
        self.addr().send(WriteOnce { key, lifetime }).await?
    }

    /// Gives up the key and answers when it is gone: see [`DeleteLocalKey`].
    ///
    /// ```no_run
    /// # async fn run<K: shared_store::Key>(store: shared_store::SharedStore<K>)
    /// # -> Result<(), shared_store::StoreError> {
    /// store.delete_local_key("node1").await?;
    /// store.delete_local_keys(["node2", "node3"]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Key`] if the name is empty, otherwise as [`DeleteLocalKey`].
    pub async fn delete_local_key(&self, name: impl AsRef<str>) -> Result<Revision, StoreError> {
        let name = key_name(name)?;
        self.addr().send(DeleteLocalKey(name)).await?
    }

    /// Owns many keys: see [`UpdateLocalKeys`].
    ///
    /// # Errors
    /// [`StoreError::Key`] if one has no name or no encoding, and then none is owned; [`StoreError::Closed`].
    pub async fn update_local_keys(&self, keys: Vec<K>) -> Result<(), StoreError> {
        self.addr().send(UpdateLocalKeys(keys)).await?
    }

    /// Gives up many keys and answers when all are gone: see [`DeleteLocalKeys`].
    ///
    /// # Errors
    /// [`StoreError::Key`] if a name is empty, and then none is given up; otherwise the first [`StoreError`] of them.
    pub async fn delete_local_keys(&self, names: impl IntoIterator<Item: AsRef<str>>) -> Result<Revision, StoreError> {
        let names = names.into_iter().map(key_name).collect::<Result<_, _>>()?;
        self.addr().send(DeleteLocalKeys(names)).await?
    }

    /// The bytes of a value that cannot be decoded: see [`GetQuarantined`].
    ///
    /// # Errors
    /// [`StoreError::Key`] if the name is empty, [`StoreError::Closed`].
    pub async fn quarantined(&self, name: impl AsRef<str>) -> Result<Option<Bytes>, StoreError> {
        let name = key_name(name)?;
        Ok(self.addr().send(GetQuarantined(name)).await?)
    }

    /// Adds an observer: see [`Subscribe`].
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn subscribe(&self, observer: Observer<K>) -> Result<ObserverId, StoreError> {
        self.addr().send(Subscribe(observer)).await?
    }

    /// All changes as a stream, with the contract of every observer: first the existing keys, as creates, then every
    /// change, in order. The queue is bounded: while the reader is busy, the changes of a key are merged into one.
    /// What the reader has taken counts as handled when it asks for the next change. Dropping the stream ends the
    /// subscription; the stream ends when the store does. A store that closes waits for the reader, at most
    /// [`Config::close_timeout`](crate::Config::close_timeout): go on reading, or drop the stream.
    ///
    /// It is a [`Stream`](futures_util::Stream), too.
    ///
    /// ```no_run
    /// # use shared_store::{Key, SharedStore};
    /// # async fn run<Node: Key>(store: SharedStore<Node>) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut changes = store.changes().await?;
    /// while let Some(change) = changes.next().await {
    ///     println!("{}: {:?} -> {:?}", change.name, change.old, change.new);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn changes(&self) -> Result<ChangeStream<K>, StoreError> {
        self.changes_with(|observer| observer).await
    }

    /// As [`changes`](Self::changes), with a filter, a mode or a name.
    ///
    /// ```no_run
    /// # use shared_store::{Filter, Key, SharedStore};
    /// # async fn run<Node: Key>(store: SharedStore<Node>) -> Result<(), Box<dyn std::error::Error>> {
    /// let eu = store.changes_with(|observer| observer.filter(Filter::new().prefix("eu/")).named("eu")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn changes_with(
        &self,
        settings: impl FnOnce(Observer<K>) -> Observer<K>,
    ) -> Result<ChangeStream<K>, StoreError> {
        let (sender, receiver) = channel();
        let id = self.subscribe(settings(Observer::of_stream(sender))).await?;
        Ok(ChangeStream::new(receiver, id))
    }

    /// Drops an observer; after the answer it is told nothing more.
    pub async fn unsubscribe(&self, observer: ObserverId) {
        // A store that is gone tells nothing more, either.
        self.addr().send(Unsubscribe(observer)).await.unwrap_or(());
    }

    /// Stops watching: see [`Detach`].
    ///
    /// # Errors
    /// [`StoreError::Owner`] if the store owns keys, [`StoreError::Closed`].
    pub async fn detach(&self) -> Result<(), StoreError> {
        self.addr().send(Detach).await?
    }

    /// Watches `backend` below `prefix` from now on: see [`Attach`].
    ///
    /// # Errors
    /// [`StoreError::Attached`] if it is watching, [`StoreError::Closed`].
    pub async fn attach(&self, backend: impl Backend, prefix: Prefix) -> Result<(), StoreError> {
        let backend = Arc::new(backend);
        self.addr().send(Attach { backend, prefix }).await?
    }

    /// Tells every key as deleted: see [`Drain`].
    ///
    /// # Errors
    /// [`StoreError::Attached`] if it is watching, [`StoreError::Closed`].
    pub async fn drain(&self) -> Result<(), StoreError> {
        self.addr().send(Drain).await?
    }

    /// Returns the current status.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn status(&self) -> Result<Status, StoreError> {
        self.addr().send(GetStatus).await?
    }

    /// Compares the whole cache with the kvstore: see [`Audit`].
    ///
    /// # Errors
    /// [`AuditError`].
    pub async fn audit(&self, timeout: Duration) -> Result<AuditReport, AuditError> {
        self.addr().send(Audit { timeout }).await.unwrap_or(Err(AuditError::Closed))
    }

    /// Leaves and deletes the own keys: see [`Close`]. Does nothing if the store has left already.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be deleted.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.addr().send(Close).await.unwrap_or_else(|_| self.has_left())
    }

    /// Leaves; own keys stay until their lease expires: see [`Release`]. Does nothing if the store has left already.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be written before.
    pub async fn release(&self) -> Result<(), CloseError> {
        self.addr().send(Release).await.unwrap_or_else(|_| self.has_left())
    }

    /// The actor has ended: an error unless the store had left before.
    fn has_left(&self) -> Result<(), CloseError> {
        let State::Closed { cause } = self.reader.state() else {
            return Err(CloseError::ended("store actor is gone"));
        };
        if [CLOSED, RELEASED].contains(&&*cause) { Ok(()) } else { Err(CloseError::ended(cause)) }
    }
}

/// The text as a key's name.
pub(crate) fn key_name(name: impl AsRef<str>) -> Result<KeyName, StoreError> {
    KeyName::new(name.as_ref()).map_err(|error| KeyError::from(error).into())
}
