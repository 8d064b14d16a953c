//! An open watch: what it delivers, and when it has caught up.

use std::time::Duration;

use super::{Delivery, Gap, REPLAY_LIMIT, State, Watch, other_cluster};
use crate::backend::{BackendError, Events};
use crate::kv::{ClusterId, Event, Header, Revision};

/// How long a watch that has to catch up may be silent, at least and at most; then a list proves that nothing was
/// missed. The time is random, so that watches cut at once do not list at once.
const CATCH_UP: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// A silent watch counts as working when it has been open for so long.
const SETTLED: Duration = Duration::from_secs(10);

/// How an open watch is.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What it has still to catch up with; `None` when caught up.
    pub(super) target: Option<Target>,
    /// Events of a revision whose last fragment has not come.
    partial: Vec<Event>,
    /// The newest revision it sent.
    seen: Revision,
    /// What a list beside it has delivered. Its member may not have got there.
    pub(super) listed: Revision,
    /// The stream has worked: there was a response, or it has been open long enough.
    proven: bool,
    /// How long it has been silent.
    quiet: Duration,
}

/// What an open watch has to catch up with.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) revision: Revision,
    /// How long the watch may say nothing meanwhile.
    pub(super) patience: Duration,
    pub(super) follows: Follows,
}

/// What the watch follows on. It says what silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// A list, which has proven that nothing was missed before the watch: nothing has happened since.
    List,
    /// An earlier watch: events may be missing.
    Watch,
}

impl Reading {
    pub(super) fn toward(target: Option<Target>) -> Self {
        Self { target, ..Self::default() }
    }

    /// How long the watch may say nothing now.
    pub(super) fn patience(&self, silence: Duration) -> Duration {
        match &self.target {
            Some(target) => target.patience.min(silence),
            None if self.proven => silence.saturating_sub(self.quiet),
            None => SETTLED.min(silence),
        }
    }
}

impl Watch {
    pub(super) fn opened(&mut self, header: Header, follows: Follows) -> Option<Delivery> {
        let delivered = self.delivered();
        if self.is_foreign(header) {
            return self.other_history(other_cluster(header.cluster));
        }
        let told = header.cluster != ClusterId::NOT_TOLD;
        if told && header.revision < delivered {
            return self.other_history(BackendError::FutureRevision);
        }
        let listed = follows == Follows::List;
        let ahead = if told { header.revision.0 - delivered.0 } else { 0 };
        if !listed && (!told || ahead > REPLAY_LIMIT) {
            // Replaying is slower than a list, or the size of the replay is unknown.
            self.relist_soon();
            return None;
        }
        // Writes between a list and its watch are no reason to list again: in a busy kvstore there are always some. Up
        // to the limit they arrive within half a second, as in any open watch.
        let behind = if listed { ahead > REPLAY_LIMIT } else { ahead > 0 };
        let patience = self.draw(CATCH_UP);
        let target = behind.then_some(Target { revision: header.revision, patience, follows });
        let live = target.is_none();
        if !listed {
            self.add_gap(Gap::After(delivered));
        }
        self.state = State::Reading(Reading::toward(target));
        live.then_some(Delivery::Live)
    }

    pub(super) fn events(&mut self, mut reading: Reading, response: Events) -> Option<Delivery> {
        self.proven(&mut reading);
        if self.is_foreign(response.header) {
            return self.other_history(other_cluster(response.header.cluster));
        }
        self.look_for_gaps(&mut reading, &response);
        let cursor = self.cursor();
        let mut events = std::mem::take(&mut reading.partial);
        events.extend(response.events.into_iter().filter(|event| event.revision() >= cursor));
        if !response.complete {
            let last = events.last().map(Event::revision);
            let whole = events.iter().position(|event| Some(event.revision()) == last).unwrap_or(events.len());
            reading.partial = events.split_off(whole);
        }
        if let (Some(last), Some(history)) = (events.last(), &mut self.history) {
            history.revision = last.revision();
        }
        self.state = State::Reading(reading);
        (!events.is_empty()).then_some(Delivery::Events(events))
    }

    /// etcd sends each revision by itself as long as a watch keeps up. Several revisions at once, or one that is not
    /// the newest, show that the watch has fallen behind; a revision from before the last response shows that the
    /// stream went back.
    fn look_for_gaps(&mut self, reading: &mut Reading, response: &Events) {
        let (Some(first), Some(last)) = (response.events.first(), response.events.last()) else { return };
        let (first, last) = (first.revision(), last.revision());
        if first < reading.seen {
            self.add_gap(Gap::Strong);
        } else if reading.target.is_none() && (first < last || last < response.header.revision) {
            self.add_gap(Gap::After(self.delivered()));
        }
        reading.seen = reading.seen.max(last);
    }

    pub(super) fn progress(&mut self, mut reading: Reading, header: Header) -> Option<Delivery> {
        self.proven(&mut reading);
        let delivered = self.delivered();
        if self.is_foreign(header) {
            return self.other_history(other_cluster(header.cluster));
        }
        if header.cluster == ClusterId::NOT_TOLD {
            // This shows only that the stream is alive.
            self.state = State::Reading(reading);
            return None;
        }
        if header.revision < reading.listed {
            // The answer was on its way, or this member lags behind the one that answered the list.
            self.state = State::Reading(reading);
            return None;
        }
        if header.revision < delivered {
            return self.other_history(BackendError::FutureRevision);
        }
        if !reading.partial.is_empty() {
            return self.watch_failed(BackendError::unavailable("watch reported progress inside a revision"));
        }
        self.state = State::Reading(reading);
        if let Some(history) = &mut self.history {
            history.revision = header.revision;
        }
        Some(Delivery::Progress(header.revision))
    }

    /// It has said nothing for as long as [`Reading::patience`] lets it.
    pub(super) fn silent(&mut self, mut reading: Reading) -> Option<Delivery> {
        match &reading.target {
            Some(Target { follows: Follows::Watch, .. }) => {
                self.relist_changes();
                None
            }
            Some(Target { follows: Follows::List, .. }) => {
                reading.target = None;
                self.state = State::Reading(reading);
                Some(Delivery::Live)
            }
            None => {
                let quiet = reading.quiet + reading.patience(self.silence);
                if quiet >= self.silence {
                    let seconds = self.silence.as_secs();
                    return self
                        .watch_failed(BackendError::unavailable(format_args!("watch said nothing for {seconds} s")));
                }
                self.proven(&mut reading);
                reading.quiet = quiet;
                self.state = State::Reading(reading);
                None
            }
        }
    }

    /// The stream has worked: the next failure counts as the first one.
    fn proven(&mut self, reading: &mut Reading) {
        reading.proven = true;
        reading.quiet = Duration::ZERO;
        self.backoff.reset();
        self.compactions.reset();
    }

    /// [`Delivery::Live`] if the resumed watch has just caught up; returned once. The shell asks after each delivery.
    #[must_use]
    pub fn caught_up(&mut self) -> Option<Delivery> {
        let delivered = self.delivered();
        match &mut self.state {
            State::Reading(reading) if reading.target.as_ref().is_some_and(|target| delivered >= target.revision) => {
                reading.target = None;
                Some(Delivery::Live)
            }
            State::Reading(_)
            | State::Listing(_)
            | State::FindingStart(_)
            | State::OpeningFirst(..)
            | State::Opening { .. }
            | State::Waiting { .. } => None,
        }
    }
}
