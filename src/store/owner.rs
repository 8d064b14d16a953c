//! What the owner wants of its keys, and what became of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::local::Then;
use super::{Quarantined, Store, SyncInput};
use crate::change::Notice;
use crate::key::{Key, KeyError, KeyName, encoded};
use crate::sync::{Command, Observation, Seen, SyncEvent, Ticket};

impl<K: Key> Store<K> {
    /// The names this store owns or is about to.
    pub fn own_names(&self) -> impl Iterator<Item = &KeyName> {
        self.local.ours()
    }

    /// Owns `key` from now on.
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local(&mut self, key: &K) -> Result<(), KeyError> {
        self.put_local_all(std::slice::from_ref(key))
    }

    /// Owns `keys` from now on, all or none.
    ///
    /// # Errors
    /// [`KeyError`] if one has no name or no encoding; nothing changed.
    pub fn put_local_all(&mut self, keys: &[K]) -> Result<(), KeyError> {
        let encoded = keys.iter().map(|key| self.encode(key)).collect::<Result<Vec<_>, _>>()?;
        for (name, value) in encoded {
            self.local.own(&name);
            self.command(Command::Put { name: name.clone(), value }, &name);
        }
        Ok(())
    }

    /// Owns `key` once it is in the kvstore; `ticket` comes back in [`SyncEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local_sync(&mut self, ticket: Ticket, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.local.write(ticket, &name, Then::Own);
        self.command(Command::PutSync { ticket, name: name.clone(), value }, &name);
        Ok(())
    }

    /// Writes `key` once without owning it; `ticket` comes back in [`SyncEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_once(&mut self, ticket: Ticket, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.local.write(ticket, &name, Then::Leave);
        self.command(Command::PutOnce { ticket, name: name.clone(), value }, &name);
        Ok(())
    }

    /// Gives up the key named `name` and deletes it, if it is ours.
    pub fn delete_local(&mut self, ticket: Option<Ticket>, name: &KeyName) {
        self.local.retire(name);
        self.command(Command::Delete { name: name.clone(), ticket }, name);
    }

    fn encode(&mut self, key: &K) -> Result<(KeyName, Bytes), KeyError> {
        encoded(key).inspect_err(|error| {
            if matches!(error, KeyError::Panicked(_)) {
                self.panicked();
            }
        })
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands a command on, and what is known of its name with it.
    fn command(&mut self, command: Command, name: &KeyName) {
        self.sync_inputs.push_back(SyncInput::Command(command));
        self.haunted.remove(name);
        // That the cache does not show it says nothing: the cache may be behind.
        if let Some(seen) = self.seen(name) {
            self.observed(name, Some(seen));
        }
    }

    fn observed(&mut self, name: &KeyName, state: Option<Seen>) {
        if self.guard.is_ahead() {
            // What the cache shows is of a kvstore that the sync has left.
            return;
        }
        let observation = Observation { name: name.clone(), revision: self.revision, state };
        self.sync_inputs.push_back(SyncInput::Observed(observation));
    }

    /// What the kvstore holds for a name, as far as the cache knows.
    fn seen(&self, name: &KeyName) -> Option<Seen> {
        if self.gone.contains(name.as_str()) {
            return None;
        }
        if let Some(Quarantined { hash, mod_revision, lease, .. }) = self.quarantine.get(name) {
            return Some(Seen { hash: *hash, mod_revision: *mod_revision, lease: *lease });
        }
        let cache = self.shared.read();
        let entry = cache.get(name.as_str())?;
        Some(Seen { hash: entry.hash, mod_revision: entry.mod_revision, lease: entry.lease })
    }

    /// A name is stored for good. If it had just been lost when it was asked for, it is ours only now, and what happened
    /// meanwhile was not observed.
    fn stored(&mut self, name: &KeyName) {
        if self.local.stored(name) {
            self.observed(name, self.seen(name));
        }
    }

    /// Takes in what became of the writes.
    pub fn sync_event(&mut self, now: Instant, event: &SyncEvent) {
        match event {
            SyncEvent::Done { ticket, result } => {
                if let Some((name, owns)) = self.local.written(*ticket, result.is_ok()) {
                    if owns {
                        self.stored(&name);
                    }
                    self.settle(now, &name);
                }
            }
            SyncEvent::Deleted { name, revision, late } => {
                self.local.retired(name, *revision, self.revision);
                if *late {
                    self.haunted.insert(name.clone());
                } else {
                    self.haunted.remove(name);
                }
                self.settle(now, name);
            }
            SyncEvent::Lost { name } => {
                self.local.lost(name);
                self.settle(now, name);
            }
            SyncEvent::Stored { name, .. } => {
                self.stored(name);
                self.settle(now, name);
            }
            SyncEvent::Conflict { name, revision, lease, policy } => {
                let (name, revision, lease, policy) = (name.clone(), *revision, *lease, *policy);
                self.observers.notify(now, &Notice::Conflict { name, revision, lease, policy });
            }
            SyncEvent::SetAside { .. }
            | SyncEvent::LeaseLost { .. }
            | SyncEvent::BackendFailed(_)
            | SyncEvent::HistoryWentBack
            | SyncEvent::Closed { .. } => {}
        }
    }

    /// The next thing `Sync` is to be told.
    pub fn poll_sync(&mut self) -> Option<SyncInput> {
        self.sync_inputs.pop_front()
    }

    fn settle(&mut self, now: Instant, name: &KeyName) {
        let shared = Arc::clone(&self.shared);
        let change = self.settled(&mut shared.write(), name);
        self.tell(now, change.into_iter().collect());
    }

    /// The own keys are deleted, except those in `left`: observers are told, once.
    pub fn retract_local(&mut self, now: Instant, left: &[KeyName]) {
        let left: HashSet<_> = left.iter().collect();
        let mut names: Vec<_> = self.local.ours().filter(|name| !left.contains(name)).cloned().collect();
        names.sort_unstable();
        self.give_up(now, &names);
    }
}
