//! A typed store that many collaborators share over a kvstore: what it *is*, without actors, threads or clocks.

pub mod backend;
mod backoff;
mod config;
mod hash;
mod key;
mod kv;
mod prefix;
pub mod watch;

pub use backend::memory::MemoryBackend;
pub use backend::{Backend, BackendError};
pub use backoff::Backoff;
pub use config::{Config, ConfigError, ConflictPolicy, OnUndecodable};
pub use hash::value_hash;
pub use key::{Codec, CodecError, Json, Key, KeyName, KeyNameError};
pub use kv::{ClusterId, Event, Header, KeyRange, KeyValue, LeaseId, Revision};
pub use prefix::{Prefix, PrefixError};

/// The code of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
enum Readme {}
