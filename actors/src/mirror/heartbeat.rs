//! The key that says that a kvstore works.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use shared_store_core::backend::{Expect, Write, WriteAction};
use shared_store_core::{Backend, BackendError, LeaseId};
use tokio::time::sleep;

use crate::error::JoinError;
use crate::owner::Owner;
use crate::store::HandleDropped;
use crate::thread::StoreThread;

/// Cilium's key.
const PATH: &str = "cilium/.heartbeat";
/// How often it is written (Cilium).
const EVERY: Duration = Duration::from_secs(60);
/// How long after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long it stays when nobody writes it any more (Cilium's lease).
const TTL: Duration = Duration::from_secs(15 * 60);

/// Writes the time to `cilium/.heartbeat` every 60 s, as Cilium's operator does: clients of the kvstore that have seen none for
/// about two minutes say that they lost it. It ends when all clones are dropped; the key goes with its lease.
#[derive(Debug, Clone)]
#[must_use = "it ends when it is dropped"]
pub struct Heartbeat {
    _owner: Arc<Owner<HeartbeatActor>>,
}

impl Heartbeat {
    /// Starts to write.
    ///
    /// # Errors
    /// [`JoinError::Thread`] if there can be no thread.
    pub fn start(backend: Arc<dyn Backend>) -> Result<Self, JoinError> {
        let thread = StoreThread::or_of(None, &*backend)?;
        Ok(Self::start_on(backend, &thread))
    }

    /// As [`start`](Self::start), on a given thread.
    pub fn start_on(backend: Arc<dyn Backend>, thread: &StoreThread) -> Self {
        let held = thread.clone();
        let span = tracing::error_span!(parent: None, "heartbeat");
        let addr = thread.start(span, move || HeartbeatActor { backend, _held: held });
        Self { _owner: Arc::new(Owner(addr)) }
    }
}

#[derive(Debug)]
struct HeartbeatActor {
    backend: Arc<dyn Backend>,
    /// Where it runs: the thread ends with it.
    _held: StoreThread,
}

impl Actor for HeartbeatActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(beat(Arc::clone(&self.backend)).into_actor(self));
    }
}

impl Handler<HandleDropped> for HeartbeatActor {
    type Result = ();

    fn handle(&mut self, _: HandleDropped, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

async fn beat(backend: Arc<dyn Backend>) {
    let mut lease = None;
    loop {
        let wait = match once(&*backend, &mut lease).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "cannot write the heartbeat");
                if let BackendError::LeaseNotFound { .. } = error {
                    lease = None;
                }
                RETRY
            }
        };
        sleep(wait).await;
    }
}

async fn once(backend: &dyn Backend, lease: &mut Option<LeaseId>) -> Result<(), BackendError> {
    let on = match *lease {
        Some(lease) => {
            backend.keep_alive(lease).await?;
            lease
        }
        None => *lease.insert(backend.grant(LeaseId::NONE, TTL).await?.lease),
    };
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let action = WriteAction::Put { value: time.into(), lease: on };
    backend.write(vec![Write { path: PATH.into(), expect: Expect::Any, action }]).await?;
    Ok(())
}
