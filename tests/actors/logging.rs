//! What is logged, and that it says of which store it is.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use shared_store::Prefix;
use shared_store_core::LeaseId;
use shared_store_core::backend::WriteAction;

use super::owning::meddle;
use super::*;

/// What this thread logs from a level on. One subscriber serves all threads: with one for each, `tracing` sometimes
/// caches for one thread that another is not interested.
#[derive(Debug, Clone)]
pub(super) struct Log {
    level: tracing::Level,
    bytes: Arc<Mutex<Vec<u8>>>,
}

thread_local! {
    static HERE: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// Ends the log of this thread.
pub(super) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

impl Log {
    /// Logs until the guard is dropped.
    pub(super) fn from(level: tracing::Level) -> (Self, Guard) {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let nobody = || Self { level: tracing::Level::ERROR, bytes: Arc::default() };
            let here = move || HERE.with_borrow(Clone::clone).unwrap_or_else(nobody);
            let all = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
            all.with_ansi(false).without_time().with_writer(here).init();
        });
        assert!(level <= tracing::Level::DEBUG);
        let log = Self { level, bytes: Arc::default() };
        HERE.set(Some(log.clone()));
        (log, Guard)
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap();
        let is_wanted = |line: &&str| {
            let level = line.split_whitespace().next().and_then(|word| word.parse::<tracing::Level>().ok());
            level.is_none_or(|level| level <= self.level)
        };
        text.lines().filter(is_wanted).map(ToOwned::to_owned).collect()
    }

    /// The lines that contain a text.
    pub(super) fn with(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn every_line_says_the_prefix_of_its_store_and_every_change_its_reason() {
    let (log, _guard) = Log::from(tracing::Level::DEBUG);
    paused(async {
        let backend = MemoryBackend::new();
        let nodes = joined(&backend).await;
        let pods = config(&backend).prefix(Prefix::new("pods").unwrap());
        let pods = join::<Node>(pods).on(StoreThread::current()).await.unwrap();
        settled(&pods, pods.update_local_key_sync(node("p", "1")).await.unwrap()).await;
        settled(&nodes, nodes.update_local_key_sync(node("n", "1")).await.unwrap()).await;
        let put = WriteAction::Put { value: "?".into(), lease: LeaseId::NONE };
        settled(&nodes, meddle(&backend, "bad", put).await).await;
        nodes.close().await.unwrap();
        pods.close().await.unwrap();
    });
    let ours: Vec<_> = log.lines().into_iter().filter(|line| line.contains("shared_store")).collect();
    assert!(ours.len() > 10, "{ours:?}");
    for line in &ours {
        assert!(line.contains("store{prefix=nodes}: ") != line.contains("store{prefix=pods}: "), "{line}");
    }
    let (created, deleted) = (log.with("create"), log.with("delete"));
    assert!(created[0].contains("prefix=pods") && created[0].contains("key=p") && created[0].contains("reason=event"));
    assert!(created[1].contains("prefix=nodes") && created[1].contains("key=n"), "{created:?}");
    assert!(deleted[0].contains("prefix=nodes") && deleted[0].contains("reason=closed"), "{deleted:?}");
    assert!(log.with("cannot be decoded")[0].contains("prefix=nodes"));
}
