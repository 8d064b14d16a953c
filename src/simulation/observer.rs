//! An observer that knows only what it is told, and checks every message.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use super::item::{Dice, Item, quiet_panic};
use super::model::{Model, Step};
use crate::change::{Change, Notice, Origin, Parcel};
use crate::filter::Filter;
use crate::key::KeyName;
use crate::kv::Revision;
use crate::outbox::{DeliveryMode, Lag};

/// What an observer wants to hear of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    prefix: Option<&'static str>,
    slashes: bool,
    origin: Option<Origin>,
    /// Only even values; one of the odd ones panics.
    even: bool,
}

impl Wish {
    pub(super) fn any(dice: &mut Dice) -> Self {
        Self {
            prefix: dice.of(&[None, None, Some("a"), Some("a/"), Some(".")]),
            slashes: dice.one_in(6),
            origin: dice.of(&[None, None, None, Some(Origin::Local), Some(Origin::Remote)]),
            even: dice.one_in(4),
        }
    }

    pub(super) fn filter(self) -> Filter<Item> {
        let mut filter = Filter::new();
        if let Some(prefix) = self.prefix {
            filter = filter.prefix(prefix);
        }
        if self.slashes {
            filter = filter.glob("*/*").glob("nothing");
        }
        if let Some(origin) = self.origin {
            filter = filter.origin(origin);
        }
        if self.even {
            filter = filter
                .keys(|_, item: &Item| if item.value == 3 { quiet_panic("3") } else { item.value.is_multiple_of(2) });
        }
        filter
    }

    fn name(self, name: &KeyName) -> bool {
        let name = name.as_str();
        self.prefix.is_none_or(|prefix| name.starts_with(prefix)) && (!self.slashes || name.contains('/'))
    }

    fn passes(self, name: &KeyName, value: u32, origin: Origin) -> bool {
        self.name(name) && self.origin.is_none_or(|wanted| wanted == origin) && (!self.even || value.is_multiple_of(2))
    }

    /// What of the cache passes.
    pub(super) fn of(self, model: &Model) -> BTreeMap<KeyName, u32> {
        let passes = |name: &KeyName, (value, origin): (u32, Origin)| self.passes(name, value, origin).then_some(value);
        model.visible.iter().filter_map(|(name, shown)| Some((name.clone(), passes(name, *shown)?))).collect()
    }
}

/// One observer and its shadow of the cache.
pub(super) struct Observer {
    pub(super) wish: Wish,
    pub(super) mode: DeliveryMode,
    /// With how many steps of the cache there were.
    pub(super) in_flight: Option<(Parcel<Item>, usize)>,
    /// It handles nothing before it is woken.
    pub(super) asleep: bool,
    /// The first state, once the store has one.
    first: Option<(BTreeMap<KeyName, u32>, Revision)>,
    /// What was shown before the first list, if it was not nothing.
    before: Option<BTreeMap<KeyName, u32>>,
    verified: bool,
    /// The next parcel is told after the first list: with how many steps, and at which revision in one history.
    next: Option<(usize, Option<Revision>)>,
    synced: bool,
    shadow: BTreeMap<KeyName, u32>,
    /// The newest revision told of each key, and of all.
    revisions: BTreeMap<KeyName, Revision>,
    told: Revision,
    /// Told up to here of the steps of the cache.
    position: usize,
    /// Steps may be missing up to this revision.
    difference_to: Option<Revision>,
    undecodable: BTreeSet<KeyName>,
    aside: BTreeSet<KeyName>,
    /// Steps were left out since it was last up to date.
    resynced: bool,
}

impl Observer {
    pub(super) fn any(dice: &mut Dice) -> Self {
        let capacity = NonZeroUsize::new(dice.of(&[1, 2, 5, usize::MAX])).expect("it is not zero");
        let mode = if dice.one_in(2) { DeliveryMode::LatestPerKey } else { DeliveryMode::EveryEvent { capacity } };
        Self {
            wish: if dice.one_in(4) { Wish::default() } else { Wish::any(dice) },
            mode,
            in_flight: None,
            asleep: dice.one_in(4),
            first: None,
            before: None,
            verified: false,
            next: None,
            synced: false,
            shadow: BTreeMap::new(),
            revisions: BTreeMap::new(),
            told: Revision::ZERO,
            position: 0,
            difference_to: None,
            undecodable: BTreeSet::new(),
            aside: BTreeSet::new(),
            resynced: false,
        }
    }

