//! Observing without an actor: with a closure, and as a stream.

use futures_util::StreamExt;
use shared_store::{Change, ChangeStream, DeliveryMode, Filter, Notice, Parcel};

use super::logging::Log;
use super::*;

fn in_words(change: &Change<Node>) -> String {
    match &change.new {
        Some(node) => format!("{}={}", change.name, node.ip),
        None => format!("-{}", change.name),
    }
}

/// What a closure was told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn closure(&self) -> impl FnMut(&[Change<Node>]) + Send + 'static {
        let heard = self.clone();
        move |changes| heard.0.lock().unwrap().extend(changes.iter().map(in_words))
    }

    fn words(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn a_closure_is_told_the_first_state_then_every_change_until_it_is_unsubscribed() {
    paused(async {
        let (store, heard) = (joined(&MemoryBackend::new()).await, Heard::default());
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        let id = store.subscribe(Observer::from_fn(heard.closure())).await.unwrap();
        settled(&store, store.update_local_key_sync(node("b", "1")).await.unwrap()).await;
        settled(&store, store.delete_local_key("a").await.unwrap()).await;
        assert_eq!(heard.words(), ["a=1", "b=1", "-a"]);
        store.unsubscribe(id).await;
        settled(&store, store.update_local_key_sync(node("c", "1")).await.unwrap()).await;
        assert_eq!(heard.words().len(), 3);
        store.close().await.unwrap();
    });
}

#[test]
fn join_waits_for_a_closure_and_close_tells_it_of_the_own_keys() {
    paused(async {
        let (backend, heard) = (MemoryBackend::new(), Heard::default());
        let owner = joined(&backend).await;
        owner.update_local_key_sync(node("a", "1")).await.unwrap();
        let observer = Observer::from_fn(heard.closure()).filter(Filter::new().glob("*"));
        let store = join(config(&backend)).observer(observer).on(StoreThread::current()).await.unwrap();
        assert_eq!(heard.words(), ["a=1"]);
        store.update_local_key_sync(node("b", "1")).await.unwrap();
        store.close().await.unwrap();
        assert_eq!(heard.words(), ["a=1", "b=1", "-b"]);
    });
}

#[test]
fn a_closure_that_panics_is_named_in_the_log_and_in_the_status_and_is_told_the_next_batch() {
    let (log, _guard) = Log::from(tracing::Level::ERROR);
    paused(async {
        let (store, heard) = (joined(&MemoryBackend::new()).await, Heard::default());
        let mut told = heard.closure();
        let closure = move |changes: &[Change<Node>]| {
            assert_ne!(changes[0].name.as_str(), "bad", "as it must");
            told(changes);
        };
        store.subscribe(Observer::from_fn(closure).named("careless")).await.unwrap();
        settled(&store, store.update_local_key_sync(node("bad", "1")).await.unwrap()).await;
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;
        assert_eq!(heard.words(), ["a=1"]);
        let lag = store.status().await.unwrap().observers.remove(0).1;
        assert_eq!((lag.name.as_deref(), lag.panics, lag.pending), (Some("careless"), 1, 0));
        store.close().await.unwrap();
    });
    let lines = log.with("observer panicked");
    assert!(
        lines.len() == 1 && lines[0].contains("observer=careless") && lines[0].contains("prefix=nodes"),
        "{lines:?}"
    );
}

#[test]
fn a_closure_that_blocks_delays_neither_the_store_nor_another_observer() {
    actix_rt::System::new().block_on(async {
        let (backend, shadow) = (MemoryBackend::new(), Shadow::default());
        let store = joined(&backend).await;
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let heard = Heard::default();
        let mut told = heard.closure();
        let closure = move |changes: &[Change<Node>]| {
            gate.recv().unwrap();
            told(changes);
        };
        let blocked = store.subscribe(Observer::from_fn(closure)).await.unwrap();
        store.subscribe(shadow.observer()).await.unwrap();
        for n in 0..50 {
            store.update_local_key_sync(node("a", &n.to_string())).await.unwrap();
        }
        while shadow.map().get("a").map(String::as_str) != Some("49") {
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.words(), Vec::<String>::new());
        store.unsubscribe(blocked).await;
        open.send(()).unwrap();
        drop(open);
        store.close().await.unwrap();
        while heard.words().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.words(), ["a=0"], "the call that had begun");
    });
}

