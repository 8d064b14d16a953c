//! What a store is told and asked. What observers are told is in `notifications.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use bytes::Bytes;
use shared_store_core::own::Lifetime;
use shared_store_core::{AuditReport, Backend, Key, KeyName, ObserverId, Prefix, Revision, Snapshot, Status};
use tokio::sync::oneshot;

use crate::error::{AuditError, CatchUpError, CloseError, StoreError};
use crate::notifications::StateChanged;
use crate::observer::Observer;

/// Own a key: the store puts it into the kvstore and keeps it there until it is deleted. Answered at once (Cilium's
/// `UpdateLocalKey`).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct UpdateLocalKey<K: 'static>(pub K);

/// Own a key; answered with its revision when the kvstore has it (Cilium's `UpdateLocalKeySync`). On failure this value is
/// not kept: a key that was not owned is not owned, and one that was owned stays owned with the value it had. Dropping the
/// future does not take the command back.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct UpdateLocalKeySync<K: 'static>(pub K);

/// A command with a deadline of its own. After the deadline the store does not take it.
#[derive(Debug, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub(crate) struct Within<C: 'static> {
    pub(crate) command: C,
    /// From the call to the deadline.
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    /// Told when the store takes the command. If the receiver is closed by then, the store must not take it.
    pub(crate) taken: oneshot::Sender<()>,
}

impl<C> Within<C> {
    /// The command, unless its time is over.
    pub(crate) fn take(self, now: Instant) -> Result<C, StoreError> {
        let in_time = now < self.deadline && self.taken.send(()).is_ok();
        if in_time { Ok(self.command) } else { Err(StoreError::Busy { after: self.timeout }) }
    }
}

/// Write a key once, without owning it: nobody repairs it (Cilium's `UpdateKeySync`). The key is under a lease of this
/// store: it is deleted when the store closes, and when the lease expires after Release or a crash
/// ([`Lifetime::Store`]). A name that this store owns is refused
/// ([`WriteError::Owned`](shared_store_core::own::WriteError::Owned)).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct UpdateKeySync<K: 'static>(pub K);

/// Write a key once, without owning it, under a lease of the store or without a lease (Cilium's `UpdateKeySync` with
/// its argument `lease`). [`UpdateKeySync`] is this with [`Lifetime::Store`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct WriteOnce<K: 'static> {
    /// The key.
    pub key: K,
    /// How long it is to live.
    pub lifetime: Lifetime,
}

/// Give up a key and delete it; answered when it is deleted. A key that another owner has put there meanwhile stays
/// (Cilium's `DeleteLocalKey`).
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct DeleteLocalKey(pub KeyName);

/// Own many keys at once: [`UpdateLocalKey`] for each, in one message. If one cannot be put, none is owned.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct UpdateLocalKeys<K: 'static>(pub Vec<K>);

/// Give up many keys at once: answered when all are gone, with the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct DeleteLocalKeys(pub Vec<KeyName>);

/// The bytes of a value that cannot be decoded; `None` if the key is not in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "Option<Bytes>")]
pub struct GetQuarantined(pub KeyName);

/// All keys at one revision, own keys included (Cilium's `SharedKeysMap`). A [`Reader`](shared_store_core::Reader)
/// returns the same without a message.
#[derive(Debug)]
pub struct SharedKeys<K>(std::marker::PhantomData<K>);

impl<K> SharedKeys<K> {
    /// The question.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a question has no default")]
    pub fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<K: Key> Message for SharedKeys<K> {
    type Result = Result<Snapshot<K>, StoreError>;
}

/// Add an observer: it is told all keys, then [`Synced`](crate::Synced), then every change. Answered with the id for
/// [`Unsubscribe`]. The subscription does not keep the observer alive.
#[derive(Debug, Message)]
#[rtype(result = "Result<ObserverId, StoreError>")]
pub struct Subscribe<K: Key>(pub Observer<K>);

/// Drop an observer. Once this is answered it is told nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub ObserverId);

/// Answered when all observers have handled everything that was pending for them when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Told")]
pub(crate) struct AwaitTold {
    pub(crate) timeout: Duration,
}

/// Whether observers were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    All,
    NotYet,
    Closed,
}

/// Tell a recipient the state now and whenever it changes. Does not keep its actor alive.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SubscribeState(pub Recipient<StateChanged>);

/// Stop watching: the cache stays as it is, [`State::Stale`](crate::State::Stale), until [`Attach`] or [`Drain`].
/// After the answer no change arrives any more. Refused with [`StoreError::Owner`] if the store owns keys; from now on
/// it can own none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Detach;

/// Watch again after [`Detach`]: another kvstore, another prefix, or the same ones (Cilium's `WatchStore` is run again).
/// Answered at once. When the list is complete, observers are told the difference: keys that are not in it are
/// deleted, keys with the same value are not mentioned. Refused with [`StoreError::Attached`] while the store is
/// watching.
///
/// The store stays on the thread on which it was joined, that of its first backend if nothing else was said
/// ([`StoreThread`](crate::StoreThread)): it keeps that thread alive, and each event of the new backend wakes both threads.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Attach {
    /// The kvstore.
    pub backend: Arc<dyn Backend>,
    /// The common prefix of the keys there.
    pub prefix: Prefix,
}

/// Tell every key as deleted, and empty the cache (Cilium's `Drain`). Refused with [`StoreError::Attached`] while the
/// store is watching: send [`Detach`] first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Drain;

/// Compare the whole cache with the kvstore, part by part and value by value, each part at the revision the cache shows.
/// Answered with what differs; a relist repairs differences that nothing explains. A request during an audit is
/// answered with the result of that audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<AuditReport, AuditError>")]
pub struct Audit {
    /// How long it may take, waiting for the kvstore included.
    pub timeout: Duration,
}

/// Answered with the kvstore's newest revision once the cache shows it. The kvstore is asked after the message is
/// handled, so a read after the answer shows every write that the kvstore acknowledged before the message was sent: it is
/// linearizable. Reads that wait at the same time share the requests. [`Reader::at_least`](shared_store_core::Reader::at_least)
/// waits for a revision that is known, and asks nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<Revision, CatchUpError>")]
pub struct CatchUp {
    /// How long it may take.
    pub timeout: Duration,
}

/// Returns the current status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<Status, StoreError>")]
pub struct GetStatus;

/// Leave, and delete the own keys. Answered when all is done. Before the answer observers are told one
/// [`Delete`](crate::Delete) per own key, and nothing after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), CloseError>")]
pub struct Close;

/// Leave. Pending writes are flushed first; own keys stay until their lease expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), CloseError>")]
pub struct Release;
