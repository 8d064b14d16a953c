//! Where watcher and sync run.

use actix::dev::channel;
use actix::prelude::*;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::error::JoinError;

/// Where watcher and sync run.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On an arbiter the caller chose.
    Given(ArbiterHandle),
    /// On a thread of the store's own, which ends when the last of these is dropped.
    ///
    /// Not an arbiter: those end with the first `System::stop`, which actix-web calls on SIGTERM, just when a store has
    /// still to take its keys back.
    Own(mpsc::UnboundedSender<Job>),
}

/// actix's own default.
const MAILBOX: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

impl Place {
    /// The arbiter, or else a new thread.
    pub(crate) fn new(arbiter: Option<ArbiterHandle>) -> Result<Self, JoinError> {
        match arbiter {
            Some(arbiter) => Ok(Self::Given(arbiter)),
            None => Self::own().map_err(|error| JoinError::Ended(error.to_string().into())),
        }
    }

    /// Starts a thread.
    fn own() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (jobs, mut next) = mpsc::unbounded_channel::<Job>();
        std::thread::Builder::new().name("shared-store".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async {
                while let Some(job) = next.recv().await {
                    job();
                }
            });
        })?;
        Ok(Self::Own(jobs))
    }

    /// Starts an actor there.
    pub(crate) fn start<A>(&self, actor: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let (sender, receiver) = channel::channel(MAILBOX);
        let job = move || {
            let run: std::pin::Pin<Box<dyn Future<Output = ()>>> =
                Box::pin(Context::with_receiver(receiver).into_future(actor()));
            actix_rt::spawn(run);
        };
        let started = match self {
            Self::Given(arbiter) => arbiter.spawn_fn(job),
            Self::Own(jobs) => jobs.send(Box::new(job)).is_ok(),
        };
        if !started {
            tracing::error!("the thread for watch and writes has ended");
        }
        Addr::new(sender)
    }
}
