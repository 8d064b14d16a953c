//! The shell of an audit, with a slow network between it and the kvstore.

use std::time::{Duration, Instant};

use super::item::Dice;
use super::member::Member;
use super::party::Party;
use super::world::World;
use crate::audit::{Audit, Found};
use crate::backend::{BackendError, ListRequest};
use crate::kv::Header;
use crate::prefix::Prefix;
use crate::watch::Delivery;

/// An audit and the request it waits for.
pub(super) struct Auditor {
    pub(super) audit: Audit,
    request: Option<ListRequest>,
    page: usize,
}

impl Auditor {
    pub(super) fn new(prefix: &Prefix, seed: u64, dice: &mut Dice) -> Self {
        let (interval, page) = (Duration::from_secs(dice.of(&[0, 10, 100])), dice.of(&[1, 2, 1000]));
        Self { audit: Audit::new(prefix.range(), interval, seed), request: None, page }
    }

    pub(super) fn ask(&mut self) {
        self.audit.ask();
        self.request = None;
    }

    /// Sends the next request, or brings the answer of the one under way.
    pub(super) fn perform(&mut self, world: &World, in_step: Option<Header>, dice: &mut Dice, now: Instant) -> Found {
        let Some(request) = self.request.take() else {
            self.request = self.audit.poll_request(now, in_step);
            return Found::Nothing;
        };
        let limit = request.limit.min(self.page);
        let answer = if dice.one_in(10) {
            Err(BackendError::unavailable("cut"))
        } else {
            world.mvcc.list(&ListRequest { limit, ..request })
        };
        self.audit.answer(now, answer)
    }
}

impl Member {
    /// Compares a part of the cache with the kvstore: nothing is ever lost, so nothing may be found.
    pub(super) fn audit(&mut self, world: &World, dice: &mut Dice, now: Instant) {
        if dice.one_in(4) {
            self.auditor.ask();
        }
        let in_step = self.shell.link.watch.in_step();
        match self.auditor.perform(world, in_step, dice, now) {
            Found::Nothing => {}
            Found::Compacted if in_step.is_some() => {
                // It lists now, and an outcome under way is dropped.
                self.shell.drop_arriving();
                self.shell.link.watch.refresh();
            }
            Found::Compacted => {}
            Found::Part(part) => {
                self.say(|| format!("{part:?}"));
                self.store.deliver(now, Delivery::Audited(part)).expect("nothing was lost");
                if let Some(report) = self.store.poll_audit() {
                    assert_eq!(report.unexplained().count(), 0, "{report:?}");
                }
            }
            Found::OtherHistory(error) => {
                self.shell.drop_arriving();
                let broken = self.shell.link.watch.history_changed(error);
                self.deliver(world, broken, now);
            }
        }
    }
}
