//! The thread all connections live on.

use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use crate::backend::BackendError;

/// The thread all connections live on: a client dies with the runtime that connected it.
#[derive(Debug)]
pub(super) struct Worker {
    runtime: Option<Runtime>,
}

impl Worker {
    pub(super) fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("shared-store-etcd")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Runs something there. Dropping the future aborts it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, BackendError>> + Send + 'static,
    ) -> Result<T, BackendError> {
        let Some(runtime) = &self.runtime else { return Err(BackendError::unreachable("etcd backend ended")) };
        let task = runtime.spawn(task);
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| Err(BackendError::unavailable(error)))
    }

    /// How many tasks there are.
    #[cfg(feature = "test-kit")]
    pub(super) fn tasks(&self) -> usize {
        self.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }

    /// Runs something there that ends by itself.
    pub(super) fn detach(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped inside another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
