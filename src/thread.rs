//! A thread with a runtime of its own.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};

type Job = Box<dyn FnOnce() + Send>;

/// A thread with a runtime of its own, for connections and for the actors of the stores that use them. It ends when this and
/// its clones are dropped.
///
/// It does not end with the application's event loop, which a signal may stop just when a store has still to delete its keys.
#[derive(Debug, Clone)]
pub struct Thread {
    runtime: Handle,
    jobs: mpsc::UnboundedSender<Job>,
}

impl Thread {
    /// Starts a thread of this name.
    ///
    /// # Errors
    /// If the system cannot start one.
    pub fn start(name: &str) -> io::Result<Self> {
        let (jobs, mut next) = mpsc::unbounded_channel::<Job>();
        let (give, given) = std::sync::mpsc::sync_channel::<Runtime>(1);
        // Not a runtime with workers: that panics when there is no thread for them.
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let Ok(runtime) = given.recv() else { return };
            LocalSet::new().block_on(&runtime, async {
                while let Some(job) = next.recv().await {
                    // A job that panics ends no other: the panic itself is printed.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            });
            // Without waiting for a name look-up that is under way.
            runtime.shutdown_background();
        })?;
        // Built when the thread has started: if that failed, a runtime built before would be dropped here, perhaps inside
        // another runtime, and that panics.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        // The thread waits for it.
        let _ = give.send(runtime);
        Ok(Self { runtime: handle, jobs })
    }

    /// Runs something there, where it can spawn local tasks. Returns whether the thread is there to run it.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.jobs.send(Box::new(job)).is_ok()
    }

    /// Spawns a task there.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// How many tasks there are that can be spawned from everywhere.
    #[cfg(all(feature = "etcd", feature = "test-kit"))]
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }
}
