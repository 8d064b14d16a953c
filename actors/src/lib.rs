//! A typed store that many processes share over etcd, as actix actors.
//!
//! | to | use |
//! | --- | --- |
//! | start | [`join`](join()), [`Join::start`], [`Config`], [`Prefix`], [`Key`] |
//! | own keys | [`SharedStore`], [`publish`](publish()), [`ConflictPolicy`] |
//! | observe | [`Observer`], [`Update`], [`Delete`], [`Reason`], [`DeliveryMode`], [`Filter`] |
//! | read | [`Reader`], [`Snapshot`], [`Entry`], [`Index`], [`SharedStore::catch_up`] |
//! | operate | [`State`], [`Status`], [`AuditReport`], [`DeletionGuard`], [`CanaryGate`] |
//! | test | [`MemoryBackend`], [`StoreThread::current`] |
//!
//! The repository has a guide in `docs/` and programs in `examples/`. The machines behind the actors are in the crate
//! [`shared_store_core`].

mod clock;
mod delivery;
mod error;
mod gate;
mod handle;
mod join;
#[cfg(feature = "metrics")]
mod measuring;
mod messages;
pub mod mirror;
mod notifications;
mod observer;
mod owner;
mod publisher;
mod state_file;
mod store;
mod stream;
mod sync;
mod thread;
mod until;
mod watcher;

pub use bytes::Bytes;
pub use error::{AuditError, CatchUpError, CloseError, JoinError, StoreError};
pub use gate::CanaryGate;
pub use handle::SharedStore;
pub use join::{Join, join};
pub use messages::{
    Attach, Audit, CatchUp, Close, DeleteLocalKey, DeleteLocalKeys, Detach, Drain, GetQuarantined, GetStatus, Release,
    SharedKeys, Subscribe, SubscribeState, Unsubscribe, UpdateKeySync, UpdateLocalKey, UpdateLocalKeySync,
    UpdateLocalKeys, WriteOnce,
};
pub use notifications::{
    Changes, Conflict, Delete, Healed, Progress, Repaired, Resynced, SetAside, StateChanged, Synced, Trouble,
    Undecodable, Update,
};
pub use observer::Observer;
pub use publisher::{Publish, Publisher, publish};
/// The types that a backend implements, and that a direct write uses.
pub use shared_store_core::backend;
/// Names of the metrics.
#[cfg(feature = "metrics")]
pub use shared_store_core::metrics::{METRICS, Metric, MetricKind};
pub use shared_store_core::own::{Lifetime, OwnEvent, WriteError};
pub use shared_store_core::{
    AtLeastError, AuditReport, AuditStats, Backend, BackendError, CanaryState, Change, Closed, ClusterId, Codec,
    CodecError, Config, ConfigError, ConflictPolicy, Damage, DeletionGuard, DeliveryMode, Difference, DifferenceKind,
    Entry, Event, Filter, GateProgress, GateStatus, GatedStore, Header, IgnoredKeys, Index, Json, Key, KeyError,
    KeyName, KeyNameError, KeyRange, KeyValue, KeyWatch, Lag, LeaseId, MemoryBackend, NameCheck, Named, Notice,
    ObserverId, OnTimeout, OnUndecodable, Origin, Parcel, Prefix, PrefixError, PublishEvent, PublisherStatus, Reader,
    Reason, Relists, Revision, Snapshot, SnapshotError, State, Status, UnknownIndex,
};
#[cfg(feature = "etcd")]
pub use shared_store_core::{EtcdBackend, EtcdConfig, EtcdConfigError};
pub use store::StoreActor;
pub use stream::{ChangeStream, ParcelStream};
pub use thread::StoreThread;
pub use until::Until;
