//! Answers that would remove most keys at once, and how they are doubted.

use std::time::{Duration, Instant};

use crate::config::DeletionGuard;
use crate::kv::Header;

/// How long to wait before another kvstore is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Doubts answers that would remove many keys at once, as its rule says.
#[derive(Debug)]
pub(super) struct Guard {
    rule: DeletionGuard,
    doubt: Option<Doubt>,
}

#[derive(Debug)]
struct Doubt {
    since: Instant,
    /// The other kvstore that answered, if it was one, and its revision then.
    other: Option<Header>,
}

/// What would remove keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Changes that the watch saw.
    Events,
    /// A list that goes on where the cache is.
    List,
    /// A list of another history.
    Other(Header),
}

/// What to do with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Take it in. `news`: the sync has not been told yet that the kvstore is another one.
    Believe { news: bool },
    /// Ask again after so long. `news` as above.
    Doubt { wait: Duration, news: bool },
}

impl Guard {
    pub(super) fn new(rule: DeletionGuard) -> Self {
        Self { rule, doubt: None }
    }

    /// What was doubted is no matter any more.
    pub(super) fn believe(&mut self) {
        self.doubt = None;
    }

    /// Whether so many removals would be doubted: asked before they are counted with care.
    pub(super) fn is_many(&self, removed: usize, entries: usize) -> bool {
        entries >= self.rule.min_keys && removed.saturating_mul(100) > entries.saturating_mul(self.rule.percent.into())
    }

    /// Whether the sync has gone over to another kvstore already, which the cache does not show yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.other.is_some())
    }

    /// What to do with an answer that removes so many of the keys.
    pub(super) fn judge(&mut self, now: Instant, removed: usize, entries: usize, answer: Answer) -> Verdict {
        let other = if let Answer::Other(header) = answer { Some(header) } else { None };
        let told = |doubt: &Doubt| doubt.other.zip(other).is_some_and(|(told, now)| goes_on(told, now));
        let news = other.is_some() && !self.doubt.as_ref().is_some_and(told);
        let confirmed = match (&self.doubt, answer) {
            (Some(_), Answer::List) => true,
            (Some(doubt), Answer::Other(_)) => now >= doubt.since + self.rule.hold,
            (Some(_), Answer::Events) | (None, _) => false,
        };
        if confirmed || !self.is_many(removed, entries) {
            self.doubt = None;
            return Verdict::Believe { news };
        }
        let since = self.doubt.as_ref().map_or(now, |doubt| doubt.since);
        self.doubt = Some(Doubt { since, other });
        Verdict::Doubt { wait: if other.is_some() { RETRY } else { Duration::ZERO }, news }
    }
}

/// Whether `now` can be what became of the kvstore that answered `told`.
fn goes_on(told: Header, now: Header) -> bool {
    told.cluster == now.cluster && told.revision <= now.revision
}
