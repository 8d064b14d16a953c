//! A watch, the store behind it and an observer, driven as the actors drive them, and written down.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use shared_store_core::backend::{Backend, BackendError, WatchStream};
use shared_store_core::store::Store;
use shared_store_core::watch::{Action, Delivery, Outcome, Watch};
use shared_store_core::{Change, Config, DeliveryMode, Filter, Parcel, Reader, Revision};
use tokio::sync::watch;

use super::prefix;
use crate::actors::Node;

/// What was seen, in order.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// By the store.
    pub(super) deliveries: Vec<Delivery>,
    /// By the observer.
    pub(super) told: Vec<Told>,
}

/// One change as an observer was told it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told {
    pub(super) revision: Revision,
    pub(super) name: String,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
    pub(super) initial: bool,
}

impl From<&Change<Node>> for Told {
    fn from(change: &Change<Node>) -> Self {
        let value = |node: &Option<Arc<Node>>| node.as_ref().map(|node| node.ip.clone());
        let (old, new) = (value(&change.old), value(&change.new));
        Self { revision: change.revision, name: change.name.to_string(), old, new, initial: change.initial }
    }
}

pub(super) struct Collaborator {
    backend: Arc<dyn Backend>,
    watch: Watch,
    stream: Option<Box<dyn WatchStream>>,
    store: Store<Node>,
    reader: Reader<Node>,
    record: Record,
}

impl Collaborator {
    pub(super) fn new(backend: Arc<dyn Backend>, seed: u64) -> Self {
        let mut store = Store::new(&Config::new(prefix()), Vec::new());
        let capacity = NonZeroUsize::new(100_000).expect("it is more");
        store.subscribe(now(), Filter::new(), DeliveryMode::EveryEvent { capacity });
        let watch = Watch::new(prefix().range(), Duration::from_secs(30), seed);
        Self { backend, watch, stream: None, reader: store.reader(), store, record: Record::default() }
    }

    /// Runs until it has reached the revision that `until` names.
    pub(super) async fn run(mut self, mut until: watch::Receiver<Revision>) -> Record {
        while self.reader.revision() < *until.borrow_and_update() {
            tokio::select! {
                outcome = perform(&*self.backend, self.watch.action(), &mut self.stream) => self.take(outcome),
                _ = until.changed() => {}
            }
        }
        self.record
    }

    fn take(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Failed(_)) {
            self.stream = None;
        }
        let mut next = self.watch.handle(outcome);
        while let Some(delivery) = next {
            self.record.deliveries.push(delivery.clone());
            self.store.deliver(now(), delivery).expect("a list fits the cache");
            next = self.watch.caught_up();
        }
        while let Some((observer, parcel)) = self.store.poll_parcel() {
            if let Parcel::Changes(changes) = parcel {
                self.record.told.extend(changes.iter().map(Told::from));
            }
            self.store.delivered(observer);
        }
    }
}

/// Cancel-safe: an action that was not finished is started again.
async fn perform(backend: &dyn Backend, action: Action, stream: &mut Option<Box<dyn WatchStream>>) -> Outcome {
    // A watch stays open while its range is listed beside it.
    if let Action::Open(_) | Action::Wait(_) = action {
        *stream = None;
    }
    match action {
        Action::List(request) => backend.list(request).await.map_or_else(Outcome::Failed, Outcome::Listed),
        Action::Open(request) => match backend.watch(request).await {
            Ok(opened) => Outcome::Opened(stream.insert(opened).header()),
            Err(error) => Outcome::Failed(error),
        },
        Action::Read(silence) => {
            let Some(stream) = stream.as_mut() else {
                return Outcome::Failed(BackendError::unavailable("watch is not open"));
            };
            let next = tokio::time::timeout(silence, stream.next()).await;
            next.map_or(Outcome::Silent, |next| next.map_or_else(Outcome::Failed, Outcome::Read))
        }
        Action::Wait(delay) => {
            tokio::time::sleep(delay).await;
            Outcome::Waited
        }
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
