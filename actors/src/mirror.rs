//! Copying keys from one kvstore into another: Cilium's KVStoreMesh.

mod actor;
mod copying;
mod earlier;
mod heartbeat;
mod verbatim;

use std::sync::Arc;

use shared_store_core::mirror::{CLUSTER_CONFIGS, Mirror as Machine};
use shared_store_core::{Backend, Config, ConfigError, Prefix};

use self::actor::{GetMirrorStatus, MirrorActor, Remove};
use crate::error::{CloseError, JoinError, StoreError};
use crate::messages::Release;
use crate::owner::Owner;
use crate::thread::StoreThread;

pub use self::heartbeat::Heartbeat;
#[cfg(feature = "metrics")]
pub use shared_store_core::metrics::MirrorMetrics;
pub use shared_store_core::mirror::{
    ClusterConfig, ClusterConfigError, CopyStatus, Failed, MirrorRule, MirrorRules, MirrorStatus, MirrorTimes,
    cilium_rules,
};

/// What is mirrored, from where to where.
///
/// ```
/// # use std::sync::Arc;
/// # use shared_store::{MemoryBackend, Prefix};
/// use shared_store::mirror::{MirrorConfig, MirrorRule};
///
/// let (source, target) = (Arc::new(MemoryBackend::new()), Arc::new(MemoryBackend::new()));
/// // What Cilium's KVStoreMesh copies of a cluster:
/// let mesh = MirrorConfig::cilium("cluster1", source.clone(), target.clone());
/// // Or any prefixes:
/// let nodes = MirrorRule::new("nodes", Prefix::new("nodes")?, Prefix::new("mirrored/eu/nodes")?);
/// let eu = MirrorConfig::new("eu", vec![nodes], source, target);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MirrorConfig {
    /// The cluster, or any other name of the source.
    pub cluster: String,
    /// Where the keys are.
    pub source: Arc<dyn Backend>,
    /// Where the copies go.
    pub target: Arc<dyn Backend>,
    /// What is copied.
    pub rules: MirrorRules,
    /// How long the mirror waits.
    pub times: MirrorTimes,
    /// How the copies are owned: lease, owner, qps and so on. Its prefix and its backend are not used. Default: the
    /// defaults of [`Config`] with the owner `mirror`: after a restart the copies of before are taken over. Mirrors of
    /// different clusters can have one owner.
    pub copies: Config,
}

impl MirrorConfig {
    /// A mirror of these prefixes.
    #[must_use]
    pub fn new(
        source_name: impl Into<String>,
        rules: Vec<MirrorRule>,
        source: Arc<dyn Backend>,
        target: Arc<dyn Backend>,
    ) -> Self {
        Self::of(source_name.into(), MirrorRules::These(rules), source, target)
    }

    /// A mirror of what Cilium's KVStoreMesh copies of a cluster: see [`cilium_rules`].
    #[must_use]
    pub fn cilium(cluster: impl Into<String>, source: Arc<dyn Backend>, target: Arc<dyn Backend>) -> Self {
        Self::of(cluster.into(), MirrorRules::Cilium, source, target)
    }

    fn of(cluster: String, rules: MirrorRules, source: Arc<dyn Backend>, target: Arc<dyn Backend>) -> Self {
        let unused = Prefix::new("unused").expect("it is a prefix");
        let copies = Config::new(unused).owner("mirror");
        Self { cluster, source, target, rules, times: MirrorTimes::default(), copies }
    }

    /// Sets [`times`](Self#structfield.times).
    #[must_use]
    pub fn times(mut self, times: MirrorTimes) -> Self {
        self.times = times;
        self
    }

    /// Sets [`copies`](Self#structfield.copies).
    #[must_use]
    pub fn copies(mut self, copies: Config) -> Self {
        self.copies = copies;
        self
    }

    fn check(&self) -> Result<(), JoinError> {
        self.copies.check()?;
        if self.rules == MirrorRules::Cilium && !is_cluster_name(&self.cluster) {
            return Err(ConfigError::Cluster(self.cluster.clone()).into());
        }
        Ok(())
    }

