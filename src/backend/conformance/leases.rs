//! Leases: keys that live and die with one.
#![allow(clippy::missing_panics_doc, reason = "every case asserts")]

use std::time::Duration;

use bytes::Bytes;

use super::Harness;
use super::space::{Space, put};
use crate::backend::{BackendError, Expect, Write, WriteAction};
use crate::kv::{Event, LeaseId};

const TTL: Duration = Duration::from_secs(60);
/// No kvstore grants this one to anybody.
const UNKNOWN: LeaseId = LeaseId(0x0123_4567_89ab_cdef);

async fn grant(space: &Space) -> LeaseId {
    let grant = space.backend.grant(LeaseId::NONE, TTL).await.expect("the lease is granted");
    assert!(grant.ttl >= TTL && grant.lease != LeaseId::NONE, "{grant:?}");
    grant.lease
}

fn leased(space: &Space, name: &str, lease: LeaseId) -> Write {
    let action = WriteAction::Put { value: Bytes::copy_from_slice(name.as_bytes()), lease };
    Write { path: space.path(name), expect: Expect::Any, action }
}

async fn names(space: &Space) -> Vec<String> {
    space.state().await.into_iter().map(|(name, _)| name).collect()
}

async fn revoke(space: &Space, lease: LeaseId) {
    space.backend.revoke(lease).await.expect("the lease is revoked");
}

/// A key says its lease, in lists and in events.
pub async fn a_key_under_a_lease_says_so(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = grant(&space).await;
    let at = space.commit(vec![leased(&space, "a", lease)]).await;
    let kv = space.page(space.all()).await.kvs.remove(0);
    assert_eq!(kv.lease, lease);
    assert_eq!(space.follow(at).await.until(at).await, [Event::Put(kv)]);
    revoke(&space, lease).await;
}

/// No kvstore promises anything for centuries.
pub async fn a_ttl_that_is_too_large_is_rejected(harness: &dyn Harness) {
    let space = Space::new(harness);
    for ttl in [Duration::from_secs(9_000_000_001), Duration::MAX] {
        let error = space.backend.grant(LeaseId::NONE, ttl).await.expect_err("it cannot live that long");
        let BackendError::Rejected { cause } = &error else { panic!("{ttl:?}: {error:?}") };
        assert!(cause.contains("too large lease TTL: at most"), "{cause}");
    }
}

/// An id that belongs to this case alone, whatever other cases use the same kvstore.
fn chosen() -> LeaseId {
    LeaseId(fastrand::i64(1 << 62..i64::MAX))
}

/// The caller chooses the id, so that it can look for the lease after a lost answer.
pub async fn a_lease_has_the_id_the_caller_chose(harness: &dyn Harness) {
    let space = Space::new(harness);
    for lease in [chosen(), LeaseId(-chosen().0)] {
        let grant = space.backend.grant(lease, TTL).await.expect("the lease is granted");
        assert!(grant.lease == lease && grant.ttl >= TTL, "{grant:?}");
        space.commit(vec![leased(&space, "a", lease)]).await;
        assert_eq!(space.page(space.all()).await.kvs[0].lease, lease);
        assert_eq!(space.backend.keep_alive(lease).await, Ok(grant.ttl));
        revoke(&space, lease).await;
        assert_eq!(names(&space).await, [""; 0]);
    }
}

/// The lease that has the id keeps its TTL and its keys.
pub async fn an_id_that_is_taken_is_refused_and_nothing_changes(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = chosen();
    let grant = space.backend.grant(lease, TTL).await.expect("the lease is granted");
    let at = space.commit(vec![leased(&space, "a", lease)]).await;
    for ttl in [TTL, TTL * 2] {
        assert_eq!(space.backend.grant(lease, ttl).await, Err(BackendError::LeaseExists { lease }));
    }
    assert_eq!(space.backend.keep_alive(lease).await, Ok(grant.ttl));
    let kv = space.page(space.all()).await.kvs.remove(0);
    assert_eq!((kv.mod_revision, kv.lease), (at, lease));
    revoke(&space, lease).await;
}

/// An id is taken only while its lease lives; the keys of the first lease stay gone.
pub async fn an_id_can_be_chosen_again_after_its_lease_has_ended(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = chosen();
    for name in ["a", "b"] {
        space.backend.grant(lease, TTL).await.expect("the lease is granted");
        space.commit(vec![leased(&space, name, lease)]).await;
        assert_eq!(names(&space).await, [name]);
        revoke(&space, lease).await;
    }
}

/// [`LeaseId::NONE`] lets the kvstore choose, and it chooses no id that is taken.
pub async fn without_a_chosen_id_every_lease_gets_a_fresh_one(harness: &dyn Harness) {
    let space = Space::new(harness);
    let mut leases = vec![grant(&space).await];
    // What a kvstore that counts would choose next. Another case may have this lease already.
    if let Ok(taken) = space.backend.grant(LeaseId(leases[0].0.wrapping_add(1).max(1)), TTL).await {
        leases.push(taken.lease);
    }
    for _ in 0..3 {
        leases.push(grant(&space).await);
    }
    let count = leases.len();
    leases.sort_unstable();
    leases.dedup();
    assert_eq!(leases.len(), count, "{leases:?}");
    for lease in leases {
        revoke(&space, lease).await;
    }
}

