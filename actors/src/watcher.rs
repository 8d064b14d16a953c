//! Streams what the kvstore says to the store.

mod auditor;
mod decode;
mod prover;
mod reads;
mod together;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::WeakRecipient;
use actix::prelude::*;
use futures_util::FutureExt;
use futures_util::future::try_join;
use shared_store_core::Revision;
use shared_store_core::audit::{Audit, Found};
use shared_store_core::backend::{Backend, BackendError, ListPage, ListRequest, WatchStream};
use shared_store_core::store::Refused;
use shared_store_core::watch::{Action, Answered, Delivery, Outcome, Reached, Reads, Watch};
use tokio::sync::{Notify, oneshot, watch};

use self::auditor::Auditor;
pub(crate) use self::decode::Decode;
use self::prover::{Proven, Prover};
use self::reads::{Next, Reader};
use self::together::with_ready;
use crate::clock::now;

/// To the store: what the watch delivers. The watcher reads on when it is answered, so a store that is busy slows the
/// kvstore down, and nothing queues up here.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Refused>")]
pub(crate) struct Deliver<V: 'static = ()> {
    pub(crate) delivery: Delivery,
    /// The values of the delivery, decoded.
    pub(crate) decoded: V,
}

/// Runs a [`Watch`] against the backend, and an [`Audit`] beside it, until the store is gone or it is stopped. Values are
/// decoded before they are delivered, large batches on other threads.
#[derive(Debug)]
pub(crate) struct WatcherActor<D: Decode = ()> {
    backend: Arc<dyn Backend>,
    watch: Option<Watch>,
    audit: Option<Audit>,
    store: WeakRecipient<Deliver<D::Decoded>>,
    decoder: D,
    /// Where reads are answered.
    readers: Option<WeakRecipient<ReadsAnswered>>,
    /// The reads that were asked for.
    reads: watch::Sender<Option<Reads>>,
    /// Tells the audit that somebody asked.
    asked: Arc<Notify>,
    /// Tells the watch that its history has changed.
    history_changed: Arc<Notify>,
    /// Dropped when this actor ends, however it ends.
    _alive: oneshot::Sender<()>,
}

/// Stop: once this is answered nothing more is delivered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

/// Compare the whole cache with the kvstore, now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct BeginAudit;

/// Answer these reads when the store shows what the kvstore has now.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitReads(pub(crate) Reads);

/// To the store: what became of reads.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReadsAnswered(pub(crate) Answered);

/// Something other than the watch found that the kvstore's history is another: list it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HistoryChanged;

impl<D: Decode> WatcherActor<D> {
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        watch: Watch,
        store: WeakRecipient<Deliver<D::Decoded>>,
        decoder: D,
        alive: oneshot::Sender<()>,
    ) -> Self {
        let (asked, history_changed) = (Arc::default(), Arc::default());
        let (watch, reads) = (Some(watch), watch::Sender::new(None));
        let (audit, readers) = (None, None);
        Self { backend, watch, audit, store, decoder, readers, reads, asked, history_changed, _alive: alive }
    }

    /// Answers reads.
    pub(crate) fn answers(mut self, readers: WeakRecipient<ReadsAnswered>) -> Self {
        self.readers = Some(readers);
        self
    }

    /// Compares what was delivered with the kvstore from time to time.
    pub(crate) fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }
}

impl<D: Decode> Actor for WatcherActor<D> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(watch) = self.watch.take() {
            let (backend, asked, store) = (Arc::clone(&self.backend), Arc::clone(&self.asked), self.store.clone());
            let auditor = Auditor::new(Arc::clone(&backend), self.audit.take(), asked);
            let prover = Prover::new(Arc::clone(&backend), watch.proof());
            let (reads, readers) = (self.reads.subscribe(), self.readers.take());
            let reader = Reader::new(Arc::clone(&backend), watch.read_index(), reads, readers);
            let (history_changed, decoder) = (Arc::clone(&self.history_changed), self.decoder.clone());
            let run = Run { backend, watch, auditor, prover, reader, history_changed, store, decoder }.run();
            ctx.spawn(run.into_actor(self).map(|_, _, ctx| ctx.stop()));
        }
    }
}

impl<D: Decode> Handler<Stop> for WatcherActor<D> {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl<D: Decode> Handler<BeginAudit> for WatcherActor<D> {
    type Result = ();

    fn handle(&mut self, _: BeginAudit, _: &mut Self::Context) {
        self.asked.notify_one();
    }
}

impl<D: Decode> Handler<AwaitReads> for WatcherActor<D> {
    type Result = ();