    /// The configuration of what is owned below a prefix of the target.
    fn owned(&self, prefix: Prefix) -> Config {
        let mut config = self.copies.clone();
        (config.prefix, config.backend) = (prefix, Arc::clone(&self.target));
        config
    }

    /// The configuration of what is read below a prefix of the source.
    fn read(&self, prefix: Prefix, backend: Arc<dyn Backend>) -> Config {
        let mut config = self.copies.clone();
        (config.prefix, config.backend, config.owner, config.state_dir) = (prefix, backend, None, None);
        config
    }

    fn cluster_configs() -> Prefix {
        Prefix::new(CLUSTER_CONFIGS).expect("it is a prefix")
    }
}

/// Whether Cilium accepts a name of a cluster: at most 32 lower case letters, digits and hyphens, which begin and end with a letter
/// or a digit.
#[must_use]
pub fn is_cluster_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 32
        && name.chars().all(|c| is_word(c) || c == '-')
        && name.starts_with(is_word)
        && name.ends_with(is_word)
}

/// Copies the keys of a source into another kvstore, byte for byte, as own keys: under leases, put again when they are
/// damaged. Cilium's KVStoreMesh.
///
/// - A source that cannot be reached, that has lost its data or that answers for another cluster changes nothing: the copies
///   stay until the source is complete again ([`MirrorRule::canary`]) or [`MirrorTimes::keep`] is over.
/// - What the source deleted while no mirror ran is deleted as soon as the source is complete.
/// - Leave with [`release`](Self::release): the copies stay until their leases end, and the next mirror with the same owner
///   takes them over. [`remove`](Self::remove) deletes them.
///
/// Cheap to clone, usable from any thread. When all clones are dropped, it stops as if the process had died.
#[derive(Debug, Clone)]
#[must_use = "the mirror stops when its last handle is dropped"]
pub struct Mirror {
    owner: Arc<Owner<MirrorActor>>,
}

impl Mirror {
    /// Starts to mirror. It waits for neither kvstore.
    ///
    /// # Errors
    /// [`JoinError::Config`], or [`JoinError::Thread`] if there can be no thread.
    pub fn start(config: MirrorConfig) -> Result<Self, JoinError> {
        Self::start_at(config, None)
    }

    /// As [`start`](Self::start), with all actors on a given thread.
    ///
    /// # Errors
    /// [`JoinError::Config`].
    pub fn start_on(config: MirrorConfig, thread: StoreThread) -> Result<Self, JoinError> {
        Self::start_at(config, Some(thread))
    }

    fn start_at(config: MirrorConfig, thread: Option<StoreThread>) -> Result<Self, JoinError> {
        config.check()?;
        let at = StoreThread::or_of(thread.clone(), &*config.target)?;
        let span = tracing::error_span!(parent: None, "mirror", cluster = %config.cluster);
        let held = at.clone();
        let addr = at.start(span, move || {
            let machine = Machine::new(config.cluster.clone(), config.rules.clone(), config.times);
            MirrorActor::new(config, machine, thread, held)
        });
        Ok(Self { owner: Arc::new(Owner(addr)) })
    }

    /// The current status.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn status(&self) -> Result<MirrorStatus, StoreError> {
        self.owner.0.send(GetMirrorStatus).await?
    }

    /// Ends the mirror and deletes what it has written: the configuration of the cluster first, the copies after
    /// [`MirrorTimes::grace`]. Answers when all is gone.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be deleted, or says that the mirror was released before: then the copies go
    /// with their leases.
    pub async fn remove(&self) -> Result<(), CloseError> {
        self.owner.0.send(Remove).await.unwrap_or_else(|_| Err(CloseError::ended("the mirror has ended")))
    }

    /// Ends the mirror. The copies stay until their leases end.
    ///
    /// # Errors
    /// [`CloseError`] names the keys that could not be written before.
    pub async fn release(&self) -> Result<(), CloseError> {
        self.owner.0.send(Release).await.unwrap_or_else(|_| Err(CloseError::ended("the mirror has ended")))
    }
}
