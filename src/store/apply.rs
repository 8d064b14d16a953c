//! Taking a batch into the cache, and what changes by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::cache::{Cache, Entry};
use super::guard::{Answer, Verdict};
use super::incoming::{Arrived, Incoming};
use super::staging::Staging;
use super::{Quarantined, Refused, Shows, Store, SyncInput};
use crate::change::{Change, Origin};
use crate::config::OnUndecodable;
use crate::key::{Key, KeyName};
use crate::kv::{Event, LeaseId, Revision};
use crate::outbox::{First, change};
use crate::sync::Observation;

impl<K: Key> Store<K> {
    /// Takes in a whole list, unless it would remove too much.
    pub(super) fn commit(&mut self, now: Instant, staging: Staging<K>) -> Result<(), Refused> {
        let (header, same_history) = (staging.header, staging.same_history);
        let revision = header.revision;
        let (mut incoming, present) = staging.finish();
        let absent = |name: &KeyName| present.binary_search(name).is_err();
        let deleted: Vec<_> = {
            let cache = self.shared.read();
            let unseen = self.quarantine.keys().filter(|name| cache.get(name.as_str()).is_none() && absent(name));
            // A key that is gone already stays gone as of the revision known for it.
            let deleted = difference(cache.names(), &present).chain(unseen);
            deleted.filter(|name| !self.gone.contains(name.as_str())).cloned().collect()
        };
        let answer = if same_history { Answer::List } else { Answer::Other(header) };
        let news = std::mem::take(&mut self.elsewhere) || self.judge(now, deleted.iter(), answer)?;
        incoming.extend(deleted.into_iter().map(|name| Incoming { name, revision, arrived: None }));
        if !same_history {
            if news {
                self.sync_inputs.push_back(SyncInput::Forget);
            }
            self.local.history_went_back();
        }
        let lost = self.local.names().filter(|name| absent(name));
        let lost: Vec<_> = lost.map(|name| Observation { name: name.clone(), revision, state: None }).collect();
        self.sync_inputs.extend(lost.into_iter().map(SyncInput::Observed));
        let mut changes = self.apply(now, incoming, revision);
        if !same_history {
            self.shared.write().history_went_back(revision);
        }
        self.cluster = header.cluster;
        self.relists.lists += 1;
        self.relists.other_histories += u64::from(!same_history);
        self.listed(now);
        match (std::mem::replace(&mut self.shows, Shows::List), same_history) {
            (Shows::List, true) => self.observers.push_difference(now, changes),
            (Shows::List, false) => self.observers.history_went_back(now, revision, changes),
            (Shows::Snapshot, _) => {
                changes.iter_mut().for_each(|change| change.initial = true);
                let names: Vec<_> = self.shared.read().names().cloned().collect();
                let first = First { revision, same_history, names: &names };
                self.observers.verified(now, changes, &first, &self.undecodable());
            }
            (Shows::Nothing, _) => {
                self.observers.begin_waiting(now, &self.snapshot(), revision, &self.undecodable());
            }
        }
        Ok(())
    }

