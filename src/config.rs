//! The configuration of a store, with its defaults and their origin.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::backend::memory::MemoryBackend;
use crate::prefix::Prefix;

/// etcd's `MaxLeaseTTL`.
const MAX_LEASE_TTL: Duration = Duration::from_secs(9_000_000_000);

/// Configuration of a store: Cilium's `Configuration`, and what it lacks.
///
/// ```
/// use std::time::Duration;
/// use shared_store_core::{Config, Prefix};
///
/// let config = Config::new(Prefix::new("cilium/state/nodes/v1")?).sync_interval(Duration::from_secs(60));
/// assert!(config.check().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The common prefix of all keys. Required.
    pub prefix: Prefix,
    /// The kvstore. Default: a new [`MemoryBackend`], which nobody else sees until it is cloned.
    pub backend: Arc<dyn Backend>,
    /// How often own keys that the kvstore has forbidden are tried again (Cilium's `SynchronizationInterval`; its
    /// default of 5 minutes), less a tenth of jitter. Other damage is repaired when it happens, so an interval without
    /// damage sends nothing.
    pub sync_interval: Duration,
    /// How long own keys outlive their owner: at least 1 s, at most 9,000,000,000 s, etcd's limit (Cilium's default of 15
    /// minutes).
    pub lease_ttl: Duration,
    /// How long the initial list may take before joining fails (Cilium's default of 3 minutes).
    pub list_timeout: Duration,
    /// How long a deletion is held back in case the key returns (Cilium delays node deletions by 30 s). Default 0.
    pub delete_delay: Duration,
    /// What to do when a second live owner writes one of our names. Default: [`ConflictPolicy::Overwrite`], as Cilium.
    pub conflict: ConflictPolicy,
    /// What happens to a key whose new value cannot be decoded. Default: [`OnUndecodable::KeepLast`].
    pub on_undecodable: OnUndecodable,
    /// What happens to a value whose own name is not that of its key. Default: [`NameCheck::Refuse`], as Cilium.
    pub name_check: NameCheck,
    /// How long a watch may be silent before it is opened anew. Default 20 minutes: twice etcd's progress interval.
    pub watch_timeout: Duration,
    /// How long Close may take to flush pending writes and delete own keys. Default 10 s.
    pub close_timeout: Duration,
    /// How long a synchronous write may take before it fails. Default 30 s.
    pub write_timeout: Duration,
    /// Write requests a second once joined; 0 for no limit (Cilium's `qps`, whose default is 20). Default 0: one
    /// request here carries up to 128 keys. Keep-alives are never held back.
    pub qps: u32,
    /// As `qps`, until all keys given so far have been written once (Cilium's `bootstrapQps`). Default 0.
    pub bootstrap_qps: u32,
    /// Write requests under way at once (Cilium's `maxInflight`). Default 4.
    pub max_inflight: usize,
    /// Which deletions are held back. Default: for 30 s all deletions of another history, and those beyond half of at least
    /// 100 keys.
    pub deletion_guard: DeletionGuard,
    /// Over how long the whole cache is compared with the kvstore, a part at a time, to find what the watch may have
    /// lost; [`Duration::ZERO`] for never. Default 1 hour: for 10,000 keys one or two small requests.
    pub audit_interval: Duration,
    /// Where a snapshot of the cache is kept for the next start, in a file per prefix. A store that starts with a
    /// snapshot shows it at once as [`State::Stale`](crate::State::Stale), and observers are told its keys. When the
    /// kvstore answers, observers are told what has changed since, deletions included, and then `Synced`. A file that
    /// is torn, of another store or newer is refused: [`Status::state_error`](crate::Status::state_error) says why,
    /// and the store starts without it. The file holds the values: protect the directory. If two stores of one prefix
    /// share a directory, one of them writes.
    ///
    /// Memory: with a directory the cache keeps each value's bytes beside the decoded value, so that the snapshot is
    /// what the kvstore has, and not what the codec would write. That is the total size of the values, and once more
    /// while the snapshot is written. Default: none.
    pub state_dir: Option<PathBuf>,
    /// How often the snapshot is written if the cache has changed; it is also written when leaving. Default 30 s.
    pub state_interval: Duration,
    /// The name of the owner of the written keys. A process has the same name after a restart, and no other live
    /// process has it: a node's name, for example. After a crash the keys of the same owner are then taken over at
    /// once, with any [`ConflictPolicy`], instead of when their old lease expires. Default: none, and keys from before
    /// a restart are another owner's.
    ///
    /// If two live processes have the same name by mistake, the first to be overwritten is told a conflict, and from then on
    /// treats the lease of that write as another owner's. The later process overwrites the keys that it finds at its start:
    /// it cannot tell a live process from one that has crashed.
    pub owner: Option<String>,
    /// Seed of everything random (jitter). Default: from the system.
    pub seed: u64,
}

