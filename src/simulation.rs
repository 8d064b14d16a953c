//! A seeded simulation of the whole as it is shipped: several collaborators, each with its watch, its store, its own keys
//! and its observers, over a kvstore and a network that misbehave. Each message between them is delayed at will.
//!
//! `make simulate` runs it from a fresh random base; `SEED=17 cargo test simulation` runs one seed and prints its steps.

mod auditor;
mod item;
mod link;
mod member;
mod model;
mod observer;
mod observing;
mod restart;
pub(crate) mod seeds;
mod truth;
mod world;

use std::time::{Duration, Instant};

use self::item::Dice;
use self::member::Member;
use self::seeds::seeds;
use self::world::World;
use crate::config::{Config, ConflictPolicy, DeletionGuard, OnUndecodable};
use crate::key::KeyName;
use crate::prefix::Prefix;
use crate::status::State;

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
    loud: bool,
}

impl Simulation {
    fn new(seed: u64, loud: bool) -> Self {
        let mut dice = Dice(fastrand::Rng::with_seed(seed));
        let prefix = Prefix::new("p").expect("it is a prefix");
        let policy = dice.of(&[OnUndecodable::KeepLast, OnUndecodable::Remove]);
        let delay = Duration::from_secs(dice.of(&[0, 0, 5, 100]));
        let hold = Duration::from_secs(dice.of(&[0, 10, 100]));
        let guard = dice.of(&[DeletionGuard::OFF, DeletionGuard { percent: 40, min_keys: 3, hold }]);
        let conflict = dice.of(&[ConflictPolicy::Overwrite, ConflictPolicy::Yield]);
        let count = dice.0.usize(1..4);
        let config = Config::new(prefix.clone()).on_undecodable(policy).delete_delay(delay).deletion_guard(guard);
        // Nobody writes there: it means that values are kept as the kvstore has them.
        let config =
            config.state_dir("snapshots").conflict(conflict).lease_ttl(TTL).sync_interval(Duration::from_secs(300));
        let members = (0..count).map(|n| {
            let config = config.clone().seed(seed ^ n as u64).owner(format!("owner {n}")).max_inflight(1 + n);
            // Two owners that overwrite each other never come to rest: they share names only if they yield.
            let own = |(at, _): &(usize, &&str)| conflict == ConflictPolicy::Yield || at % count == n;
            let names =
                NAMES.iter().enumerate().filter(own).map(|(_, name)| KeyName::new(*name).expect("it is a name"));
            Member::new(config, names.collect(), seed + n as u64, &mut dice, loud)
        });
        Self { members: members.collect(), now: Instant::now(), world: World::new(&prefix), loud, dice }
    }

    fn say(&self, words: impl FnOnce() -> String) {
        if self.loud {
            println!("{}", words());
        }
    }

    fn run(&mut self) {
        for _ in 0..self.dice.0.u32(20..250) {
            self.step();
            self.check();
        }
        self.come_to_rest();
    }

    fn step(&mut self) {
        self.world.steps += 1;
        let who = self.dice.0.usize(..self.members.len());
        let (world, dice, now) = (&mut self.world, &mut self.dice, &mut self.now);
        let member = &mut self.members[who];
        match dice.0.u32(..50) {
            0..7 => {
                let words = world.step(dice, *now);
                world.note();
                self.say(|| words);
            }
            7..21 => {
                member.say(|| format!("{who}: watch"));
                member.watch(world, dice, now);
            }
            21..25 => member.command(world, dice, *now),
            25..31 => drop(member.perform(world, dice, *now)),
            31..36 => drop(member.answer(world, dice, *now)),
            36 => drop(member.hear(world, *now)),
            37 if member.observers.len() < 6 => member.subscribe(dice, *now),
            38 if dice.one_in(4) => member.unsubscribe(dice),
            39..44 => member.observe(dice),
            44 => {
                *now += Duration::from_secs(dice.of(&[0, 0, 1, 5, 39, 70]));
                self.say(|| "time passes".into());
            }
            45 if dice.one_in(8) => self.disaster(),
            45 => member.audit(world, dice, *now),
            46 if dice.one_in(300) => {
                world.flood(dice, 5200);
                world.note();
                self.say(|| "flood".into());
            }
            46 => member.save(world),
            47 if dice.one_in(5) => {
                member.say(|| format!("{who}: restart"));
                member.restart(world, dice, *now);
            }
            48 => {
                if let Some(writes) = world.late.pop().filter(|_| !world.frozen) {
                    let outcome = world.transact(writes);
                    self.say(|| format!("late: {outcome:?}"));
                }
            }
            47 if dice.one_in(3) && !world.frozen => {
                let leases = member.store.own().leases();
                if let Some(lease) = leases.get(dice.0.usize(..leases.len().max(1))) {
                    world.mvcc.revoke(*lease);
                    world.note();
                    self.say(|| format!("revoke {lease}"));
                }
            }
            49 if dice.one_in(4) => {
                let path = world.prefix.path(&dice.name());
                world.forbidden = dice.of(&[true, false]).then_some(path);
            }
            _ => {}
        }
        self.pass();
    }

