//! One key, as it is now.

use std::sync::Arc;

use super::{Closed, Reader};

/// One key of the cache, of which only the newest value counts: see [`Reader::watch_key`]. As with a receiver of
/// `tokio::sync::watch`, the value at its creation counts as seen.
#[derive(Debug)]
pub struct KeyWatch<K> {
    reader: Reader<K>,
    name: Arc<str>,
    seen: Option<Arc<K>>,
}

impl<K> Reader<K> {
    /// Watches one key, whether it exists or not. The cost is one look-up of the key when the cache has changed,
    /// however often it has changed.
    ///
    /// ```
    /// # async fn follow(reader: &shared_store_core::Reader<String>) {
    /// let mut leader = reader.watch_key("leader");
    /// println!("leader is {:?}", leader.value());
    /// while let Ok(value) = leader.changed().await {
    ///     println!("leader is {value:?}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn watch_key(&self, name: impl Into<Arc<str>>) -> KeyWatch<K> {
        let (reader, name) = (self.anew(), name.into());
        let seen = reader.get(&name);
        KeyWatch { reader, name, seen }
    }
}

impl<K> KeyWatch<K> {
    /// The value now; `None` if there is no such key. It counts as seen.
    #[must_use]
    pub fn value(&mut self) -> Option<Arc<K>> {
        self.seen = self.reader.get(&self.name);
        self.seen.clone()
    }

    /// Waits until the value differs from the one seen last, and returns the newest; `None` if the key is deleted. A
    /// key that was deleted and put again has another value, even if the bytes are the same. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`] if the store has left and the last value is seen.
    pub async fn changed(&mut self) -> Result<Option<Arc<K>>, Closed> {
        loop {
            let value = self.reader.get(&self.name);
            let same = match (&self.seen, &value) {
                (Some(seen), Some(value)) => Arc::ptr_eq(seen, value),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !same {
                self.seen.clone_from(&value);
                return Ok(value);
            }
            self.reader.changed().await?;
        }
    }
}
