//! Which stores may start, by the canaries of their cluster.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use crate::key::KeyName;
use crate::kv::Event;
use crate::prefix::Prefix;
use crate::status::State;
use crate::store::Refused;
use crate::watch::{Delivery, Page, PageKeys};

/// How long a canary may take by default: Cilium's agents wait so long for a remote cluster.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Lets read-only stores start when their canaries are seen, so that no store takes the keys of a prefix that is still
/// being filled for all its keys. A pure machine, fed by a [`Watch`](crate::watch::Watch) of the
/// [canaries](Prefix::canaries) of one cluster.
///
/// # Invariants
/// 1. A store is let through once. A canary that vanishes later changes nothing for it.
/// 2. A canary that is there when its store is registered counts at once.
/// 3. A canary that does not come is seen as such after the timeout.
#[derive(Debug)]
pub struct Gate {
    canaries: Prefix,
    state: State,
    present: BTreeSet<KeyName>,
    /// The canaries in the list under way.
    listed: Option<BTreeSet<KeyName>>,
    stores: Vec<Registered>,
    open: VecDeque<GateId>,
}

/// Names a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateId(usize);

/// What is to wait for its canary.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatedStore {
    /// The prefix whose canary it is.
    pub prefix: Prefix,
    /// How long to wait for the canary before [`on_timeout`](Self::on_timeout) applies. Default 60 s.
    pub timeout: Duration,
    /// What happens then. Default: [`OnTimeout::Wait`].
    pub on_timeout: OnTimeout,
}

/// What happens when a canary does not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTimeout {
    /// The store goes on waiting, and its state says so.
    #[default]
    Wait,
    /// The store starts with what is there.
    Start,
}

impl GatedStore {
    /// The defaults for the store of `prefix`.
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        Self { prefix, timeout: TIMEOUT, on_timeout: OnTimeout::default() }
    }

    /// Sets [`timeout`](Self#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`on_timeout`](Self#structfield.on_timeout).
    #[must_use]
    pub fn on_timeout(mut self, on_timeout: OnTimeout) -> Self {
        self.on_timeout = on_timeout;
        self
    }
}

#[derive(Debug)]
struct Registered {
    awaited: GatedStore,
    since: Instant,
    passage: GateProgress,
}

/// How far a store has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateProgress {
    /// Its canary has not been seen yet.
    Waiting {
        /// For so long.
        waited: Duration,
    },
    /// Its canary has not been seen in time, and is still waited for.
    TimedOut {
        /// For so long.
        waited: Duration,
    },
    /// Its canary was seen, and it was started.
    Started {
        /// After so long.
        waited: Duration,
    },
    /// It was started without its canary ([`OnTimeout::Start`]).
    StartedWithout {
        /// After so long.
        waited: Duration,
    },
}

impl fmt::Display for GateProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { waited } => write!(f, "waiting for its canary since {} s", waited.as_secs()),
            Self::TimedOut { waited } => write!(f, "canary not seen for {} s", waited.as_secs()),
            Self::Started { waited } => write!(f, "started after {} s", waited.as_secs()),
            Self::StartedWithout { waited } => write!(f, "started without its canary after {} s", waited.as_secs()),
        }
    }
}

/// How a [`Gate`] is.
///
/// serde writes one flat object: the fields of [`State`], then `stores`, a list of
/// `{"prefix":..,"progress":..,"waited_seconds":..}` whose progress is `waiting`, `timed_out`, `started` or
/// `started_without`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateStatus {
    /// The state of the watch: whether it would see canaries, and if not, why.
    pub state: State,
    /// Every store, in the order in which they were registered.
    pub stores: Vec<(Prefix, GateProgress)>,
}

impl Gate {
    /// A gate that has seen no canary. `canaries` is where they are: see [`Prefix::canaries`].
    #[must_use]
    pub fn new(canaries: Prefix) -> Self {
        Self {
            canaries,
            state: State::Connecting { cause: None },
            present: BTreeSet::new(),
            listed: None,
            stores: Vec::new(),
            open: VecDeque::new(),
        }
    }

    /// Adds a store.
    pub fn register(&mut self, now: Instant, awaited: GatedStore) -> GateId {
        let seen = self.present.contains(awaited.prefix.as_str());
        self.stores.push(Registered { awaited, since: now, passage: GateProgress::Waiting { waited: Duration::ZERO } });
        let id = GateId(self.stores.len() - 1);
        if seen {
            self.let_through(now, |of, _| of == id);
        }
        id
    }

