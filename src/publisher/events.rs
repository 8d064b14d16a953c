//! What follows from what has happened to keys and canary.

use std::time::Instant;

use super::canary::Canary;
use super::{Closing, LEFT, PublishEvent, Publisher};
use crate::config::ConflictPolicy;
use crate::own::OwnEvent;
use crate::status::State;

impl Publisher {
    /// Takes in what has happened to keys and canary, and hands it on.
    pub(super) fn take_events(&mut self, now: Instant) {
        let (mut keys_lost, mut canary_lost) = (false, false);
        while let Some(event) = self.keys.poll_event() {
            match &event {
                OwnEvent::Stored { name, .. } => {
                    self.left_to_others.remove(name);
                    self.pending.end(name);
                }
                OwnEvent::SetAside { name, .. } | OwnEvent::StillSetAside { name } | OwnEvent::Lost { name } => {
                    self.pending.end(name);
                }
                OwnEvent::Conflict { name, lease, policy, .. } if *policy != ConflictPolicy::Overwrite => {
                    let cause = format!("name is owned by another, under lease {lease}");
                    self.left_to_others.insert(name.clone(), cause.into());
                    self.pending.end(name);
                }
                OwnEvent::LeaseLost { .. } => keys_lost = true,
                OwnEvent::Closed { left, .. } => {
                    let left = left.clone();
                    self.left(|closing| {
                        closing.left.extend(left);
                        &mut closing.keys
                    });
                    continue;
                }
                OwnEvent::Conflict { .. }
                | OwnEvent::Done { .. }
                | OwnEvent::Repaired { .. }
                | OwnEvent::Released { .. }
                | OwnEvent::NoLongerSetAside { .. }
                | OwnEvent::HistoryChanged
                | OwnEvent::BackendFailed(_) => {}
            }
            self.events.push_back(PublishEvent::Keys(event));
        }
        while let Some(event) = self.canary.as_mut().and_then(|canary| canary.own.poll_event()) {
            match &event {
                OwnEvent::Stored { revision, .. } => {
                    if let Some(canary) = &mut self.canary {
                        canary.written(*revision);
                    }
                }
                OwnEvent::LeaseLost { .. } => canary_lost = true,
                OwnEvent::Closed { left, .. } => {
                    let left = left.clone();
                    self.left(|closing| {
                        closing.left.extend(left);
                        &mut closing.canary
                    });
                    self.leave_keys(now);
                    continue;
                }
                OwnEvent::Conflict { .. }
                | OwnEvent::Done { .. }
                | OwnEvent::Repaired { .. }
                | OwnEvent::Released { .. }
                | OwnEvent::SetAside { .. }
                | OwnEvent::StillSetAside { .. }
                | OwnEvent::NoLongerSetAside { .. }
                | OwnEvent::Lost { .. }
                | OwnEvent::HistoryChanged
                | OwnEvent::BackendFailed(_) => {}
            }
            self.events.push_back(PublishEvent::Canary(event));
        }
        if canary_lost || keys_lost && self.keys.missing().next().is_some() {
            self.lost(now);
        }
        if self.canary.as_ref().is_none_or(Canary::is_written) {
            let (pending, events) = (&self.pending, &mut self.events);
            let past = self.waiting.extract_if(.., |(mark, _)| pending.is_past(*mark));
            events.extend(past.map(|(_, ticket)| PublishEvent::Synced { ticket }));
        }
    }

    /// A part of leaving is over.
    fn left(&mut self, part: impl FnOnce(&mut Closing) -> &mut bool) {
        let Some(closing) = &mut self.closing else { return };
        *part(closing) = true;
        if closing.keys && closing.canary {
            self.state = State::Closed { cause: LEFT.into() };
            self.events.push_back(PublishEvent::Closed { left: std::mem::take(&mut closing.left) });
        }
    }

    /// Another kvstore answers: everything is put into it.
    pub(super) fn new_history(&mut self, now: Instant) {
        self.keys.new_history(now);
        if let Some(canary) = &mut self.canary {
            canary.own.new_history(now);
        }
        self.lost(now);
    }

    /// Keys were deleted with their lease: the missing ones are waited for again.
    fn lost(&mut self, now: Instant) {
        for name in self.keys.missing() {
            self.pending.begin(name);
        }
        let mark = self.pending.mark();
        self.waiting.iter_mut().for_each(|(waits_for, _)| *waits_for = mark);
        if let Some(canary) = &mut self.canary {
            canary.take_back(now, mark);
        }
    }
}
