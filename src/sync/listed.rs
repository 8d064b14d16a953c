//! What a list of names, without values, tells of own keys.

use std::ops::Bound;
use std::time::Instant;

use super::Sync;
use super::local::Want;
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

impl Sync {
    /// The name, if it is one this takes care of.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&KeyName> {
        self.names.get_key_value(name).map(|(name, _)| name)
    }

    /// The own keys that are on their way into the kvstore: not there yet, or lost with their lease.
    pub fn missing(&self) -> impl Iterator<Item = &KeyName> {
        let missing = self.names.iter().filter(|(_, local)| {
            let wanted = matches!(local.want, Want::Put { .. });
            wanted && local.unsettled && !local.stored
        });
        missing.map(|(name, _)| name)
    }

    /// Takes a part of a list of names. A key that is not there is put again; one that was written by somebody else is
    /// looked at, by a write that is bound to be refused.
    pub fn listed(&mut self, now: Instant, part: NamesPart<'_>) {
        let start = part.after.map_or(Bound::Unbounded, Bound::Excluded);
        let end = match part.keys.last() {
            _ if part.last => Bound::Unbounded,
            Some((name, _)) if part.after.is_none_or(|after| after < *name) => Bound::Included(*name),
            Some(_) | None => return,
        };
        let mut keys = part.keys.iter().peekable();
        let mut news = Vec::new();
        for (name, local) in self.names.range_mut::<str, _>((start, end)) {
            while keys.next_if(|(next, _)| *next < name.as_str()).is_some() {}
            let written = keys.peek().filter(|(next, _)| *next == name.as_str()).map(|(_, written)| *written);
            if local.listed(part.revision, written) {
                news.push(name.clone());
            }
        }
        for name in &news {
            self.review(now, name);
        }
    }
}
