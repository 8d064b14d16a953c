//! An open watch: what it delivers, and when it has caught up.

use super::{Delivery, REPLAY_LIMIT, Reading, State, Watch, other_cluster};
use crate::backend::{BackendError, Events};
use crate::kv::{Event, Header, Revision};

impl Watch {
    pub(super) fn opened(&mut self, header: Header, listed: bool) -> Option<Delivery> {
        let delivered = self.history.map_or(Revision::ZERO, |history| history.revision);
        if self.foreign(header) {
            return self.other_history(other_cluster(header.cluster));
        }
        if header.revision < delivered {
            return self.other_history(BackendError::FutureRevision);
        }
        // What others write between a list and its watch is no reason to list again: in a busy kvstore there is always some.
        if !listed && header.revision.0 - delivered.0 > REPLAY_LIMIT {
            self.relist_changes();
            return None;
        }
        self.backoff.reset();
        let target = (!listed && header.revision > delivered).then_some(header.revision);
        self.state = State::Reading(Reading { target, partial: Vec::new() });
        target.is_none().then_some(Delivery::Live)
    }

    pub(super) fn events(&mut self, mut reading: Reading, response: Events) -> Option<Delivery> {
        self.backoff.reset();
        if self.foreign(response.header) {
            return self.other_history(other_cluster(response.header.cluster));
        }
        let cursor = self.cursor();
        let mut events = std::mem::take(&mut reading.partial);
        events.extend(response.events.into_iter().filter(|event| event.revision() >= cursor));
        if !response.complete {
            let last = events.last().map(Event::revision);
            let whole = events.iter().position(|event| Some(event.revision()) == last).unwrap_or(events.len());
            reading.partial = events.split_off(whole);
        }
        self.before = self.history;
        if let (Some(last), Some(history)) = (events.last(), &mut self.history) {
            history.revision = last.revision();
        }
        self.state = State::Reading(reading);
        (!events.is_empty()).then_some(Delivery::Events(events))
    }

    pub(super) fn progress(&mut self, mut reading: Reading, header: Header) -> Option<Delivery> {
        self.backoff.reset();
        let delivered = self.history.map_or(Revision::ZERO, |history| history.revision);
        if self.foreign(header) {
            return self.other_history(other_cluster(header.cluster));
        }
        if header.revision < delivered {
            return self.other_history(BackendError::FutureRevision);
        }
        if !reading.partial.is_empty() {
            return self.watch_failed(BackendError::unavailable("watch reported progress inside a revision"));
        }
        reading.target = reading.target.filter(|target| *target > header.revision);
        self.state = State::Reading(reading);
        if let Some(history) = &mut self.history {
            history.revision = header.revision;
        }
        Some(Delivery::Progress(header.revision))
    }

    /// Whether the resumed watch has just caught up: asked by the shell after each delivery, said once.
    #[must_use]
    pub fn caught_up(&mut self) -> Option<Delivery> {
        let delivered = self.history.map_or(Revision::ZERO, |history| history.revision);
        match &mut self.state {
            State::Reading(reading) if reading.target.is_some_and(|target| delivered >= target) => {
                reading.target = None;
                Some(Delivery::Live)
            }
            State::Reading(_) | State::Listing(_) | State::Opening { .. } | State::Waiting { .. } => None,
        }
    }
}
