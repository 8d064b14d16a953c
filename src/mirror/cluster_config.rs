//! The configuration of a cluster, as Cilium writes it.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Where the configurations of clusters are, each by the name of its cluster (Cilium's `ClusterConfigPrefix`).
pub const CLUSTER_CONFIGS: &str = "cilium/cluster-config";

/// The greatest number of a cluster that any Cilium accepts (`max-connected-clusters` is 255 or 511).
const MAX_ID: u64 = 511;

/// The configuration of a cluster: its number and what its kvstore offers. What is not known is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    whole: Map<String, Value>,
    /// Whether canaries say which prefixes are complete.
    pub has_canaries: bool,
    /// Whether the kvstore holds copies of that cluster's keys, in the prefixes of a cache.
    pub is_cached: bool,
}

/// Why a value is no configuration of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterConfigError {
    /// It is no JSON object.
    #[error("the cluster's configuration is no JSON object")]
    NoObject,
    /// Its `id` is none that a cluster can have.
    #[error("the cluster's configuration has no \"id\" from 1 to 511")]
    Id,
    /// Its capabilities are not what they should be.
    #[error("{0} in the cluster's configuration is not {1}")]
    Capability(&'static str, &'static str),
}

impl ClusterConfig {
    /// Nothing is known of the cluster.
    pub(super) fn unknown() -> Self {
        Self { whole: Map::new(), has_canaries: false, is_cached: false }
    }

    /// Reads and checks a value of the kvstore.
    ///
    /// # Errors
    /// [`ClusterConfigError`] says what is wrong. It shows no part of the value.
    pub fn parse(value: &[u8]) -> Result<Self, ClusterConfigError> {
        let whole: Map<String, Value> = serde_json::from_slice(value).map_err(|_| ClusterConfigError::NoObject)?;
        if !whole.get("id").and_then(Value::as_u64).is_some_and(|id| (1..=MAX_ID).contains(&id)) {
            return Err(ClusterConfigError::Id);
        }
        let none = Map::new();
        let capabilities = match whole.get("capabilities") {
            None | Some(Value::Null) => &none,
            Some(Value::Object(capabilities)) => capabilities,
            Some(_) => return Err(ClusterConfigError::Capability("\"capabilities\"", "an object")),
        };
        let flag = |name: &str, shown: &'static str| match capabilities.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(ClusterConfigError::Capability(shown, "true or false")),
        };
        let has_canaries = flag("syncedCanaries", "\"syncedCanaries\"")?;
        let is_cached = flag("cached", "\"cached\"")?;
        Ok(Self { has_canaries, is_cached, whole })
    }

    /// The configuration for those who read the copies: they are in the prefixes of a cache, and canaries say when they
    /// are complete.
    ///
    /// # Panics
    /// Never: an object can be written.
    #[must_use]
    pub fn of_a_cache(&self) -> Bytes {
        let mut whole = self.whole.clone();
        let capabilities = whole.entry("capabilities").or_insert(Value::Null);
        if !capabilities.is_object() {
            *capabilities = Value::Object(Map::new());
        }
        for flag in ["syncedCanaries", "cached"] {
            capabilities[flag] = true.into();
        }
        serde_json::to_vec(&whole).expect("an object can be written").into()
    }
}
