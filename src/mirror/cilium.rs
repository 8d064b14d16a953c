//! What Cilium's KVStoreMesh copies.

use super::{ClusterConfig, MirrorRule};
use crate::key::KeyName;
use crate::prefix::Prefix;

/// A kind of keys: its name; its place at the source, and after that what the cluster's name is followed by there or
/// replaces; whether copies expire.
struct Kind {
    name: &'static str,
    /// Where a cluster writes them, below `cilium/state/<name>`.
    state: Place,
    /// Below `cilium/cache/<name>/<cluster>`.
    below: Option<&'static str>,
    expires: bool,
}

#[derive(Clone, Copy)]
enum Place {
    /// By the name of the cluster.
    Cluster,
    /// By a name that is the same in every cluster.
    Fixed(&'static str),
}

const KINDS: [Kind; 5] = [
    Kind { name: "nodes/v1", state: Place::Cluster, below: None, expires: false },
    Kind { name: "services/v1", state: Place::Cluster, below: None, expires: true },
    Kind { name: "serviceexports/v1", state: Place::Cluster, below: None, expires: true },
    Kind { name: "identities/v1", state: Place::Fixed("id"), below: Some("id"), expires: false },
    Kind { name: "ip/v1", state: Place::Fixed("default"), below: None, expires: false },
];

/// The prefixes that Cilium's KVStoreMesh copies of a cluster, with the canaries it waits for and those it writes. A
/// source that is a cache itself is read there.
///
/// # Panics
/// If `cluster` is empty or ends with a slash: there is no such prefix.
#[must_use]
pub fn cilium_rules(cluster: &str, config: &ClusterConfig) -> Vec<MirrorRule> {
    let prefix = |path: String| Prefix::new(path).expect("the cluster's name was checked");
    let canaries = format!("cilium/synced/{cluster}");
    let rule = |kind: &Kind| {
        let Kind { name, .. } = *kind;
        let cache = match kind.below {
            Some(below) => format!("cilium/cache/{name}/{cluster}/{below}"),
            None => format!("cilium/cache/{name}/{cluster}"),
        };
        let (from, complete) = match (config.is_cached, kind.state) {
            (true, _) => (cache.clone(), format!("cilium/cache/{name}")),
            (false, Place::Cluster) => (format!("cilium/state/{name}/{cluster}"), format!("cilium/state/{name}")),
            (false, Place::Fixed(place)) => (format!("cilium/state/{name}/{place}"), format!("cilium/state/{name}")),
        };
        let announced = KeyName::new(format!("cilium/cache/{name}")).expect("it is not empty");
        let mut rule = MirrorRule::new(name, prefix(from), prefix(cache)).announce(prefix(canaries.clone()), announced);
        rule.canary = config.has_canaries.then(|| format!("{canaries}/{complete}").into());
        rule.expires = kind.expires;
        rule
    };
    KINDS.iter().map(rule).collect()
}
