//! A model of what a store must show, as simple as possible: every rule of the contract is a few lines here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::item::decode;
use crate::change::Origin;
use crate::config::{Config, DeletionGuard, OnUndecodable};
use crate::hash::value_hash;
use crate::key::KeyName;
use crate::kv::{Event, KeyValue, LeaseId, Revision};
use crate::own::{OwnEvent, OwnKeys};
use crate::prefix::Prefix;
use crate::watch::{Delivery, Page, PageKeys};

/// A step of the cache. One with the same value only changes the origin.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Change { name: KeyName, new: Option<u32>, origin: Origin, revision: Revision },
    WentBack { to: Revision },
}

/// A key of the kvstore as the watch told it.
pub(super) type Raw = (Bytes, Revision, LeaseId);
/// The same in an unfinished list: `None` for a value that is still to come.
type Staged = (Option<Bytes>, Revision, LeaseId);

/// What a store knew of the kvstore.
#[derive(Clone)]
pub(super) struct Known {
    raw: BTreeMap<KeyName, Raw>,
    /// The last good values, those of keys that are gone left out.
    good: BTreeMap<KeyName, (u32, LeaseId)>,
}

impl Known {
    pub(super) fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

/// The store as it must be.
pub(super) struct Model {
    prefix: Prefix,
    remove_undecodable: bool,
    delay: Duration,
    guard: Guard,
    pub(super) listed: bool,
    /// It began with what was known before a restart.
    pub(super) restored: bool,
    pub(super) revision: Revision,
    /// What the watch told.
    pub(super) raw: BTreeMap<KeyName, Raw>,
    /// What the cache shows.
    pub(super) visible: BTreeMap<KeyName, (u32, Origin)>,
    /// The leases of the last good values: what cannot be decoded has another one.
    leases: BTreeMap<KeyName, LeaseId>,
    pub(super) own: Own,
    /// Own keys that somebody deleted.
    deleted_own: BTreeSet<KeyName>,
    /// Foreign keys whose deletion is held back.
    delayed: BTreeMap<KeyName, Instant>,
    /// The pages of a list so far.
    staging: Option<BTreeMap<KeyName, Staged>>,
    /// Every step of the cache since the first list.
    pub(super) log: Vec<Step>,
    /// Every value that could not be decoded.
    pub(super) undecodable: BTreeSet<(KeyName, Revision)>,
}

impl Model {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            prefix: config.prefix.clone(),
            remove_undecodable: config.on_undecodable == OnUndecodable::Remove,
            delay: config.delete_delay,
            guard: Guard { rule: config.deletion_guard, recent: BTreeMap::new() },
            listed: false,
            restored: false,
            revision: Revision::ZERO,
            raw: BTreeMap::new(),
            visible: BTreeMap::new(),
            leases: BTreeMap::new(),
            own: Own::default(),
            deleted_own: BTreeSet::new(),
            delayed: BTreeMap::new(),
            staging: None,
            log: Vec::new(),
            undecodable: BTreeSet::new(),
        }
    }

    /// What is in the snapshot when the process ends.
    pub(super) fn known(&self) -> Known {
        let there = self.visible.iter().filter(|(name, _)| self.raw.contains_key(*name));
        let good = there.map(|(name, (value, _))| (name.clone(), (*value, self.leases[name]))).collect();
        Known { raw: self.raw.clone(), good }
    }

    /// Begins with what was known.
    pub(super) fn restore(&mut self, known: &Known, revision: Revision) {
        (self.raw, self.revision, self.restored) = (known.raw.clone(), revision, true);
        for (name, (value, at, _)) in &known.raw {
            let bad = decode(value).is_none();
            if bad {
                self.undecodable.insert((name.clone(), *at));
            }
            if let Some((good, lease)) = known.good.get(name).filter(|_| !(bad && self.remove_undecodable)) {
                self.visible.insert(name.clone(), (*good, self.own.origin(*lease)));
                self.leases.insert(name.clone(), *lease);
            }
        }
    }

    /// Whether it shows anything.
    pub(super) fn has_state(&self) -> bool {
        self.listed || self.restored
    }

    pub(super) fn deliver(&mut self, now: Instant, delivery: &Delivery) {
        match delivery {
            Delivery::Page(page) => self.page(now, page),
            Delivery::Events(events) => {
                let hold = self.hold_for_events(now, events);
                for event in events {
                    let Some(name) = self.prefix.strip(event.path()) else { continue };
                    match event {
                        Event::Put(kv) => self.put(&name, kv),
                        Event::Delete { revision, .. } => self.delete(now, &name, *revision, hold),
                    }
                }
                self.revision = events.last().expect("a delivery is never empty").revision();
            }
            Delivery::Progress(revision) => self.revision = *revision,
            Delivery::Began { .. } | Delivery::Live | Delivery::Broken(_) | Delivery::Audited(_) => {}
        }
    }

    /// Those of these keys that are shown and that others have deleted.
    fn removed<'a>(&self, names: impl Iterator<Item = &'a KeyName>) -> BTreeSet<KeyName> {
        names
            .filter(|name| {
                let shown = self.visible.contains_key(*name) && !self.delayed.contains_key(*name);
                shown && !self.deleted_own.contains(*name) && !self.own.contains.contains(*name)
            })
            .cloned()
            .collect()
    }

    fn hold_for_events(&mut self, now: Instant, events: &[Event]) -> Duration {
        // A key that is put again later in the batch does not count.
        let is_deleted = |(at, event): &(usize, &Event)| {
            let again = |later: &Event| matches!(later, Event::Put(_)) && later.path() == event.path();
            matches!(event, Event::Delete { .. }) && !events[*at..].iter().any(again)
        };
        let deleted = events.iter().enumerate().filter(is_deleted).map(|(_, event)| event);
        let names: Vec<_> = deleted.filter_map(|event| self.prefix.strip(event.path())).collect();
        let shown = |name: &KeyName| self.visible.contains_key(name) && !self.own.contains.contains(name);
        let removed = names.into_iter().filter(shown).collect();
        self.guard.deletions(now, removed, &self.visible)
    }

    fn page(&mut self, now: Instant, page: &Page) {
        let mut staging = if page.first { BTreeMap::new() } else { self.staging.take().expect("the first page came") };
        let (PageKeys::Full(kvs) | PageKeys::Names(kvs)) = &page.keys;
        for kv in kvs {
            let Some(name) = self.prefix.strip(&kv.path) else { continue };
            let value = match &page.keys {
                PageKeys::Full(_) => Some(kv.value.clone()),
                PageKeys::Names(_) => {
                    self.raw.get(&name).filter(|known| known.1 == kv.mod_revision).map(|known| known.0.clone())
                }
            };
            staging.insert(name, (value, kv.mod_revision, kv.lease));
        }
        if page.last {
            let value = |(name, (value, revision, lease))| {
                let value: Option<Bytes> = value;
                (name, (value.expect("the values of changed keys follow the names"), revision, lease))
            };
            self.list(now, staging.into_iter().map(value).collect(), page);
        } else {
            self.staging = Some(staging);
        }
    }

    fn list(&mut self, now: Instant, list: BTreeMap<KeyName, Raw>, page: &Page) {
        let (revision, same_history) = (page.revision, page.same_history);
        if !same_history {
            // What was known of own keys is void.
            self.own.contains = self.own.wanted.clone();
            self.own.alive.clear();
            if self.has_state() {
                self.log.push(Step::WentBack { to: revision });
            }
        }
        let gone: Vec<_> = self.raw.keys().filter(|name| !list.contains_key(*name)).cloned().collect();
        let hold = if same_history {
            self.guard.deletions(now, self.removed(gone.iter()), &self.visible)
        } else {
            let hold = self.guard.other_history();
            if hold > Duration::ZERO {
                self.delayed
                    .iter_mut()
                    .filter(|(name, _)| !list.contains_key(*name))
                    .for_each(|(_, at)| *at = now + hold);
            }
            hold
        };
        let mut puts: Vec<_> = list.into_iter().collect();
        puts.retain(|(name, raw)| !same_history || self.raw.get(name).is_none_or(|known| known.1 != raw.1));
        puts.sort_by_key(|(_, raw)| raw.1);
        for (name, (value, mod_revision, lease)) in puts {
            let (path, create_revision) = (Bytes::new(), mod_revision);
            self.put(&name, &KeyValue { path, value, create_revision, mod_revision, lease });
        }
        for name in gone {
            self.delete(now, &name, revision, hold);
        }
        if !self.has_state() {
            // No observer was told anything before.
            self.log.clear();
        }
        self.listed = true;
        self.revision = revision;
    }

    fn put(&mut self, name: &KeyName, kv: &KeyValue) {
        let revision = kv.mod_revision;
        let origin = self.own.origin(kv.lease);
        if self.own.alive.contains(&kv.lease) {
            self.own.contains.insert(name.clone());
        }
        let adopted = |(value, after): &(_, Revision)| *value == (value_hash(&kv.value), kv.lease) && revision > *after;
        if self.own.adoptions.get(name).is_some_and(adopted) {
            self.own.kept.insert(name.clone());
        }
        if self.own.losses.contains(&(name.clone(), revision)) {
            self.own.kept.remove(name);
        }
        self.raw.insert(name.clone(), (kv.value.clone(), revision, kv.lease));
        self.deleted_own.remove(name);
        self.delayed.remove(name);
        self.guard.recent.remove(name);
        if let Some(value) = decode(&kv.value) {
            self.leases.insert(name.clone(), kv.lease);
            self.show(name, Some((value, origin)), revision);
        } else {
            self.undecodable.insert((name.clone(), revision));
            if self.remove_undecodable && !self.own.kept.contains(name) {
                self.show(name, None, revision);
            }
        }
    }

    fn delete(&mut self, now: Instant, name: &KeyName, revision: Revision, hold: Duration) {
        let delay = self.delay.max(hold);
        self.raw.remove(name);
        if !self.visible.contains_key(name) {
        } else if self.own.kept.contains(name) {
            self.deleted_own.insert(name.clone());
        } else if !delay.is_zero() && !self.own.contains.contains(name) {
            self.delayed.insert(name.clone(), now + delay);
        } else {
            self.show(name, None, revision);
        }
    }

    /// Changes what the cache shows, and tells all observers.
    fn show(&mut self, name: &KeyName, new: Option<(u32, Origin)>, revision: Revision) {
        let before = self.visible.get(name).map_or(Origin::Remote, |(_, origin)| *origin);
        let old = match new {
            Some(shown) => self.visible.insert(name.clone(), shown),
            None => self.visible.remove(name),
        };
        if old != new {
            let (new, origin) = (new.map(|(value, _)| value), new.map_or(before, |(_, origin)| origin));
            self.log.push(Step::Change { name: name.clone(), new, origin, revision });
        }
    }

    /// What has happened to own keys.
    pub(super) fn event(&mut self, event: &OwnEvent) {
        if let OwnEvent::Released { name, .. }
        | OwnEvent::Lost { name }
        | OwnEvent::SetAside { name, .. }
        | OwnEvent::StillSetAside { name } = event
        {
            self.given_up(name);
        }
    }

    /// A name may not be kept any more.
    pub(super) fn given_up(&mut self, name: &KeyName) {
        let undecodable = self.raw.get(name).is_some_and(|raw| decode(&raw.0).is_none());
        let shown = !(undecodable && self.remove_undecodable);
        if !self.own.kept.contains(name) && (self.deleted_own.remove(name) || !shown) {
            self.delayed.remove(name);
            self.show(name, None, self.revision);
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        let mut due: Vec<_> = self.delayed.iter().map(|(name, at)| (*at, name.clone())).collect();
        due.retain(|(at, _)| *at <= now);
        due.sort();
        for (_, name) in due {
            self.delayed.remove(&name);
            self.show(&name, None, self.revision);
        }
    }

    pub(super) fn held_back(&self) -> usize {
        self.delayed.len()
    }

    /// Values that cannot be decoded, as they are now.
    pub(super) fn quarantine(&self) -> impl Iterator<Item = &KeyName> {
        self.raw.iter().filter(|(_, raw)| decode(&raw.0).is_none()).map(|(name, _)| name)
    }
}

