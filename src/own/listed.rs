//! What a list without values says about own keys.

use std::time::Instant;

use super::OwnKeys;
use super::name::{OwnName, Presence, Step};
use super::wish::Wish;
use crate::key::KeyName;
use crate::kv::Revision;

/// A part of a list of names.
#[derive(Debug, Clone, Copy)]
pub struct NamesPart<'a> {
    /// The revision it shows.
    pub revision: Revision,
    /// It names every key after this one; `None` for the first part.
    pub after: Option<&'a str>,
    /// The keys in name order, each with the revision that wrote it.
    pub keys: &'a [(&'a str, Revision)],
    /// Whether there are no more keys after these.
    pub last: bool,
}

impl OwnKeys {
    /// The name as it is stored, if it is known.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&KeyName> {
        self.names.get_key_value(name).map(|(name, _)| name)
    }

    /// The own keys that are on their way into the kvstore: not there yet, or lost with their lease. In name order.
    pub fn missing(&self) -> impl Iterator<Item = &KeyName> {
        let is_missing = |own: &OwnName| {
            matches!(own.wish, Wish::Keep { .. }) && own.step != Step::Idle && own.presence != Presence::Stored
        };
        let mut missing: Vec<_> = self.names.iter().filter(|(_, own)| is_missing(own)).map(|(name, _)| name).collect();
        missing.sort_unstable();
        missing.into_iter()
    }

    /// Takes a part of a list of names. A missing key is put again. If somebody else wrote a key, its state is asked
    /// for by a write that is sure to be refused.
    pub fn listed(&mut self, now: Instant, part: NamesPart<'_>) {
        let end = match part.keys.last() {
            _ if part.last => None,
            Some((name, _)) if part.after.is_none_or(|after| after < *name) => Some(*name),
            Some(_) | None => return,
        };
        let covers = |name: &str| part.after.is_none_or(|after| after < name) && end.is_none_or(|end| name <= end);
        let (mut news, mut disproved) = (Vec::new(), Vec::new());
        for (name, own) in self.names.iter_mut().filter(|(name, _)| covers(name.as_str())) {
            let found = part.keys.binary_search_by_key(&name.as_str(), |(listed, _)| listed);
            let written = found.ok().map(|index| part.keys[index].1);
            if own.contradicts_names(part.revision, written) {
                disproved.push(name.clone());
            } else if own.listed(part.revision, written) {
                news.push(name.clone());
            }
        }
        for name in &disproved {
            self.disproved(now, name);
        }
        news.sort_unstable();
        for name in &news {
            self.review(now, name);
        }
    }

    /// Own keys may have changed without an event. The state of each is asked for by a write that is refused if the
    /// key exists; the answer to a write that is under way may be outdated and does not tell it.
    pub(crate) fn mark_unsure(&mut self, now: Instant) {
        self.names.values_mut().for_each(|own| own.mark_unsure());
        self.review_all(now);
    }
}
