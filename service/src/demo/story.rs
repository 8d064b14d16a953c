//! Who does what next, by seed.

use std::collections::BTreeMap;
use std::fmt;

const NAMES: [&str; 9] = [
    "zone-a/cache-1",
    "zone-a/db-1",
    "zone-a/web-1",
    "zone-a/web-2",
    "zone-b/cache-1",
    "zone-b/db-1",
    "zone-b/web-1",
    "zone-c/db-1",
    "zone-c/web-1",
];
/// How many are there before anybody leaves.
const FEW: usize = 5;

/// What a collaborator tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service {
    /// The end of its address.
    host: u8,
    minor: u32,
    patch: u32,
    weight: u32,
}

/// As JSON.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, minor, patch, weight } = self;
        write!(f, r#"{{"ip":"10.0.0.{host}","version":"1.{minor}.{patch}","weight":{weight}}}"#)
    }
}

/// What one of them does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// It joins with its key.
    Come(&'static str, Service),
    /// It changes its key.
    Change(&'static str, Service),
    /// It leaves and takes its key along.
    Leave(&'static str),
    /// It ends without a word; its key stays until its lease ends.
    Crash(&'static str),
}

/// An endless series of acts.
#[derive(Debug)]
pub(super) struct Story {
    random: fastrand::Rng,
    there: BTreeMap<&'static str, Service>,
}

impl Story {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), there: BTreeMap::new() }
    }

    fn come(&mut self) -> Option<Act> {
        let absent: Vec<_> = NAMES.into_iter().filter(|name| !self.there.contains_key(name)).collect();
        let name = self.random.choice(absent)?;
        let service = Service { host: self.random.u8(2..=254), minor: self.random.u32(0..4), patch: 0, weight: 100 };
        self.there.insert(name, service);
        Some(Act::Come(name, service))
    }

    fn change(&mut self) -> Option<Act> {
        let name = self.random.choice(self.there.keys().copied())?;
        let service = self.there.get_mut(name)?;
        if self.random.u8(..4) == 0 {
            service.patch += 1;
        } else {
            // Always another one.
            service.weight = (service.weight + 10 * self.random.u32(1..11)) % 110;
        }
        Some(Act::Change(name, *service))
    }
}

impl Iterator for Story {
    type Item = Act;

    fn next(&mut self) -> Option<Act> {
        let chance = self.random.u8(..100);
        if self.there.len() < FEW || chance < 20 {
            return self.come().or_else(|| self.change());
        }
        if chance < 80 {
            return self.change();
        }
        let name = self.random.choice(self.there.keys().copied())?;
        self.there.remove(name);
        Some(if chance < 95 { Act::Leave(name) } else { Act::Crash(name) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_tells_the_same() {
        let told = |seed| Story::new(seed).take(200).collect::<Vec<_>>();
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
    }

    #[test]
    fn only_those_that_are_there_change_or_go_and_every_change_has_a_new_value() {
        for seed in 0..50 {
            let mut there = BTreeMap::new();
            let mut kinds = HashSet::new();
            for act in Story::new(seed).take(1000) {
                kinds.insert(std::mem::discriminant(&act));
                match act {
                    Act::Come(name, service) => assert_eq!(there.insert(name, service), None, "seed {seed}"),
                    Act::Change(name, service) => {
                        let before = there.insert(name, service);
                        assert!(before.is_some_and(|before| before != service), "seed {seed}");
                    }
                    Act::Leave(name) | Act::Crash(name) => assert!(there.remove(name).is_some(), "seed {seed}"),
                }
            }
            assert_eq!(kinds.len(), 4, "seed {seed}");
        }
    }
}
