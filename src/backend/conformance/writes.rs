//! Transactions: all or nothing, expectations, limits.
#![allow(clippy::missing_panics_doc, reason = "every case asserts")]

use bytes::Bytes;

use super::Harness;
use super::space::{Space, delete, put, refused};
use crate::backend::{Backend, BackendError, Expect, Write, WriteAction, WriteOutcome};
use crate::kv::{Event, LeaseId, Revision};

fn expecting(expect: Expect, write: Write) -> Write {
    Write { expect, ..write }
}

/// Puts and deletes of one transaction carry the same revision.
pub async fn all_writes_of_a_transaction_share_one_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let first = space.put("gone", "1").await;
    let second =
        space.commit(vec![put(space.path("a"), "1"), delete(space.path("gone")), put(space.path("b"), "1")]).await;
    assert!(second > first);
    let page = space.page(space.all()).await;
    let found: Vec<_> = page.kvs.iter().map(|kv| (space.name(&kv.path), kv.mod_revision)).collect();
    assert_eq!(found, [("a".to_owned(), second), ("b".to_owned(), second)]);
    assert_eq!(space.follow(second).await.until(second).await.len(), 3);
}

/// One expectation that fails refuses all, and the answer says what every path holds, in the order of the writes.
pub async fn a_refused_transaction_applies_nothing_and_says_what_is_there(harness: &dyn Harness) {
    let space = Space::new(harness);
    let at = space.put("b", "old").await;
    let outcome = space
        .backend
        .write(vec![
            put(space.path("z"), "new"),
            expecting(Expect::Absent, put(space.path("b"), "new")),
            delete(space.path("b2")),
        ])
        .await;
    let Ok(WriteOutcome::Refused { revision, current }) = outcome else { panic!("not refused: {outcome:?}") };
    assert!(revision >= at);
    assert_eq!(current.len(), 3);
    assert_eq!((&current[0], &current[2]), (&None, &None));
    assert!(current[1].as_ref().is_some_and(|kv| kv.value == "old" && kv.mod_revision == at), "{current:?}");
    assert_eq!(space.state().await, [("b".to_owned(), "old".to_owned())]);
}

/// The create revision stays over updates and is new after a deletion.
pub async fn a_put_keeps_the_create_revision_until_the_key_is_deleted(harness: &dyn Harness) {
    let space = Space::new(harness);
    let created = space.put("a", "1").await;
    let updated = space.put("a", "1").await;
    assert!(updated > created, "a put of the same value is a change");
    let kv = space.page(space.all()).await.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision), (created, updated));
    space.delete("a").await;
    let again = space.put("a", "1").await;
    let kv = space.page(space.all()).await.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision), (again, again));
    let mut follower = space.follow(created).await;
    let told = follower.until(again).await.iter().map(|event| match event {
        Event::Put(kv) => Some(kv.create_revision),
        Event::Delete { .. } => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [Some(created), Some(created), None, Some(again)]);
}

/// Deleting what is not there succeeds, and watchers hear nothing of it.
pub async fn deleting_an_absent_key_is_committed_and_changes_nothing(harness: &dyn Harness) {
    let space = Space::new(harness);
    let start = space.revision().await.next();
    space.delete("nothing").await;
    let last = space.put("end", "").await;
    let mut follower = space.follow(start).await;
    let told: Vec<_> = follower.until(last).await.iter().map(|event| event.path().clone()).collect();
    assert_eq!(told, [space.path("end")]);
}

/// `Absent` lets a key be created once, and again after it was deleted.
pub async fn an_absent_key_can_be_expected(harness: &dyn Harness) {
    let space = Space::new(harness);
    let create = || vec![expecting(Expect::Absent, put(space.path("a"), "mine"))];
    let at = space.commit(create()).await;
    let current = refused(space.backend.write(create()).await);
    assert_eq!(current[0].as_ref().map(|kv| kv.mod_revision), Some(at));
    space.delete("a").await;
    space.commit(create()).await;
}

/// `Revision` lets a key be changed only as it was seen.
pub async fn a_revision_can_be_expected(harness: &dyn Harness) {
    let space = Space::new(harness);
    let update = |seen| vec![expecting(Expect::Revision(seen), put(space.path("a"), "new"))];
    let first = space.put("a", "1").await;
    let second = space.put("a", "2").await;
    for wrong in [first, second.next()] {
        let current = refused(space.backend.write(update(wrong)).await);
        assert_eq!(current[0].as_ref().map(|kv| kv.mod_revision), Some(second));
    }
    space.commit(update(second)).await;
    space.delete("a").await;
    assert_eq!(refused(space.backend.write(update(second)).await), [None]);
}