/// Whose name is whose, as the store sees it before a delivery. Whether that is right is checked against what the owner
/// wants, once everything is quiet.
#[derive(Default)]
pub(super) struct Own {
    kept: BTreeSet<KeyName>,
    contains: BTreeSet<KeyName>,
    /// What is still there when all that was known is void.
    wanted: BTreeSet<KeyName>,
    alive: BTreeSet<LeaseId>,
    /// What is kept once it is shown.
    adoptions: BTreeMap<KeyName, ((u128, LeaseId), Revision)>,
    /// What is kept no longer once another owner's key of this revision is shown.
    losses: BTreeSet<(KeyName, Revision)>,
    /// A lease of this owner, if there ever was one.
    owner: Option<LeaseId>,
}

impl Own {
    pub(super) fn of(own: &OwnKeys) -> Self {
        let names: BTreeSet<_> = own.names().cloned().collect();
        Self {
            kept: names.iter().filter(|name| own.is_kept(name.as_str())).cloned().collect(),
            wanted: names.iter().filter(|name| own.is_wanted(name)).cloned().collect(),
            contains: names,
            alive: own.leases().into_iter().collect(),
            adoptions: own.adoptions().map(|(name, value, after)| (name.clone(), (value, after))).collect(),
            losses: BTreeSet::new(),
            owner: Some(own.lease_of_owner()),
        }
    }

