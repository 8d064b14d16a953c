//! What a notice is about.

use crate::change::Notice;
use crate::key::KeyName;

/// What a notice is about. Of two notices about the same subject the newer one is enough, with the one that it ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    FirstState,
    History,
    /// Whether a key's value can be decoded.
    Value(KeyName),
    Conflict(KeyName),
    Repair(KeyName),
    /// Whether the kvstore refuses a key.
    Refusal(KeyName),
}

impl Subject {
    pub(super) fn of(notice: &Notice) -> Self {
        match notice {
            Notice::Synced { .. } => Self::FirstState,
            Notice::Resynced { .. } | Notice::Progress { .. } => Self::History,
            Notice::Undecodable { name, .. } | Notice::Healed { name, .. } => Self::Value(name.clone()),
            Notice::Conflict { name, .. } => Self::Conflict(name.clone()),
            Notice::Repaired { name, .. } => Self::Repair(name.clone()),
            Notice::SetAside { name, .. } => Self::Refusal(name.clone()),
        }
    }

    pub(super) fn name(&self) -> Option<&KeyName> {
        match self {
            Self::FirstState | Self::History => None,
            Self::Value(name) | Self::Conflict(name) | Self::Repair(name) | Self::Refusal(name) => Some(name),
        }
    }
}

/// Whether the notice ends an earlier one.
pub(super) fn is_end(notice: &Notice) -> bool {
    matches!(notice, Notice::Healed { .. } | Notice::SetAside { cause: None, .. })
}
