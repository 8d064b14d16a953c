//! Reading one's own writes.

use std::time::Duration;

use shared_store_core::own::WriteError;
use shared_store_core::{AtLeastError, Key, Revision};
use tokio::time::Instant;

use crate::error::StoreError;
use crate::handle::SharedStore;
use crate::messages::{AwaitTold, Told, UpdateLocalKeyWithin};

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
    /// `timeout` is for all of it; the write itself may also take no longer than
    /// [`Config::write_timeout`](crate::Config::write_timeout). Dropping the future does not take the command back.
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
    /// As `update_local_key_sync`, and then the new value is not kept: [`WriteError::TimedOut`] if it was not written in time.
    /// [`StoreError::NotYet`] if it is owned and written, and not shown or told in time.
    pub async fn update_local_key_until(
        &self,
        key: K,
        until: Until,
        timeout: Duration,
    ) -> Result<Revision, StoreError> {
        let start = Instant::now();
        let written = self.addr().send(UpdateLocalKeyWithin { key, timeout }).await??;
        self.wait_until(written, until, timeout.saturating_sub(start.elapsed())).await.map(|()| written)
    }

    /// Gives up the key, and answers when it is gone *and* this store shows it no longer, or its observers have been told.
    ///
    /// # Errors
    /// As [`delete_local_key`](Self::delete_local_key); [`WriteError::TimedOut`] if it is not known to be gone in time: it is
    /// given up all the same, and deleted as soon as that is possible. [`StoreError::NotYet`] if it is gone, and that is not
    /// shown or told in time.
    pub async fn delete_local_key_until(
        &self,
        name: impl AsRef<str>,
        until: Until,
        timeout: Duration,
    ) -> Result<Revision, StoreError> {
        let start = Instant::now();
        let timed_out = || StoreError::Write(WriteError::TimedOut { after: timeout, cause: None });
        let deleted = tokio::time::timeout(timeout, self.delete_local_key(name)).await;
        let written = deleted.map_err(|_| timed_out())??;
        self.wait_until(written, until, timeout.saturating_sub(start.elapsed())).await.map(|()| written)
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
        match self.addr().send(AwaitTold { timeout: left }).await? {
            Told::All => Ok(()),
            Told::Closed => Err(StoreError::Closed),
            Told::NotYet => {
                let cause = format!("observers have not handled it within {} s", timeout.as_secs_f64());
                Err(StoreError::NotYet { written, cause: cause.into() })
            }
        }
    }
}
