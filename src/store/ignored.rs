//! Keys below the prefix whose names cannot be used.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::kv::Event;
use crate::status::IgnoredKeys;

/// Keys below the prefix whose names are empty or not UTF-8. They are counted and told, and not in the cache.
///
/// One path per key that is there now: as the names in the cache, it grows with the kvstore only.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    paths: BTreeSet<Bytes>,
    /// Whether it was logged: once per store.
    told: bool,
}

impl Ignored {
    /// Takes what a complete list has.
    pub(super) fn listed(&mut self, paths: BTreeSet<Bytes>) {
        self.paths = paths;
        self.tell();
    }

    /// Takes an event of such a path.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::Put(kv) => {
                self.paths.insert(kv.path.clone());
                self.tell();
            }
            Event::Delete { path, .. } => {
                self.paths.remove(path);
            }
        }
    }

    pub(super) fn status(&self) -> IgnoredKeys {
        let example = self.paths.first().map(|path| path.escape_ascii().to_string().into());
        IgnoredKeys { count: self.paths.len(), example }
    }

    fn tell(&mut self) {
        if let Some(path) = self.paths.first().filter(|_| !self.told) {
            tracing::warn!(key = %path.escape_ascii(), "a key below the prefix is ignored: its name is empty or not UTF-8");
            self.told = true;
        }
    }
}
