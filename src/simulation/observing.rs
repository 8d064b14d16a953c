//! What a member tells its observers, and what it shows.

use std::collections::BTreeMap;
use std::time::Instant;

use super::NAMES;
use super::item::Dice;
use super::member::Member;
use super::observer::Observer;
use crate::outbox::ObserverId;

impl Member {
    pub(super) fn subscribe(&mut self, dice: &mut Dice, now: Instant) {
        let mut observer = Observer::any(dice);
        let id = self.store.subscribe(now, observer.wish.filter(), observer.mode);
        self.say(|| format!("subscribe {id:?} {:?} {:?}", observer.wish, observer.mode));
        if self.model.has_state() {
            observer.begin(&self.model);
        }
        self.observers.insert(id, observer);
    }

    pub(super) fn unsubscribe(&mut self, dice: &mut Dice) {
        let ids: Vec<_> = self.observers.keys().copied().collect();
        if !ids.is_empty() {
            let id = dice.of(&ids);
            self.say(|| format!("unsubscribe {id:?}"));
            self.store.unsubscribe(id);
            self.observers.remove(&id);
        }
    }

    /// Some observers take or handle something.
    pub(super) fn observe(&mut self, dice: &mut Dice) {
        for _ in 0..dice.0.u32(..4) {
            if !self.take() {
                break;
            }
        }
        let ids: Vec<_> = self.observers.keys().copied().collect();
        for id in ids {
            if dice.one_in(2) {
                self.handle(id);
            }
        }
    }

    fn take(&mut self) -> bool {
        let Some((id, parcel)) = self.store.poll_parcel() else { return false };
        let observer = self.observers.get_mut(&id).expect("nobody is told after leaving");
        let taken = (parcel, self.model.log.len());
        observer.takes();
        assert!(observer.in_flight.replace(taken).is_none(), "one parcel at a time");
        true
    }

    fn handle(&mut self, id: ObserverId) {
        let Some(observer) = self.observers.get_mut(&id).filter(|observer| !observer.asleep) else { return };
        let Some((parcel, steps)) = observer.in_flight.take() else { return };
        observer.handle(&parcel, steps, &self.model);
        self.store.delivered(id);
        self.say(|| format!("    {id:?} was told {parcel:?}"));
    }

    /// Delivers everything pending: first to the observers that are awake, then to all.
    pub(super) fn tell_all(&mut self) {
        for _ in 0..2 {
            let ids: Vec<_> = self.observers.keys().copied().collect();
            loop {
                ids.iter().for_each(|id| self.handle(*id));
                if !self.take() {
                    break;
                }
            }
            let aside: Vec<_> = self.store.own_stats().set_aside.into_iter().map(|(name, _)| name).collect();
            for observer in self.observers.values_mut().filter(|observer| !observer.asleep) {
                observer.is_up_to_date(&self.model, &aside);
            }
            self.observers.values_mut().for_each(|observer| observer.asleep = false);
        }
    }

    /// What holds at every moment.
    pub(super) fn check(&self) {
        let snapshot = self.reader.snapshot();
        let shown: BTreeMap<_, _> = snapshot.entries.into_iter().map(|(name, item)| (name, item.value)).collect();
        let visible: BTreeMap<_, _> =
            self.model.visible.iter().map(|(name, (value, _))| (name.clone(), *value)).collect();
        assert_eq!(shown, visible, "cache");
        assert_eq!(snapshot.revision, self.model.revision, "revision of the cache");
        assert_eq!(self.reader.revision(), self.model.revision, "revision");
        let status = self.store.status();
        assert_eq!(status.undecodable, self.model.quarantine().count(), "undecodable values");
        assert_eq!(status.held_back, self.model.held_back(), "deletions held back");
        for (id, lag) in status.observers {
            self.observers[&id].is_bounded(&lag, NAMES.len());
        }
    }
}
