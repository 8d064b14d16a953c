//! What a store must show, said as simply as can be: every rule of the contract is a few lines here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::item::decode;
use super::owners::Names;
use crate::change::Origin;
use crate::config::{Config, OnUndecodable};
use crate::key::KeyName;
use crate::kv::{Event, KeyValue, LeaseId, Revision};
use crate::prefix::Prefix;
use crate::own::OwnEvent;
use crate::watch::{Delivery, Page, PageKeys};

/// A step of the cache. One with the same value only changes the origin.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Change { name: KeyName, new: Option<u32>, origin: Origin, revision: Revision },
    WentBack { to: Revision },
}

/// A key of the kvstore as the watch told it.
pub(super) type Raw = (Bytes, Revision, LeaseId);

/// What a store knew of the kvstore.
pub(super) struct Known {
    raw: BTreeMap<KeyName, Raw>,
    /// The last good values, those of keys that are gone left out.
    good: BTreeMap<KeyName, u32>,
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
    pub(super) listed: bool,
    /// It began with what was known before a restart.
    pub(super) restored: bool,
    pub(super) revision: Revision,
    /// What the watch told.
    pub(super) raw: BTreeMap<KeyName, Raw>,
    /// What the cache shows.
    pub(super) visible: BTreeMap<KeyName, (u32, Origin)>,
    pub(super) own: Names,
    /// Own keys that somebody deleted.
    ghosts: BTreeSet<KeyName>,
    /// Foreign keys whose deletion is held back.
    delayed: BTreeMap<KeyName, Instant>,
    staging: Option<BTreeMap<KeyName, Raw>>,
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
            listed: false,
            restored: false,
            revision: Revision::ZERO,
            raw: BTreeMap::new(),
            visible: BTreeMap::new(),
            own: Names::default(),
            ghosts: BTreeSet::new(),
            delayed: BTreeMap::new(),
            staging: None,
            log: Vec::new(),
            undecodable: BTreeSet::new(),
        }
    }

    /// What is left behind when the process ends.
    pub(super) fn known(&self) -> Known {
        let there = self.visible.iter().filter(|(name, _)| self.raw.contains_key(*name));
        let good = there.map(|(name, (value, _))| (name.clone(), *value)).collect();
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
            if let Some(good) = known.good.get(name).filter(|_| !(bad && self.remove_undecodable)) {
                self.visible.insert(name.clone(), (*good, Origin::Remote));
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
                for event in events {
                    let Some(name) = self.prefix.strip(event.path()) else { continue };
                    match event {
                        Event::Put(kv) => self.put(&name, kv),
                        Event::Delete { revision, .. } => self.delete(now, &name, *revision),
                    }
                }
                self.reach(events.last().expect("a delivery is never empty").revision());
            }
            Delivery::Progress(revision) => self.reach(*revision),
            Delivery::Began { .. } | Delivery::Live | Delivery::Broken(_) | Delivery::Audited(_) => {}
        }
    }

    /// How many of the keys that are shown a delivery would remove, without our doing, and how many are shown.
    pub(super) fn removal(&self, delivery: &Delivery) -> (usize, usize) {
        let gone = |absent: &dyn Fn(&KeyName) -> bool| {
            let there = self.visible.keys().filter(|name| self.raw.contains_key(*name) && !self.own.contains(name));
            there.filter(|name| absent(name)).count()
        };
        let removed = match delivery {
            Delivery::Events(events) => gone(&|name| {
                let last = events.iter().rfind(|event| self.prefix.strip(event.path()).as_ref() == Some(name));
                matches!(last, Some(Event::Delete { .. }))
            }),
            Delivery::Page(page) if page.last => {
                let (PageKeys::Full(kvs) | PageKeys::Names(kvs)) = &page.keys;
                let here: BTreeSet<_> = kvs.iter().filter_map(|kv| self.prefix.strip(&kv.path)).collect();
                let before = self.staging.as_ref().filter(|_| !page.first);
                gone(&|name| !here.contains(name) && !before.is_some_and(|staging| staging.contains_key(name)))
            }
            Delivery::Page(_)
            | Delivery::Progress(_)
            | Delivery::Began { .. }
            | Delivery::Live
            | Delivery::Broken(_)
            | Delivery::Audited(_) => 0,
        };
        (removed, self.visible.len())
    }

    fn page(&mut self, now: Instant, page: &Page) {
        let mut staging = if page.first { BTreeMap::new() } else { self.staging.take().expect("the first page came") };
        let (PageKeys::Full(kvs) | PageKeys::Names(kvs)) = &page.keys;
        for kv in kvs {
            let Some(name) = self.prefix.strip(&kv.path) else { continue };
            let value = match &page.keys {
                PageKeys::Full(_) => kv.value.clone(),
                PageKeys::Names(_) => {
                    let known = [staging.get(&name), self.raw.get(&name)];
                    let known = known.into_iter().flatten().find(|known| known.1 == kv.mod_revision);
                    known.expect("a list of names comes after the values").0.clone()
                }
            };
            staging.insert(name, (value, kv.mod_revision, kv.lease));
        }
        if page.last {
            self.list(now, staging, page.revision, page.same_history);
        } else {
            self.staging = Some(staging);
        }
    }

    fn list(&mut self, now: Instant, list: BTreeMap<KeyName, Raw>, revision: Revision, same_history: bool) {
        if !same_history {
            self.own.history_went_back();
            if self.has_state() {
                self.log.push(Step::WentBack { to: revision });
            }
        }
        let gone: Vec<_> = self.raw.keys().filter(|name| !list.contains_key(*name)).cloned().collect();
        let mut puts: Vec<_> = list.into_iter().collect();
        puts.retain(|(name, raw)| !same_history || self.raw.get(name).is_none_or(|known| known.1 != raw.1));
        puts.sort_by_key(|(_, raw)| raw.1);
        for (name, (value, mod_revision, lease)) in puts {
            let (path, create_revision) = (Bytes::new(), mod_revision);
            self.put(&name, &KeyValue { path, value, create_revision, mod_revision, lease });
        }
        for name in gone {
            self.delete(now, &name, revision);
        }
        if !self.has_state() {
            // Nobody was told anything before.
            self.log.clear();
        }
        self.listed = true;
        self.reach(revision);
    }

    fn reach(&mut self, revision: Revision) {
        self.revision = revision;
        for name in self.own.reached(revision) {
            self.settle(&name);
        }
    }

    fn put(&mut self, name: &KeyName, kv: &KeyValue) {
        let revision = kv.mod_revision;
        self.own.written(name, revision);
        self.raw.insert(name.clone(), (kv.value.clone(), revision, kv.lease));
        self.ghosts.remove(name);
        self.delayed.remove(name);
        if let Some(value) = decode(&kv.value) {
            self.show(name, Some(value), revision);
        } else {
            self.undecodable.insert((name.clone(), revision));
            if self.remove_undecodable && !self.own.is_owned(name) {
                self.show(name, None, revision);
            }
        }
    }

    fn delete(&mut self, now: Instant, name: &KeyName, revision: Revision) {
        self.raw.remove(name);
        if !self.visible.contains_key(name) {
        } else if self.own.is_owned(name) {
            self.ghosts.insert(name.clone());
        } else if !self.delay.is_zero() && !self.own.contains(name) {
            self.delayed.insert(name.clone(), now + self.delay);
        } else {
            self.show(name, None, revision);
        }
    }

    /// Changes what the cache shows, and tells everybody.
    fn show(&mut self, name: &KeyName, new: Option<u32>, revision: Revision) {
        let origin = match new {
            Some(_) => self.own.origin(name),
            None => self.visible.get(name).map_or(Origin::Remote, |(_, origin)| *origin),
        };
        let old = match new {
            Some(value) => self.visible.insert(name.clone(), (value, origin)),
            None => self.visible.remove(name),
        };
        if old != new.map(|value| (value, origin)) {
            self.log.push(Step::Change { name: name.clone(), new, origin, revision });
        }
    }

    /// The key may be another's now, or nobody's.
    fn settle(&mut self, name: &KeyName) {
        let undecodable = self.raw.get(name).is_some_and(|raw| decode(&raw.0).is_none());
        if !self.own.is_owned(name) && (self.ghosts.remove(name) || undecodable && self.remove_undecodable) {
            self.show(name, None, self.revision);
        } else if let Some((value, _)) = self.visible.get(name)
            && self.raw.contains_key(name)
        {
            self.show(name, Some(*value), self.revision);
        }
    }

    pub(super) fn sync_event(&mut self, event: &OwnEvent) {
        if let Some(name) = self.own.sync_event(event, self.revision) {
            self.settle(&name);
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

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.delayed.values().min().copied()
    }

    /// Values that cannot be decoded, as they are now.
    pub(super) fn quarantine(&self) -> impl Iterator<Item = &KeyName> {
        self.raw.iter().filter(|(_, raw)| decode(&raw.0).is_none()).map(|(name, _)| name)
    }
}
