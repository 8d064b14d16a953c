//! Changes as a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use shared_store_core::{Change, Changes, Key, ObserverId, Parcel};
use tokio::sync::{mpsc, oneshot};

use crate::delivery::{Delivery, Undelivered};

/// A parcel on its way to a stream, and where it is told that it was handled.
type Sent<K> = (Parcel<K>, oneshot::Sender<()>);

/// The store's end of a stream. One parcel is under way at a time, as to every observer.
#[derive(Debug)]
pub(crate) struct Sender<K>(mpsc::UnboundedSender<Sent<K>>);

impl<K: Key> Sender<K> {
    pub(crate) fn is_connected(&self) -> bool {
        !self.0.is_closed()
    }

    /// Sends a parcel; the future ends when the reader asks for the next one. Dropping the future takes the parcel
    /// back, unless the reader has it.
    pub(crate) fn send(&self, parcel: Parcel<K>) -> Delivery {
        let (sender, handled) = oneshot::channel();
        // A reader that is gone drops it.
        let _ = self.0.send((parcel, sender));
        Box::pin(async { handled.await.map_err(|_| Undelivered::Gone) })
    }
}

/// The two ends of a stream.
pub(crate) fn channel<K>() -> (Sender<K>, Receiver<K>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender(sender), Receiver { receiver, under_way: None })
}

/// The reader's end of a stream.
#[derive(Debug)]
pub(crate) struct Receiver<K> {
    receiver: mpsc::UnboundedReceiver<Sent<K>>,
    /// Sent when the reader asks for the next parcel.
    under_way: Option<oneshot::Sender<()>>,
}

impl<K> Receiver<K> {
    /// The reader asks for the next parcel: it has handled the last one.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Parcel<K>>> {
        if let Some(handled) = self.under_way.take() {
            // The store may not wait for it any more.
            let _ = handled.send(());
        }
        loop {
            match ready!(self.receiver.poll_recv(cx)) {
                Some((_, handled)) if handled.is_closed() => {}
                Some((parcel, handled)) => {
                    self.under_way = Some(handled);
                    return Poll::Ready(Some(parcel));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// Whether the store has taken the parcel back.
    fn is_cancelled(&self) -> bool {
        self.under_way.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Parcels as a stream: batches of changes, in order, and the notices between them. See [`ChangeStream::into_parcels`].
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct ParcelStream<K: Key> {
    receiver: Receiver<K>,
    id: ObserverId,
}

impl<K: Key> ParcelStream<K> {
    /// The next parcel, which says that the one before is handled; `None` if the store has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Parcel<K>> {
        poll_fn(|cx| self.receiver.poll(cx)).await
    }

    /// The subscription, as the [`Status`](crate::Status) names it.
    #[must_use]
    pub fn id(&self) -> ObserverId {
        self.id
    }
}

impl<K: Key> Stream for ParcelStream<K> {
    type Item = Parcel<K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Parcel<K>>> {
        self.receiver.poll(cx)
    }
}

/// Changes as a stream, one by one: see [`SharedStore::changes`](crate::SharedStore::changes).
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct ChangeStream<K: Key> {
    parcels: ParcelStream<K>,
    /// The changes at hand, and the next one.
    changes: Option<(Changes<K>, usize)>,
}

impl<K: Key> ChangeStream<K> {
    pub(crate) fn new(receiver: Receiver<K>, id: ObserverId) -> Self {
        Self { parcels: ParcelStream { receiver, id }, changes: None }
    }

    /// The next change; `None` if the store has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change<K>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The subscription, as the [`Status`](crate::Status) names it.
    #[must_use]
    pub fn id(&self) -> ObserverId {
        self.parcels.id
    }

    /// The same stream in parcels: whole batches, which are shared and cost less, and the notices: when the first state is
    /// complete, when steps were left out. Changes of the batch at hand that were not read yet are left out.
    pub fn into_parcels(self) -> ParcelStream<K> {
        self.parcels
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        loop {
            if let Some((changes, next)) = &mut self.changes
                && !self.parcels.receiver.is_cancelled()
                && let Some(change) = changes.get(*next)
            {
                *next += 1;
                return Poll::Ready(Some(change.clone()));
            }
            self.changes = None;
            match ready!(self.parcels.receiver.poll(cx)) {
                Some(Parcel::Changes(changes)) => self.changes = Some((changes, 0)),
                Some(Parcel::Notice(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<K: Key> Stream for ChangeStream<K> {
    type Item = Change<K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        self.poll(cx)
    }
}
