//! A typed store that many collaborators share over a kvstore: what it *is*, without actors, threads or clocks.

pub mod backend;
mod backoff;
mod config;
mod key;
mod kv;
mod prefix;

pub use backend::memory::MemoryBackend;
pub use backend::{Backend, BackendError};
pub use backoff::Backoff;
pub use config::{Config, ConfigError, ConflictPolicy, OnUndecodable};
pub use key::{Codec, CodecError, Json, Key, KeyName, KeyNameError};
pub use kv::{ClusterId, Event, Header, KeyRange, KeyValue, LeaseId, Revision};
pub use prefix::{Prefix, PrefixError};
