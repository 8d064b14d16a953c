//! How often a connection is pinged, and what follows when etcd refuses that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::failure::Failure;

/// How many pings in a row that come too soon a gRPC server accepts; it closes the connection on the next one. A frame
/// that the server itself sends resets its count.
const STRIKES: u32 = 3;

/// How often a connection is pinged: an interval that doubles when etcd refuses it, as gRPC advises.
///
/// etcd says "too_many_pings" (GOAWAY) and closes the connection, but the client library passes on only that it was
/// closed. So the time is the evidence: the connection was silent for exactly as many intervals as etcd tolerates.
#[derive(Debug)]
pub(super) struct Pings {
    configured: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    interval: Duration,
    /// The last connection was closed at the time at which etcd closes one that pings too often.
    suspected: bool,
}

impl Pings {
    pub(super) fn new(configured: Duration) -> Self {
        Self { configured, state: Mutex::new(State { interval: configured, suspected: false }) }
    }

    /// The interval for connections made from now on.
    pub(super) fn interval(&self) -> Duration {
        self.state().interval
    }

    /// etcd closed a connection that was pinged at this interval and had been silent for this long. If that was
    /// because of the pings, doubles the interval and returns the failure to report. The first time is not enough
    /// evidence: it may be chance.
    pub(super) fn closed(&self, interval: Duration, silent: Duration) -> Option<Failure> {
        let mut state = self.state();
        let refused = interval * (STRIKES + 1);
        // Of several streams of one connection the first one counts: after it, the connection is not silent any more.
        if interval != state.interval || silent < interval {
            return None;
        }
        if !(refused..refused + interval / 2).contains(&silent) {
            state.suspected = false;
            return None;
        }
        if !std::mem::replace(&mut state.suspected, true) && interval == self.configured {
            return None;
        }
        let doubled = interval * 2;
        *state = State { interval: doubled, suspected: false };
        let (old, new) = (interval.as_secs_f64(), doubled.as_secs_f64());
        let words = format!("it refuses keep-alive pings every {old} s: pinging every {new} s now");
        tracing::warn!(
            "etcd refuses keep-alive pings every {old} s (--grpc-keepalive-min-time): pinging every {new} s now"
        );
        Some(Failure::broken(words))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn closed(pings: &Pings, silent: Duration) -> Option<String> {
        let failure = pings.closed(pings.interval(), silent)?;
        Some(failure.into_error("e").to_string())
    }

    #[test]
    fn the_interval_doubles_each_time_etcd_refuses_it() {
        let pings = Pings::new(10 * SECOND);
        assert_eq!(closed(&pings, 40 * SECOND), None, "by chance?");
        let words = "etcd at e: it refuses keep-alive pings every 10 s: pinging every 20 s now";
        assert_eq!(closed(&pings, 41 * SECOND).as_deref(), Some(words));
        let words = "etcd at e: it refuses keep-alive pings every 20 s: pinging every 40 s now";
        assert_eq!(closed(&pings, 81 * SECOND).as_deref(), Some(words), "no longer by chance");
        assert_eq!(pings.interval(), 40 * SECOND);
    }

    #[test]
    fn a_connection_closed_at_another_time_was_not_closed_because_of_its_pings() {
        let pings = Pings::new(10 * SECOND);
        for silent in [10, 39, 45, 1000, 40, 20, 40, 50] {
            assert_eq!(closed(&pings, silent * SECOND), None, "{silent}");
        }
        assert_eq!(pings.interval(), 10 * SECOND);
    }

    #[test]
    fn streams_of_one_connection_count_once() {
        let pings = Pings::new(10 * SECOND);
        for silent in [40, 0, 0] {
            assert_eq!(closed(&pings, silent * SECOND), None);
        }
        assert!(closed(&pings, 40 * SECOND).is_some());
        assert!(pings.closed(10 * SECOND, 40 * SECOND).is_none(), "it has doubled since");
        assert_eq!(pings.interval(), 20 * SECOND);
    }
}