    fn handle(&mut self, AwaitReads(reads): AwaitReads, _: &mut Self::Context) {
        self.reads.send_modify(|waiting| *waiting = Some(waiting.map_or(reads, |waiting| waiting.and(reads))));
    }
}

impl<D: Decode> Handler<HistoryChanged> for WatcherActor<D> {
    type Result = ();

    fn handle(&mut self, _: HistoryChanged, _: &mut Self::Context) {
        self.history_changed.notify_one();
    }
}

/// How long a watch may always have a response ready when it is asked. After that, etcd may be waiting for its reader.
const BACKLOG: Duration = Duration::from_millis(500);

/// The loop of the actor.
struct Run<D: Decode> {
    backend: Arc<dyn Backend>,
    watch: Watch,
    auditor: Auditor,
    prover: Prover,
    reader: Reader,
    history_changed: Arc<Notify>,
    store: WeakRecipient<Deliver<D::Decoded>>,
    decoder: D,
}

impl<D: Decode> Run<D> {
    /// Performs one action of the watch after the other. What the audit finds is delivered in between.
    async fn run(mut self) -> Result<(), MailboxError> {
        let mut stream: Option<Box<dyn WatchStream>> = None;
        // Since when the next response has always been there before it was asked for.
        let mut busy: Option<Instant> = None;
        // The revision it had delivered then.
        let mut backlog: Option<Revision> = None;
        // Since when the response under way is waited for.
        let mut reading: Option<Instant> = None;
        // The page that was asked for while the one before was delivered.
        let mut listed: Option<Outcome> = None;
        loop {
            let (backend, history_changed) = (Arc::clone(&self.backend), Arc::clone(&self.history_changed));
            let mut progress = false;
            let outcome = if listed.is_some() {
                listed.take()
            } else {
                let mut action = pin!(perform(&*backend, self.watch.action(), &mut stream, &mut busy, &mut reading));
                loop {
                    tokio::select! {
                        outcome = &mut action => break Some(outcome),
                        found = self.auditor.next(self.watch.in_step()) => {
                            let delivery = match found {
                                Found::Nothing => None,
                                Found::Part(part) => Some(Delivery::Audited(part)),
                                Found::Compacted => {
                                    self.watch.refresh();
                                    break None;
                                }
                                Found::OtherHistory(error) => self.watch.history_changed(error),
                            };
                            if self.deliver(delivery).await? == Then::Anew {
                                break None;
                            }
                        }
                        proven = self.prover.next(self.watch.in_step()) => match proven {
                            Proven::Nothing => {}
                            Proven::List => {
                                tracing::info!("the kvstore was compacted while the watch was away: listing the names");
                                self.watch.refresh();
                                break None;
                            }
                            Proven::OtherHistory(error) => {
                                let delivery = self.watch.history_changed(error);
                                self.deliver(delivery).await?;
                                break None;
                            }
                        },
                        next = self.reader.next(self.watch.in_step()) => {
                            progress = matches!(next, Next::Progress);
                            let delivery = match next {
                                Next::Nothing => continue,
                                Next::Progress => None,
                                Next::List => {
                                    self.watch.refresh();
                                    None
                                }
                                Next::OtherHistory(error) => self.watch.history_changed(error),
                                Next::Ended => self.watch.ended(),
                            };
                            self.deliver(delivery).await?;
                            break None;
                        }
                        // A watch that lists or waits already looks for itself.
                        () = history_changed.notified(), if self.watch.in_step().is_some() => {
                            let delivery = self.watch.ended();
                            self.deliver(delivery).await?;
                            break None;
                        }
                    }
                }
            };
            if progress && !asks_for_progress(stream.as_mut()) {
                self.reader.without_progress();
            }
            backlog = backlog.filter(|_| busy.is_some()).or(self.watch.in_step().map(|header| header.revision));
            if let (Some(since), Some(revision)) = (busy, backlog)
                && now().saturating_duration_since(since) > BACKLOG
            {
                self.watch.fell_behind(revision);
                busy = None;
            }
            if let Some(outcome) = outcome {
                reading = None;
                let delivery = self.watch.handle(outcome);
                let ready = || guarded(stream.as_mut()?.next()).now_or_never();
                let (delivery, next) = with_ready(&mut self.watch, delivery, ready);
                listed = match (&delivery, self.watch.action()) {
                    (Some(Delivery::Page(_)), Action::List(next)) => self.deliver_and_list(delivery, next).await?,
                    _ => self.deliver(delivery).await.map(|_| None)?,
                };
                self.deliver(next).await?;
            }
            if let Some(gap) = self.watch.take_gap() {
                self.prover.gap(gap);
            }
        }
    }