async fn read(stream: &mut ChangeStream<Node>, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(in_words(&stream.next().await.unwrap()));
    }
    words
}

#[test]
fn a_stream_gives_the_first_state_then_every_change_and_ends_with_the_store() {
    paused(async {
        let backend = MemoryBackend::new();
        let (store, other) = (joined(&backend).await, joined(&backend).await);
        for name in ["b", "a"] {
            settled(&store, other.update_local_key_sync(node(name, "1")).await.unwrap()).await;
        }
        let mut stream = store.changes().await.unwrap();
        assert_eq!(read(&mut stream, 2).await, ["a=1", "b=1"]);
        other.update_local_key_sync(node("a", "2")).await.unwrap();
        store.update_local_key_sync(node("c", "1")).await.unwrap();
        assert_eq!(read(&mut stream, 2).await, ["a=2", "c=1"]);
        let (rest, closed) =
            futures_util::future::join(stream.map(|change| in_words(&change)).collect::<Vec<_>>(), store.close()).await;
        closed.unwrap();
        assert_eq!(rest, ["-c"]);
        assert!(store.changes().await.is_err());
    });
}

#[test]
fn nothing_queues_up_behind_the_parcel_that_a_stream_reads() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let mut stream = store.changes_with(|observer| observer.named("reader")).await.unwrap();
        let put = async |name: &str, ip: &str| {
            let put = store.update_local_key_sync(node(name, ip)).await.unwrap();
            store.reader().at_least(put, PATIENCE).await.unwrap();
            tokio::task::yield_now().await;
        };
        put("a", "0").await;
        // It is read, and handled only when the reader comes again.
        assert_eq!(read(&mut stream, 1).await, ["a=0"]);
        for n in 1..100 {
            put("a", &n.to_string()).await;
        }
        let lag = store.status().await.unwrap().observers.remove(0).1;
        assert_eq!((lag.pending, lag.name.as_deref()), (2, Some("reader")), "the parcel under way and one change");
        assert_eq!(read(&mut stream, 1).await, ["a=99"]);
        put("b", "1").await;
        assert_eq!(read(&mut stream, 1).await, ["b=1"]);
    });
}

#[test]
fn a_stream_that_is_dropped_is_unsubscribed_though_nothing_changes() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        let stream = store.changes().await.unwrap();
        let other = store.changes().await.unwrap().into_parcels();
        assert_ne!(stream.id(), other.id());
        drop(stream);
        tokio::task::yield_now().await;
        assert_eq!(store.status().await.unwrap().observers.len(), 1);
        drop(other);
        tokio::task::yield_now().await;
        assert_eq!(store.status().await.unwrap().observers.len(), 0);
    });
}

/// The reader has half of a parcel, waits for the close and only then goes on.
#[test]
fn a_stream_gives_nothing_after_close_has_answered() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        for name in ["a", "b", "c"] {
            settled(&store, store.update_local_key_sync(node(name, "1")).await.unwrap()).await;
        }
        let mut stream = store.changes().await.unwrap();
        assert_eq!(read(&mut stream, 1).await, ["a=1"]);
        let start = tokio::time::Instant::now();
        store.close().await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(10), "the close timeout");
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn parcels_tell_when_the_first_state_is_complete_and_when_steps_are_left_out() {
    paused(async {
        let store = joined(&MemoryBackend::new()).await;
        settled(&store, store.update_local_key_sync(node("a", "0")).await.unwrap()).await;
        let mode = DeliveryMode::every_event(2);
        let mut parcels = store.changes_with(|observer| observer.mode(mode)).await.unwrap().into_parcels();
        let mut next = async || match parcels.next().await.unwrap() {
            Parcel::Changes(changes) => changes.iter().map(in_words).collect::<Vec<_>>().join(" "),
            Parcel::Notice(Notice::Synced { entries, .. }) => format!("synced {entries}"),
            Parcel::Notice(Notice::Resynced { .. }) => "resynced".to_owned(),
            Parcel::Notice(notice) => panic!("{notice:?}"),
        };
        assert_eq!((next().await, next().await), ("a=0".to_owned(), "synced 1".to_owned()));
        for n in 1..10 {
            let put = store.update_local_key_sync(node("a", &n.to_string())).await.unwrap();
            store.reader().at_least(put, PATIENCE).await.unwrap();
        }
        assert_eq!((next().await, next().await), ("resynced".to_owned(), "a=9".to_owned()));
    });
}
