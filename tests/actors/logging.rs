//! What is logged, and that it says of which store it is.

use std::io::{self, Write};

use shared_store::Prefix;
use shared_store_core::LeaseId;
use shared_store_core::backend::WriteAction;
use tracing::subscriber::DefaultGuard;

use super::owning::meddle;
use super::*;

/// What this thread logs from a level on.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Logs until the guard is dropped.
    pub(super) fn from(level: tracing::Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(ToOwned::to_owned).collect()
    }

    /// The lines that contain a text.
    pub(super) fn with(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
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
    let ours: Vec<_> = log.lines().into_iter().filter(|line| line.contains("shared_store_core")).collect();
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