    /// Delivers a page and asks for the next one meanwhile; `None` if the next one is not wanted any more.
    async fn deliver_and_list(
        &mut self,
        page: Option<Delivery>,
        next: ListRequest,
    ) -> Result<Option<Outcome>, MailboxError> {
        let backend = Arc::clone(&self.backend);
        let listed = async { Ok(guarded(backend.list(next)).await.map_or_else(Outcome::Failed, Outcome::Listed)) };
        let delivered = async {
            match self.deliver(page).await {
                Ok(Then::GoOn) => Ok(()),
                Ok(Then::Anew) => Err(None),
                Err(gone) => Err(Some(gone)),
            }
        };
        match try_join(delivered, listed).await {
            Ok(((), outcome)) => Ok(Some(outcome)),
            Err(None) => Ok(None),
            Err(Some(gone)) => Err(gone),
        }
    }

    /// Delivers to the store, and does what the store answers.
    async fn deliver(&mut self, delivery: Option<Delivery>) -> Result<Then, MailboxError> {
        let mut next = delivery;
        let mut then = Then::GoOn;
        while let Some(delivery) = next {
            if let Delivery::Broken(cause) = &delivery {
                tracing::warn!(%cause, "watch is broken");
                then = Then::Anew;
            }
            if delivery.is_of_another_history() {
                // So that is known.
                let _ = self.history_changed.notified().now_or_never();
            }
            self.auditor.delivered(&delivery);
            self.prover.delivered(&delivery);
            let reached = Reached::by(&delivery);
            let (delivery, decoded) = decode::all(&self.decoder, delivery).await;
            let store = self.store.upgrade().ok_or(MailboxError::Closed)?;
            next = match store.send(Deliver { delivery, decoded }).await? {
                Ok(()) => {
                    self.reader.reached(reached);
                    self.watch.caught_up()
                }
                Err(refused) => {
                    tracing::warn!("{refused}: listing again");
                    match refused {
                        Refused::Inconsistent => self.watch.relist(),
                    }
                    then = Then::Anew;
                    None
                }
            };
        }
        Ok(then)
    }
}

/// Whether the watch goes on with what it was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Anew,
}

/// A list under way.
type Listing = Pin<Box<dyn Future<Output = Result<ListPage, BackendError>>>>;

async fn perform(
    backend: &dyn Backend,
    action: Action,
    stream: &mut Option<Box<dyn WatchStream>>,
    busy: &mut Option<Instant>,
    reading: &mut Option<Instant>,
) -> Outcome {
    if let Action::Open(_) | Action::Wait(_) = action {
        *stream = None;
    }
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
            // Borrowed, not taken out: dropping this future keeps the watch.
            let Some(open) = stream.as_mut() else {
                return Outcome::Failed(BackendError::unavailable("watch is not open"));
            };
            // A read that was interrupted is as silent as one that was not.
            let since = *reading.get_or_insert_with(now);
            let response = {
                let mut next = pin!(guarded(open.next()));
                if let Some(response) = next.as_mut().now_or_never() {
                    busy.get_or_insert_with(now);
                    Ok(response)
                } else {
                    *busy = None;
                    tokio::time::timeout_at((since + silence).into(), next).await
                }
            };
            match response {
                Ok(Ok(response)) => Outcome::Read(response),
                Ok(Err(error)) => {
                    *stream = None;
                    Outcome::Failed(error)
                }
                Err(_) => Outcome::Silent,
            }
        }
        Action::Wait(delay) => {
            tokio::time::sleep(delay).await;
            Outcome::Waited
        }
    }
}

/// Whether the watch can be asked for its progress, and is.
fn asks_for_progress(stream: Option<&mut Box<dyn WatchStream>>) -> bool {
    let asks = || stream.is_some_and(|stream| stream.request_progress());
    // A panic of the backend counts as a no.
    catch_unwind(AssertUnwindSafe(asks)).unwrap_or(false)
}

/// What comes of the future, if there is one.
async fn some<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A panic of the backend counts as a failed call.
pub(crate) async fn guarded<T>(call: impl Future<Output = Result<T, BackendError>>) -> Result<T, BackendError> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|_| Err(BackendError::unavailable("backend panicked")))
}