/// Which deletions are held back. The key stays visible, and the deletion is told after [`hold`](Self::hold) unless
/// the key has come back. Everything else of the same answer is taken in at once.
/// [`Status::held_back`](crate::Status::held_back) counts these keys.
///
/// 1. All deletions of another history, whatever their number: the kvstore was wiped or restored, or another one answers.
///    Owners need the time to put their keys into it, so nothing with a live owner flaps. If the kvstore changes again, the
///    time begins again.
/// 2. Mass deletions in one history: when more than [`percent`](Self::percent) of at least [`min_keys`](Self::min_keys) keys
///    have gone within `hold` and not come back, by a list or by events, what goes beyond that. Leases of one site expire
///    one after the other.
///
/// Deletions of own keys are never held back. Trade-off: a real mass deletion, or one during a change of the kvstore, is
/// told that much later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionGuard {
    /// In one history, hold back what removes more than this share of the keys, in per cent. Default 50; 100 turns the
    /// whole guard off.
    pub percent: u8,
    /// In one history, hold back nothing while there are fewer keys than this. Default 100.
    pub min_keys: usize,
    /// How long deletions are held back; [`Duration::ZERO`] turns the guard off. Default 30 s.
    pub hold: Duration,
}

impl DeletionGuard {
    /// Every deletion is told at once.
    pub const OFF: Self = Self { percent: 100, min_keys: usize::MAX, hold: Duration::ZERO };
}

impl Default for DeletionGuard {
    fn default() -> Self {
        Self { percent: 50, min_keys: 100, hold: Duration::from_secs(30) }
    }
}

/// What an owner does when another live owner writes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConflictPolicy {
    /// Write it again, at most once per back-off step (as Cilium, which does so at every interval).
    #[default]
    Overwrite,
    /// Leave it to the other, and take it back when it is free.
    Yield,
    /// If another owner takes the name, leave it to that owner and stop owning it. If the name was taken before this
    /// store had it, report the conflict and wait, as [`Yield`](Self::Yield): the key may be of an earlier process,
    /// whose lease ends.
    Fail,
}

/// What happens to a key whose new value cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUndecodable {
    /// The last good value stays until the key heals or is deleted (as Cilium).
    #[default]
    KeepLast,
    /// The key goes, as if deleted, until it heals.
    Remove,
}

/// What happens to a value whose own name, [`Key::name`](crate::Key::name), differs from the name of the key it was
/// found at. A store never writes such a value: its writer made a mistake, or impersonates another key.
///
/// ```
/// # use shared_store_core::{Config, NameCheck, Prefix};
/// let config = Config::new(Prefix::new("nodes")?).name_check(NameCheck::Ignore);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameCheck {
    /// The value counts as undecodable: it is reported, and [`Config::on_undecodable`] says what becomes of the key
    /// (as Cilium's validators, which skip such a key).
    #[default]
    Refuse,
    /// The value is accepted. For types that are only read and whose values do not know their names.
    Ignore,
}

/// A [`Config`] that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration or count that must be greater than zero is zero.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// Leases are counted in whole seconds.
    #[error("lease_ttl must be at least 1 s")]
    LeaseTtlTooShort,
    /// etcd refuses such a lease (its `MaxLeaseTTL`).
    #[error("lease_ttl must be at most {} s, which is etcd's limit", MAX_LEASE_TTL.as_secs())]
    LeaseTtlTooLong,
    /// Cilium accepts no such name of a cluster.
    #[error(
        "{0:?} is no name of a cluster: at most 32 lower case letters, digits and hyphens, which begin and end with a letter or a digit"
    )]
    Cluster(String),
}

macro_rules! setters {
    ($($field:ident: $type:ty),+ $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+
    };
}

