//! List, watch, resume, relist: which revision to go on from after which answer.

mod compactions;
mod from_now;
mod history;
mod listing;
mod page_limit;
mod proof;
mod read_index;
mod reading;
#[cfg(test)]
mod tests;
mod types;

use std::time::Duration;

use crate::backend::{BackendError, ListPage, WatchRequest, WatchResponse};
use crate::backoff::Backoff;
use crate::clock::bounded;
use crate::kv::{ClusterId, Header, KeyRange, Revision};

use self::compactions::Compactions;
use self::from_now::Lists;
use self::history::History;
use self::listing::Listing;
pub(crate) use self::page_limit::PageLimit;
pub use self::proof::{Check, Gap, Proof};
pub use self::read_index::{Answered, Needed, Reached, ReadIndex, Reads};
use self::reading::{Follows, Reading};
pub use self::types::{Action, AuditKind, AuditPart, Delivery, Outcome, Page, PageKeys, Resume};

/// Watches that have to list at the same time spread their lists over this time.
const SPREAD: [Duration; 2] = [Duration::ZERO, Duration::from_secs(1)];
/// Missing more revisions than this, a relist is faster than etcd's catch-up (about 1000 revisions per 100 ms).
const REPLAY_LIMIT: u64 = 5000;

/// Keeps a consumer in step with a range of keys. A pure machine: no I/O, no clock.
///
/// The shell performs [`action`](Self::action), feeds what came of it to [`handle`](Self::handle), passes on the
/// [`Delivery`] that comes back, and asks again. Exactly one action is outstanding at any time.
///
/// # Invariants
/// 1. The cursor moves past a revision only when its last event was delivered: it resumes at the last *event's*
///    revision + 1, never at the header's, which a cut catch-up batch runs ahead of.
/// 2. A revision is delivered whole: fragments are held back until complete, and dropped if the stream breaks.
/// 3. Nothing is delivered twice: events before the cursor are dropped.
/// 4. All pages of one list show one revision; if that cannot be, the list starts anew with `first`.
/// 5. History that was compacted, went backwards or belongs to another cluster means a relist, never a resume.
/// 6. [`Delivery::Live`] is said only when everything up to a revision the kvstore named after the last break has been
///    delivered: by an event, by a progress notification or by a relist.
/// 7. Every failure waits (with jitter) before the next request, and is told as [`Delivery::Broken`].
#[derive(Debug)]
pub struct Watch {
    range: KeyRange,
    silence: Duration,
    seed: u64,
    backoff: Backoff,
    rng: fastrand::Rng,
    /// The history that everything delivered belongs to, once a list was complete.
    history: Option<History>,
    lists: Lists,
    /// The revision of an unfinished list: the kvstore has reached it.
    begun: Option<Revision>,
    compactions: Compactions,
    /// A gap since the last list, until the shell takes it.
    gap: Option<Gap>,
    state: State,
}

#[derive(Debug)]
enum State {
    Listing(Listing),
    /// Asks where to open a watch before this list.
    FindingStart(Listing),
    /// Opens a watch from this revision on before this list.
    OpeningFirst(Revision, Listing),
    Opening(Follows),
    Reading(Reading),
    Waiting {
        delay: Duration,
        /// The list that comes then; `None` if the watch is opened.
        then: Option<Listing>,
    },
}

