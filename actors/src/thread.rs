//! Where the actors of a store run.

use std::io;
use std::sync::Arc;

use actix::dev::channel;
use actix::prelude::*;
use shared_store_core::{Backend, Config, Prefix};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::{Instrument, Span};

use crate::error::JoinError;

/// Where the actors of one or many stores run: given to [`Join::on`](crate::Join::on) and
/// [`Publish::on`](crate::Publish::on).
///
/// By default each store has a thread of its own, so that no code of the application delays a keep-alive and no store
/// occupies the thread of its caller. Many stores can share one: clone this.
#[derive(Debug, Clone)]
pub struct StoreThread(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// A thread that ends when the last handle to it is dropped.
    ///
    /// Not an arbiter: those end with the first `System::stop`, which actix-web calls on SIGTERM, just when a store has
    /// still to delete its keys.
    Own(mpsc::UnboundedSender<Job>),
    Current,
    Arbiter(ArbiterHandle),
}

/// What the actors of a store or a publisher log is in a span with its prefix, so that two of them can be told apart. The
/// span has the highest level: a filter that lets warnings pass lets it pass, too.
pub(crate) fn span(prefix: &Prefix) -> Span {
    tracing::error_span!(parent: None, "store", %prefix)
}

/// The backend as the actors of one prefix use it.
#[cfg(feature = "metrics")]
pub(crate) fn backend(config: &Config) -> Arc<dyn Backend> {
    Arc::new(shared_store_core::metrics::MeasuredBackend::new(Arc::clone(&config.backend), &config.prefix))
}

/// The backend as the actors of one prefix use it.
#[cfg(not(feature = "metrics"))]
pub(crate) fn backend(config: &Config) -> Arc<dyn Backend> {
    Arc::clone(&config.backend)
}

/// actix's own default.
const MAILBOX: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

impl StoreThread {
    /// A new thread. It ends when this handle, its clones and all stores on it are gone.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn new() -> io::Result<Self> {
        let (jobs, mut next) = mpsc::unbounded_channel::<Job>();
        let (give, given) = std::sync::mpsc::sync_channel::<Runtime>(1);
        std::thread::Builder::new().name("shared-store".to_owned()).spawn(move || {
            let Ok(runtime) = given.recv() else { return };
            LocalSet::new().block_on(&runtime, async {
                while let Some(job) = next.recv().await {
                    job();
                }
            });
        })?;
        // After the thread: if the thread could not be started, the runtime would be dropped here, and a runtime
        // panics if it is dropped inside another one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The thread waits for it.
        let _ = give.send(runtime);
        Ok(Self(Kind::Own(jobs)))
    }

    /// The thread that awaits the join, in its actix `System` or tokio `LocalSet`. For tests: there the actors obey the
    /// clock of the test, which can be paused. An application that blocks this thread delays keep-alives.
    ///
    /// # Panics
    /// Joining panics where no local task can be spawned: outside of an actix `System` and of a `LocalSet`.
    #[must_use]
    pub fn current() -> Self {
        Self(Kind::Current)
    }

    /// An arbiter. Its stores die with it, as they do when their process dies.
    #[must_use]
    pub fn arbiter(arbiter: ArbiterHandle) -> Self {
        Self(Kind::Arbiter(arbiter))
    }

    /// The given thread, or else a new one.
    pub(crate) fn or_new(thread: Option<Self>) -> Result<Self, JoinError> {
        thread.map_or_else(|| Self::new().map_err(|error| no_thread(&error)), Ok)
    }

    /// Starts an actor there. All it logs is in the span.
    pub(crate) fn start<A>(&self, span: Span, actor: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let (sender, receiver) = channel::channel(MAILBOX);
        let job = move || {
            let run = span.in_scope(|| Context::with_receiver(receiver).into_future(actor()));
            let run: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(run.instrument(span));
            actix_rt::spawn(run);
        };
        let started = match &self.0 {
            Kind::Own(jobs) => jobs.send(Box::new(job)).is_ok(),
            Kind::Arbiter(arbiter) => arbiter.spawn_fn(job),
            Kind::Current => {
                job();
                true
            }
        };
        if !started {
            tracing::error!("the thread of the store has ended");
        }
        Addr::new(sender)
    }
}

pub(crate) fn no_thread(error: &io::Error) -> JoinError {
    JoinError::Thread(Arc::from(error.to_string()))
}

/// Whether the system can start a thread: asked before tokio's `spawn_blocking`, which panics if it cannot.
pub(crate) fn can_start() -> io::Result<()> {
    std::thread::Builder::new().name("shared-store-probe".to_owned()).spawn(|| ()).map(drop)
}
