//! The time.

use std::time::{Duration, Instant};

/// A longer timeout is as good as none, and would not fit into an `Instant`.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The runtime's clock, which tests can pause.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
