//! Who is told what: an observer's recipients.

mod call;

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Message, Recipient, WeakRecipient};
use shared_store_core::{Change, DeliveryMode, Filter, Key, Notice, Parcel};

use self::call::Call;
use crate::delivery::{Delivery, Undelivered};
use crate::notifications::{
    Changes, Conflict, Delete, Healed, Progress, Repaired, Resynced, SetAside, Synced, Undecodable, Update,
};
use crate::stream::Sender;

/// An observer: where changes go, which ones, and what happens when it is slow. See
/// [`Subscribe`](crate::Subscribe) and [`Join::observer`](crate::Join::observer).
///
/// Does not keep its actor alive; when the actor ends, the subscription ends.
#[derive(Debug)]
#[must_use]
pub struct Observer<K: Key> {
    pub(crate) filter: Filter<K>,
    pub(crate) mode: DeliveryMode,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) slow_after: Duration,
    pub(crate) sinks: Sinks<K>,
}

/// Where one observer's messages go.
#[derive(Debug)]
pub(crate) struct Sinks<K: Key> {
    changes: ChangeSink<K>,
    synced: Option<WeakRecipient<Synced>>,
    resynced: Option<WeakRecipient<Resynced>>,
    progress: Option<WeakRecipient<Progress>>,
    progress_in_stream: bool,
    undecodable: Option<WeakRecipient<Undecodable>>,
    healed: Option<WeakRecipient<Healed>>,
    conflict: Option<WeakRecipient<Conflict>>,
    repaired: Option<WeakRecipient<Repaired>>,
    set_aside: Option<WeakRecipient<SetAside>>,
}

#[derive(Debug)]
enum ChangeSink<K: Key> {
    Single { update: WeakRecipient<Update<K>>, delete: WeakRecipient<Delete<K>> },
    Batch(WeakRecipient<Changes<K>>),
    Call(Call<K>),
    Stream(Sender<K>),
}

impl<K: Key> Observer<K> {
    /// An actor that is told each [`Update`] and each [`Delete`] by itself.
    pub fn new<A>(observer: &Addr<A>) -> Self
    where
        A: Actor + Handler<Update<K>> + Handler<Delete<K>>,
        A::Context: ToEnvelope<A, Update<K>> + ToEnvelope<A, Delete<K>>,
    {
        Self::of_recipients(observer.clone().recipient(), observer.clone().recipient())
    }

    /// Two recipients. They should be one actor: otherwise updates and deletions lose their order.
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn of_recipients(update: Recipient<Update<K>>, delete: Recipient<Delete<K>>) -> Self {
        Self::of(ChangeSink::Single { update: update.downgrade(), delete: delete.downgrade() })
    }

    /// An actor that takes [`Changes`], many at a time and shared: the fast way.
    pub fn batched<A>(observer: &Addr<A>) -> Self
    where
        A: Actor + Handler<Changes<K>>,
        A::Context: ToEnvelope<A, Changes<K>>,
    {
        Self::of(ChangeSink::Batch(observer.clone().recipient().downgrade()))
    }

    /// The reader of a stream, who takes notices with the changes.
    pub(crate) fn of_stream(sender: Sender<K>) -> Self {
        Self::of(ChangeSink::Stream(sender))
    }

    fn of(changes: ChangeSink<K>) -> Self {
        let sinks = Sinks {
            changes,
            synced: None,
            resynced: None,
            progress: None,
            progress_in_stream: false,
            undecodable: None,
            healed: None,
            conflict: None,
            repaired: None,
            set_aside: None,
        };
        Self { filter: Filter::new(), mode: DeliveryMode::default(), name: None, slow_after: SLOW, sinks }
    }

    /// What the log and the [`Status`](crate::Status) call it. Default: the log shows its [`ObserverId`](crate::ObserverId).
    ///
    /// ```no_run
    /// # use shared_store::{Key, Observer, SharedStore};
    /// # async fn run<K: Key>(store: SharedStore<K>) -> Result<(), Box<dyn std::error::Error>> {
    /// store.subscribe(Observer::from_fn(|_| ()).named("routes")).await?;
    /// for (_, lag) in store.status().await?.observers {
    ///     println!("{:?} has {} changes to handle", lag.name, lag.pending);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how long the observer may take to handle a parcel before the log warns, once for that parcel. Default 5 s.
    pub fn slow_after(mut self, limit: Duration) -> Self {
        self.slow_after = limit.min(FOR_EVER);
        self
    }

