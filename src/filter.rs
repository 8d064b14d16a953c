//! Which keys an observer hears of.

use std::fmt;
use std::sync::Arc;

use wildmatch::WildMatch;

use crate::change::Origin;
use crate::key::KeyName;
use crate::user_code::{Panicked, contained};

type Predicate<K> = Arc<dyn Fn(&KeyName, &K) -> bool + Send + Sync>;

/// Which keys an observer hears of: those that pass every condition. The default lets all pass.
///
/// A key that leaves the filter is told as a deletion, and a key that enters it as a create. Its value can cause that,
/// or a change of owner. Notices about a key are told if its name passes.
///
/// ```
/// # use shared_store_core::{Filter, Origin};
/// let filter: Filter<u32> = Filter::new().prefix("cluster1/").glob("*/web-?").origin(Origin::Remote).keys(|_, n| *n > 7);
/// ```
#[must_use]
pub struct Filter<K> {
    prefix: Option<Arc<str>>,
    globs: Vec<WildMatch>,
    origin: Option<Origin>,
    predicate: Option<Predicate<K>>,
}

impl<K> Filter<K> {
    /// Lets every key pass.
    pub fn new() -> Self {
        Self { prefix: None, globs: Vec::new(), origin: None, predicate: None }
    }

    /// Only names that start with `prefix`, to the letter.
    pub fn prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Only names that match the pattern: `*` is any text, slashes included, `?` is one character. Given several
    /// times: names that match any of them.
    pub fn glob(mut self, pattern: &str) -> Self {
        self.globs.push(WildMatch::new(pattern));
        self
    }

    /// Only keys of this origin.
    pub fn origin(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Only keys for which `predicate` holds. A panic in it counts as `false` and harms nobody.
    pub fn keys(mut self, predicate: impl Fn(&KeyName, &K) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Whether every key passes.
    pub(crate) fn is_open(&self) -> bool {
        self.prefix.is_none() && self.globs.is_empty() && self.by_name_only()
    }

    /// Whether only the name counts, so that a key that passes once always passes.
    pub(crate) fn by_name_only(&self) -> bool {
        self.origin.is_none() && self.predicate.is_none()
    }

    /// Whether a key of this name can pass.
    pub(crate) fn passes_name(&self, name: &KeyName) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| name.as_str().starts_with(prefix))
            && (self.globs.is_empty() || self.globs.iter().any(|glob| glob.matches(name.as_str())))
    }

    pub(crate) fn passes(&self, name: &KeyName, key: &K, origin: Origin) -> Result<bool, Panicked> {
        if !self.passes_name(name) || self.origin.is_some_and(|wanted| wanted != origin) {
            return Ok(false);
        }
        match &self.predicate {
            Some(predicate) => contained(|| predicate(name, key)),
            None => Ok(true),
        }
    }
}

impl<K> Default for Filter<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Clone for Filter<K> {
    fn clone(&self) -> Self {
        Self {
            prefix: self.prefix.clone(),
            globs: self.globs.clone(),
            origin: self.origin,
            predicate: self.predicate.clone(),
        }
    }
}

impl<K> fmt::Debug for Filter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("prefix", &self.prefix)
            .field("globs", &self.globs.iter().map(ToString::to_string).collect::<Vec<_>>())
            .field("origin", &self.origin)
            .field("predicate", &self.predicate.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(filter: &Filter<u32>, name: &str, value: u32, origin: Origin) -> bool {
        filter.passes(&KeyName::new(name).unwrap(), &value, origin).unwrap()
    }

    #[test]
    fn every_condition_must_hold() {
        let filter = Filter::new().prefix("a/").glob("*/x").glob("*/y?").origin(Origin::Local).keys(|_, n| *n > 1);
        assert!(passes(&filter, "a/b/x", 2, Origin::Local));
        assert!(passes(&filter, "a/yz", 2, Origin::Local));
        assert!(!passes(&filter, "b/x", 2, Origin::Local));
        assert!(!passes(&filter, "a/y", 2, Origin::Local));
        assert!(!passes(&filter, "a/x", 1, Origin::Local));
        assert!(!passes(&filter, "a/x", 2, Origin::Remote));
        assert!(passes(&Filter::new(), "anything", 0, Origin::Remote));
    }

    #[test]
    fn a_panic_in_the_predicate_is_told_and_goes_no_further() {
        let filter = Filter::new().keys(|_, n: &u32| panic!("no {n}"));
        assert_eq!(filter.passes(&KeyName::new("a").unwrap(), &7, Origin::Local), Err(Panicked));
    }
}
