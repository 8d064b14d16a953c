//! Reading one's own writes.

use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use shared_store_core::own::WriteError;
use shared_store_core::{AtLeastError, Key, Revision};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::clock::LONGEST;
use crate::error::StoreError;
use crate::handle::{SharedStore, key_name};
use crate::messages::{AwaitTold, DeleteLocalKey, Told, UpdateLocalKeySync, Within};
use crate::store::StoreActor;

/// How long after the deadline a store that has taken a write is waited for: it times out there, too, and knows why.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How far a write is waited for, once it is in the kvstore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until the cache of this store shows it, or something newer: what is read then shows it.
    Shown,
    /// Until all observers of this store have handled it, too, or something newer.
    Told,
}

impl<K: Key> SharedStore<K> {
    /// Owns `key`, and answers with its revision when it is in the kvstore *and* this store shows it, or its observers have
    /// been told: [`update_local_key_sync`](Self::update_local_key_sync), then [`wait_until`](Self::wait_until).
    ///
    /// `timeout` is for all of it, the wait for a busy store included; the write itself may also take no longer than
    /// [`Config::write_timeout`](crate::Config::write_timeout). Dropping the future does not take back a command that the
    /// store has taken.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use shared_store::{Key, SharedStore, StoreError, Until};
    /// # async fn run<Node: Key>(store: SharedStore<Node>, node: Node) -> Result<(), StoreError> {
    /// let name = node.name();
    /// store.update_local_key_until(node, Until::Shown, Duration::from_secs(5)).await?;
    /// assert!(store.reader().get(&name).is_some());
    /// store.delete_local_key_until(&name, Until::Told, Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the store has not taken the command in time: nothing has changed.
    /// As `update_local_key_sync` otherwise, and then the new value is not kept: [`WriteError::TimedOut`] if it was not written
    /// in time. [`StoreError::NotYet`] if it is owned and written, and not shown or told in time.
    pub async fn update_local_key_until(
        &self,
        key: K,
        until: Until,
        timeout: Duration,
    ) -> Result<Revision, StoreError> {
        self.until(UpdateLocalKeySync(key), until, timeout, LAST_WORDS).await
    }

    /// Gives up the key, and answers when it is gone *and* this store shows it no longer, or its observers have been told.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the store has not taken the command in time: the key is owned as before.
    /// [`WriteError::TimedOut`] if the store has taken it, and the key is not known to be gone in time: it is given up, and
    /// deleted as soon as that is possible. [`StoreError::NotYet`] if it is gone, and that is not shown or told in time.
    /// Otherwise as [`delete_local_key`](Self::delete_local_key).
    pub async fn delete_local_key_until(
        &self,
        name: impl AsRef<str>,
        until: Until,
        timeout: Duration,
    ) -> Result<Revision, StoreError> {
        self.until(DeleteLocalKey(key_name(name)?), until, timeout, Duration::ZERO).await
    }

    /// Gives a command, and waits until what it has written is shown or told.
    async fn until<C>(
        &self,
        command: C,
        until: Until,
        timeout: Duration,
        last_words: Duration,
    ) -> Result<Revision, StoreError>
    where
        StoreActor<K>: Actor<Context = Context<StoreActor<K>>> + Handler<Within<C>>,
        C: Send + 'static,
    {
        let start = Instant::now();
        let written = self.within(command, timeout, last_words).await?;
        self.wait_until(written, until, timeout.saturating_sub(start.elapsed())).await.map(|()| written)
    }

    /// Gives a command, and waits until it is done.
    async fn within<C>(&self, command: C, timeout: Duration, last_words: Duration) -> Result<Revision, StoreError>
    where
        StoreActor<K>: Actor<Context = Context<StoreActor<K>>> + Handler<Within<C>>,
        C: Send + 'static,
    {
        let deadline = Instant::now() + timeout.min(LONGEST);
        let (taken, mut was_taken) = oneshot::channel();
        let message = Within { command, timeout, deadline: deadline.into_std(), taken };
        let mut answer = pin!(self.addr().send(message));
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            return answer?;
        }
        // From now on the store cannot take it.
        was_taken.close();
        if was_taken.try_recv().is_err() {
            return Err(StoreError::Busy { after: timeout });
        }
        match tokio::time::timeout(last_words, answer).await {
            Ok(answer) => answer?,
            Err(_) => {
                let cause = self.reader().state().cause().cloned();
                Err(WriteError::TimedOut { after: timeout, cause }.into())
            }
        }
    }

    /// Waits until the cache shows a revision that a write has answered with, or until all observers have handled what
    /// the cache shows then. An observer that waits for this in its own handler waits for itself until the timeout.
    ///
    /// # Errors
    /// [`StoreError::NotYet`] after `timeout`, [`StoreError::Closed`].
    pub async fn wait_until(&self, written: Revision, until: Until, timeout: Duration) -> Result<(), StoreError> {
        let start = Instant::now();
        self.reader().at_least(written, timeout).await.map_err(|error| match error {
            AtLeastError::Closed { .. } => StoreError::Closed,
            error @ (AtLeastError::TimedOut { .. } | _) => {
                StoreError::NotYet { written, cause: error.to_string().into() }
            }
        })?;
        if until == Until::Shown {
            return Ok(());
        }
        let left = timeout.saturating_sub(start.elapsed());
        let told = tokio::time::timeout(left, self.addr().send(AwaitTold { timeout: left }));
        match told.await.unwrap_or(Ok(Told::NotYet))? {
            Told::All => Ok(()),
            Told::Closed => Err(StoreError::Closed),
            Told::NotYet => {
                let cause = format!("observers have not handled it within {} s", timeout.as_secs_f64());
                Err(StoreError::NotYet { written, cause: cause.into() })
            }
        }
    }
}