impl Watch {
    /// A watch that has seen nothing. `silence` is how long an open watch may say nothing.
    #[must_use]
    pub fn new(range: KeyRange, silence: Duration, seed: u64) -> Self {
        Self {
            state: State::Listing(Listing::full(&range)),
            range,
            silence: bounded(silence),
            seed,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed),
            rng: fastrand::Rng::with_seed(seed),
            history: None,
            lists: Lists::Values,
            begun: None,
            compactions: Compactions::default(),
            gap: None,
        }
    }

    /// A watch that goes on where an earlier one, perhaps of another process, has left off: it lists what changed since.
    #[must_use]
    pub fn resume(range: KeyRange, silence: Duration, seed: u64, resume: Resume) -> Self {
        let mut watch = Self::new(range, silence, seed);
        watch.history = Some(History { cluster: resume.cluster, revision: resume.revision });
        if let Some(since) = resume.since {
            watch.state = State::Listing(Listing::changes(&watch.range, since));
        }
        watch
    }

    /// What to do now. Asking twice gives the same answer.
    #[must_use]
    pub fn action(&self) -> Action {
        match &self.state {
            State::Listing(listing) => Action::List(listing.request()),
            State::FindingStart(_) => Action::List(Listing::now(&self.range).request()),
            State::OpeningFirst(start, _) => Action::Open(WatchRequest { range: self.range.clone(), start: *start }),
            State::Opening { .. } => Action::Open(WatchRequest { range: self.range.clone(), start: self.cursor() }),
            State::Reading(reading) => Action::Read(reading.patience(self.silence)),
            State::Waiting { delay, .. } => Action::Wait(*delay),
        }
    }

    /// Starts a full list: the consumer found that its state does not fit. Drop what is open and ask for the action.
    ///
    /// Within one history nothing is lost. So the history is another one, which may have been set back and then have
    /// overtaken the known one while nobody looked. The list is delivered as one of another history.
    pub fn relist(&mut self) {
        self.history = self.history.map(History::ended);
        self.state = State::Listing(self.whole());
    }

    /// Something other than this watch found that the kvstore's history is another: a full list finds out. Drop what
    /// is open and ask for the action.
    #[must_use]
    pub fn history_changed(&mut self, error: BackendError) -> Option<Delivery> {
        self.other_history(error)
    }

    /// Lists what changed while the watch goes on, if nothing else is under way: somebody needs a newer revision than
    /// the last one delivered, or a [`Proof`] found that something may be lost. Ask for the action.
    pub fn refresh(&mut self) {
        if self.in_step().is_some() {
            self.state = State::Listing(self.compactions.beside(self.changes(), self.cursor()));
        }
    }

    /// A proof for this watch.
    #[must_use]
    pub fn proof(&self) -> Proof {
        Proof::new(self.range.clone(), self.seed)
    }

    /// The read index of what this watch delivers.
    #[must_use]
    pub fn read_index(&self) -> ReadIndex {
        ReadIndex::new(&self.range, self.seed)
    }

    /// The reason why events may be lost although the kvstore reports none as missing, for a [`Proof`]. Returned once.
    #[must_use]
    pub fn take_gap(&mut self) -> Option<Gap> {
        self.in_step().and_then(|_| self.gap.take())
    }

    /// The shell found that since it had delivered this revision it has read more slowly than the kvstore writes.
    pub fn fell_behind(&mut self, since: Revision) {
        self.add_gap(Gap::After(since));
    }

    fn add_gap(&mut self, gap: Gap) {
        self.gap = Some(self.gap.map_or(gap, |old| old.and(gap)));
    }

    /// The cluster and the revision up to which everything is delivered, while the watch is open and nothing is missing.
    #[must_use]
    pub fn in_step(&self) -> Option<Header> {
        match (&self.state, self.history) {
            (State::Reading(Reading { target: None, .. }), Some(History { cluster, revision })) => {
                Some(Header { cluster, revision })
            }
            (
                State::Reading(_)
                | State::Listing(_)
                | State::FindingStart(_)
                | State::OpeningFirst(..)
                | State::Opening { .. }
                | State::Waiting { .. },
                _,
            ) => None,
        }
    }

    /// Takes what came of the last action.
    #[must_use]
    pub fn handle(&mut self, outcome: Outcome) -> Option<Delivery> {
        let state = std::mem::replace(&mut self.state, State::Opening(Follows::Watch));
        match (state, outcome) {
            (State::Listing(listing), Outcome::Listed(page)) => self.listed(listing, page),
            (State::Listing(listing), Outcome::Failed(error)) => self.list_failed(listing, error),
            (State::Opening(follows), Outcome::Opened(header)) => self.opened(header, follows),
            (State::Reading(reading), Outcome::Read(WatchResponse::Events(events))) => self.events(reading, events),
            (State::Reading(reading), Outcome::Read(WatchResponse::Progress(header))) => self.progress(reading, header),
            (State::Reading(reading), Outcome::Silent) => self.silent(reading),
            (State::Opening(Follows::List), Outcome::Failed(error)) if needs_list(&error) => {
                self.compactions.overtaken();
                self.wait(Some(self.changes()), error)
            }
            (State::FindingStart(listing), Outcome::Listed(page)) => {
                self.state = State::OpeningFirst(page.header.revision.next(), listing);
                None
            }
            (State::OpeningFirst(start, listing), Outcome::Opened(_)) => {
                self.state = State::Listing(listing.beside(start));
                None
            }
            (State::FindingStart(listing) | State::OpeningFirst(_, listing), Outcome::Failed(error)) => {
                self.wait(Some(listing), error)
            }
            (State::Opening { .. } | State::Reading(_), Outcome::Failed(error)) => self.watch_failed(error),
            (State::Waiting { then: Some(listing), .. }, Outcome::Waited) => {
                self.state = self.begin(listing);
                None
            }
            (State::Waiting { then: None, .. }, Outcome::Waited) => None,
            (state, outcome) => {
                debug_assert!(false, "{outcome:?} does not answer {state:?}");
                self.relist();
                None
            }
        }
    }

    /// Everything up to this revision is delivered.
    fn delivered(&self) -> Revision {
        self.history.map_or(Revision::ZERO, |history| history.revision)
    }

    /// The first revision not yet delivered.
    fn cursor(&self) -> Revision {
        self.delivered().next()
    }

    fn listed(&mut self, mut listing: Listing, page: ListPage) -> Option<Delivery> {
        let answered = page.header.cluster;
        let Some(mut page) = listing.take(page) else {
            return self.other_history(other_cluster(answered));
        };
        let cluster = listing.cluster().or(self.history.map(|history| history.cluster).unwrap_or_default());
        page.cluster = cluster;
        page.same_history = self.begun.is_none_or(|begun| begun <= page.revision)
            && self
                .history
                .is_none_or(|history| !history.cluster.differs(cluster) && history.revision <= page.revision);
        if !page.same_history && listing.is_partial() {
            self.state = State::Listing(match self.lists {
                Lists::Values => Listing::full(&self.range),
                Lists::Names => Listing::now(&self.range),
            });
            return None;
        }
        if listing.is_now() {
            return self.began(cluster, &page);
        }
        self.begun = (!page.last).then_some(self.begun.map_or(page.revision, |begun| begun.max(page.revision)));
        if page.last {
            self.history = Some(History { cluster, revision: page.revision });
            self.compactions.listed(&listing);
            self.state = self.after_list(&listing);
            self.gap = None;
        } else {
            self.state = State::Listing(listing);
        }
        Some(Delivery::Page(page))
    }

    fn list_failed(&mut self, listing: Listing, error: BackendError) -> Option<Delivery> {
        let then = match error {
            // The pinned revision is gone: begin again at a new one.
            BackendError::Compacted { .. } => {
                self.compactions.listed(&listing);
                self.compactions.overtaken();
                self.compactions.sized(listing.anew(&self.range))
            }
            BackendError::FutureRevision => self.whole(),
            BackendError::LeaseNotFound { .. }
            | BackendError::LeaseExists { .. }
            | BackendError::Unavailable { .. }
            | BackendError::Rejected { .. }
            | BackendError::Forbidden { .. }
            | BackendError::Misconfigured { .. } => listing.again(&error),
        };
        self.wait(Some(then), error)
    }

    fn watch_failed(&mut self, error: BackendError) -> Option<Delivery> {
        if needs_list(&error) {
            self.relist_soon();
            return Some(Delivery::Broken(error));
        }
        self.wait(None, error)
    }

    /// The answer is of another history, or of a member that lags behind: a full list finds out. The list waits as
    /// after any failure; otherwise two members that answer differently would cause list after list.
    fn other_history(&mut self, error: BackendError) -> Option<Delivery> {
        self.wait(Some(self.whole()), error)
    }

    fn wait(&mut self, then: Option<Listing>, error: BackendError) -> Option<Delivery> {
        self.state = State::Waiting { delay: self.backoff.fail(), then };
        Some(Delivery::Broken(error))
    }

    fn relist_changes(&mut self) {
        self.state = State::Listing(self.changes());
    }

    /// The list of what changed since the last delivery, if there was one: names, and values only of keys written since.
    fn changes(&self) -> Listing {
        self.compactions.sized(match (self.lists, self.history) {
            (Lists::Values, Some(history)) => Listing::changes(&self.range, history.revision),
            (Lists::Values, None) | (Lists::Names, _) => self.whole(),
        })
    }

    /// A list of what changed, after a random delay, so that watches do not list at the same moment.
    fn relist_soon(&mut self) {
        self.state = State::Waiting { delay: self.draw(SPREAD), then: Some(self.changes()) };
    }

    fn draw(&mut self, [least, most]: [Duration; 2]) -> Duration {
        least + (most - least).mul_f64(self.rng.f64())
    }

    /// Whether another cluster answers.
    fn is_foreign(&mut self, header: Header) -> bool {
        let Some(history) = &mut self.history else { return false };
        let foreign = history.cluster.differs(header.cluster);
        history.cluster = history.cluster.or(header.cluster);
        foreign
    }
}

/// Whether there is no watch from the revision asked for, so that only a list helps.
fn needs_list(error: &BackendError) -> bool {
    matches!(error, BackendError::Compacted { .. } | BackendError::FutureRevision)
}

fn other_cluster(cluster: ClusterId) -> BackendError {
    BackendError::unavailable(format_args!("another cluster answers: {:x}", cluster.0))
}
