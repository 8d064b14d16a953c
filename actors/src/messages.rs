//! Every public message in one place: what a store is told, and what observers are told.

use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use bytes::Bytes;
use shared_store_core::own::Lifetime;
use shared_store_core::{
    AuditReport, Backend, CodecError, ConflictPolicy, Damage, Key, KeyName, LeaseId, ObserverId, Origin, Prefix,
    PublishEvent, Reason, Revision, Snapshot, State, Status,
};

use crate::error::{AuditError, CloseError, StoreError};
use crate::observer::Observer;

// To an observer.

/// To an observer: a key was created or has a new value.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Update<K: 'static> {
    /// The key's name.
    pub name: KeyName,
    /// The value now.
    pub key: Arc<K>,
    /// The value this observer was last told; `None` if it knew of none, so this is a create.
    pub old: Option<Arc<K>>,
    /// The revision that wrote the value.
    pub revision: Revision,
    /// Whose key it is.
    pub origin: Origin,
    /// Why the observer is told this.
    pub reason: Reason,
    /// Whether it is part of the first state, before [`Synced`].
    pub initial: bool,
}

/// To an observer: a key is gone, or has left the observer's filter.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Delete<K: 'static> {
    /// The key's name.
    pub name: KeyName,
    /// The value this observer was last told.
    pub key: Arc<K>,
    /// The revision of the deletion.
    pub revision: Revision,
    /// Whose key it was.
    pub origin: Origin,
    /// Why the observer is told this. The key itself may still be in the kvstore.
    pub reason: Reason,
}

/// To an observer that takes batches: changes, in order, never empty, shared by all that are told the same.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changes<K: 'static>(pub shared_store_core::Changes<K>);

/// To an observer: its first state is complete, and is the kvstore's. What was known before a restart
/// ([`Config::state_dir`](shared_store_core::Config::state_dir)) is told before, and what has changed since, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Synced {
    /// The revision it shows.
    pub revision: Revision,
    /// How many keys this observer was told.
    pub entries: usize,
}

/// To an observer: steps are left out, the difference between what it was told and now follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Resynced {
    /// The last revision told before.
    pub from: Revision,
    /// The revision the difference leads to; less than `from` if the kvstore itself went back.
    pub to: Revision,
}

/// To an observer: it was told everything up to this revision, and nothing it observes has changed since what it was told
/// last. For those that keep a position ([`Observer::progress`](crate::Observer::progress)).
///
/// It comes after changes that the observer's filter does not pass, and when the kvstore says that it has nothing new (etcd:
/// every 10 minutes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Progress {
    /// The revision.
    pub revision: Revision,
}

/// To an observer: a key has a value that is not one of the store's type.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Undecodable {
    /// The key's name.
    pub name: KeyName,
    /// The revision that wrote the value.
    pub revision: Revision,
    /// Why; never shows the value.
    pub cause: CodecError,
}

/// To an observer: another live owner writes one of our names.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Conflict {
    /// The key's name.
    pub name: KeyName,
    /// The revision of the other's write.
    pub revision: Revision,
    /// The other's lease.
    pub lease: LeaseId,
    /// What is done about it.
    pub policy: ConflictPolicy,
}

/// To an observer: a key is undecodable no longer. It has a value of the store's type, whose [`Update`] comes after this
/// unless the value is the last good one; or it was deleted. An observer that joined with a snapshot
/// ([`Config::state_dir`](shared_store_core::Config::state_dir)) may be told this without the [`Undecodable`] before it.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Healed {
    /// The key's name.
    pub name: KeyName,
    /// The revision that made it so.
    pub revision: Revision,
}

/// To an observer: an own key that somebody else had deleted or overwritten was put back.
///
/// A key that went with its lease is no repair, whoever ended the lease, and neither is a key that is put again because the
/// kvstore lost it with its history. An observer that is behind is told the newest repair of a key only.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Repaired {
    /// The key's name.
    pub name: KeyName,
    /// What had been done to the key; what was seen first if there was more.
    pub damage: Damage,
    /// The revision that put it back.
    pub revision: Revision,
}

/// To an observer: the kvstore refuses an own key (it is not permitted, or too large, for example), or refuses it no longer.
/// A new observer is told the keys that are set aside after [`Synced`].
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct SetAside {
    /// The key's name.
    pub name: KeyName,
    /// What the kvstore said; `None` if it has accepted the key since, or the owner has given the key up.
    pub cause: Option<Arc<str>>,
}

