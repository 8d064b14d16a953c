//! A participant: a collaborator with a store, or a publisher. The watch and the handling of its outcomes are the same
//! for both.

use std::time::{Duration, Instant};

use super::item::Dice;
use super::link::Link;
use super::seeds::Trace;
use super::world::World;
use crate::config::Config;
use crate::key::KeyName;
use crate::kv::{LeaseId, Revision};
use crate::watch::{Action, Delivery, Outcome, Page};

/// How long an open watch may say nothing.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// What is around a machine.
pub(super) struct Shell {
    pub(super) config: Config,
    /// The names it may own.
    pub(super) names: Vec<KeyName>,
    pub(super) link: Link,
    /// The outcome of the watch's last action, not delivered yet.
    arriving: Option<Outcome>,
    /// A write has shown that the history went back; the watch has not been told.
    pub(super) told_history_changed: bool,
    /// The kvstore's history went back, and this watch has not noticed.
    pub(super) rollback_unnoticed: bool,
    pub(super) trace: Trace,
}

impl Shell {
    pub(super) fn new(config: Config, names: Vec<KeyName>, link: Link, trace: Trace) -> Self {
        Self { config, names, link, arriving: None, told_history_changed: false, rollback_unnoticed: false, trace }
    }

    pub(super) fn say(&self, words: impl FnOnce() -> String) {
        self.trace.say(words);
    }

    pub(super) fn name(&self, dice: &mut Dice) -> KeyName {
        self.names[dice.0.usize(..self.names.len())].clone()
    }

    /// The watch has begun anew: the outcome of its last action is dropped.
    pub(super) fn drop_arriving(&mut self) {
        self.arriving = None;
    }

    /// Whether the outcome of the watch's last action is not delivered yet.
    pub(super) fn is_hearing(&self) -> bool {
        self.arriving.is_some()
    }

    /// A new watch begins, without an outcome.
    pub(super) fn replace(&mut self, link: Link) {
        (self.link, self.arriving, self.told_history_changed) = (link, None, false);
    }

    /// What was delivered does not fit what the store shows: it is another history.
    pub(super) fn relist(&mut self) {
        self.link.watch.relist();
    }
}

pub(super) trait Party {
    fn shell(&self) -> &Shell;
    fn shell_mut(&mut self) -> &mut Shell;

    /// Takes what the watch delivers.
    fn take_delivery(&mut self, world: &World, delivery: Delivery, now: Instant);
    /// The owner wants something.
    fn command(&mut self, world: &World, dice: &mut Dice, now: Instant);
    /// A request reaches the kvstore, or does not.
    fn perform(&mut self, world: &mut World, dice: &mut Dice, now: Instant) -> bool;
    /// An answer comes back.
    fn answer(&mut self, world: &World, dice: &mut Dice, now: Instant) -> bool;
    /// Requests and answers under way are dropped.
    fn lose_requests(&mut self, world: &mut World, dice: &mut Dice, now: Instant);
    /// Another watch takes the place of the one that ended.
    fn lose_watch(&mut self, world: &World, dice: &mut Dice, now: Instant);
    /// The process ends and another begins.
    fn restart(&mut self, world: &mut World, dice: &mut Dice, now: Instant);
    /// Time passes.
    fn timeout(&mut self, world: &World, now: Instant);
    /// Nothing fails any more.
    fn heal(&mut self);

    /// The live leases.
    fn leases(&self) -> Vec<LeaseId>;
    /// The newest revision that the watch has told.
    fn watched(&self) -> Revision;
    /// The newest revision that it knows of.
    fn knows(&self) -> Revision;
    fn is_synced(&self) -> bool;
    /// Whether a request or an answer is on its way.
    fn has_requests(&self) -> bool;
    /// How many writes it has sent.
    fn writes(&self) -> u64;
    fn deadline(&self) -> Option<Instant>;

    // The watch.

    /// The watch performs an action, or gets the outcome of one.
    fn watch(&mut self, world: &World, dice: &mut Dice, now: &mut Instant) -> bool {
        if let Some(outcome) = self.shell_mut().arriving.take() {
            self.outcome(world, outcome, *now);
            return true;
        }
        let shell = self.shell_mut();
        shell.arriving = shell.link.perform(world, dice, now);
        shell.is_hearing()
    }

    /// The time of a read passes.
    fn watch_times_out(&mut self, now: &mut Instant) -> bool {
        let shell = self.shell_mut();
        shell.arriving = shell.arriving.take().or_else(|| shell.link.time_out(now));
        shell.is_hearing()
    }

    fn outcome(&mut self, world: &World, outcome: Outcome, now: Instant) {
        let shell = self.shell_mut();
        shell.say(|| format!("{:?} -> {outcome:?}", shell.link.watch.action()));
        let opened = matches!(outcome, Outcome::Opened(_));
        let next = shell.link.watch.handle(outcome);
        if opened && matches!(shell.link.watch.action(), Action::Read(_)) {
            shell.rollback_unnoticed = false;
        }
        self.deliver(world, next, now);
    }

    fn deliver(&mut self, world: &World, mut next: Option<Delivery>, now: Instant) {
        while let Some(delivery) = next {
            let watched = self.watched();
            let shell = self.shell_mut();
            shell.say(|| format!("    {delivery:?}"));
            if let Delivery::Page(Page { last: true, .. }) | Delivery::Began { .. } = &delivery {
                shell.rollback_unnoticed = false;
            }
            if delivery.is_of_another_history() {
                shell.told_history_changed = false;
            }
            if delivery == Delivery::Live {
                assert!(watched >= shell.link.named, "live before it has caught up");
            }
            self.take_delivery(world, delivery, now);
            next = self.shell_mut().link.watch.caught_up();
        }
        assert!(self.shell().link.watch.in_step().is_none() || self.is_synced(), "in step, and it does not say so");
    }

    /// Tells the watch that its history has changed.
    fn hear(&mut self, world: &World, now: Instant) -> bool {
        let shell = self.shell_mut();
        // A watch that lists or waits finds out by itself, and is told afterwards.
        let hears = shell.told_history_changed && shell.link.watch.in_step().is_some();
        if hears {
            (shell.told_history_changed, shell.arriving) = (false, None);
            let delivery = shell.link.watch.ended();
            self.deliver(world, delivery, now);
        }
        hears
    }

    /// Whether something is on its way.
    fn is_busy(&self) -> bool {
        self.shell().is_hearing() || self.shell().told_history_changed || self.has_requests()
    }
}