    /// Only the keys that pass `filter`.
    pub fn filter(mut self, filter: Filter<K>) -> Self {
        self.filter = filter;
        self
    }

    /// What happens when the observer is slower than the changes.
    pub fn mode(mut self, mode: DeliveryMode) -> Self {
        self.mode = mode;
        self
    }

    /// Who is told [`Synced`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn synced(mut self, recipient: Recipient<Synced>) -> Self {
        self.sinks.synced = Some(recipient.downgrade());
        self
    }

    /// Who is told [`Resynced`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn resynced(mut self, recipient: Recipient<Resynced>) -> Self {
        self.sinks.resynced = Some(recipient.downgrade());
        self
    }

    /// Who is told [`Progress`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn progress(mut self, recipient: Recipient<Progress>) -> Self {
        self.sinks.progress = Some(recipient.downgrade());
        self
    }

    /// A stream of parcels has [`Notice::Progress`], too: see [`ChangeStream::into_parcels`](crate::ChangeStream::into_parcels).
    pub fn with_progress(mut self) -> Self {
        self.sinks.progress_in_stream = true;
        self
    }

    /// Who is told [`Undecodable`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn undecodable(mut self, recipient: Recipient<Undecodable>) -> Self {
        self.sinks.undecodable = Some(recipient.downgrade());
        self
    }

    /// Who is told [`Healed`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn healed(mut self, recipient: Recipient<Healed>) -> Self {
        self.sinks.healed = Some(recipient.downgrade());
        self
    }

    /// Who is told [`Conflict`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn conflict(mut self, recipient: Recipient<Conflict>) -> Self {
        self.sinks.conflict = Some(recipient.downgrade());
        self
    }

    /// Who is told [`Repaired`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn repaired(mut self, recipient: Recipient<Repaired>) -> Self {
        self.sinks.repaired = Some(recipient.downgrade());
        self
    }

    /// Who is told [`SetAside`].
    #[allow(clippy::needless_pass_by_value, reason = "a subscription takes over")]
    pub fn set_aside(mut self, recipient: Recipient<SetAside>) -> Self {
        self.sinks.set_aside = Some(recipient.downgrade());
        self
    }
}

impl<K: Key> Sinks<K> {
    /// Whether the observer can be told anything.
    pub(crate) fn connected(&self) -> bool {
        match &self.changes {
            ChangeSink::Single { update, delete } => connected(update).is_some() && connected(delete).is_some(),
            ChangeSink::Batch(batch) => connected(batch).is_some(),
            ChangeSink::Call(_) => true,
            ChangeSink::Stream(stream) => stream.is_connected(),
        }
    }

    /// Whether the observer is to be told of revisions without changes.
    pub(crate) fn wants_progress(&self) -> bool {
        self.progress.is_some() || self.progress_in_stream
    }

