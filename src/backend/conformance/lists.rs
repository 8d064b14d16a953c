//! Lists: pages, ranges, pinned revisions, filters.
#![allow(clippy::missing_panics_doc, reason = "every case asserts")]

use super::Harness;
use super::space::{Space, delete, put};
use crate::backend::{BackendError, ListRequest};
use crate::kv::{KeyRange, LeaseId, Revision};

/// A key put once is listed with its value, and the put's revision as both of its own.
pub async fn what_was_put_is_listed_with_its_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let revision = space.put("a", "one").await;
    let page = space.page(space.all()).await;
    assert!(page.header.revision >= revision);
    assert_eq!((page.kvs.len(), page.count, page.more), (1, 1, false));
    let kv = &page.kvs[0];
    assert_eq!((&kv.path, &kv.value[..]), (&space.path("a"), &b"one"[..]));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.lease), (revision, revision, LeaseId::NONE));
}

/// An empty value is there and empty.
pub async fn an_empty_value_is_a_value(harness: &dyn Harness) {
    let space = Space::new(harness);
    space.put("a", "").await;
    assert_eq!(space.state().await, [("a".to_owned(), String::new())]);
}

/// Paths need not be text; they are ordered by their bytes, in lists and as they were written in watches.
pub async fn keys_come_in_path_order_whatever_their_bytes(harness: &dyn Harness) {
    let space = Space::new(harness);
    let names: [&[u8]; 8] =
        [b"\x00", b"\x01\xfe", b"A//..", b"a", "a\u{e9}\u{10ffff}".as_bytes(), b"\xc3\x28", b"\xf0", b"\xff\xff"];
    let start = space.revision().await.next();
    let mut last = start;
    for name in names.iter().rev() {
        last = space.commit(vec![put(space.path(name), "v")]).await;
    }
    let paths = names.map(|name| space.path(name));
    let page = space.page(space.all()).await;
    assert_eq!(page.kvs.into_iter().map(|kv| kv.path).collect::<Vec<_>>(), paths);
    let mut follower = space.follow(start).await;
    let watched = follower.until(last).await.iter().rev().map(|event| event.path().clone());
    assert_eq!(watched.collect::<Vec<_>>(), paths);
}

/// A range without keys has an empty page that still tells the revision.
pub async fn an_empty_range_lists_nothing(harness: &dyn Harness) {
    let space = Space::new(harness);
    let page = space.page(space.all()).await;
    assert_eq!((page.kvs.len(), page.count, page.more), (0, 0, false));
    assert!(page.header.revision > Revision::ZERO, "even an empty kvstore has a revision");
}

/// `nodes/v10` is not below `nodes/v1`, nor is the prefix itself.
pub async fn a_sibling_prefix_is_not_in_the_range(harness: &dyn Harness) {
    let space = Space::new(harness);
    let bare = space.range().start.slice(..space.range().start.len() - 1);
    space.commit(vec![put(space.sibling("a"), "theirs"), put(space.path("a"), "ours"), put(bare.clone(), "x")]).await;
    assert_eq!(space.state().await, [("a".to_owned(), "ours".to_owned())]);
    space.commit(vec![delete(space.sibling("a")), delete(bare)]).await;
}

/// The range of one path leaves out every other, also the longer ones.
pub async fn a_range_of_one_path_holds_just_that_path(harness: &dyn Harness) {
    let space = Space::new(harness);
    space.commit(["a", "aa", "a/b", "b"].map(|name| put(space.path(name), name)).into()).await;
    let page = space.page(ListRequest::new(KeyRange::one(&space.path("a")))).await;
    assert_eq!(page.kvs.iter().map(|kv| space.name(&kv.path)).collect::<Vec<_>>(), ["a"]);
    assert_eq!(page.count, 1);
}

/// A limited page is the first part of the range, says whether there is more, and counts the whole range.
pub async fn a_limit_cuts_the_page_and_says_how_many_there_are(harness: &dyn Harness) {
    let space = Space::new(harness);
    space.commit(["a", "b", "c"].map(|name| put(space.path(name), name)).into()).await;
    for (limit, listed, more) in [(1, 1, true), (2, 2, true), (3, 3, false), (4, 3, false), (0, 3, false)] {
        let page = space.page(ListRequest { limit, ..space.all() }).await;
        assert_eq!((page.kvs.len(), page.more, page.count), (listed, more, 3), "limit {limit}");
        assert_eq!(page.kvs[0].path, space.path("a"));
    }
}

