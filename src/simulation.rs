//! A seeded simulation of the whole as it is shipped: several collaborators, each with its watch, its store, its own keys
//! and its observers, and publishers, each with its watch, its keys and its canary, over a kvstore and a network that
//! misbehave. Each message between them is delayed at will.
//!
//! `make simulate` runs it from a fresh random base; `SEED=17 cargo test simulation` runs one seed and prints its steps.

mod auditor;
mod item;
mod link;
mod member;
mod model;
mod observer;
mod observing;
mod party;
mod publishing;
mod reads;
mod requests;
mod restart;
pub(crate) mod seeds;
mod truth;
mod wants;
mod world;

use std::time::{Duration, Instant};

use self::item::Dice;
use self::member::Member;
use self::party::Party;
use self::publishing::Publishing;
use self::seeds::{Trace, seeds};
use self::world::World;
use crate::config::{Config, ConflictPolicy, DeletionGuard, OnUndecodable};
use crate::key::KeyName;
use crate::own::OwnKeys;
use crate::prefix::Prefix;

/// No more names than this are in play.
const NAMES: [&str; 7] = ["a", "b", "a/1", "a/2", "..", "x//y", "é"];

/// How long a lease lives without a keep-alive.
const TTL: Duration = Duration::from_secs(600);

/// How long it is quiet at the end: beyond each lease, each hold, each step of a back-off and several sync intervals.
const QUIET: Duration = Duration::from_secs(1500);

struct Simulation {
    dice: Dice,
    now: Instant,
    world: World,
    members: Vec<Member>,
    publishers: Vec<Publishing>,
    trace: Trace,
}

