//! Events that are there already are delivered together: each delivery wakes the store and its observers.

use shared_store_core::backend::{BackendError, WatchResponse};
use shared_store_core::watch::{Action, Delivery, Outcome, Watch};

/// Up to so many events wait for those that have arrived after them.
const TOGETHER: usize = 128;

/// Adds to events what the watch says next, as long as that is there and is events, too. The second delivery is what comes after
/// them. `ready` is the next response if it is there; after an error it is not asked again.
pub(super) fn with_ready(
    watch: &mut Watch,
    mut delivery: Option<Delivery>,
    mut ready: impl FnMut() -> Option<Result<WatchResponse, BackendError>>,
) -> (Option<Delivery>, Option<Delivery>) {
    while let Some(Delivery::Events(events)) = &mut delivery
        && events.len() <= TOGETHER
        && matches!(watch.action(), Action::Read(_))
        && let Some(response) = ready()
    {
        match watch.handle(response.map_or_else(Outcome::Failed, Outcome::Read)) {
            None => {}
            Some(Delivery::Events(more)) => events.extend(more),
            other => return (delivery, other),
        }
    }
    (delivery, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared_store_core::backend::{Events, ListPage};
    use shared_store_core::{ClusterId, Event, Header, Prefix, Revision};

    use super::*;

    fn header(revision: u64) -> Header {
        Header { cluster: ClusterId(1), revision: Revision(revision) }
    }

    fn deletions(revision: u64, count: usize) -> WatchResponse {
        let event = Event::Delete { path: "p/a".into(), revision: Revision(revision) };
        WatchResponse::Events(Events { header: header(revision), events: vec![event; count], complete: true })
    }

    /// A watch that is live at revision 1.
    fn live() -> Watch {
        let mut watch = Watch::new(Prefix::new("p").unwrap().range(), Duration::from_secs(60), 1);
        let page = ListPage { header: header(1), kvs: Vec::new(), more: false, count: 0 };
        assert!(watch.handle(Outcome::Listed(page)).is_some());
        assert_eq!(watch.handle(Outcome::Opened(header(1))), Some(Delivery::Live));
        watch
    }

    /// How many events are delivered together, what comes after them, and how many responses are left.
    fn delivered(responses: Vec<Result<WatchResponse, BackendError>>) -> (usize, Option<Delivery>, usize) {
        let (mut watch, mut responses) = (live(), responses.into_iter());
        let first = watch.handle(Outcome::Read(responses.next().unwrap().unwrap()));
        let (delivery, next) = with_ready(&mut watch, first, || responses.next());
        let Some(Delivery::Events(events)) = delivery else { panic!("{delivery:?}") };
        (events.len(), next, responses.len())
    }

    #[test]
    fn events_that_are_there_are_delivered_together_up_to_a_limit() {
        assert_eq!(delivered(vec![Ok(deletions(2, 1)), Ok(deletions(3, 2)), Ok(deletions(4, 1))]), (4, None, 0));
        let many = (2..6).map(|revision| Ok(deletions(revision, 100))).collect();
        assert_eq!(delivered(many), (200, None, 2));
    }

    #[test]
    fn what_is_no_event_comes_after_the_events_before_it() {
        let broken = || BackendError::unavailable("broken");
        let responses = vec![Ok(deletions(2, 1)), Err(broken()), Ok(deletions(3, 1))];
        assert_eq!(delivered(responses), (1, Some(Delivery::Broken(broken())), 1));
        let progress = Ok(WatchResponse::Progress(header(5)));
        assert_eq!(delivered(vec![Ok(deletions(2, 1)), progress]), (1, Some(Delivery::Progress(Revision(5))), 0));
    }

    /// A stream that goes back shows the same revisions twice.
    #[test]
    fn an_event_that_was_there_before_is_not_delivered_again() {
        assert_eq!(delivered(vec![Ok(deletions(2, 1)), Ok(deletions(3, 1)), Ok(deletions(2, 1))]), (2, None, 0));
    }
}
