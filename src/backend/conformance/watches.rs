//! Watches: complete, ordered, once, resumable.
#![allow(clippy::missing_panics_doc, reason = "every case asserts")]

use std::future::ready;
use std::time::Duration;

use super::Harness;
use super::space::{Space, delete, put};
use crate::backend::{WatchRequest, WatchResponse};
use crate::kv::{Event, KeyRange, Revision};

/// How many revisions are a long catch-up: more than two of etcd's batches.
const LONG: usize = 2500;

fn revisions(events: &[Event]) -> Vec<Revision> {
    events.iter().map(Event::revision).collect()
}

/// A watch that starts in the past first delivers past events, then new ones.
pub async fn a_watch_from_a_past_revision_sees_every_event_once_in_order(harness: &dyn Harness) {
    let space = Space::new(harness);
    space.put("before", "").await;
    let mut written = Vec::new();
    for n in 0..5 {
        written.push(space.put("a", &n.to_string()).await);
    }
    let mut follower = space.follow(written[0]).await;
    for n in 5..10 {
        written.push(space.put("a", &n.to_string()).await);
    }
    let told = follower.until(written[9]).await;
    assert_eq!(revisions(told), written);
    for (n, event) in told.iter().enumerate() {
        let Event::Put(kv) = event else { panic!("not a put: {event:?}") };
        assert_eq!(kv.value, n.to_string());
        assert_eq!((kv.create_revision, kv.mod_revision), (written[0], written[n]));
    }
}

/// A watch that starts right after a list tells nothing the list showed.
pub async fn a_watch_from_the_next_revision_sees_only_what_comes(harness: &dyn Harness) {
    let space = Space::new(harness);
    space.put("a", "old").await;
    let mut follower = space.follow(space.revision().await.next()).await;
    let new = space.put("a", "new").await;
    assert_eq!(revisions(follower.until(new).await), [new]);
}

/// A watch from a revision that is still to come tells nothing before it.
pub async fn a_watch_from_a_future_revision_is_silent_until_then(harness: &dyn Harness) {
    let space = Space::new(harness);
    let start = Revision(space.revision().await.0 + 5);
    let mut follower = space.follow(start).await;
    let mut written = Vec::new();
    for n in 0..10 {
        written.push(space.put("a", &n.to_string()).await);
    }
    written.retain(|revision| *revision >= start);
    assert!(!written.is_empty(), "ten puts reach it");
    assert_eq!(revisions(follower.until(written[written.len() - 1]).await), written);
}

/// A watch of one path does not tell of the next one, nor one of a prefix of its sibling.
pub async fn a_watch_sees_only_its_range(harness: &dyn Harness) {
    let space = Space::new(harness);
    let start = space.revision().await.next();
    let mut follower = space.follow(start).await;
    space.commit(vec![put(space.sibling("a"), ""), put(space.path("a/b"), "")]).await;
    let last = space.commit(vec![delete(space.sibling("a")), put(space.path("a"), "")]).await;
    let told: Vec<_> = follower.until(last).await.iter().map(|event| event.path().clone()).collect();
    assert_eq!(told, [space.path("a/b"), space.path("a")]);
    let range = KeyRange::one(&space.path("a"));
    follower.stream = space.backend.watch(WatchRequest { range, start }).await.expect("accepted");
    follower.events.clear();
    assert_eq!(revisions(follower.until(last).await), [last]);
}

/// A deletion is told with the revision that deleted.
pub async fn a_delete_event_carries_its_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let created = space.put("a", "").await;
    let deleted = space.delete("a").await;
    let mut follower = space.follow(created.next()).await;
    assert_eq!(follower.until(deleted).await, [Event::Delete { path: space.path("a"), revision: deleted }]);
}

/// A catch-up is complete and in order, and a reader that stops after any response can resume after its last event.
pub async fn a_long_catch_up_is_complete_and_resumable_after_each_response(harness: &dyn Harness) {
    let space = Space::new(harness);
    let mut written = Vec::with_capacity(LONG);
    for n in 0..LONG {
        written.push(space.put(&format!("{}", n % 7), "").await);
    }
    let last = written[LONG - 1];
    let mut whole = space.follow(written[0]).await;
    assert_eq!(revisions(whole.until(last).await), written);

    let mut told = Vec::new();
    let mut start = written[0];
    while start <= last {
        let mut follower = space.follow(start).await;
        while follower.events.is_empty() {
            let response = follower.next().await.expect("the watch goes on");
            if let WatchResponse::Events(events) = &response {
                assert!(events.complete, "each revision here is one event");
            }
            follower.take(response);
        }
        told.append(&mut follower.events);
        start = told[told.len() - 1].revision().next();
    }
    assert_eq!(revisions(&told), written);
}