/// All keys of a lease vanish at one revision; other keys stay.
pub async fn revoking_a_lease_deletes_its_keys_at_one_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (lease, other) = (grant(&space).await, grant(&space).await);
    let mine: Vec<_> = (0..200).map(|n| format!("mine{n:03}")).collect();
    for part in mine.chunks(100) {
        space.commit(part.iter().map(|name| leased(&space, name, lease)).collect()).await;
    }
    let before = space.commit(vec![leased(&space, "other", other), put(space.path("own"), "")]).await;
    revoke(&space, lease).await;
    assert_eq!(names(&space).await, ["other", "own"]);
    let last = space.put("own", "").await;
    let mut follower = space.follow(before.next()).await;
    let mut told = follower.until(last).await.to_vec();
    told.pop();
    assert!(told.iter().all(|event| event.revision() == told[0].revision()), "at several revisions");
    let mut deleted: Vec<_> = told
        .iter()
        .map(|event| match event {
            Event::Delete { path, .. } => space.name(path),
            Event::Put(kv) => panic!("not a deletion: {kv:?}"),
        })
        .collect();
    deleted.sort();
    assert_eq!(deleted, mine);
    revoke(&space, other).await;
}

/// A lease that is gone can be revoked: that is what was wanted.
pub async fn revoking_an_unknown_lease_is_no_error(harness: &dyn Harness) {
    let space = Space::new(harness);
    assert_eq!(space.backend.revoke(UNKNOWN).await, Ok(()));
    let lease = grant(&space).await;
    revoke(&space, lease).await;
    revoke(&space, lease).await;
}

/// A transaction that names a lease that is gone fails as a whole.
pub async fn a_put_on_an_unknown_lease_fails_and_applies_nothing(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = grant(&space).await;
    revoke(&space, lease).await;
    for gone in [UNKNOWN, lease] {
        let outcome = space.backend.write(vec![put(space.path("a"), ""), leased(&space, "b", gone)]).await;
        assert!(matches!(outcome, Err(BackendError::LeaseNotFound { .. })), "{outcome:?}");
    }
    assert_eq!(space.state().await, []);
}

/// A keep-alive answers the time the lease lives from now.
pub async fn a_keep_alive_answers_the_ttl(harness: &dyn Harness) {
    let space = Space::new(harness);
    let grant = space.backend.grant(LeaseId::NONE, TTL).await.expect("the lease is granted");
    for _ in 0..3 {
        assert_eq!(space.backend.keep_alive(grant.lease).await, Ok(grant.ttl));
    }
    revoke(&space, grant.lease).await;
}

/// A lease that is gone cannot be kept alive.
pub async fn a_keep_alive_of_a_gone_lease_says_so(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = grant(&space).await;
    revoke(&space, lease).await;
    for gone in [lease, UNKNOWN] {
        assert_eq!(space.backend.keep_alive(gone).await, Err(BackendError::LeaseNotFound { lease: gone }));
    }
}

/// A key belongs to the lease of its last put only.
pub async fn a_put_under_another_lease_detaches_the_key_from_the_first(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (first, second) = (grant(&space).await, grant(&space).await);
    space.commit(vec![leased(&space, "a", first), leased(&space, "b", first)]).await;
    space.commit(vec![leased(&space, "a", second)]).await;
    revoke(&space, first).await;
    assert_eq!(names(&space).await, ["a"]);
    revoke(&space, second).await;
    assert_eq!(space.state().await, []);
}

/// A key put without a lease outlives the one it had.
pub async fn a_put_without_a_lease_detaches_the_key(harness: &dyn Harness) {
    let space = Space::new(harness);
    let lease = grant(&space).await;
    space.commit(vec![leased(&space, "a", lease)]).await;
    space.put("a", "").await;
    revoke(&space, lease).await;
    assert_eq!(names(&space).await, ["a"]);
    assert_eq!(space.page(space.all()).await.kvs[0].lease, LeaseId::NONE);
}

/// Asking does not keep the lease alive, and it has never more left than it was granted.
pub async fn a_lease_tells_how_long_it_has_left(harness: &dyn Harness) {
    let space = Space::new(harness);
    let grant = space.backend.grant(LeaseId::NONE, TTL).await.expect("the lease is granted");
    let time = space.backend.lease_time(grant.lease).await.expect("it lives");
    assert!(time.ttl == grant.ttl && time.left <= time.ttl && time.left > TTL / 2, "{time:?}");
    revoke(&space, grant.lease).await;
    for lease in [grant.lease, UNKNOWN] {
        assert_eq!(space.backend.lease_time(lease).await, Err(BackendError::LeaseNotFound { lease }));
    }
}