    /// Takes in what the watch delivers.
    ///
    /// # Errors
    /// [`Refused`] if only a relist can help.
    pub fn deliver(&mut self, now: Instant, delivery: Delivery) -> Result<(), Refused> {
        match delivery {
            Delivery::Page(page) => self.page(now, page)?,
            Delivery::Events(events) => {
                for event in &events {
                    let Some(name) = self.canaries.strip(event.path()) else { continue };
                    if let Event::Put(_) = event {
                        self.let_through(now, |_, prefix| prefix.as_str() == name.as_str());
                        self.present.insert(name);
                    } else {
                        self.present.remove(&name);
                    }
                }
            }
            Delivery::Live => self.state = State::Synced,
            Delivery::Broken(error) => self.state.out_of_date(now, error.to_string().into()),
            Delivery::Progress(_) => {}
            Delivery::Began { .. } | Delivery::Audited(_) => return Err(Refused::Inconsistent),
        }
        Ok(())
    }

    fn page(&mut self, now: Instant, page: Page) -> Result<(), Refused> {
        let mut listed = match (page.first, self.listed.take()) {
            (true, _) => BTreeSet::new(),
            (false, Some(listed)) => listed,
            (false, None) => return Err(Refused::Inconsistent),
        };
        let (PageKeys::Full(kvs) | PageKeys::Names(kvs)) = page.keys;
        listed.extend(kvs.iter().filter_map(|kv| self.canaries.strip(&kv.path)));
        if page.last {
            self.let_through(now, |_, prefix| listed.contains(prefix.as_str()));
            self.present = listed;
        } else {
            self.listed = Some(listed);
        }
        Ok(())
    }

    /// When [`timeout`](Self::timeout) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.stores.iter().filter(|store| matches!(store.passage, GateProgress::Waiting { .. }));
        waiting.filter_map(|store| store.since.checked_add(store.awaited.timeout)).min()
    }

    /// Handles the stores whose canary did not come in time, as their [`OnTimeout`] says, and returns them.
    pub fn timeout(&mut self, now: Instant) -> Vec<GateId> {
        let mut missed = Vec::new();
        for (index, store) in self.stores.iter_mut().enumerate() {
            let waited = now.saturating_duration_since(store.since);
            if waited < store.awaited.timeout || !matches!(store.passage, GateProgress::Waiting { .. }) {
                continue;
            }
            missed.push(GateId(index));
            store.passage = match store.awaited.on_timeout {
                OnTimeout::Wait => GateProgress::TimedOut { waited },
                OnTimeout::Start => {
                    self.open.push_back(GateId(index));
                    GateProgress::StartedWithout { waited }
                }
            };
        }
        missed
    }

    /// The next store to be started.
    pub fn poll_start(&mut self) -> Option<GateId> {
        self.open.pop_front()
    }

    fn let_through(&mut self, now: Instant, seen: impl Fn(GateId, &Prefix) -> bool) {
        for (index, store) in self.stores.iter_mut().enumerate() {
            let waits = matches!(store.passage, GateProgress::Waiting { .. } | GateProgress::TimedOut { .. });
            if waits && seen(GateId(index), &store.awaited.prefix) {
                store.passage = GateProgress::Started { waited: now.saturating_duration_since(store.since) };
                self.open.push_back(GateId(index));
            }
        }
    }

    /// The prefix of a store.
    #[must_use]
    pub fn prefix(&self, GateId(index): GateId) -> &Prefix {
        &self.stores[index].awaited.prefix
    }

    /// The current status.
    #[must_use]
    pub fn status(&self, now: Instant) -> GateStatus {
        let passage = |store: &Registered| {
            let waited = now.saturating_duration_since(store.since);
            match store.passage {
                GateProgress::Waiting { .. } => GateProgress::Waiting { waited },
                GateProgress::TimedOut { .. } => GateProgress::TimedOut { waited },
                started @ (GateProgress::Started { .. } | GateProgress::StartedWithout { .. }) => started,
            }
        };
        let stores = self.stores.iter().map(|store| (store.awaited.prefix.clone(), passage(store)));
        GateStatus { state: self.state.clone(), stores: stores.collect() }
    }
}
