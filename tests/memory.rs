//! What the in-memory kvstore does with time and with its history. The clock is paused: nothing waits for real.

use std::time::Duration;

use shared_store_core::backend::conformance::{Space, put};
use shared_store_core::backend::memory::Mvcc;
use shared_store_core::backend::{Backend, Expect, WatchRequest, WatchResponse, Write, WriteAction};
use shared_store_core::{BackendError, Event, LeaseId, MemoryBackend, Revision};
use shared_store_support::pass;
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(30);

async fn leased(space: &Space, names: &[&str]) -> (LeaseId, Revision) {
    let lease = space.backend.grant(LeaseId::NONE, TTL).await.unwrap().lease;
    let write = |name: &&str| {
        let action = WriteAction::Put { value: "v".into(), lease };
        Write { path: space.path(name), expect: Expect::Any, action }
    };
    (lease, space.commit(names.iter().map(write).collect()).await)
}

#[tokio::test(start_paused = true)]
async fn a_waiting_watch_tells_of_an_expired_lease_without_any_call() {
    let space = Space::new(&MemoryBackend::new());
    let began = Instant::now();
    let (_, at) = leased(&space, &["a", "b"]).await;
    let mut follower = space.follow(at.next()).await;
    let gone = at.next();
    let told = follower.until(gone).await;
    assert_eq!(began.elapsed().as_secs(), TTL.as_secs());
    let deleted = ["a", "b"].map(|name| Event::Delete { path: space.path(name), revision: gone });
    assert_eq!(told, deleted, "all keys at one revision");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_already_waits_learns_of_a_lease_granted_later() {
    let space = Space::new(&MemoryBackend::new());
    let start = space.revision().await.next();
    let mut follower = space.follow(start).await;
    let began = Instant::now();
    let (_, (_, at)) = tokio::join!(follower.until(start.next()), async {
        pass(Duration::from_secs(1)).await;
        leased(&space, &["a"]).await
    });
    assert_eq!(began.elapsed().as_secs(), 1 + TTL.as_secs());
    assert_eq!(follower.events.len(), 2);
    assert_eq!(at, start);
}

#[tokio::test(start_paused = true)]
async fn a_kept_alive_lease_lives_and_one_that_is_not_is_gone_for_every_call() {
    let space = Space::new(&MemoryBackend::new());
    let (kept, _) = leased(&space, &["kept"]).await;
    let (lost, _) = leased(&space, &["lost"]).await;
    for _ in 0..3 {
        tokio::time::advance(TTL / 2).await;
        assert_eq!(space.backend.keep_alive(kept).await, Ok(TTL));
    }
    assert_eq!(space.state().await, [("kept".to_owned(), "v".to_owned())]);
    assert_eq!(space.backend.keep_alive(lost).await, Err(BackendError::LeaseNotFound { lease: lost }));
}

#[tokio::test(start_paused = true)]
async fn a_write_under_a_lease_that_is_due_fails_though_nobody_has_looked_since() {
    let space = Space::new(&MemoryBackend::new());
    let (lease, _) = leased(&space, &["a"]).await;
    tokio::time::advance(TTL).await;
    let action = WriteAction::Put { value: "v".into(), lease };
    let outcome = space.backend.write(vec![Write { path: space.path("b"), expect: Expect::Any, action }]).await;
    assert_eq!(outcome, Err(BackendError::LeaseNotFound { lease }));
    assert_eq!(space.state().await, []);
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_says_how_far_it_is_and_events_put_that_off() {
    let memory = MemoryBackend::new().progress_interval(Duration::from_secs(60));
    let space = Space::new(&memory);
    let mut follower = space.follow(memory.revision().next()).await;
    let began = Instant::now();
    // Elsewhere: no event for this watch, but its progress.
    memory.write(vec![put(space.sibling("x"), "")]).await.unwrap();
    let Ok(WatchResponse::Progress(header)) = follower.stream.next().await else { panic!("no progress") };
    assert_eq!((header.revision, began.elapsed().as_secs()), (memory.revision(), 60));
    tokio::time::advance(Duration::from_secs(40)).await;
    let at = space.put("a", "").await;
    follower.until(at).await;
    assert!(matches!(follower.stream.next().await, Ok(WatchResponse::Progress(_))));
    assert_eq!(began.elapsed().as_secs(), 60 + 40 + 60);
}

#[tokio::test(start_paused = true)]
async fn a_catch_up_is_cut_at_a_thousand_revisions_with_the_header_ahead() {
    let space = Space::new(&MemoryBackend::new());
    let first = space.put("a", "").await;
    for _ in 0..1500 {
        space.put("a", "").await;
    }
    let mut follower = space.follow(first).await;
    let Ok(WatchResponse::Events(events)) = follower.stream.next().await else { panic!("no events") };
    assert_eq!(events.events.len(), 1000);
    assert_eq!(events.header.revision, Revision(first.0 + 1500));
}

#[tokio::test(start_paused = true)]
async fn a_slow_watch_is_overtaken_by_compaction_and_stays_dead() {
    let memory = MemoryBackend::from(Mvcc::new().history(10));
    let space = Space::new(&memory);
    let mut follower = space.follow(memory.revision().next()).await;
    for _ in 0..20 {
        space.put("a", "").await;
    }
    for _ in 0..2 {
        assert!(matches!(follower.stream.next().await, Err(BackendError::Compacted { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_a_watch_is_silent_until_its_revision_comes_again() {
    let memory = MemoryBackend::new();
    let space = Space::new(&memory);
    let backup = memory.backup();
    for n in 0..3 {
        space.put("a", &n.to_string()).await;
    }
    let start = memory.revision().next();
    let mut follower = space.follow(start).await;
    memory.restore(&backup);
    assert_eq!(space.state().await, []);
    while space.put("b", "new").await < start {}
    let [Event::Put(kv)] = follower.until(start).await else { panic!("not one: {:?}", follower.events) };
    assert_eq!((&kv.path, kv.mod_revision), (&space.path("b"), start));
}

#[tokio::test]
async fn a_panic_of_one_collaborator_does_not_reach_another() {
    let memory = MemoryBackend::new();
    let space = Space::new(&memory);
    space.put("a", "kept").await;
    let range = space.range();
    let theirs = memory.clone();
    let panicked = tokio::spawn(async move {
        let _watch = theirs.watch(WatchRequest { range, start: Revision(1) }).await;
        panic!("on purpose");
    });
    assert!(panicked.await.is_err());
    assert_eq!(space.state().await, [("a".to_owned(), "kept".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_from_before_a_restart_is_not_another_owners_lease_afterwards() {
    let ttl = Duration::from_secs(60);
    let before = MemoryBackend::new().grant(shared_store_core::LeaseId::NONE, ttl).await.unwrap().lease;
    let after = Space::new(&MemoryBackend::new());
    leased(&after, &["a"]).await;
    assert_eq!(after.backend.keep_alive(before).await, Err(BackendError::LeaseNotFound { lease: before }));
    after.backend.revoke(before).await.unwrap();
    assert_eq!(after.state().await.len(), 1, "the lease of its new owner is not revoked");
}