/// A delete is refused if the key was written since, and done if not.
pub async fn a_delete_can_expect_a_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let old = space.put("a", "1").await;
    let new = space.put("a", "2").await;
    let remove = |seen| vec![expecting(Expect::Revision(seen), delete(space.path("a")))];
    refused(space.backend.write(remove(old)).await);
    assert_eq!(space.state().await.len(), 1);
    space.commit(remove(new)).await;
    assert_eq!(space.state().await, []);
}

/// `Is` compares the lease, too: a key of another owner is not deleted, whatever its revision.
pub async fn a_delete_can_expect_a_lease(harness: &dyn Harness) {
    let space = Space::new(harness);
    let ttl = std::time::Duration::from_secs(60);
    let lease = space.backend.grant(LeaseId::NONE, ttl).await.expect("the lease is possible").lease;
    let at = space.put("a", "1").await;
    let remove = |revision, lease| vec![expecting(Expect::Is { revision, lease }, delete(space.path("a")))];
    refused(space.backend.write(remove(at, lease)).await);
    assert_eq!(space.state().await.len(), 1);
    space.commit(remove(at, LeaseId::NONE)).await;
    assert_eq!(space.state().await, []);
    assert_eq!(refused(space.backend.write(remove(at, LeaseId::NONE)).await), [None]);
}

/// Of several creators at the same time exactly one wins, and the others learn who.
pub async fn one_of_many_concurrent_creators_wins(harness: &dyn Harness) {
    let space = Space::new(harness);
    let backends = [(); 4].map(|()| harness.backend());
    let create = |n: usize| {
        let write = expecting(Expect::Absent, put(space.path("a"), &n.to_string()));
        backends[n].write(vec![write])
    };
    let (a, b, c, d) = tokio::join!(create(0), create(1), create(2), create(3));
    let (won, lost): (Vec<_>, Vec<_>) = [a, b, c, d]
        .into_iter()
        .enumerate()
        .partition(|(_, outcome)| matches!(outcome, Ok(WriteOutcome::Committed { .. })));
    assert_eq!(won.len(), 1, "{won:?} {lost:?}");
    for (_, outcome) in lost {
        let current = refused(outcome);
        assert_eq!(current[0].as_ref().map(|kv| kv.value.clone()), Some(won[0].0.to_string().into()));
    }
}

/// 2 MB is more than etcd takes: the refusal is for good, and nothing is applied.
pub async fn a_value_that_is_too_large_is_rejected(harness: &dyn Harness) {
    let space = Space::new(harness);
    let action = WriteAction::Put { value: Bytes::from(vec![b'x'; 2_000_000]), lease: LeaseId::NONE };
    let write = Write { path: space.path("a"), expect: Expect::Any, action };
    rejected(&*space.backend, vec![put(space.path("b"), ""), write]).await;
    assert_eq!(space.state().await, []);
}

/// A transaction of the allowed size works.
pub async fn as_many_writes_as_allowed_are_one_transaction(harness: &dyn Harness) {
    let space = Space::new(harness);
    let max = space.backend.max_writes();
    let revision = space.commit(many(&space, max)).await;
    let page = space.page(space.all()).await;
    assert_eq!(page.kvs.len(), max);
    assert!(page.kvs.iter().all(|kv| kv.mod_revision == revision));
}

/// A transaction of more is refused for good.
pub async fn one_write_more_than_allowed_is_rejected(harness: &dyn Harness) {
    let space = Space::new(harness);
    rejected(&*space.backend, many(&space, space.backend.max_writes() + 1)).await;
    assert_eq!(space.state().await, []);
}

/// A path twice is refused for good, whatever is to be done with it.
pub async fn a_path_twice_in_a_transaction_is_rejected(harness: &dyn Harness) {
    let space = Space::new(harness);
    let twice = || put(space.path("a"), "1");
    for second in [twice(), delete(space.path("a"))] {
        rejected(&*space.backend, vec![twice(), put(space.path("b"), "1"), second]).await;
    }
    rejected(&*space.backend, vec![delete(space.path("a")), delete(space.path("a"))]).await;
    assert_eq!(space.state().await, []);
}

fn many(space: &Space, count: usize) -> Vec<Write> {
    let write = |n| expecting(Expect::Revision(Revision::ZERO), put(space.path(format!("{n:04}")), "v"));
    (0..count).map(write).collect()
}

async fn rejected(backend: &dyn Backend, writes: Vec<Write>) {
    let outcome = backend.write(writes).await;
    assert!(matches!(outcome, Err(BackendError::Rejected { .. })), "{outcome:?}");
}