    /// Sends a parcel; the future ends when the observer has handled it, or is gone. Dropping the future cancels what the
    /// observer has not begun to handle.
    ///
    /// A parcel is sent whole and then awaited: the observer's mailbox holds at most one parcel.
    pub(crate) fn send(&self, parcel: Parcel<K>) -> Delivery {
        if let ChangeSink::Stream(stream) = &self.changes {
            return stream.send(parcel);
        }
        match parcel {
            Parcel::Changes(changes) => match &self.changes {
                ChangeSink::Call(call) => call.call(changes),
                ChangeSink::Stream(stream) => stream.send(Parcel::Changes(changes)),
                ChangeSink::Batch(batch) => deliver(Some(batch), Changes(changes)),
                ChangeSink::Single { update, delete } => each(update, delete, &changes),
            },
            Parcel::Notice(Notice::Synced { revision, entries }) => {
                self.optional(self.synced.as_ref(), Synced { revision, entries })
            }
            Parcel::Notice(Notice::Resynced { from, to }) => {
                self.optional(self.resynced.as_ref(), Resynced { from, to })
            }
            Parcel::Notice(Notice::Progress { revision }) => {
                self.optional(self.progress.as_ref(), Progress { revision })
            }
            Parcel::Notice(Notice::Undecodable { name, revision, cause }) => {
                self.optional(self.undecodable.as_ref(), Undecodable { name, revision, cause })
            }
            Parcel::Notice(Notice::Healed { name, revision }) => {
                self.optional(self.healed.as_ref(), Healed { name, revision })
            }
            Parcel::Notice(Notice::Repaired { name, damage, revision }) => {
                self.optional(self.repaired.as_ref(), Repaired { name, damage, revision })
            }
            Parcel::Notice(Notice::SetAside { name, cause }) => {
                self.optional(self.set_aside.as_ref(), SetAside { name, cause })
            }
            Parcel::Notice(Notice::Conflict { name, revision, lease, policy }) => {
                self.optional(self.conflict.as_ref(), Conflict { name, revision, lease, policy })
            }
            Parcel::Notice(_) => Box::pin(std::future::ready(Ok(()))),
        }
    }

    /// Sends a notice. Without a recipient, or when the recipient has ended, the notice counts as delivered.
    fn optional<M>(&self, to: Option<&WeakRecipient<M>>, message: M) -> Delivery
    where
        M: Message<Result = ()> + Send + 'static,
    {
        if to.and_then(connected).is_some() { deliver(to, message) } else { Box::pin(std::future::ready(Ok(()))) }
    }
}

/// After this long the log names an observer that has not handled a parcel.
pub(crate) const SLOW: Duration = Duration::from_secs(5);

/// A hundred years: in place of longer durations, which a clock cannot add to a point in time.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

fn deliver<M>(to: Option<&WeakRecipient<M>>, message: M) -> Delivery
where
    M: Message<Result = ()> + Send + 'static,
{
    match to.and_then(connected) {
        Some(recipient) => {
            let sent = recipient.send(message);
            Box::pin(async move { Ok(sent.await?) })
        }
        None => Box::pin(std::future::ready(Err(Undelivered::Gone))),
    }
}

/// A message on its way.
type Sent = std::pin::Pin<Box<dyn Future<Output = Result<(), MailboxError>>>>;

fn each<K: Key>(
    update: &WeakRecipient<Update<K>>,
    delete: &WeakRecipient<Delete<K>>,
    changes: &[Change<K>],
) -> Delivery {
    let (Some(update), Some(delete)) = (connected(update), connected(delete)) else {
        return Box::pin(std::future::ready(Err(Undelivered::Gone)));
    };
    // Each message through its own handle: a handle that was used before may find the mailbox full, and then sends
    // only when it is polled.
    let sent: Vec<Sent> = changes
        .iter()
        .filter_map(|change| match single(change)? {
            Single::Update(message) => Some(Box::pin(update.clone().send(message)) as Sent),
            Single::Delete(message) => Some(Box::pin(delete.clone().send(message)) as Sent),
        })
        .collect();
    Box::pin(async move {
        let mut sent = sent;
        // When the last one is handled, so are the others.
        match sent.last_mut() {
            Some(last) => Ok(last.await?),
            None => Ok(()),
        }
    })
}

/// The recipient, if its actor can be told anything.
fn connected<M>(recipient: &WeakRecipient<M>) -> Option<Recipient<M>>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.upgrade().filter(Recipient::connected)
}

enum Single<K: Key> {
    Update(Update<K>),
    Delete(Delete<K>),
}

fn single<K: Key>(change: &Change<K>) -> Option<Single<K>> {
    let Change { name, old, new, revision, origin, reason, initial, .. } = change.clone();
    match (old, new) {
        (old, Some(key)) => Some(Single::Update(Update { name, key, old, revision, origin, reason, initial })),
        (Some(key), None) => Some(Single::Delete(Delete { name, key, revision, origin, reason })),
        (None, None) => None,
    }
}