    /// Asks the guard. Whether the sync has still to be told that the kvstore is another one.
    fn judge<'a>(
        &mut self,
        now: Instant,
        deleted: impl Iterator<Item = &'a KeyName>,
        answer: Answer,
    ) -> Result<bool, Refused> {
        let (removed, entries) = {
            let cache = self.shared.read();
            // What we delete ourselves is meant, and own keys stay.
            let shown = |name: &&KeyName| cache.get(name.as_str()).is_some() && !self.local.contains(name.as_str());
            (deleted.filter(shown).count(), cache.len())
        };
        match self.guard.judge(now, removed, entries, answer) {
            Verdict::Believe { news } => Ok(news),
            Verdict::Doubt { wait, news } => {
                if news {
                    // Own keys belong into the kvstore that answers, whatever becomes of the cache.
                    self.sync_inputs.push_back(SyncInput::Forget);
                }
                let what = if answer == Answer::Events { "the watch" } else { "a list" };
                let cause = format!("{what} says that {removed} of {entries} keys are gone: asking again");
                tracing::warn!("{cause}");
                self.out_of_date(now, cause.into());
                self.relists.doubts += 1;
                Err(Refused::Doubtful { removed, entries, wait })
            }
        }
    }

    /// Takes in what the watch saw, unless it would remove too much.
    pub(super) fn events(&mut self, now: Instant, events: &[Event]) -> Result<(), Refused> {
        let Some(revision) = events.last().map(Event::revision) else { return Ok(()) };
        let incoming: Vec<_> = {
            let cache = self.shared.read();
            events
                .iter()
                .filter_map(|event| match event {
                    Event::Put(kv) => self.incoming(&cache, kv),
                    Event::Delete { path, revision } => {
                        let name = self.prefix.strip_str(path)?;
                        let name = cache
                            .get_key_value(name)
                            .map_or_else(|| KeyName::new(name).ok(), |(name, _)| Some(name.clone()))?;
                        Some(Incoming { name, revision: *revision, arrived: None })
                    }
                })
                .collect()
        };
        let deletions = incoming.iter().filter(|incoming| incoming.arrived.is_none()).count();
        if self.guard.is_many(deletions, self.shared.read().len()) {
            let last: HashMap<_, _> = incoming.iter().map(|incoming| (&incoming.name, incoming)).collect();
            let gone = last
                .into_iter()
                .filter(|(name, incoming)| incoming.arrived.is_none() && !self.gone.contains(name.as_str()));
            let gone: Vec<_> = gone.map(|(name, _)| name.clone()).collect();
            self.judge(now, gone.iter(), Answer::Events)?;
        }
        let changes = self.apply(now, incoming, revision);
        self.observers.push(now, changes);
        Ok(())
    }

    /// Puts a batch into the cache, all at once for readers, and answers with the changes.
    pub(super) fn apply(&mut self, now: Instant, incoming: Vec<Incoming<K>>, revision: Revision) -> Vec<Change<K>> {
        let shared = Arc::clone(&self.shared);
        let mut changes = Vec::with_capacity(incoming.len());
        let owners = self.owners.len();
        let mut cache = shared.write();
        for incoming in incoming {
            if self.local.contains(incoming.name.as_str()) || self.haunted.contains(&incoming.name) {
                self.sync_inputs.push_back(SyncInput::Observed(incoming.observation()));
            }
            let change = match incoming.arrived {
                Some(arrived) => self.put(now, &mut cache, &incoming.name, incoming.revision, arrived),
                None => self.delete(now, &mut cache, &incoming.name, incoming.revision),
            };
            changes.extend(change);
        }
        self.revision = revision;
        cache.revision = revision;
        for name in self.local.reached(revision) {
            changes.extend(self.settled(&mut cache, &name));
        }
        drop(cache);
        if self.owners.len() != owners {
            self.sync_inputs.push_back(SyncInput::Owners(self.owners.len()));
        }
        self.announce(changes.iter().filter(|change| !change.is_void()).count());
        changes
    }

    pub(super) fn put(
        &mut self,
        now: Instant,
        cache: &mut Cache<K>,
        name: &KeyName,
        mod_revision: Revision,
        arrived: Arrived<K>,
    ) -> Option<Change<K>> {
        self.gone.forget(name.as_str());
        self.local.put(name, mod_revision);
        let Arrived { hash, lease, raw, value } = arrived;
        let (key, index_values) = match value {
            Ok(value) => value,
            Err(cause) => {
                let known = self.quarantine.get(name).is_some_and(|quarantined| quarantined.hash == hash);
                let quarantined = Quarantined { hash, mod_revision, lease, raw, cause };
                if !known {
                    let cause = &quarantined.cause;
                    tracing::warn!(key = %name, revision = %mod_revision, %cause, "value cannot be decoded");
                    self.observers.notify(now, &quarantined.notice(name));
                }
                self.quarantine.insert(name.clone(), quarantined);
                return match self.on_undecodable {
                    OnUndecodable::Remove if !self.local.is_owned(name.as_str()) => {
                        self.remove(cache, name.as_str(), mod_revision)
                    }
                    // An own key will be put again: observers see no deletion.
                    OnUndecodable::Remove | OnUndecodable::KeepLast => None,
                };
            }
        };
        self.quarantine.remove(name);
        let origin = self.local.origin(name.as_str());
        let Some(entry) = cache.get_mut(name.as_str()) else {
            let change = change(name, None, Some((&key, hash)), mod_revision, origin);
            count(&mut self.owners, None, Some(lease));
            cache.insert(name, Entry { key, hash, mod_revision, lease, origin }, index_values);
            return Some(change);
        };
        count(&mut self.owners, Some(entry.lease), Some(lease));
        if entry.hash == hash {
            entry.mod_revision = mod_revision;
            entry.lease = lease;
            return changed_hands(name, entry, mod_revision, origin);
        }
        let change = change(name, Some((&entry.key, entry.hash)), Some((&key, hash)), mod_revision, origin);
        cache.insert(name, Entry { key, hash, mod_revision, lease, origin }, index_values);
        Some(change)
    }

    pub(super) fn delete(
        &mut self,
        now: Instant,
        cache: &mut Cache<K>,
        name: &KeyName,
        at: Revision,
    ) -> Option<Change<K>> {
        self.quarantine.remove(name);
        cache.get(name.as_str())?;
        if self.local.is_owned(name.as_str()) {
            // It will be put again: observers see no deletion.
            self.gone.keep(name);
            None
        } else if self.gone.delays() && !self.local.contains(name.as_str()) {
            self.gone.delay(now, name);
            None
        } else {
            self.remove(cache, name.as_str(), at)
        }
    }

    pub(super) fn remove(&mut self, cache: &mut Cache<K>, name: &str, revision: Revision) -> Option<Change<K>> {
        self.gone.forget(name);
        let (name, entry) = cache.remove(name)?;
        count(&mut self.owners, Some(entry.lease), None);
        Some(change(&name, Some((&entry.key, entry.hash)), None, revision, entry.origin))
    }

    /// Who owns a name may have changed: tells so if its key stays, and that it goes if only its owner was shown.
    pub(super) fn settled(&mut self, cache: &mut Cache<K>, name: &KeyName) -> Option<Change<K>> {
        let removed = self.on_undecodable == OnUndecodable::Remove && self.quarantine.contains_key(name);
        if !self.local.is_owned(name.as_str()) && (self.gone.is_kept(name.as_str()) || removed) {
            return self.remove(cache, name.as_str(), self.revision);
        }
        let entry = cache.get_mut(name.as_str()).filter(|_| !self.gone.contains(name.as_str()))?;
        changed_hands(name, entry, self.revision, self.local.origin(name.as_str()))
    }

    /// Tells readers and observers of changes made without the kvstore.
    pub(super) fn tell(&mut self, now: Instant, mut changes: Vec<Change<K>>) {
        changes.iter_mut().for_each(|change| change.initial = self.shows == Shows::Snapshot);
        self.announce(changes.iter().filter(|change| !change.is_void()).count());
        self.observers.push(now, changes);
    }

    /// Tells readers where the cache stands, after it does.
    pub(super) fn announce(&self, changes: usize) {
        let changed = changes > 0;
        self.shared.point.send_if_modified(|point| {
            let same = !changed && point.revision == self.revision && point.state == self.state;
            point.revision = self.revision;
            point.version += u64::from(changed);
            if point.state != self.state {
                point.state = self.state.clone();
            }
            !same
        });
    }

    /// Shows keys no more that are gone from the kvstore. They were shown until now, so they go at the revision of now:
    /// what is told after a change is never older.
    pub(super) fn give_up(&mut self, now: Instant, names: &[KeyName]) {
        let (shared, revision) = (Arc::clone(&self.shared), self.revision);
        let mut cache = shared.write();
        let changes: Vec<_> =
            names.iter().filter_map(|name| self.remove(&mut cache, name.as_str(), revision)).collect();
        drop(cache);
        self.tell(now, changes);
    }
}

/// The names that are not present; both in order.
fn difference<'a>(names: impl Iterator<Item = &'a KeyName>, present: &[KeyName]) -> impl Iterator<Item = &'a KeyName> {
    let mut present = present.iter().peekable();
    names.filter(move |name| {
        while present.next_if(|next| next < name).is_some() {}
        present.peek() != Some(name)
    })
}

/// The value stays; whose key it is may not. Only observers who care for the origin see anything in it.
fn changed_hands<K>(name: &KeyName, entry: &mut Entry<K>, at: Revision, origin: Origin) -> Option<Change<K>> {
    if std::mem::replace(&mut entry.origin, origin) == origin {
        return None;
    }
    let value = Some((&entry.key, entry.hash));
    Some(change(name, value, value, at, origin))
}

fn count(owners: &mut HashMap<LeaseId, usize>, old: Option<LeaseId>, new: Option<LeaseId>) {
    if old == new {
        return;
    }
    if let Some(lease) = new {
        *owners.entry(lease).or_default() += 1;
    }
    if let Some(lease) = old
        && let Some(keys) = owners.get_mut(&lease)
    {
        *keys -= 1;
        if *keys == 0 {
            owners.remove(&lease);
        }
    }
}