    /// The store has a first state for it, or has made sure of it.
    pub(super) fn begin(&mut self, model: &Model) {
        if self.verified {
            return;
        }
        self.verified = model.listed;
        let first = (self.wish.of(model), model.revision);
        if let Some((before, _)) = self.first.replace(first) {
            self.before = Some(before);
            let back = model.log[self.position..].iter().any(|step| matches!(step, Step::WentBack { .. }));
            self.next = Some((model.log.len(), (!back).then_some(model.revision)));
        } else {
            (self.told, self.position) = (model.revision, model.log.len());
        }
    }

    /// It is given the next parcel, having handled the one before.
    pub(super) fn takes(&mut self) {
        if let Some((position, revision)) = self.next.take() {
            (self.told, self.position) = (revision.unwrap_or(self.told), position);
        }
    }

    pub(super) fn handle(&mut self, parcel: &Parcel<Item>, steps: usize, model: &Model) {
        match parcel {
            Parcel::Changes(changes) => {
                assert!(!changes.is_empty() && changes.len() <= 256, "{} changes at once", changes.len());
                for change in changes.iter() {
                    self.change(change, model);
                }
            }
            Parcel::Notice(notice) => self.notice(notice, steps, model),
        }
    }

    fn change(&mut self, change: &Change<Item>, model: &Model) {
        let name = &change.name;
        let value = |item: &Option<std::sync::Arc<Item>>| {
            item.as_ref().map(|item| {
                assert_eq!(item.name, name.as_str());
                item.value
            })
        };
        let (old, new) = (value(&change.old), value(&change.new));
        let (first, _) = self.first.as_ref().expect("nothing is told before the first list");
        // Paired, and no deletion of an unknown key.
        assert_eq!(old, self.shadow.get(name).copied(), "what was told before: {change:?}");
        assert!(old.is_some() || new.is_some(), "deletion of an unknown key: {change:?}");
        // Quiet.
        assert_ne!(old, new, "nothing new: {change:?}");
        // Filtered.
        assert!(new.is_none_or(|value| self.wish.passes(name, value, change.origin)), "unwanted: {change:?}");
        assert!(self.wish.name(name), "unwanted name: {change:?}");
        // Ordered.
        let last = self.revisions.insert(name.clone(), change.revision);
        assert!(last.is_none_or(|last| last <= change.revision), "after {last:?}: {change:?}");
        assert_eq!(change.initial, !self.synced, "first state: {change:?}");
        if change.initial {
            let is_first = first.get(name).copied() == new || model.restored && self.was_so(name, new, model);
            assert!(is_first, "not of the first state: {change:?}");
        } else if let DeliveryMode::EveryEvent { .. } = self.mode {
            if self.difference_to.is_some_and(|to| change.revision > to) {
                self.difference_to = None;
            }
            if self.difference_to.is_none() {
                assert!(self.told <= change.revision, "after {}: {change:?}", self.told);
            }
        }
        if !change.initial {
            self.step(change, new, model);
        }
        self.told = self.told.max(change.revision);
        match new {
            Some(value) => self.shadow.insert(name.clone(), value),
            None => self.shadow.remove(name),
        };
    }

    /// Whether a key was so before the first list, or came to be so by it.
    fn was_so(&self, name: &KeyName, new: Option<u32>, model: &Model) -> bool {
        let it_is = |step: &Step| match step {
            Step::Change { name: of, new: to, origin, .. } => {
                of == name && to.filter(|to| self.wish.passes(name, *to, *origin)) == new
            }
            Step::WentBack { .. } => false,
        };
        self.before.as_ref().is_some_and(|before| before.get(name).copied() == new) || model.log.iter().any(it_is)
    }

    /// The observer was told every step, or at least no step that the cache did not make.
    fn step(&mut self, change: &Change<Item>, new: Option<u32>, model: &Model) {
        // What is left of an earlier history is as old as the one after it began.
        let began = |step: &Step| matches!(step, Step::WentBack { to } if *to == change.revision);
        let left = model.log[self.position..].iter().any(began);
        let is_it = |step: &Step| match step {
            Step::Change { name, new: to, origin, revision } => {
                let seen = to.filter(|to| self.wish.passes(name, *to, *origin));
                let at = *revision == change.revision || left;
                *name == change.name && at && *origin == change.origin && seen == new
            }
            Step::WentBack { .. } => false,
        };
        if self.resynced || self.mode == DeliveryMode::LatestPerKey {
            assert!(model.log[self.position..].iter().any(is_it), "it never was so: {change:?}");
            return;
        }
        let heard = |step: &Step| match step {
            Step::Change { name, new, origin, .. } => {
                new.filter(|new| self.wish.passes(name, *new, *origin)) != self.shadow.get(name).copied()
            }
            Step::WentBack { .. } => true,
        };
        let next = self.position + model.log[self.position..].iter().position(heard).expect("there was a step");
        assert!(is_it(&model.log[next]), "{:?} is next, not {change:?}", model.log[next]);
        self.position = next + 1;
    }