    /// What has become due by now.
    fn pass(&mut self) {
        self.world.frozen = self.members.iter().any(|member| member.unaware);
        self.world.expire(self.now);
        for member in &mut self.members {
            member.timeout(&self.world, self.now);
        }
    }

    fn disaster(&mut self) {
        // What was received before it counts.
        for member in self.members.iter_mut().filter(|member| member.is_hearing()) {
            member.watch(&self.world, &mut self.dice, &mut self.now);
        }
        let Some(disaster) = self.world.disaster(&mut self.dice, self.now) else { return };
        self.say(|| format!("{disaster:?} to {:?}", self.world.mvcc.header()));
        let revision = self.world.revision();
        for member in &mut self.members {
            member.link.cut(&mut self.dice);
            member.left.iter_mut().for_each(|left| left.dead |= left.revision > revision);
            // A watch that has seen more than there is notices, in its time.
            let seen = member.model.revision.max(member.link.named);
            member.unaware = seen > revision && disaster == world::Disaster::WentBack;
        }
    }

    /// What holds at every moment.
    fn check(&mut self) {
        self.members.iter().for_each(Member::check);
    }

    /// The network heals, nobody writes any more, and all that is under way arrives.
    fn come_to_rest(&mut self) {
        self.say(|| "now all calms down".into());
        self.world.forbidden = None;
        for member in &mut self.members {
            (member.link.faults, member.faults) = (0, 0);
        }
        self.settle(self.now + QUIET);
        // Others write somewhere: what was lost in a kvstore that was set back is noticed then.
        while self.members.iter().any(|member| member.knows() >= self.world.revision()) {
            self.world.put(b"elsewhere".as_slice().into(), "1".into(), crate::kv::LeaseId::NONE);
        }
        self.settle(self.now + QUIET);
        let writes: Vec<_> = self.members.iter().map(|member| member.store.own_stats().writes).collect();
        self.settle(self.now + QUIET);
        for (member, before) in self.members.iter_mut().zip(writes) {
            assert_eq!(member.store.own_stats().writes, before, "a clean quarter of an hour wrote something");
            member.tell_all();
        }
        self.check_truth();
    }

    /// Lets everything happen that follows until then.
    fn settle(&mut self, end: Instant) {
        for rounds in 0.. {
            assert!(rounds < 50_000, "it never comes to rest");
            self.world.steps += 1;
            let mut quiet = true;
            for who in 0..self.members.len() {
                let member = &mut self.members[who];
                while member.perform(&mut self.world, &mut self.dice, self.now)
                    || member.answer(&self.world, &mut self.dice, self.now)
                    || member.hear(&self.world, self.now)
                {
                    quiet = false;
                }
                if member.watch(&self.world, &mut self.dice, &mut self.now) {
                    quiet = false;
                } else {
                    let synced = member.reader.state() == State::Synced && !member.link.is_mute() && !member.unaware;
                    quiet &= synced || !member.watch_times_out(&mut self.now);
                }
                while let Some(writes) = self.world.late.pop().filter(|_| !self.world.frozen) {
                    // Nobody hears what comes of it.
                    let _ = self.world.transact(writes);
                }
                quiet &= !self.members[who].is_busy() || self.world.frozen;
            }
            self.pass();
            self.check();
            if quiet && !self.world.frozen {
                let deadlines = self.members.iter().filter_map(|member| member.store.deadline());
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

#[test]
fn cache_observers_and_own_keys_are_true_whatever_happens() {
    seeds(600, |seed, loud| Simulation::new(seed, loud).run());
}
