//! A typed store that many collaborators share over a kvstore: what it *is*, without actors, threads or clocks.

pub mod audit;
pub mod backend;
mod backoff;
mod cache;
mod change;
mod clock;
mod config;
mod filter;
pub mod gate;
mod hash;
mod index;
mod key;
mod kv;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod mirror;
mod outbox;
pub mod own;
mod prefix;
pub mod publisher;
mod reader;
mod reason;
#[cfg(test)]
mod simulation;
mod status;
pub mod store;
mod thread;
mod user_code;
pub mod warm;
pub mod watch;

#[cfg(feature = "etcd")]
pub use backend::etcd::{EndpointProblem, EtcdBackend, EtcdConfig, EtcdConfigError};
pub use backend::memory::MemoryBackend;
pub use backend::{Backend, BackendError};
pub use backoff::Backoff;
pub use change::{Change, Changes, Notice, Origin, Parcel};
pub use config::{Config, ConfigError, ConflictPolicy, DeletionGuard, NameCheck, OnUndecodable};
pub use filter::Filter;
pub use gate::{GateProgress, GateStatus, GatedStore, OnTimeout};
pub use hash::value_hash;
pub use index::Index;
pub use key::{Codec, CodecError, Json, Key, KeyError, KeyName, KeyNameError, Named, encoded};
pub use kv::{ClusterId, Event, Header, KeyRange, KeyValue, LeaseId, Revision};
pub use outbox::{DeliveryMode, Lag, ObserverId};
pub use own::Damage;
pub use prefix::{Prefix, PrefixError};
pub use publisher::{CanaryState, PublishEvent, PublisherStatus};
pub use reader::{AtLeastError, Closed, Entry, KeyWatch, Reader, Snapshot, UnknownIndex};
pub use reason::Reason;
pub use status::{AuditStats, IgnoredKeys, Relists, State, Status};
pub use store::{AuditReport, Difference, DifferenceKind, Store};
pub use thread::Thread;
pub use warm::SnapshotError;

/// The code of the README and of the guide is compiled and run.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../README.md")]
    enum Readme {}
    #[doc = include_str!("../docs/src/reading.md")]
    enum Reading {}
    #[doc = include_str!("../docs/src/publishing.md")]
    enum Publishing {}
    #[doc = include_str!("../docs/src/mirror.md")]
    enum Mirroring {}
    #[doc = include_str!("../docs/src/testing.md")]
    enum Testing {}
    #[doc = include_str!("../docs/src/web-service.md")]
    enum ActixWeb {}
    #[doc = include_str!("../docs/src/metrics.md")]
    enum Metrics {}
    // These show etcd.
    #[cfg(feature = "etcd")]
    #[doc = include_str!("../docs/src/start.md")]
    enum Start {}
    #[cfg(feature = "etcd")]
    #[doc = include_str!("../docs/src/migrating.md")]
    enum Migrating {}
}
