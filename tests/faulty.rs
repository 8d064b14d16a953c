//! The faulty backend does the faults it is told, and only those.

use std::pin::pin;

use futures_util::FutureExt;
use shared_store_core::backend::conformance::{Space, delete, put};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, Events, WatchRequest, WatchResponse};
use shared_store_core::{BackendError, LeaseId, MemoryBackend};

/// A faulty backend, and a space that looks at the kvstore behind it.
fn faulty() -> (Faulty, Space) {
    let memory = MemoryBackend::new();
    (Faulty::new(memory.clone()), Space::new(&memory))
}

fn outage() -> BackendError {
    BackendError::unavailable("scripted")
}

#[tokio::test]
async fn the_next_calls_of_a_kind_fail_in_the_order_they_were_scripted() {
    let (faulty, space) = faulty();
    faulty.fail(Op::List, 2, When::Before, outage());
    faulty.fail(Op::List, 1, When::Before, BackendError::FutureRevision);
    faulty.fail(Op::List, 0, When::Before, BackendError::rejected("never"));
    assert!(faulty.revoke(LeaseId(1)).await.is_ok(), "another kind");
    for expected in [outage(), outage(), BackendError::FutureRevision] {
        assert_eq!(faulty.list(space.all()).await, Err(expected));
    }
    assert!(faulty.list(space.all()).await.is_ok());
    assert_eq!((faulty.calls(Op::List), faulty.calls(Op::Revoke), faulty.calls(Op::Write)), (4, 1, 0));
}

#[tokio::test]
async fn a_failure_before_applies_nothing_and_one_after_loses_only_the_answer() {
    let (faulty, space) = faulty();
    for (when, name, keys) in [(When::Before, "a", 0), (When::After, "b", 1)] {
        faulty.fail(Op::Write, 1, when, outage());
        assert_eq!(faulty.write(vec![put(space.path(name), "")]).await, Err(outage()));
        assert_eq!(space.state().await.len(), keys, "{when:?}");
    }
}

#[tokio::test]
async fn a_held_call_waits_at_its_side_until_it_is_released() {
    let (faulty, space) = faulty();
    for (when, name, applied) in [(When::Before, "a", 0), (When::After, "b", 2)] {
        faulty.hold(Op::Write, when);
        let mut call = pin!(faulty.write(vec![put(space.path(name), "")]));
        assert!(call.as_mut().now_or_never().is_none());
        assert_eq!(space.state().await.len(), applied, "{when:?}");
        faulty.release(Op::Write);
        assert!(call.await.is_ok());
    }
}

#[tokio::test]
async fn a_test_can_wait_for_a_call_to_arrive() {
    let (faulty, space) = faulty();
    faulty.hold(Op::List, When::Before);
    let (page, ()) = tokio::join!(faulty.list(space.all()), async {
        faulty.arrived(Op::List, 1).await;
        faulty.heal();
    });
    assert!(page.is_ok());
}

#[tokio::test]
async fn broken_watches_stay_broken_and_new_ones_work() {
    let (faulty, space) = faulty();
    let through = Space { backend: std::sync::Arc::new(faulty.clone()), ..space.clone() };
    let at = space.put("a", "").await;
    let mut open = through.follow(at).await;
    faulty.break_watches(outage());
    faulty.heal();
    for _ in 0..2 {
        assert_eq!(open.stream.next().await, Err(outage()), "before what it had to tell");
    }
    assert_eq!(through.follow(at).await.until(at).await.len(), 1);
}

#[tokio::test]
async fn a_break_reaches_a_watch_that_waits() {
    let (faulty, space) = faulty();
    let through = Space { backend: std::sync::Arc::new(faulty.clone()), ..space.clone() };
    let mut open = through.follow(space.revision().await.next()).await;
    let mut waiting = pin!(open.stream.next());
    assert!(waiting.as_mut().now_or_never().is_none());
    faulty.break_watches(outage());
    assert_eq!(waiting.await, Err(outage()));
}

#[tokio::test]
async fn a_muted_watch_is_silent_and_then_tells_everything() {
    let (faulty, space) = faulty();
    let through = Space { backend: std::sync::Arc::new(faulty.clone()), ..space.clone() };
    let mut open = through.follow(space.revision().await.next()).await;
    faulty.mute_watches();
    let at = space.put("a", "").await;
    assert!(open.stream.next().now_or_never().is_none());
    faulty.unmute_watches();
    assert_eq!(open.until(at).await.len(), 1);
}

#[tokio::test]
async fn fragments_are_flagged_inside_a_revision_only_and_name_the_newest_revision() {
    let (faulty, space) = faulty();
    faulty.fragment(2);
    let through = Space { backend: std::sync::Arc::new(faulty.clone()), ..space.clone() };
    let names = ["a", "b", "c", "d", "e"];
    let first = space.commit(names.map(|name| put(space.path(name), "")).into()).await;
    let last = space.commit(vec![delete(space.path("a")), delete(space.path("b"))]).await;
    let mut open = through.follow(first).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let Ok(WatchResponse::Events(Events { header, events, complete })) = open.stream.next().await else {
            panic!("no events")
        };
        assert_eq!(header.revision, last);
        told.push((events.iter().map(|event| event.revision().0 - first.0).collect::<Vec<_>>(), complete));
    }
    assert_eq!(told, [(vec![0, 0], false), (vec![0, 0], false), (vec![0, 1], false), (vec![1], true)]);
}

#[tokio::test]
async fn a_watch_muted_among_its_fragments_keeps_the_rest() {
    let (faulty, space) = faulty();
    faulty.fragment(1);
    let at = space.commit(["a", "b"].map(|name| put(space.path(name), "")).into()).await;
    let mut stream = faulty.watch(WatchRequest { range: space.range(), start: at }).await.unwrap();
    assert!(stream.next().await.is_ok());
    faulty.mute_watches();
    assert!(stream.next().now_or_never().is_none());
    faulty.unmute_watches();
    let Ok(WatchResponse::Events(rest)) = stream.next().await else { panic!("no events") };
    assert_eq!(rest.events[0].path(), &space.path("b"));
}
