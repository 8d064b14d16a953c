//! The thread all connections live on.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::backend::BackendError;

/// The thread all connections live on: a client dies with the runtime that connected it.
#[derive(Debug)]
pub(super) struct Worker {
    runtime: Handle,
    /// The thread ends when this is dropped.
    _alive: oneshot::Sender<()>,
}

impl Worker {
    pub(super) fn start() -> std::io::Result<Self> {
        let (alive, ended) = oneshot::channel::<()>();
        let (give, given) = std::sync::mpsc::sync_channel::<Runtime>(1);
        // Not a runtime with workers: that panics when there is no thread for them.
        std::thread::Builder::new().name("shared-store-etcd".to_owned()).spawn(move || {
            let Ok(runtime) = given.recv() else { return };
            // An error says that the worker was dropped.
            let _ = runtime.block_on(ended);
            // Without waiting for a name look-up that is under way.
            runtime.shutdown_background();
        })?;
        // After the thread: without one, it would be dropped here, and a runtime panics if it is dropped in another one.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        // The thread waits for it.
        let _ = give.send(runtime);
        Ok(Self { runtime: handle, _alive: alive })
    }

    /// Runs something there. Dropping the future aborts it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Result<T, BackendError> {
        let task = self.runtime.spawn(task);
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| {
            // The text of a panic can quote a value.
            let cause = if error.is_panic() { "the client of etcd panicked" } else { "the backend of etcd has ended" };
            Err(BackendError::unavailable(cause))
        })
    }

    /// How many tasks there are.
    #[cfg(feature = "test-kit")]
    pub(super) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Runs something there that ends by itself.
    pub(super) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
