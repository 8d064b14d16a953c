//! The shell of a watch, with a bad network between it and the kvstore.

use std::time::Instant;

use super::item::Dice;
use super::world::World;
use crate::backend::{BackendError, Events, ListRequest, WatchResponse};
use crate::kv::{Event, Header, Revision};
use crate::watch::{Action, Outcome, Watch};

/// A watch and what it has open.
pub(super) struct Link {
    pub(super) watch: Watch,
    stream: Option<Stream>,
    /// The revision the kvstore named when the watch opened, or in the list just before.
    pub(super) named: Revision,
    /// The last answer was a list.
    listed: bool,
    /// One request in so many fails; 0 for none.
    pub(super) faults: u32,
    /// No page is larger.
    page: usize,
    /// Whether the watch can be asked for its progress.
    progresses: bool,
}

struct Stream {
    next: Revision,
    /// The other fragments of a response.
    rest: Vec<Event>,
    /// It never answers again, but its connection stays open.
    mute: bool,
    broken: bool,
    /// It was asked for its progress.
    asked: bool,
}

impl Link {
    pub(super) fn new(watch: Watch, dice: &mut Dice) -> Self {
        let (faults, page) = (dice.of(&[0, 6, 12, 30]), dice.of(&[1, 2, 3, 1000]));
        // Draws nothing.
        let progresses = faults != 12;
        Self { watch, stream: None, named: Revision::ZERO, listed: false, faults, page, progresses }
    }

    /// The connections end, as when the kvstore restarts. Some only fall silent.
    pub(super) fn cut(&mut self, dice: &mut Dice) {
        if let Some(stream) = &mut self.stream {
            let silent = dice.one_in(2) && stream.rest.is_empty();
            (stream.mute, stream.broken) = (silent, !silent);
        }
    }

    /// Whether only time can tell that nothing comes.
    pub(super) fn is_mute(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.mute)
    }

    /// Asks the watch for its progress, if it can be asked.
    pub(super) fn request_progress(&mut self) -> bool {
        self.stream.iter_mut().for_each(|stream| stream.asked = self.progresses);
        self.progresses
    }

    /// Performs the action, or leaves it for later.
    pub(super) fn perform(&mut self, world: &World, dice: &mut Dice, now: &mut Instant) -> Option<Outcome> {
        let cut = || Some(Outcome::Failed(BackendError::unavailable("cut")));
        let fails = dice.one_in(self.faults);
        let listed = std::mem::take(&mut self.listed);
        match self.watch.action() {
            Action::Wait(delay) => {
                self.stream = None;
                *now += delay;
                Some(Outcome::Waited)
            }
            Action::List(_) | Action::Open(_) if fails => cut(),
            Action::List(request) => {
                let limit = request.limit.min(self.page);
                let answer = world.mvcc.list(&ListRequest { limit, ..request });
                if let Ok(page) = &answer {
                    (self.named, self.listed) = (request.revision.unwrap_or(page.header.revision), true);
                }
                Some(answer.map_or_else(Outcome::Failed, Outcome::Listed))
            }
            Action::Open(request) => {
                let compacted = world.mvcc.events_since(&request.range, request.start, 1).err();
                if let Some(error) = compacted.filter(|_| dice.one_in(2)) {
                    return Some(Outcome::Failed(error));
                }
                let mute = dice.one_in(self.faults);
                self.stream = Some(Stream { next: request.start, rest: Vec::new(), mute, broken: false, asked: false });
                let mut header = world.mvcc.header();
                if dice.one_in(self.faults) {
                    // A member that lags.
                    header.revision.0 = header.revision.0.saturating_sub(dice.0.u64(..4));
                }
                if !listed {
                    self.named = header.revision;
                }
                Some(Outcome::Opened(header))
            }
            Action::Read(silence) => {
                let Some(stream) = &mut self.stream else { return cut() };
                if fails || stream.broken {
                    self.stream = None;
                    return cut();
                }
                let header = world.mvcc.header();
                let answer = if stream.mute { Ok(None) } else { stream.read(world, dice) };
                if matches!(answer, Ok(None)) && stream.tells_progress(header) {
                    return Some(Outcome::Read(WatchResponse::Progress(header)));
                }
                // A kvstore that went back may report its revision, even if it sends no event.
                let talks = !stream.mute || stream.next > header.revision.next();
                match answer {
                    Ok(Some(response)) => Some(Outcome::Read(response)),
                    Ok(None) if talks && dice.one_in(8) => Some(Outcome::Read(WatchResponse::Progress(header))),
                    Ok(None) if dice.one_in(4) => self.silent(now, silence),
                    Ok(None) => None,
                    Err(error) => {
                        self.stream = None;
                        Some(Outcome::Failed(error))
                    }
                }
            }
        }
    }

    /// The time of a read passes and nothing comes.
    pub(super) fn time_out(&self, now: &mut Instant) -> Option<Outcome> {
        match self.watch.action() {
            Action::Read(silence) => self.silent(now, silence),
            Action::List(_) | Action::Open(_) | Action::Wait(_) => None,
        }
    }

    fn silent(&self, now: &mut Instant, silence: std::time::Duration) -> Option<Outcome> {
        *now += silence;
        Some(Outcome::Silent)
    }
}

impl Stream {
    /// Whether it answers a request for its progress now. As etcd's, it does not if it begins in the future.
    fn tells_progress(&mut self, header: Header) -> bool {
        !self.mute && self.next <= header.revision.next() && std::mem::take(&mut self.asked)
    }

    fn read(&mut self, world: &World, dice: &mut Dice) -> Result<Option<WatchResponse>, BackendError> {
        let header = world.mvcc.header();
        let mut events = std::mem::take(&mut self.rest);
        if events.is_empty() {
            let most = dice.of(&[1, 2, 3, 1000]);
            (events, self.next) = world.mvcc.events_since(&world.prefix.range(), self.next, most)?;
        }
        if events.is_empty() {
            return Ok(None);
        }
        if dice.one_in(3) {
            let inside = |n: &usize| events[n - 1].revision() == events[*n].revision();
            let cuts: Vec<_> = (1..events.len()).filter(inside).collect();
            if !cuts.is_empty() {
                self.rest = events.split_off(dice.of(&cuts));
            }
        }
        let complete = self.rest.is_empty();
        Ok(Some(WatchResponse::Events(Events { header, events, complete })))
    }
}
