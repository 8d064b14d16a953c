//! Streams what the kvstore says to the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use shared_store::backend::{Backend, BackendError, WatchStream};
use shared_store::store::Inconsistent;
use shared_store::watch::{Action, Delivery, Outcome, Watch};

/// To the store: what the watch delivers. The watcher reads on when it is answered, so a store that is busy slows the
/// kvstore down, and nothing queues up here.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Inconsistent>")]
pub(crate) struct Deliver(pub(crate) Delivery);

/// Runs a [`Watch`] against the backend, until the store is gone or it is stopped.
#[derive(Debug)]
pub(crate) struct WatcherActor {
    backend: Arc<dyn Backend>,
    watch: Option<Watch>,
    store: WeakRecipient<Deliver>,
}

/// Stop: once this is answered nothing more is delivered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl WatcherActor {
    pub(crate) fn new(backend: Arc<dyn Backend>, watch: Watch, store: WeakRecipient<Deliver>) -> Self {
        Self { backend, watch: Some(watch), store }
    }
}

impl Actor for WatcherActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(watch) = self.watch.take() {
            let run = run(Arc::clone(&self.backend), watch, self.store.clone());
            ctx.spawn(run.into_actor(self).map(|_, _, ctx| ctx.stop()));
        }
    }
}

impl Handler<Stop> for WatcherActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// Performs one action of the watch after the other.
async fn run(backend: Arc<dyn Backend>, mut watch: Watch, store: WeakRecipient<Deliver>) -> Result<(), MailboxError> {
    let mut stream: Option<Box<dyn WatchStream>> = None;
    loop {
        let outcome = perform(&*backend, watch.action(), &mut stream).await;
        let delivery = watch.handle(outcome);
        let mut next = delivery;
        while let Some(delivery) = next {
            if let Delivery::Broken(cause) = &delivery {
                tracing::warn!(%cause, "watch is broken");
            }
            let store = store.upgrade().ok_or(MailboxError::Closed)?;
            next = match store.send(Deliver(delivery)).await? {
                Ok(()) => watch.caught_up(),
                Err(inconsistent) => {
                    tracing::error!("{inconsistent}: listing again");
                    watch.relist();
                    None
                }
            };
        }
    }
}

async fn perform(backend: &dyn Backend, action: Action, stream: &mut Option<Box<dyn WatchStream>>) -> Outcome {
    let open = match action {
        Action::Read(_) => stream.take(),
        Action::List(_) | Action::Open(_) | Action::Wait(_) => {
            *stream = None;
            None
        }
    };
    match action {
        Action::List(request) => guarded(backend.list(request)).await.map_or_else(Outcome::Failed, Outcome::Listed),
        Action::Open(request) => match guarded(backend.watch(request)).await {
            Ok(opened) => {
                let header = opened.header();
                *stream = Some(opened);
                Outcome::Opened(header)
            }
            Err(error) => Outcome::Failed(error),
        },
        Action::Read(silence) => {
            let Some(mut open) = open else { return Outcome::Failed(BackendError::unavailable("watch is not open")) };
            match tokio::time::timeout(silence, guarded(open.next())).await {
                Ok(Ok(response)) => {
                    *stream = Some(open);
                    Outcome::Read(response)
                }
                Ok(Err(error)) => Outcome::Failed(error),
                Err(_) => Outcome::Silent,
            }
        }
        Action::Wait(delay) => {
            tokio::time::sleep(delay).await;
            Outcome::Waited
        }
    }
}

/// A backend that panics has failed, nothing more.
pub(crate) async fn guarded<T>(call: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(BackendError::unavailable("backend panicked")))
}