/// To a recipient of [`SubscribeState`]: the store's state has changed. The first message tells the state at that time.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StateChanged(pub State);

/// To an observer of a publisher: something is wrong with own keys or the canary, or is right again. Only
/// [`Conflict`](shared_store_core::own::OwnEvent::Conflict), [`Lost`](shared_store_core::own::OwnEvent::Lost),
/// [`SetAside`](shared_store_core::own::OwnEvent::SetAside),
/// [`NoLongerSetAside`](shared_store_core::own::OwnEvent::NoLongerSetAside),
/// [`Repaired`](shared_store_core::own::OwnEvent::Repaired), [`LeaseLost`](shared_store_core::own::OwnEvent::LeaseLost),
/// [`HistoryChanged`](shared_store_core::own::OwnEvent::HistoryChanged) and
/// [`BackendFailed`](shared_store_core::own::OwnEvent::BackendFailed).
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Trouble(pub PublishEvent);

// To a store.

/// Own a key: it is in the kvstore soon, and stays there until it is deleted. Answered at once (Cilium's
/// `UpdateLocalKey`).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct UpdateLocalKey<K: 'static>(pub K);

/// Own a key; answered with its revision when it is in the kvstore. On failure it is not owned, and what was there
/// before stays (Cilium's `UpdateLocalKeySync`).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct UpdateLocalKeySync<K: 'static>(pub K);

/// Write a key once, without owning it: nobody repairs it (Cilium's `UpdateKeySync`). It is under a lease of this store: it
/// goes when the store closes, and when the lease expires after Release or a crash ([`Lifetime::Store`]).
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct UpdateKeySync<K: 'static>(pub K);

/// Write a key once, without owning it, for as long as the store lives or for good (Cilium's `UpdateKeySync` with its
/// argument `lease`). [`UpdateKeySync`] is this with [`Lifetime::Store`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Revision, StoreError>")]
pub struct WriteOnce<K: 'static> {
    /// The key.
    pub key: K,
    /// How long it is to live.
    pub lifetime: Lifetime,
}

/// Give up a key and delete it; answered when it is gone. What another owner has put there meanwhile stays (Cilium's
/// `DeleteLocalKey`).
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

/// All keys at one revision, own ones included (Cilium's `SharedKeysMap`). A [`Reader`](shared_store_core::Reader) answers
/// the same without a message.
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

/// Add an observer: it is told all keys, then [`Synced`], then every change. Answered with a name for
/// [`Unsubscribe`]. The subscription does not keep the observer alive.
#[derive(Debug, Message)]
#[rtype(result = "Result<ObserverId, StoreError>")]
pub struct Subscribe<K: Key>(pub Observer<K>);

/// Drop an observer. Once this is answered it is told nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub ObserverId);

/// Answer when all observers have handled what they have still to be told now.
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

/// Stop watching: the cache stays as it is, [`State::Stale`], until [`Attach`] or [`Drain`]. Once this is answered nothing
/// more arrives. Refused with [`StoreError::Owner`] if the store owns keys; from now on it can own none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Detach;

/// Watch again after [`Detach`]: another kvstore, another prefix, or the same ones (Cilium's `WatchStore` is run again).
/// Answered at once. When the list is in, observers have been told the true difference: keys that are not in it are
/// deleted, keys with the same value are silence. Refused with [`StoreError::Attached`] while the store is watching.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Attach {
    /// The kvstore.
    pub backend: Arc<dyn Backend>,
    /// The common prefix of the keys there.
    pub prefix: Prefix,
}

/// Tell every key as deleted, and be empty (Cilium's `Drain`). Refused with [`StoreError::Attached`] while the store is
/// watching: it needs a [`Detach`] first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Drain;

/// Compare the whole cache with the kvstore, part by part and value by value, each part at the revision the cache shows.
/// Answered with what differs; what nothing explains is mended by a relist. A request during an audit is answered
/// with what that audit finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<AuditReport, AuditError>")]
pub struct Audit {
    /// How long it may take, waiting for the kvstore included.
    pub timeout: Duration,
}

/// Returns the current status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<Status, StoreError>")]
pub struct GetStatus;

/// Leave, and delete the own keys. Answered when all is done; observers are told one [`Delete`] per own key before,
/// and nothing after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), CloseError>")]
pub struct Close;

/// Leave. Pending writes are flushed first; own keys stay until their lease expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), CloseError>")]
pub struct Release;
