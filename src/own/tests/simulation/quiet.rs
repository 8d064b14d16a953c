//! What must be true once nothing happens any more.

use std::collections::BTreeSet;

use super::*;

impl Sim {
    /// No more faults: everything under way ends, everything is seen, and time passes.
    pub(super) fn settle(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for _ in 0..1000 {
                let mut quiet = true;
                for who in 0..self.owners.len() {
                    self.poll(who);
                    quiet &= self.owners[who].flights.is_empty();
                    for (id, request) in std::mem::take(&mut self.owners[who].flights) {
                        self.reply(who, id, request, u8::MAX);
                    }
                    quiet &= self.owners[who].seen == self.kv.header().revision;
                    self.observe(who, usize::MAX);
                }
                if quiet {
                    break;
                }
            }
            let deadlines = self.owners.iter().filter_map(|owner| owner.sync.deadline());
            let next = deadlines.chain(self.kv.next_expiry()).min().filter(|next| *next <= end).unwrap_or(end);
            assert!(next > self.now || next == end, "a deadline that does not move on");
            self.now = next.max(self.now);
            self.kv.expire(self.now);
            if self.now >= end {
                return;
            }
        }
    }

    pub(super) fn check(&self) {
        for (who, owner) in self.owners.iter().enumerate() {
            let stats = owner.sync.stats();
            assert_eq!(stats.pending, 0, "owner {who} is not done");
            assert!(owner.tickets.is_empty(), "tickets never answered: {:?}", owner.tickets);
            for (name, want) in &owner.wants {
                if stats.set_aside.iter().any(|(aside, _)| aside == name) {
                    continue;
                }
                let is = self.at(&prefix().path(name));
                let ours = is.as_ref().is_some_and(|kv| owner.leases.contains(&kv.lease));
                let Some(want) = want else {
                    assert!(!ours, "{name} was given up by {who} and is there");
                    continue;
                };
                let is = is.unwrap_or_else(|| panic!("{name} of {who} is not there"));
                let theirs = is.lease != LeaseId::NONE && !ours;
                if theirs && is.value != want {
                    assert_ne!(owner.policy, ConflictPolicy::Overwrite, "{name} of {who} was left to another");
                } else {
                    assert_eq!(is.value, want, "{name} of {who} has the wrong value");
                    assert_ne!(is.lease, LeaseId::NONE, "{name} of {who} would outlive its owner");
                }
            }
        }
    }

    /// Close deletes what is ours and nothing else.
    pub(super) fn leave(&mut self) {
        // Without a lease it may be an own key that a stranger has written.
        let others = |sim: &Self, leases: &BTreeSet<LeaseId>| {
            let mut kvs = sim.kv.list(&ListRequest::new(prefix().range())).unwrap().kvs;
            kvs.retain(|kv| !leases.contains(&kv.lease) && kv.lease != LeaseId::NONE);
            kvs
        };
        let leases = self.owners[0].leases.clone();
        let before = others(self, &leases);
        self.owners[0].sync.command(self.now, Command::Close { ticket: Ticket(0) });
        for _ in 0..100 {
            let now = self.now;
            for (id, request) in std::iter::from_fn(|| self.owners[0].sync.poll_request(now)).collect::<Vec<_>>() {
                self.reply(0, id, request, u8::MAX);
            }
        }
        let kvs = self.kv.list(&ListRequest::new(prefix().range())).unwrap().kvs;
        assert!(!kvs.iter().any(|kv| leases.contains(&kv.lease)), "close deletes own keys: {kvs:?}");
        assert_eq!(others(self, &leases), before, "close deletes no others");
        assert_eq!(self.owners[0].sync.deadline(), None);
    }
}