    fn notice(&mut self, notice: &Notice, steps: usize, model: &Model) {
        match notice {
            Notice::Synced { revision, entries } => {
                let (first, at) = self.first.as_ref().expect("nothing is told before the first list");
                assert!(!std::mem::replace(&mut self.synced, true), "synced twice");
                assert_eq!((&self.shadow, *revision, *entries), (first, *at, first.len()), "first state");
            }
            Notice::Resynced { from, to } => {
                assert_eq!(*from, self.told, "the last revision told");
                if !self.synced {
                    // History went back to the first list, or too much happened before it.
                    self.revisions.clear();
                    self.told = *to;
                    return;
                }
                let ahead = &model.log[self.position..steps];
                let back = |step: &Step| matches!(step, Step::WentBack { .. });
                let went_back = ahead.iter().any(back);
                let to_there = |step: &Step| matches!(step, Step::WentBack { to: there } if there == to);
                assert!(!went_back || self.resynced || ahead.iter().any(to_there), "history went back, not to {to}");
                let overrun = match self.mode {
                    DeliveryMode::LatestPerKey => false,
                    DeliveryMode::EveryEvent { capacity } => ahead.len() > capacity.get(),
                };
                assert!(went_back || overrun, "{notice:?} without a reason");
                if went_back {
                    self.revisions.clear();
                }
                (self.told, self.difference_to, self.resynced) = (*to, Some(*to), true);
            }
            Notice::Undecodable { name, revision, .. } => {
                assert!(self.synced);
                assert!(self.wish.name(name), "unwanted: {notice:?}");
                assert!(model.undecodable.contains(&(name.clone(), *revision)), "it never was so: {notice:?}");
                self.undecodable.insert(name.clone());
            }
            Notice::Progress { .. } => panic!("nobody wants it"),
            Notice::Healed { name, .. } => {
                assert!(self.synced);
                assert!(self.wish.name(name), "unwanted: {notice:?}");
                self.undecodable.remove(name);
            }
            Notice::SetAside { name, cause } => {
                assert!(self.wish.name(name), "unwanted: {notice:?}");
                match cause {
                    Some(_) => self.aside.insert(name.clone()),
                    None => self.aside.remove(name),
                };
            }
            Notice::Conflict { name, .. } | Notice::Repaired { name, .. } => {
                assert!(self.wish.name(name), "unwanted: {notice:?}");
            }
        }
    }

    /// Everything has been delivered; these own keys are set aside.
    pub(super) fn is_up_to_date(&mut self, model: &Model, aside: &[KeyName]) {
        assert_eq!(self.synced, self.verified, "synced as soon as there is something sure");
        if self.synced {
            assert_eq!(self.shadow, self.wish.of(model), "told otherwise");
            let wanted = |name: &&KeyName| self.wish.name(name);
            let undecodable: BTreeSet<_> = model.quarantine().filter(wanted).collect();
            assert_eq!(self.undecodable.iter().collect::<BTreeSet<_>>(), undecodable, "told of what is undecodable");
            let aside: BTreeSet<_> = aside.iter().filter(wanted).collect();
            assert_eq!(self.aside.iter().collect::<BTreeSet<_>>(), aside, "told of what is set aside");
            let ahead = model.log.get(self.position..).unwrap_or_default();
            let went_back = ahead.iter().any(|step| matches!(step, Step::WentBack { .. }));
            assert!(!went_back || self.resynced, "not told that history went back");
        }
        (self.position, self.resynced) = (model.log.len(), false);
    }

    /// Whether no more waits than may, if `names` is how many keys there can be.
    pub(super) fn is_bounded(&self, lag: &Lag, names: usize) {
        let queue = match self.mode {
            DeliveryMode::LatestPerKey => 0,
            DeliveryMode::EveryEvent { capacity } => capacity.get(),
        };
        // Of each name one change and four notices, besides the parcel under way.
        let most = queue.saturating_add(256 + 5 * names);
        assert!(lag.pending <= most, "{} changes wait", lag.pending);
    }
}