/// A list in pages at one revision is that revision, whatever is written between the pages.
pub async fn pages_at_a_pinned_revision_show_one_state_while_others_write(harness: &dyn Harness) {
    let (space, other) = (Space::new(harness), harness.backend());
    let names: Vec<_> = (0..10).map(|n| format!("k{n}")).collect();
    let pinned = space.commit(names.iter().map(|name| put(space.path(name), "old")).collect()).await;
    let mut request = ListRequest { revision: Some(pinned), limit: 3, ..space.all() };
    let mut listed = Vec::new();
    for round in 0..names.len() {
        // Before the cursor, at it, behind it: a change, a deletion, a new key.
        let noise = ["k0", "k5", "k9"].map(|name| put(space.path(name), &format!("new {round}")));
        let added = put(space.path(format!("k{round}x")), "new");
        other.write([noise.into(), vec![added, delete(space.path("k7"))]].concat()).await.expect("written");
        let page = space.page(request.clone()).await;
        assert!(page.header.revision > pinned, "the header tells the newest revision");
        assert_eq!(page.count, (names.len() - listed.len()) as u64, "the count starts where the request does");
        listed.extend(page.kvs);
        if !page.more {
            break;
        }
        request.range.start = KeyRange::one(&listed[listed.len() - 1].path).end;
    }
    assert_eq!(listed.iter().map(|kv| space.name(&kv.path)).collect::<Vec<_>>(), names);
    assert!(listed.iter().all(|kv| kv.value == "old" && kv.mod_revision == pinned), "{listed:?}");
}

/// A list in the past has keys that are gone, without those that came later, with their revisions of then.
pub async fn a_pinned_list_shows_deleted_and_overwritten_keys_as_they_were(harness: &dyn Harness) {
    let space = Space::new(harness);
    let first = space.put("a", "1").await;
    let second = space.put("b", "1").await;
    space.put("a", "2").await;
    space.delete("b").await;
    space.put("c", "1").await;
    space.put("b", "2").await;
    let page = space.page(ListRequest { revision: Some(second), ..space.all() }).await;
    let found: Vec<_> =
        page.kvs.iter().map(|kv| (space.name(&kv.path), &kv.value[..], kv.create_revision, kv.mod_revision)).collect();
    assert_eq!(found, [("a".into(), &b"1"[..], first, first), ("b".into(), &b"1"[..], second, second)]);
}

/// `min_mod_revision` leaves out what was last written before; the count is of the whole range all the same.
pub async fn only_keys_written_since_a_revision(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (_, b) = (space.put("a", "1").await, space.put("b", "1").await);
    let c = space.put("c", "1").await;
    for (since, limit, names, more) in
        [(b, 0, &["b", "c"][..], false), (c, 0, &["c"], false), (c.next(), 0, &[], false), (b, 1, &["b"], true)]
    {
        let page = space.page(ListRequest { min_mod_revision: Some(since), limit, ..space.all() }).await;
        assert_eq!(page.kvs.iter().map(|kv| space.name(&kv.path)).collect::<Vec<_>>(), names, "{since} {limit}");
        assert_eq!((page.more, page.count), (more, 3), "{since} {limit}");
    }
}

/// A list of keys only has everything but the values.
pub async fn keys_only_leaves_the_values_out(harness: &dyn Harness) {
    let space = Space::new(harness);
    let revision = space.commit(vec![put(space.path("a"), "one"), put(space.path("b"), "two")]).await;
    let page = space.page(ListRequest { keys_only: true, ..space.all() }).await;
    assert_eq!(page.kvs.iter().map(|kv| space.name(&kv.path)).collect::<Vec<_>>(), ["a", "b"]);
    assert!(page.kvs.iter().all(|kv| kv.value.is_empty() && kv.mod_revision == revision), "{:?}", page.kvs);
}

/// A revision the kvstore has not reached cannot be listed: it shows that its history went backwards.
pub async fn a_revision_in_the_future_is_refused(harness: &dyn Harness) {
    let space = Space::new(harness);
    let future = Revision(space.revision().await.0 + 1_000_000);
    let refused = space.backend.list(ListRequest { revision: Some(future), ..space.all() }).await;
    assert_eq!(refused, Err(BackendError::FutureRevision));
}

/// A list through one collaborator shows every write another was answered for, from the same cluster.
pub async fn a_second_collaborator_sees_what_was_written(harness: &dyn Harness) {
    let (space, other) = (Space::new(harness), harness.backend());
    for n in 0..20 {
        let revision = space.put("a", &n.to_string()).await;
        let theirs = other.list(space.all()).await.expect("listed");
        assert_eq!((theirs.kvs[0].mod_revision, &theirs.kvs[0].value[..]), (revision, n.to_string().as_bytes()));
        assert_eq!(theirs.header.cluster, space.page(space.all()).await.header.cluster);
    }
}
