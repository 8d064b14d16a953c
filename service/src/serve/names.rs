//! Which names a request asks for.

use std::sync::Arc;

use wildmatch::WildMatch;

/// Names that begin with a prefix, match a pattern, and pass the patterns of the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    prefix: String,
    glob: Option<Arc<WildMatch>>,
    /// Of the store; none lets all names pass.
    store: Arc<[WildMatch]>,
}

impl Names {
    pub(crate) fn of_store(patterns: &[String]) -> Self {
        Self { store: patterns.iter().map(|pattern| WildMatch::new(pattern)).collect(), ..Self::default() }
    }

    /// Of these, the ones that a request asks for.
    pub(crate) fn narrowed(&self, prefix: Option<&str>, glob: Option<&str>) -> Self {
        let glob = glob.map(|glob| Arc::new(WildMatch::new(glob)));
        Self { prefix: prefix.unwrap_or_default().to_owned(), glob, store: Arc::clone(&self.store) }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn pass(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
            && self.glob.as_ref().is_none_or(|glob| glob.matches(name))
            && (self.store.is_empty() || self.store.iter().any(|pattern| pattern.matches(name)))
    }
}
