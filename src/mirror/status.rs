//! What a mirror says of itself.

use std::fmt;

use serde::Serialize;

/// How a mirror of one source is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MirrorStatus {
    /// The cluster.
    pub cluster: String,
    /// Whether every copy is complete and follows the source.
    pub ready: bool,
    /// Whether the source is followed, whatever is copied so far.
    pub connected: bool,
    /// Whether the source was removed, and its copies are on their way out.
    pub leaves: bool,
    /// What is wrong with the source's configuration of the cluster, or that it is not read yet.
    pub problem: Option<String>,
    /// Every rule, in order.
    pub copies: Vec<CopyStatus>,
    /// How often the source was lost, or told something that makes no sense.
    pub failures: u64,
    /// The last of these.
    pub last_failure: Option<Failed>,
}

/// How the copies by one rule are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CopyStatus {
    /// The name of the rule.
    pub name: String,
    /// The prefix at the source.
    pub from: String,
    /// The prefix of the copies.
    pub to: String,
    /// The state of the source's keys: the name of a [`State`](crate::State).
    pub state: &'static str,
    /// Why they are not synced.
    pub cause: Option<String>,
    /// Whether the first list is copied, and announced if it is to be.
    pub complete: bool,
    /// Whether the copies were deleted because the source was lost for too long.
    pub expired: bool,
    /// How many keys are copied.
    pub keys: usize,
    /// How many copies are not in the kvstore as they should be, yet.
    pub pending: usize,
    /// How many copies the kvstore refuses.
    pub refused: usize,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failed {
    /// When.
    pub seconds_ago: f64,
    /// Why.
    pub cause: String,
}

impl fmt::Display for MirrorStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.leaves, self.ready, self.connected) {
            (true, ..) => "removed, its copies are on their way out",
            (_, true, _) => "ready",
            (_, _, true) => "connected, not all is copied",
            (..) => "not connected",
        };
        write!(f, "{}: {state}", self.cluster)?;
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {problem}"))
    }
}