    /// Takes which names the delivery that comes next costs the owner.
    pub(super) fn lost(&mut self, events: &[OwnEvent]) {
        for pair in events.windows(2) {
            if let [OwnEvent::Conflict { name, revision, .. }, OwnEvent::Lost { name: lost }] = pair
                && name == lost
            {
                self.losses.insert((name.clone(), *revision));
            }
        }
    }

    fn origin(&self, lease: LeaseId) -> Origin {
        let ours = self.owner.is_some_and(|owner| owner.0 >> 20 == lease.0 >> 20);
        if ours { Origin::Local } else { Origin::Remote }
    }
}

/// The deletion guard, as simple as possible.
struct Guard {
    rule: DeletionGuard,
    /// Keys that were deleted and are not back, and when.
    recent: BTreeMap<KeyName, Instant>,
}

impl Guard {
    fn is_off(&self) -> bool {
        self.rule.percent >= 100
    }

    fn other_history(&self) -> Duration {
        if self.is_off() { Duration::ZERO } else { self.rule.hold }
    }

    fn deletions(
        &mut self,
        now: Instant,
        removed: BTreeSet<KeyName>,
        shown: &BTreeMap<KeyName, (u32, Origin)>,
    ) -> Duration {
        let hold = self.rule.hold;
        if self.is_off() || hold.is_zero() || removed.is_empty() {
            return Duration::ZERO;
        }
        self.recent.retain(|_, at| now < *at + hold);
        let before = shown.keys().chain(self.recent.keys()).collect::<BTreeSet<_>>().len();
        let gone = self.recent.len() + removed.len();
        if before >= self.rule.min_keys && gone * 100 > before * usize::from(self.rule.percent) {
            return hold;
        }
        self.recent.extend(removed.into_iter().map(|name| (name, now)));
        Duration::ZERO
    }
}
