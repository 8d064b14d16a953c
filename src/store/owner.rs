//! What the owner wants of its keys, and what became of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Quarantined, Store};
use crate::change::Notice;
use crate::config::OnUndecodable;
use crate::key::{Key, KeyError, KeyName, encoded};
use crate::own::{Answer, Command, KeyState, Lifetime, Observation, OwnEvent, OwnStats, Request, RequestId, Ticket};
use crate::reason::Reason;

impl<K: Key> Store<K> {
    // What the owner wants.

    /// Owns `key` from now on.
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local(&mut self, now: Instant, key: &K) -> Result<(), KeyError> {
        self.put_local_all(now, std::slice::from_ref(key))
    }

    /// Owns `keys` from now on, all or none.
    ///
    /// # Errors
    /// [`KeyError`] if one has no name or no encoding; nothing changed.
    pub fn put_local_all(&mut self, now: Instant, keys: &[K]) -> Result<(), KeyError> {
        let encoded = keys.iter().map(|key| self.encode(key)).collect::<Result<Vec<_>, _>>()?;
        for (name, value) in encoded {
            self.command(now, Command::Put { name: name.clone(), value }, &name);
        }
        Ok(())
    }

    /// Owns `key` once it is in the kvstore; `ticket` comes back in [`OwnEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local_sync(&mut self, now: Instant, ticket: Ticket, key: &K) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.command(now, Command::PutSync { ticket, name: name.clone(), value }, &name);
        Ok(())
    }

    /// The same, and the write times out at `deadline` if that comes before the end of
    /// [`Config::write_timeout`](crate::Config). The error names `timeout`.
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_local_sync_within(
        &mut self,
        now: Instant,
        ticket: Ticket,
        key: &K,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.command(now, Command::PutSync { ticket, name: name.clone(), value }, &name);
        self.own.limit(&name, timeout, deadline);
        Ok(())
    }

    /// Writes `key` once without owning it; `ticket` comes back in [`OwnEvent::Done`].
    ///
    /// # Errors
    /// [`KeyError`] if it has no name or no encoding; nothing changed.
    pub fn put_once(&mut self, now: Instant, ticket: Ticket, key: &K, lifetime: Lifetime) -> Result<(), KeyError> {
        let (name, value) = self.encode(key)?;
        self.command(now, Command::PutOnce { ticket, name: name.clone(), value, lifetime }, &name);
        Ok(())
    }

    /// Gives up the key named `name` and deletes it, if it is ours.
    pub fn delete_local(&mut self, now: Instant, ticket: Option<Ticket>, name: &KeyName) {
        self.command(now, Command::Delete { name: name.clone(), ticket }, name);
    }

    /// Deletes all own keys and stops writing; `ticket` comes back in [`OwnEvent::Closed`].
    pub fn close_own(&mut self, now: Instant, ticket: Ticket) {
        self.own.command(now, Command::Close { ticket });
        self.own_events(now);
    }

    /// Finishes what is pending and stops writing; `ticket` comes back in [`OwnEvent::Closed`].
    pub fn release_own(&mut self, now: Instant, ticket: Ticket) {
        self.own.command(now, Command::Release { ticket });
        self.own_events(now);
    }

    fn encode(&mut self, key: &K) -> Result<(KeyName, Bytes), KeyError> {
        encoded(key).inspect_err(|error| {
            if matches!(error, KeyError::Panicked(_)) {
                self.decoder.panicked();
            }
        })
    }

    /// Passes on a command, and then what the cache shows of its name. A name that the cache does not show is no
    /// evidence: the cache may be behind.
    fn command(&mut self, now: Instant, command: Command, name: &KeyName) {
        self.own.command(now, command);
        if let Some(seen) = self.seen(name) {
            self.own.observe(now, Observation { name: name.clone(), revision: self.revision, state: Some(seen) });
        }
        self.own_events(now);
        self.given_up(now, name);
    }

    /// The state of a name in the kvstore, as far as the cache knows.
    pub(super) fn seen(&self, name: &KeyName) -> Option<KeyState> {
        if self.tombstones.contains(name.as_str()) {
            return None;
        }
        if let Some(Quarantined { hash, mod_revision, lease, .. }) = self.quarantine.get(name) {
            return Some(KeyState { hash: *hash, mod_revision: *mod_revision, lease: *lease });
        }
        let cache = self.shared.read();
        let entry = cache.get(name.as_str())?;
        Some(KeyState { hash: entry.hash(), mod_revision: entry.mod_revision, lease: entry.lease })
    }

    // Requests and answers.

    /// The next request for the kvstore, if there is one to be sent now. Ask again after every input and at the
    /// [`deadline`](Self::deadline).
    pub fn poll_request(&mut self, now: Instant) -> Option<(RequestId, Request)> {
        let request = self.own.poll_request(now);
        self.own_events(now);
        request
    }

    /// Takes what the backend answered to a request.
    pub fn answer(&mut self, now: Instant, id: RequestId, answer: Answer) {
        self.own.answer(now, id, answer);
        self.own_events(now);
    }

    /// What was under way has no answer: the shell has lost it.
    pub fn requests_lost(&mut self, now: Instant) {
        self.own.requests_lost(now);
        self.own_events(now);
    }

    /// What has happened to own keys, in order.
    pub fn poll_event(&mut self) -> Option<OwnEvent> {
        self.events.pop_front()
    }

    /// Whether there are keys this store owns, is about to own, or has just given up.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        !self.own.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The own keys.
    #[cfg(test)]
    pub(crate) fn own(&self) -> &crate::own::OwnKeys {
        &self.own
    }

    /// Numbers of the own keys.
    #[must_use]
    pub fn own_stats(&self) -> OwnStats {
        self.own.stats()
    }

    /// Takes in what has happened to own keys, and hands it on.
    pub(super) fn own_events(&mut self, now: Instant) {
        self.observers.notify_held(now);
        while let Some(event) = self.own.poll_event() {
            match &event {
                OwnEvent::Released { name, .. } | OwnEvent::Lost { name } | OwnEvent::StillSetAside { name } => {
                    self.given_up(now, name);
                }
                OwnEvent::SetAside { name, cause } => {
                    self.given_up(now, name);
                    let (name, cause) = (name.clone(), Some(Arc::clone(cause)));
                    self.observers.notify(now, &Notice::SetAside { name, cause });
                }
                OwnEvent::NoLongerSetAside { name } => {
                    self.observers.notify(now, &Notice::SetAside { name: name.clone(), cause: None });
                }
                OwnEvent::Repaired { name, damage, revision } => {
                    let (name, damage, revision) = (name.clone(), *damage, *revision);
                    self.observers.notify(now, &Notice::Repaired { name, damage, revision });
                }
                OwnEvent::Conflict { name, revision, lease, policy } => {
                    let (name, revision, lease, policy) = (name.clone(), *revision, *lease, *policy);
                    self.observers.notify(now, &Notice::Conflict { name, revision, lease, policy });
                }
                OwnEvent::Closed { left, .. } => {
                    let left: HashSet<_> = left.iter().map(|(name, _)| name).collect();
                    let deleted = |name: &&KeyName| !left.contains(name) && self.own.is_deleted(name);
                    let deleted = self.own.names().filter(deleted).cloned().collect();
                    self.retract(now, deleted);
                }
                OwnEvent::Done { .. }
                | OwnEvent::Stored { .. }
                | OwnEvent::LeaseLost { .. }
                | OwnEvent::BackendFailed(_)
                | OwnEvent::HistoryChanged => {}
            }
            self.events.push_back(event);
        }
    }

    /// The name is not kept any more: if somebody has deleted its key, the cache stops showing it.
    fn given_up(&mut self, now: Instant, name: &KeyName) {
        let removed = self.on_undecodable == OnUndecodable::Remove && self.quarantine.contains_key(name);
        if !self.own.is_kept(name.as_str()) && (self.tombstones.is_kept(name.as_str()) || removed) {
            let reason = if removed { Reason::Undecodable } else { Reason::GivenUp };
            self.give_up(now, std::slice::from_ref(name), reason);
        }
    }

    /// The own keys are deleted: observers are told, once.
    fn retract(&mut self, now: Instant, mut names: Vec<KeyName>) {
        let shared = Arc::clone(&self.shared);
        names.retain(|name| shared.read().get(name.as_str()).is_some());
        names.sort_unstable();
        self.give_up(now, &names, Reason::Closed);
    }
}
