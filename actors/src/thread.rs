//! Where the actors of a store run.

use std::io;
use std::sync::Arc;

use actix::dev::channel;
use actix::prelude::*;
use shared_store_core::{Backend, Config, Prefix, Thread};
use tracing::{Instrument, Span};

use crate::error::JoinError;

/// Where the actors of one or many stores run: given to [`Join::on`](crate::Join::on) and
/// [`Publish::on`](crate::Publish::on).
///
/// By default they run on the thread of the backend's watches ([`Backend::thread`]), or on a thread of their own if it has
/// none: never on the thread of the caller, so that nothing that an application does there delays a keep-alive. All stores over
/// clones of one [`EtcdBackend`](shared_store_core::EtcdBackend) share its thread. What runs there is code of the application for
/// single values: codec, filter, index, name. If that can block, give such a store a thread of its own.
#[derive(Debug, Clone)]
pub struct StoreThread(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Not an arbiter: those end with the first `System::stop`, which actix-web calls on SIGTERM, just when a store has
    /// still to delete its keys.
    Thread(Thread),
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

impl StoreThread {
    /// A new thread. It ends when this handle, its clones and all stores on it are gone.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn new() -> io::Result<Self> {
        Thread::start("shared-store").map(|thread| Self(Kind::Thread(thread)))
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

    /// The given thread, or that of the backend, or else a new one.
    pub(crate) fn or_of(thread: Option<Self>, backend: &dyn Backend) -> Result<Self, JoinError> {
        match thread.or_else(|| backend.thread().map(|thread| Self(Kind::Thread(thread)))) {
            Some(thread) => Ok(thread),
            None => Self::new().map_err(|error| no_thread(&error)),
        }
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
            Kind::Thread(thread) => thread.run(job),
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
