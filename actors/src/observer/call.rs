//! A closure that observes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use shared_store_core::{Change, Changes, Key};
use tokio::task::{JoinError, JoinHandle};
use tracing::Span;

use super::{ChangeSink, Observer};
use crate::delivery::{Delivery, Undelivered};

type Closure<K> = Arc<Mutex<dyn FnMut(&[Change<K>]) + Send>>;

/// A closure that is told changes.
pub(super) struct Call<K>(Closure<K>);

impl<K> fmt::Debug for Call<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

impl<K: Key> Observer<K> {
    /// A closure instead of an actor: it is given each batch of changes, in order, one call at a time, as an actor is that
    /// takes [`Changes`](crate::Changes). It is subscribed until it is unsubscribed or the store ends.
    ///
    /// It runs on a blocking thread of the store's runtime, so it may take its time: it delays neither the store nor other
    /// observers. A panic in it is logged and counted in its [`Lag`](crate::Lag); the batch counts as handled, and the next
    /// one is given to it. A call that has begun is not interrupted.
    ///
    /// ```no_run
    /// # use shared_store::{Key, Observer, SharedStore};
    /// # async fn run<Node: Key>(store: SharedStore<Node>) -> Result<(), Box<dyn std::error::Error>> {
    /// let printed = store.subscribe(Observer::from_fn(|changes| {
    ///     for change in changes {
    ///         println!("{} was {:?}, is {:?} ({})", change.name, change.old, change.new, change.reason);
    ///     }
    /// })).await?;
    /// store.unsubscribe(printed).await;
    /// # Ok(()) }
    /// ```
    pub fn from_fn(observer: impl FnMut(&[Change<K>]) + Send + 'static) -> Self {
        Self::of(ChangeSink::Call(Call(Arc::new(Mutex::new(observer)))))
    }
}

impl<K: Key> Call<K> {
    /// Calls it on another thread. If the future is dropped before the call begins there is none.
    pub(super) fn call(&self, changes: Changes<K>) -> Delivery {
        let (closure, span) = (Arc::clone(&self.0), Span::current());
        let call = tokio::task::spawn_blocking(move || {
            // After a panic the closure is called again; the state it left is its own responsibility.
            let mut closure = closure.lock().unwrap_or_else(PoisonError::into_inner);
            span.in_scope(|| closure(&changes));
        });
        let mut call = Cancelled(call);
        Box::pin(async move {
            let ended = |error: JoinError| if error.is_panic() { Undelivered::Panicked } else { Undelivered::Gone };
            (&mut call.0).await.map_err(ended)
        })
    }
}

/// A call that is cancelled when this is dropped, unless it has begun.
struct Cancelled(JoinHandle<()>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.abort();
    }
}
