//! Durations that may be as long as `Duration::MAX`.

use std::time::Duration;

/// In place of a longer duration, which the clock cannot add to a point in time: a hundred years.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The duration, or a hundred years if it is longer. Every machine takes the durations of its configuration through
/// this, so `Duration::MAX` means never.
#[must_use]
pub(crate) fn bounded(duration: Duration) -> Duration {
    duration.min(FOR_EVER)
}
