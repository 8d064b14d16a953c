//! Reads that wait until the cache shows all that was acknowledged before, with a slow network between them and the
//! kvstore.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::member::Member;
use super::party::Party;
use super::world::World;
use crate::backend::{BackendError, ListPage, ListRequest};
use crate::kv::Revision;
use crate::watch::{Answered, Needed, Reached, ReadIndex, Reads, Watch};

/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(1_000_000);

/// The read index of a member, its request, and the reads that wait.
pub(super) struct Reading {
    index: ReadIndex,
    request: Option<ListRequest>,
    /// What the kvstore has answered, and has not arrived.
    answer: Option<Result<ListPage, BackendError>>,
    last: u64,
    waiting: VecDeque<Waiting>,
    /// Of its own, so that what it draws does not change the rest of a run.
    random: fastrand::Rng,
}

struct Waiting {
    number: u64,
    /// The step in which it was asked for.
    since: u64,
    /// What the kvstore had acknowledged by then.
    acknowledged: Revision,
}

impl Reading {
    pub(super) fn new(watch: &Watch, seed: u64) -> Self {
        let (waiting, random) = (VecDeque::new(), fastrand::Rng::with_seed(seed));
        Self { index: watch.read_index(), request: None, answer: None, last: 0, waiting, random }
    }

    /// A process that has just begun has no reads.
    pub(super) fn of_next_process(&mut self, watch: &Watch) -> Self {
        Self::new(watch, self.random.u64(..))
    }

    /// Another watch feeds the cache: what waits is asked for again.
    pub(super) fn follow(&mut self, watch: &Watch, now: Instant) {
        (self.index, self.request, self.answer) = (watch.read_index(), None, None);
        if !self.waiting.is_empty() {
            self.index.wait(Reads { last: self.last, until: now + PATIENCE });
        }
    }

    fn ask(&mut self, world: &World, now: Instant) {
        self.last += 1;
        let acknowledged = world.revision();
        self.waiting.push_back(Waiting { number: self.last, since: world.steps, acknowledged });
        self.index.wait(Reads { last: self.last, until: now + PATIENCE });
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.index.deadline()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Member {
    /// A read begins, or one under way goes on.
    pub(super) fn read(&mut self, world: &World, now: Instant) {
        if self.reading.random.u8(..12) == 0 {
            self.say(|| "read".into());
            self.reading.ask(world, now);
        }
        if self.reading.random.bool() {
            self.read_on(world, now);
        }
    }

    /// A request for reads is made, reaches the kvstore or is answered, or the watch does something for them.
    pub(super) fn read_on(&mut self, world: &World, now: Instant) -> bool {
        let reading = &mut self.reading;
        if let Some(answer) = reading.answer.take() {
            let other_history = reading.index.answer(now, answer);
            self.check_reads(world);
            if let Some(error) = other_history {
                self.say(|| format!("a read finds that {error}"));
                self.shell.drop_arriving();
                let delivery = self.shell.link.watch.history_changed(error);
                self.deliver(world, delivery, now);
            }
            return true;
        }
        if let Some(request) = reading.request.take() {
            let fails = self.shell.link.faults > 0 && reading.random.u8(..10) == 0;
            let cut = || BackendError::unavailable("cut");
            reading.answer = Some(if fails { Err(cut()) } else { world.mvcc.list(&request) });
            return true;
        }
        let needed = reading.index.poll(now, self.shell.link.watch.in_step());
        match needed {
            None => return false,
            Some(Needed::Ask(request)) => self.reading.request = Some(request),
            Some(Needed::Progress) => {
                if !self.shell.link.request_progress() {
                    self.reading.index.without_progress(now);
                }
            }
            Some(Needed::List) => {
                self.say(|| "a read lists".into());
                self.shell.drop_arriving();
                self.shell.link.watch.refresh();
            }
            Some(Needed::Ended) => {
                self.say(|| "a read finds that the history has ended".into());
                self.shell.drop_arriving();
                let delivery = self.shell.link.watch.ended();
                self.deliver(world, delivery, now);
            }
        }
        true
    }

    /// The cache shows what was delivered.
    pub(super) fn reached(&mut self, world: &World, now: Instant, reached: Reached) {
        let reading = &mut self.reading;
        reading.index.reached(now, reached);
        if !reading.index.is_asking() {
            (reading.request, reading.answer) = (None, None);
        }
        self.check_reads(world);
    }

    /// What is answered shows all that was acknowledged before it was asked for, unless that history has ended.
    fn check_reads(&mut self, world: &World) {
        while let Some(Answered { last, result }) = self.reading.index.poll_answered() {
            let revision = result.expect("the kvstore refuses nothing");
            self.say(|| format!("reads up to {last}: {revision}"));
            let answered = self.reading.waiting.partition_point(|waiting| waiting.number <= last);
            for Waiting { acknowledged, since, .. } in self.reading.waiting.drain(..answered) {
                if !world.went_back_since(since) {
                    let shown = self.model.revision;
                    assert!(revision >= acknowledged && shown >= revision, "{acknowledged} {revision} {shown}");
                    if let Some(truth) = world.truth_at(shown) {
                        assert_eq!(self.model.raw, truth, "what is read");
                    }
                }
            }
        }
    }
}
