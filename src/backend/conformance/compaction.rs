//! Compaction: reading a compacted revision is an error. These cases compact the whole kvstore, so they need their own.
#![allow(clippy::missing_panics_doc, reason = "every case asserts")]

use super::Harness;
use super::space::{Follower, Space};
use crate::backend::{BackendError, ListRequest, WatchRequest};
use crate::kv::{Event, Revision};

/// Five writes of one key, after which the history before the fourth is compacted.
async fn compacted(harness: &dyn Harness) -> (Space, Vec<Revision>) {
    let space = Space::new(harness);
    let mut written = Vec::new();
    for n in 0..5 {
        written.push(space.put("a", &n.to_string()).await);
    }
    harness.compact(written[3]).await;
    (space, written)
}

fn says_so<T: std::fmt::Debug>(answer: &Result<T, BackendError>, oldest: Revision) {
    let Err(BackendError::Compacted { oldest: said }) = answer else { panic!("not compacted: {answer:?}") };
    assert!(*said == oldest || *said == Revision::ZERO, "{said} instead of {oldest}");
}

/// A pinned list before the compacted revision fails, so that the caller lists anew.
pub async fn a_list_at_a_compacted_revision_says_so(harness: &dyn Harness) {
    let (space, written) = compacted(harness).await;
    for gone in [written[0], written[2]] {
        let answer = space.backend.list(ListRequest { revision: Some(gone), ..space.all() }).await;
        says_so(&answer, written[3]);
    }
}

/// The revision compacted to and the newest one can still be listed.
pub async fn a_list_at_the_oldest_kept_revision_works(harness: &dyn Harness) {
    let (space, written) = compacted(harness).await;
    for (revision, value) in [(Some(written[3]), "3"), (Some(written[4]), "4"), (None, "4")] {
        let page = space.page(ListRequest { revision, ..space.all() }).await;
        assert_eq!(page.kvs.iter().map(|kv| kv.value.clone()).collect::<Vec<_>>(), [value]);
    }
}

/// A watch that needs compacted events fails, at once or with its first response; one that does not need any works.
pub async fn a_watch_from_a_compacted_revision_says_so(harness: &dyn Harness) {
    let (space, written) = compacted(harness).await;
    for start in [written[0], written[2]] {
        match space.backend.watch(WatchRequest { range: space.range(), start }).await {
            Ok(stream) => says_so(&Follower { stream, events: Vec::new(), complete: true }.next().await, written[3]),
            Err(error) => says_so::<()>(&Err(error), written[3]),
        }
    }
    let mut follower = space.follow(written[4]).await;
    assert_eq!(follower.until(written[4]).await.iter().map(Event::revision).collect::<Vec<_>>(), [written[4]]);
}

/// A watch that has seen everything does not need what is compacted.
pub async fn a_watch_that_has_caught_up_survives_compaction(harness: &dyn Harness) {
    let space = Space::new(harness);
    let first = space.put("a", "1").await;
    let mut follower = space.follow(first).await;
    follower.until(first).await;
    let second = space.put("a", "2").await;
    follower.until(second).await;
    harness.compact(second).await;
    let third = space.put("a", "3").await;
    let told: Vec<_> = follower.until(third).await.iter().map(Event::revision).collect();
    assert_eq!(told, [first, second, third]);
}