impl Config {
    /// The defaults for `prefix`.
    #[must_use]
    pub fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            backend: Arc::new(MemoryBackend::new()),
            sync_interval: Duration::from_secs(5 * 60),
            lease_ttl: Duration::from_secs(15 * 60),
            list_timeout: Duration::from_secs(3 * 60),
            delete_delay: Duration::ZERO,
            conflict: ConflictPolicy::default(),
            on_undecodable: OnUndecodable::default(),
            name_check: NameCheck::default(),
            watch_timeout: Duration::from_secs(20 * 60),
            close_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            qps: 0,
            bootstrap_qps: 0,
            max_inflight: 4,
            deletion_guard: DeletionGuard::default(),
            audit_interval: Duration::from_secs(60 * 60),
            state_dir: None,
            state_interval: Duration::from_secs(30),
            owner: None,
            seed: fastrand::u64(..),
        }
    }

    /// Sets the kvstore. An [`Arc`] of a backend is a backend, too.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use shared_store_core::{Backend, Config, MemoryBackend, Prefix};
    /// let (kvstore, prefix) = (Arc::new(MemoryBackend::new()), Prefix::new("nodes")?);
    /// let one = Config::new(prefix.clone()).backend(Arc::clone(&kvstore));
    /// let another = Config::new(prefix).backend(kvstore as Arc<dyn Backend>);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn backend(mut self, backend: impl Backend) -> Self {
        self.backend = Arc::new(backend);
        self
    }

    /// Sets a kvstore that others hold too.
    #[must_use]
    pub fn shared_backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = backend;
        self
    }

    /// Sets [`state_dir`](Self#structfield.state_dir).
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Sets [`owner`](Self#structfield.owner).
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    setters! {
        prefix: Prefix,
        sync_interval: Duration,
        lease_ttl: Duration,
        list_timeout: Duration,
        delete_delay: Duration,
        conflict: ConflictPolicy,
        on_undecodable: OnUndecodable,
        name_check: NameCheck,
        watch_timeout: Duration,
        close_timeout: Duration,
        write_timeout: Duration,
        qps: u32,
        bootstrap_qps: u32,
        max_inflight: usize,
        deletion_guard: DeletionGuard,
        audit_interval: Duration,
        state_interval: Duration,
        seed: u64,
    }

    /// Whether this can work; joining checks it once.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (name, duration) in [
            ("sync_interval", self.sync_interval),
            ("list_timeout", self.list_timeout),
            ("watch_timeout", self.watch_timeout),
            ("close_timeout", self.close_timeout),
            ("write_timeout", self.write_timeout),
            ("state_interval", self.state_interval),
        ] {
            if duration.is_zero() {
                return Err(ConfigError::Zero(name));
            }
        }
        if self.max_inflight == 0 {
            return Err(ConfigError::Zero("max_inflight"));
        }
        if self.lease_ttl < Duration::from_secs(1) {
            return Err(ConfigError::LeaseTtlTooShort);
        }
        if self.lease_ttl > MAX_LEASE_TTL {
            return Err(ConfigError::LeaseTtlTooLong);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_cannot_work_is_named() {
        let config = || Config::new(Prefix::new("p").unwrap());
        assert_eq!(config().check(), Ok(()));
        let zero = Duration::ZERO;
        for (bad, name) in [
            (config().sync_interval(zero), "sync_interval"),
            (config().list_timeout(zero), "list_timeout"),
            (config().watch_timeout(zero), "watch_timeout"),
            (config().close_timeout(zero), "close_timeout"),
            (config().write_timeout(zero), "write_timeout"),
            (config().state_interval(zero), "state_interval"),
            (config().max_inflight(0), "max_inflight"),
        ] {
            assert_eq!(bad.check(), Err(ConfigError::Zero(name)));
        }
        assert_eq!(config().lease_ttl(Duration::from_millis(999)).check(), Err(ConfigError::LeaseTtlTooShort));
    }

    #[test]
    fn a_lease_ttl_above_etcds_limit_is_refused_and_the_limit_is_not() {
        let check = |ttl| Config::new(Prefix::new("p").unwrap()).lease_ttl(ttl).check();
        assert_eq!(check(MAX_LEASE_TTL), Ok(()));
        for ttl in [MAX_LEASE_TTL + Duration::from_nanos(1), Duration::MAX] {
            let error = check(ttl).unwrap_err();
            assert_eq!(error, ConfigError::LeaseTtlTooLong);
            assert_eq!(error.to_string(), "lease_ttl must be at most 9000000000 s, which is etcd's limit");
        }
    }
}
