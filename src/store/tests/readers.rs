//! Reading the cache: while it changes, and waiting for it.

use std::sync::atomic::Ordering;

use shared_store_support::pass;

use super::*;
use crate::reader::{AtLeastError, Closed, UnknownIndex};
use crate::watch::PageKeys;

/// What `changed` answers, or `None` if it waits.
async fn changed(reader: &mut Reader<bench::Note>) -> Option<Result<Revision, Closed>> {
    tokio::time::timeout(SECOND, reader.changed()).await.ok()
}

const SECOND: Duration = Duration::from_secs(1);

fn later(mut bench: Bench, seconds: u64, act: impl FnOnce(&mut Bench) + 'static) {
    tokio::task::spawn_local(async move {
        pass(SECOND * u32::try_from(seconds).unwrap()).await;
        act(&mut bench);
        // It stays until the test ends.
        std::future::pending::<()>().await;
    });
}

async fn local<T>(test: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(test).await
}

#[tokio::test(start_paused = true)]
async fn at_least_waits_until_the_cache_is_there() {
    local(async {
        let bench = Bench::listed(&[], 5);
        let reader = bench.reader.clone();
        assert_eq!(reader.at_least(Revision(5), Duration::ZERO).await, Ok(()));
        later(bench, 3, |bench| bench.events([put("a", "1", 7)]));
        let start = tokio::time::Instant::now();
        assert_eq!(reader.at_least(Revision(6), 10 * SECOND).await, Ok(()));
        assert_eq!((start.elapsed(), reader.snapshot().revision), (3 * SECOND, Revision(7)));
        assert_eq!(reader.get("a").unwrap().value, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_least_is_content_with_progress() {
    local(async {
        let bench = Bench::listed(&[], 5);
        let reader = bench.reader.clone();
        later(bench, 1, |bench| bench.deliver(Delivery::Progress(Revision(6))));
        assert_eq!(reader.at_least(Revision(6), 10 * SECOND).await, Ok(()));
        assert_eq!(reader.snapshot().revision, Revision(6));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn at_least_gives_up_in_time_and_says_how_the_store_is() {
    let mut bench = Bench::listed(&[], 5);
    bench.deliver(Delivery::Live);
    let start = tokio::time::Instant::now();
    let timed_out = bench.reader.at_least(Revision(9), 4 * SECOND).await.unwrap_err();
    assert_eq!(start.elapsed(), 4 * SECOND);
    let (wanted, reached) = (Revision(9), Revision(5));
    assert_eq!(timed_out, AtLeastError::TimedOut { wanted, reached, state: State::Synced });
    assert_eq!(timed_out.to_string(), "cache is at revision 5, not yet at 9 (synced)");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_the_store_closes_or_is_dropped() {
    local(async {
        for drops in [true, false] {
            let bench = Bench::listed(&[], 5);
            let (reader, mut changes) = (bench.reader.clone(), bench.reader.clone());
            tokio::task::spawn_local(async move {
                pass(SECOND).await;
                let mut bench = bench;
                if drops {
                    drop(bench);
                } else {
                    bench.store.close("left");
                    std::future::pending::<()>().await;
                }
            });
            let changes = tokio::time::timeout(60 * SECOND, changes.changed());
            let (waits, changed) = tokio::join!(reader.at_least(Revision(9), 60 * SECOND), changes);
            assert_eq!((waits, changed), (Err(AtLeastError::Closed { reached: Revision(5) }), Ok(Err(Closed))));
            assert_eq!(reader.at_least(Revision(5), SECOND).await, Ok(()));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn changed_answers_once_for_what_happened_since() {
    let mut bench = Bench::listed(&[], 5);
    let mut reader = bench.reader.clone();
    bench.events([put("a", "1", 6)]);
    bench.events([put("a", "2", 7)]);
    assert_eq!(changed(&mut reader).await, Some(Ok(Revision(7))));
    assert_eq!(changed(&mut reader).await, None);
    bench.events([put("a", "2", 8), delete("unknown", 8)]);
    bench.deliver(Delivery::Progress(Revision(9)));
    assert_eq!(changed(&mut reader).await, None, "an unchanged value is no change");
    bench.events([delete("a", 10)]);
    assert_eq!(changed(&mut reader).await, Some(Ok(Revision(10))));
}

#[tokio::test(start_paused = true)]
async fn a_change_between_clone_and_call_is_not_lost_nor_by_a_cancelled_call() {
    let mut bench = Bench::listed(&[], 5);
    let mut reader = bench.reader.clone();
    let mut clone = reader.clone();
    assert_eq!(changed(&mut reader).await, None);
    bench.events([put("a", "1", 6)]);
    let mut late = reader.clone();
    for reader in [&mut reader, &mut clone, &mut late] {
        assert_eq!(changed(reader).await, Some(Ok(Revision(6))));
    }
    let mut new = bench.store.reader();
    assert_eq!(changed(&mut new).await, None, "a new reader has seen all");
}

#[test]
fn scans_and_lookups_are_in_name_order_and_exact() {
    let keys = [kv("b/2", "21", 2), kv("b", "22", 3), kv("b/1", "23", 4), kv("c", "24", 5), kv("a", "3", 6)];
    let mut bench = Bench::listed(&keys, 9);
    let names = |entries: Vec<(KeyName, Arc<bench::Note>)>| -> Vec<_> {
        entries.into_iter().map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(names(bench.reader.scan("b/").entries), ["b/1", "b/2"]);
    assert_eq!(names(bench.reader.scan("b").entries), ["b", "b/1", "b/2"]);
    assert_eq!(names(bench.reader.lookup("tens", "2").unwrap().entries), ["b", "b/1", "b/2", "c"]);
    assert_eq!(bench.reader.lookup("hundreds", "2").unwrap_err(), UnknownIndex("hundreds".into()));
    bench.events([put("b", "31", 10), delete("c", 11)]);
    assert_eq!(names(bench.reader.lookup("tens", "2").unwrap().entries), ["b/1", "b/2"]);
    assert_eq!(names(bench.reader.lookup("tens", "3").unwrap().entries), ["b"]);
}

#[test]
fn a_reader_outlives_the_store() {
    let bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let reader = bench.reader.clone();
    drop(bench);
    assert_eq!((reader.get("a").unwrap().value, reader.len()), (1, 1));
    assert_eq!(reader.state().to_string(), "closed: store was dropped");
}

#[test]
fn reads_are_never_torn_while_batches_are_applied() {
    const KEYS: usize = 20;
    let names: Vec<_> = (0..KEYS).map(|n| format!("k{n:02}")).collect();
    let all = |revision: u64| -> Vec<_> {
        names.iter().map(|name| put(name, &(1000 + revision % 10).to_string(), revision)).collect()
    };
    let mut bench = Bench::listed(&[], 5);
    bench.events(all(6));
    let (reader, done) = (bench.reader.clone(), std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|n| {
                let (reader, done) = (reader.clone(), &done);
                scope.spawn(move || {
                    let (mut reads, mut last) = (0_u64, Revision::ZERO);
                    while !done.load(Ordering::Relaxed) || reads < 100 {
                        let announced = reader.revision();
                        let read = match n {
                            0 => reader.snapshot(),
                            1 => reader.scan("k"),
                            _ => reader.lookup("tens", "100").unwrap(),
                        };
                        let value = read.entries[0].1.value;
                        assert_eq!(read.entries.len(), KEYS);
                        assert!(read.entries.iter().all(|(_, note)| note.value == value), "torn: {read:?}");
                        assert_eq!(u64::from(value), 1000 + read.revision.0 % 10, "another revision's: {read:?}");
                        assert!(read.revision >= announced && read.revision >= last, "it went back");
                        last = read.revision;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for revision in 7..3000 {
            bench.events(all(revision));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() >= 100);
        }
    });
}

// A value whose `Drop` looks something up in the store.

static CURIOUS: std::sync::Mutex<Option<Reader<Curious>>> = std::sync::Mutex::new(None);

#[derive(Debug, Clone)]
struct Curious;

impl Key for Curious {
    type Codec = Nosy;

    fn name(&self) -> String {
        "c".into()
    }
}

#[derive(Debug)]
enum Nosy {}

impl Codec<Curious> for Nosy {
    const TAG: &'static str = "nosy";

    fn encode(_: &Curious) -> Result<Bytes, CodecError> {
        Ok("1".into())
    }

    fn decode(_: &KeyName, _: &Bytes) -> Result<Curious, CodecError> {
        Ok(Curious)
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        let reader = CURIOUS.lock().unwrap().clone();
        let _ = reader.map(|reader| reader.len());
    }
}

/// If it did, this would hang: so it has a thread of its own.
#[test]
fn no_value_is_dropped_under_the_lock_of_the_cache() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let now = Instant::now();
        let mut store: Store<Curious> = Store::new(&Config::new(Prefix::new("p").unwrap()), Vec::new());
        *CURIOUS.lock().unwrap() = Some(store.reader());
        let list = |revision, keys| Bench::page(bench::Part::Whole, revision, PageKeys::Full(keys));
        store.deliver(now, list(5, vec![kv("c", "1", 2)])).unwrap();
        // The same new value twice in one response, then another, then none.
        store.deliver(now, Delivery::Events(vec![put("c", "2", 6), put("c", "2", 7)])).unwrap();
        store.deliver(now, list(9, vec![kv("c", "3", 8)])).unwrap();
        store.deliver(now, Delivery::Events(vec![delete("c", 10)])).unwrap();
        *CURIOUS.lock().unwrap() = None;
        done.send(()).unwrap();
    });
    wait.recv_timeout(Duration::from_secs(10)).expect("the store does not stand still");
}

#[test]
fn an_entry_says_who_wrote_it_when_and_since_when_it_is_there() {
    let mut bench = Bench::listed(&[], 5);
    let put = |value, create, revision, lease| {
        let create_revision = Revision(create);
        Event::Put(KeyValue { create_revision, lease: LeaseId(lease), ..kv("a", value, revision) })
    };
    let shown = |bench: &Bench| {
        let entry = bench.reader.entry("a").unwrap();
        assert_eq!((entry.name.as_str(), entry.origin), ("a", Origin::Remote));
        (entry.key.value, entry.create_revision.0, entry.revision.0, entry.lease.0)
    };
    bench.events([put("1", 6, 6, 0)]);
    assert_eq!(shown(&bench), (1, 6, 6, 0));
    bench.events([put("1", 6, 7, 3)]);
    assert_eq!(shown(&bench), (1, 6, 7, 3), "the same value under a lease");
    bench.events([put("2", 6, 8, 3)]);
    assert_eq!(shown(&bench), (2, 6, 8, 3));
    bench.events([delete("a", 9), put("2", 10, 10, 3)]);
    assert_eq!(shown(&bench), (2, 10, 10, 3), "another incarnation");
    bench.events([put("x", 10, 11, 4)]);
    assert_eq!(shown(&bench), (2, 10, 10, 3), "the last value that could be decoded");
    bench.own("b", 1, 12);
    let own = bench.reader.entry("b").unwrap();
    assert_eq!((own.origin, own.lease), (Origin::Local, bench.lease));
    assert!(bench.reader.entry("c").is_none());
}

#[test]
fn all_entries_come_in_name_order_and_none_twice_though_keys_come_and_go_between_the_parts() {
    let keys: Vec<_> = (0..600).map(|n| kv(&format!("{n:03}"), "1", 2)).collect();
    let mut bench = Bench::listed(&keys, 5);
    let names = |bench: &Bench| bench.reader.entries().map(|entry| entry.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&bench), (0..600).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    let reader = bench.reader.clone();
    let mut entries = reader.entries();
    let first: Vec<_> = entries.by_ref().take(256).map(|entry| entry.name.to_string()).collect();
    bench.events([delete("255", 6), delete("300", 7), put("2555", "1", 8), put("000", "2", 9)]);
    let rest: Vec<_> = entries.map(|entry| entry.name.to_string()).collect();
    assert_eq!((first.len(), rest.len(), &*rest[0], rest.contains(&"300".to_owned())), (256, 344, "2555", false));
    assert_eq!(names(&Bench::new()), NONE);
}

#[test]
fn pages_of_a_prefix_follow_each_other_and_stay_below_it() {
    let bench = Bench::listed(&["a/1", "b/1", "b/2", "b/3", "c/1"].map(|name| kv(name, "1", 2)), 5);
    let page = |after: Option<&str>, limit| {
        bench.reader.page("b/", after, limit).iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2), ["b/1", "b/2"]);
    assert_eq!(page(Some("b/2"), 2), ["b/3"]);
    assert_eq!(page(Some("b/25"), 9), ["b/3"], "the name before may be gone");
    assert_eq!(page(Some("a"), 1), ["b/1"], "a name before the prefix");
    assert_eq!((page(Some("b/3"), 9), page(Some("x"), 9), page(None, 0)), (vec![], vec![], vec![]));
}

#[test]
fn a_snapshot_gives_names_and_values_in_its_order() {
    let bench = Bench::listed(&[kv("a", "11", 2), kv("b", "12", 3)], 5);
    let snapshot = bench.reader.scan("");
    assert_eq!(snapshot.values().map(|note| note.value).collect::<Vec<_>>(), [11, 12]);
    assert_eq!(snapshot.names().map(KeyName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((&snapshot).into_iter().count(), snapshot.len());
    assert_eq!(snapshot.into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_watched_tells_its_newest_value_and_when_it_goes_and_nothing_of_others() {
    let mut bench = Bench::listed(&[kv("a", "1", 2)], 5);
    let mut watch = bench.reader.watch_key("a");
    let changed = async |watch: &mut crate::reader::KeyWatch<bench::Note>| {
        let changed = tokio::time::timeout(SECOND, watch.changed()).await.ok()?;
        Some(changed.map(|value| value.map(|note| note.value)))
    };
    assert_eq!(watch.value().unwrap().value, 1);
    assert_eq!(changed(&mut watch).await, None, "it has seen that");
    bench.events([put("b", "1", 6), put("a", "1", 7)]);
    assert_eq!(changed(&mut watch).await, None, "the same value");
    bench.events([put("a", "2", 8)]);
    bench.events([put("a", "3", 9)]);
    assert_eq!(changed(&mut watch).await, Some(Ok(Some(3))), "only the newest");
    assert_eq!(changed(&mut watch).await, None);
    bench.events([delete("a", 10)]);
    assert_eq!(changed(&mut watch).await, Some(Ok(None)));
    bench.events([put("a", "3", 11)]);
    bench.store.close("left");
    assert_eq!(changed(&mut watch).await, Some(Ok(Some(3))), "what was there when the store left");
    assert_eq!(changed(&mut watch).await, Some(Err(Closed)));
    let mut late = bench.reader.watch_key("c");
    assert_eq!((late.value(), changed(&mut late).await), (None, Some(Err(Closed))));
}