/// The events of a transaction come in one response, or in several of which all but the last are flagged incomplete.
pub async fn events_of_one_revision_come_together_or_are_flagged(harness: &dyn Harness) {
    let space = Space::new(harness);
    let start = space.revision().await.next();
    let names: Vec<_> = (0..100).map(|n| format!("{n:03}")).collect();
    let writes = |value: &str| names.iter().map(|name| put(space.path(name), value)).collect();
    space.commit(writes("1")).await;
    let mut follower = space.follow(start).await;
    let last = space.commit(writes("2")).await;
    // What comes after an incomplete response belongs to it, so one may stop only after a complete one.
    let mut complete = true;
    while !complete || follower.events.last().is_none_or(|event| event.revision() < last) {
        let response = follower.next().await.expect("the watch goes on");
        if let WatchResponse::Events(events) = &response {
            let before = follower.events.last().map(Event::revision);
            assert!(!complete || before != Some(events.events[0].revision()), "a revision went on unannounced");
            complete = events.complete;
        }
        follower.take(response);
    }
    for revision in [0, 1] {
        let told = &follower.events[revision * names.len()..][..names.len()];
        assert!(told.iter().all(|event| event.revision() == told[0].revision()));
        let mut told: Vec<_> = told.iter().map(|event| space.name(event.path())).collect();
        told.sort();
        assert_eq!(told, names);
    }
    assert_eq!(follower.events.len(), 2 * names.len());
}

/// Two collaborators that watch the same are told the same.
pub async fn two_watches_see_the_same(harness: &dyn Harness) {
    let space = Space::new(harness);
    let start = space.revision().await.next();
    let mut ours = space.follow(start).await;
    let mut theirs = Space { backend: harness.backend(), ..space.clone() }.follow(start).await;
    for n in 0..20 {
        space.put(&format!("{}", n % 3), &n.to_string()).await;
    }
    let last = space.delete("0").await;
    assert_eq!(ours.until(last).await, theirs.until(last).await);
    assert_eq!(ours.events.len(), 21);
}

/// Dropping the future of `next`, polled or not, loses no event and repeats none.
pub async fn a_dropped_next_loses_nothing(harness: &dyn Harness) {
    let space = Space::new(harness);
    let mut follower = space.follow(space.revision().await.next()).await;
    let mut written = Vec::new();
    for n in 0..50 {
        drop(follower.stream.next());
        // Polled once, and dropped if it has nothing yet.
        let glimpse = tokio::select! {
            biased;
            response = follower.stream.next() => Some(response),
            () = ready(()) => None,
        };
        if let Some(response) = glimpse {
            follower.take(response.expect("the watch goes on"));
        }
        written.push(space.put("a", &n.to_string()).await);
    }
    assert_eq!(revisions(follower.until(written[49]).await), written);
}

/// A watch can be dropped at any time, and another can go on after the last event it told.
pub async fn a_dropped_watch_can_be_resumed_by_another(harness: &dyn Harness) {
    let space = Space::new(harness);
    let mut written = Vec::new();
    let mut told = Vec::new();
    let mut start = space.revision().await.next();
    for n in 0..10 {
        let mut follower = space.follow(start).await;
        written.push(space.put("a", &n.to_string()).await);
        told.extend(follower.until(written[2 * n]).await.iter().map(Event::revision));
        start = told[told.len() - 1].next();
        written.push(space.put("b", &n.to_string()).await);
        drop(follower);
        told.extend(space.follow(start).await.until(written[2 * n + 1]).await.iter().map(Event::revision));
        start = told[told.len() - 1].next();
    }
    assert_eq!(told, written);
}

/// A watch that can be asked for its progress tells it after all events up to then, and what happens elsewhere counts.
pub async fn progress_that_is_asked_for_comes_after_all_earlier_events(harness: &dyn Harness) {
    let space = Space::new(harness);
    let mut written = Vec::with_capacity(LONG);
    for n in 0..LONG {
        written.push(space.put(&format!("{}", n % 7), "").await);
    }
    let mut follower = space.follow(written[0]).await;
    let elsewhere = space.commit(vec![put(space.sibling("a"), "")]).await;
    // A watch that is behind may leave it out, and is asked again.
    for _ in 0..100 {
        if !follower.stream.request_progress() {
            return;
        }
        while let Ok(response) = tokio::time::timeout(Duration::from_millis(100), follower.next()).await {
            let response = response.expect("the watch goes on");
            if let WatchResponse::Progress(header) = response
                && header.revision >= elsewhere
            {
                return assert_eq!(revisions(&follower.events), written);
            }
            follower.take(response);
        }
    }
    panic!("no progress came, although it can be asked for");
}
