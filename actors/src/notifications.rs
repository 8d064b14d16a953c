//! What observers are told.

use std::sync::Arc;

use actix::Message;
use shared_store_core::{
    CodecError, ConflictPolicy, Damage, KeyName, LeaseId, Origin, PublishEvent, Reason, Revision, State,
};

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
    /// The revision of the deletion: of the event, or of the list that lacks the key.
    ///
    /// A deletion by `DeleteLocalKey` has the revision that the command is answered with, unless somebody else deletes the key
    /// first. A deletion that is not told when the
    /// watch shows it has the revision of the cache at the time when it is told: one by `Close`, one that was held back, and
    /// one of an own key that somebody else had deleted before it was given up.
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

/// To an observer: its first state is complete and equals the kvstore's. What was known before a restart
/// ([`Config::state_dir`](shared_store_core::Config::state_dir)), and what has changed since, are told before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Synced {
    /// The revision it shows.
    pub revision: Revision,
    /// How many keys this observer was told.
    pub entries: usize,
}

/// To an observer: changes were left out; the difference between what it was told and the present state follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Resynced {
    /// The last revision told before.
    pub from: Revision,
    /// The revision the difference leads to; less than `from` if the kvstore itself went back.
    pub to: Revision,
}

/// To an observer: it was told everything up to this revision. For observers that keep a position
/// ([`Observer::progress`](crate::Observer::progress)), as the bookmarks of Kubernetes.
///
/// It comes after changes as soon as nothing more waits; after changes that the observer's filter does not pass; and when the
/// kvstore says that it has nothing new (etcd: every 10 minutes). A single change says less: others of the same revision may
/// follow it, and those that a list after a gap found come in no order of revisions.
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

/// To an observer: another live owner, or another live process with the same
/// [`Config::owner`](shared_store_core::Config::owner), writes one of our names.
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
/// A key that was deleted with its lease and put again is no repair, even if somebody else ended the lease; neither is a key that is
/// put again because the kvstore lost it with its history. An observer that is behind is told only the newest repair
/// of a key.
#[derive(Debug, Clone, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Repaired {
    /// The key's name.
    pub name: KeyName,
    /// What was done to the key; the first damage seen if there was more than one.
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

/// To a recipient of [`SubscribeState`](crate::SubscribeState): the store's state has changed. The first message tells
/// the state at the time of the subscription.
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