impl Simulation {
    fn new(seed: u64, trace: Trace) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let prefix = Prefix::new("p").expect("it is a prefix");
        let policy = dice.of(&[OnUndecodable::KeepLast, OnUndecodable::Remove]);
        let delay = Duration::from_secs(dice.of(&[0, 0, 5, 100]));
        let hold = Duration::from_secs(dice.of(&[0, 10, 100]));
        let guard = dice.of(&[DeletionGuard::OFF, DeletionGuard { percent: 40, min_keys: 3, hold }]);
        let config = Config::new(prefix.clone()).on_undecodable(policy).delete_delay(delay).deletion_guard(guard);
        // No file is written there: with a state directory the store keeps values as the kvstore has them.
        let config = config.state_dir("snapshots").lease_ttl(TTL).sync_interval(Duration::from_secs(300));
        let (mut members, mut publishers) = (Vec::new(), Vec::new());
        let count = dice.0.usize(1..4);
        for n in 0..count {
            let conflict = dice.of(&[ConflictPolicy::Overwrite, ConflictPolicy::Yield, ConflictPolicy::Fail]);
            let config = config.clone().conflict(conflict).max_inflight(1 + n);
            let config = config.seed(seed ^ n as u64).owner(format!("owner {n}"));
            // Two owners that overwrite each other never come to rest: they share no names.
            let own = |(at, _): &(usize, &&str)| conflict != ConflictPolicy::Overwrite || at % count == n;
            let names = NAMES.iter().enumerate().filter(own);
            let names = names.map(|(_, name)| KeyName::new(*name).expect("it is a name")).collect();
            let seed = seed + n as u64;
            if dice.one_in(3) {
                publishers.push(Publishing::new(config, names, seed, &mut dice, trace));
            } else {
                members.push(Member::new(config, names, seed, &mut dice, trace));
            }
        }
        let mut world = World::new(&prefix);
        let owners = members.iter().map(|member| member.store.own());
        let owners = owners.chain(publishers.iter().map(|publisher| publisher.publisher.keys()));
        world.rivals = owners.map(OwnKeys::lease_of_owner).collect();
        Self { members, publishers, now: Instant::now(), world, trace, dice }
    }

    fn say(&self, words: impl FnOnce() -> String) {
        self.trace.say(words);
    }

    fn run(&mut self) {
        for _ in 0..self.dice.0.u32(20..250) {
            self.step();
            self.members.iter_mut().for_each(|member| member.read(&self.world, self.now));
            self.check();
        }
        self.come_to_rest();
    }

    fn step(&mut self) {
        self.world.steps += 1;
        let who = self.dice.0.usize(..self.members.len() + self.publishers.len());
        let (world, dice, now) = (&mut self.world, &mut self.dice, &mut self.now);
        let party: &mut dyn Party = match self.members.get_mut(who) {
            Some(member) => member,
            None => &mut self.publishers[who - self.members.len()],
        };
        match dice.0.u32(..50) {
            0..7 => {
                let words = world.step(dice, *now);
                world.note();
                self.say(|| words);
            }
            7..21 => {
                party.shell().say(|| format!("{who}: watch"));
                party.watch(world, dice, now);
            }
            21..25 => party.command(world, dice, *now),
            25..31 => drop(party.perform(world, dice, *now)),
            31..36 => drop(party.answer(world, dice, *now)),
            36 => drop(party.hear(world, *now)),
            44 => {
                *now += Duration::from_secs(dice.of(&[0, 0, 1, 5, 39, 70]));
                self.say(|| "time passes".into());
            }
            45 if dice.one_in(8) => self.disaster(),
            46 if dice.one_in(300) => {
                world.flood(dice, 5200);
                world.note();
                self.say(|| "flood".into());
            }
            47 if dice.one_in(5) => {
                party.shell().say(|| format!("{who}: restart"));
                party.restart(world, dice, *now);
            }
            47 if dice.one_in(3) && !world.frozen => {
                let leases = party.leases();
                if let Some(lease) = leases.get(dice.0.usize(..leases.len().max(1))) {
                    world.mvcc.revoke(*lease);
                    world.note();
                    self.say(|| format!("revoke {lease}"));
                }
            }
            48 if dice.one_in(20) => {
                party.shell().say(|| format!("{who}: the requests are lost"));
                party.lose_requests(world, dice, *now);
            }
            48 if dice.one_in(20) => {
                party.shell().say(|| format!("{who}: the watch is lost"));
                party.lose_watch(world, dice, *now);
            }
            48 => {
                if let Some(writes) = world.delayed_writes.pop().filter(|_| !world.frozen) {
                    let outcome = world.transact(writes);
                    self.say(|| format!("delayed write: {outcome:?}"));
                }
            }
            49 if dice.one_in(4) => {
                let canary = self.publishers.first().and_then(Publishing::canary_path).filter(|_| dice.one_in(8));
                let path = canary.unwrap_or_else(|| world.prefix.path(&dice.name()));
                world.forbidden = dice.of(&[true, false]).then_some(path);
            }
            other => self.step_of_store(who, other),
        }
        self.pass();
    }

    /// What only a store does.
    fn step_of_store(&mut self, who: usize, what: u32) {
        let (world, dice, now) = (&mut self.world, &mut self.dice, self.now);
        let Some(member) = self.members.get_mut(who) else { return };
        match what {
            37 if member.observers.len() < 6 => member.subscribe(dice, now),
            38 if dice.one_in(4) => member.unsubscribe(dice),
            39..=43 => member.observe(dice),
            45 => member.audit(world, dice, now),
            46 => member.save(world),
            _ => {}
        }
    }

    /// What has become due by now.
    fn pass(&mut self) {
        let (world, now) = (&mut self.world, self.now);
        let mut rollback_unnoticed = false;
        parties(&mut self.members, &mut self.publishers)
            .for_each(|party| rollback_unnoticed |= party.shell().rollback_unnoticed);
        world.frozen = rollback_unnoticed;
        world.expire(now);
        parties(&mut self.members, &mut self.publishers).for_each(|party| party.timeout(world, now));
    }

    fn disaster(&mut self) {
        let (world, dice, now) = (&mut self.world, &mut self.dice, &mut self.now);
        // What was received before it counts.
        for party in parties(&mut self.members, &mut self.publishers).filter(|party| party.shell().is_hearing()) {
            party.watch(world, dice, now);
        }
        let Some(disaster) = world.disaster(dice, *now) else { return };
        let revision = world.revision();
        for party in parties(&mut self.members, &mut self.publishers) {
            // A watch that has seen revisions beyond the kvstore's notices that later.
            let watched = party.watched();
            let shell = party.shell_mut();
            shell.link.cut(dice);
            shell.rollback_unnoticed =
                watched.max(shell.link.named) > revision && disaster == world::Disaster::WentBack;
        }
        for member in &mut self.members {
            member.left.iter_mut().for_each(|left| left.dead |= left.revision > revision);
        }
        self.say(|| format!("{disaster:?} to {:?}", self.world.mvcc.header()));
    }

    /// What holds at every moment.
    fn check(&mut self) {
        self.members.iter().for_each(Member::check);
    }

    /// The network heals, nobody writes any more, and all that is under way arrives.
    fn come_to_rest(&mut self) {
        self.say(|| "now all calms down".into());
        self.world.forbidden = None;
        parties(&mut self.members, &mut self.publishers).for_each(Party::heal);
        self.settle(self.now + QUIET);
        // Others write somewhere: what was lost in a kvstore that was set back is noticed then.
        let knows = parties(&mut self.members, &mut self.publishers).map(|party| party.knows()).max();
        while knows >= Some(self.world.revision()) {
            self.world.put(b"elsewhere".as_slice().into(), "1".into(), crate::kv::LeaseId::NONE);
        }
        self.settle(self.now + QUIET);
        let before = self.writes();
        self.settle(self.now + QUIET);
        assert_eq!(self.writes(), before, "a clean quarter of an hour wrote something");
        self.members.iter_mut().for_each(Member::tell_all);
        self.check_truth();
    }

    fn writes(&mut self) -> Vec<u64> {
        parties(&mut self.members, &mut self.publishers).map(|party| party.writes()).collect()
    }

    /// Lets everything happen that follows until then.
    fn settle(&mut self, end: Instant) {
        for rounds in 0.. {
            assert!(rounds < 50_000, "it never comes to rest");
            self.world.steps += 1;
            let mut quiet = true;
            let (world, dice, now) = (&mut self.world, &mut self.dice, &mut self.now);
            for party in parties(&mut self.members, &mut self.publishers) {
                while party.perform(world, dice, *now) || party.answer(world, dice, *now) || party.hear(world, *now) {
                    quiet = false;
                }
                if party.watch(world, dice, now) {
                    quiet = false;
                } else {
                    let shell = party.shell();
                    let synced = party.is_synced() && !shell.link.is_mute() && !shell.rollback_unnoticed;
                    quiet &= synced || !party.watch_times_out(now);
                }
                while let Some(writes) = world.delayed_writes.pop().filter(|_| !world.frozen) {
                    // The outcome is dropped.
                    let _ = world.transact(writes);
                }
                quiet &= !party.is_busy() || world.frozen;
            }
            for member in &mut self.members {
                quiet &= !member.read_on(&self.world, self.now);
            }
            self.pass();
            self.check();
            if quiet && !self.world.frozen {
                let deadlines = parties(&mut self.members, &mut self.publishers).filter_map(|party| party.deadline());
                let next = deadlines.chain(self.world.mvcc.next_expiry()).min().filter(|next| *next <= end);
                match next {
                    Some(next) => {
                        assert!(next > self.now, "a deadline that does not move on");
                        self.now = next;
                        self.pass();
                    }
                    None if self.now < end => self.now = end,
                    None => return,
                }
            }
        }
    }
}

/// All participants.
fn parties<'a>(members: &'a mut [Member], publishers: &'a mut [Publishing]) -> impl Iterator<Item = &'a mut dyn Party> {
    let members = members.iter_mut().map(|member| member as &mut dyn Party);
    members.chain(publishers.iter_mut().map(|publisher| publisher as &mut dyn Party))
}

#[test]
fn cache_observers_and_own_keys_are_true_whatever_happens() {
    seeds(600, |seed, trace| Simulation::new(seed, trace).run());
}
