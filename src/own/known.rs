//! What is known of one name in the kvstore.

use std::cmp::Ordering;

use super::KeyState;
use crate::kv::Revision;

/// The newest known state of a name in the kvstore: from the watch, a list, an answer or a refusal.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    /// The revision at which it was so; 0 if nothing is known.
    pub(super) as_of: Revision,
    pub(super) state: Option<KeyState>,
}

impl Known {
    /// The revision that wrote the key.
    pub(super) fn written(&self) -> Revision {
        self.state.map_or(self.as_of, |seen| seen.mod_revision)
    }

    /// The state, if it was written at this revision.
    fn written_at(&self, revision: Revision) -> Option<KeyState> {
        self.state.filter(|seen| seen.mod_revision == revision)
    }

    /// What a write of the key is compared with; 0 for one that does not exist.
    pub(super) fn expected(&self) -> Revision {
        self.state.map_or(Revision::ZERO, |seen| seen.mod_revision)
    }

    /// Whether this state cannot follow from the known one, nor lead to it: it is of another history.
    pub(super) fn contradicts(&self, as_of: Revision, state: Option<KeyState>) -> bool {
        let changed = state.map_or(as_of, |seen| seen.mod_revision);
        // Of a write there is one state, and nothing changed the key until an answer showed the same write again.
        let differs = |known: KeyState| match changed.cmp(&known.mod_revision) {
            Ordering::Less => false,
            Ordering::Equal => state != Some(known),
            Ordering::Greater => changed <= self.as_of,
        };
        self.contradicts_names(as_of, state.map(|seen| seen.mod_revision)) || self.state.is_some_and(differs)
    }

    /// The same of a list without values.
    pub(super) fn contradicts_names(&self, as_of: Revision, written: Option<Revision>) -> bool {
        as_of >= self.as_of
            && match written {
                Some(written) => written <= self.as_of && self.written_at(written).is_none(),
                None => as_of == self.as_of && self.state.is_some(),
            }
    }
}
