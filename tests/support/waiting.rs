//! How tests wait. A test waits for an event where there is one; everything else is one of these.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Lets so much time pass on tokio's paused clock, which moves on when every task waits.
///
/// # Panics
///
/// Panics if the clock is not paused.
#[cfg(feature = "paused-clock")]
pub async fn pass(time: Duration) {
    // Moves the clock by nothing, and panics if it is not paused.
    tokio::time::advance(Duration::ZERO).await;
    tokio::time::sleep(time).await;
}

/// Waits in real time, for what only time can bring about at a real etcd: the end of a lease, of a login, of a ping.
/// Each use says which.
pub async fn real_time(time: Duration) {
    tokio::time::sleep(time).await;
}

/// As [`real_time`], on a thread without a runtime.
pub fn real_time_blocking(time: Duration) {
    std::thread::sleep(time);
}

/// Looks again and again until the value is as expected, and returns it. For what offers no event to wait for.
///
/// # Panics
///
/// Panics after `patience`, with what was waited for and the value seen last.
pub async fn eventually<T: Debug>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> T,
    expected: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + patience;
    let mut last = None;
    while let Ok(value) = tokio::time::timeout_at(deadline.into(), look()).await {
        if expected(&value) {
            return value;
        }
        last = Some(value);
        // A look that never waits would never be timed out.
        if Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{what}: not within {patience:?}, last seen: {last:?}");
}

/// As [`eventually`], on a thread without a runtime.
///
/// # Panics
///
/// Panics after `patience`, with what was waited for and the value seen last.
pub fn eventually_blocking<T: Debug>(
    what: &str,
    patience: Duration,
    look: impl FnMut() -> T,
    expected: impl Fn(&T) -> bool,
) -> T {
    let seen = seen_within(patience, look, expected);
    seen.unwrap_or_else(|last| panic!("{what}: not within {patience:?}, last seen: {last:?}"))
}

/// As [`eventually_blocking`], but answers with the value seen last instead of a panic.
///
/// # Errors
///
/// The value seen last, if none was as expected within `patience`.
pub fn seen_within<T>(patience: Duration, mut look: impl FnMut() -> T, expected: impl Fn(&T) -> bool) -> Result<T, T> {
    let deadline = Instant::now() + patience;
    loop {
        let value = look();
        if expected(&value) {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(value);
        }
        std::thread::sleep(PAUSE);
    }
}
