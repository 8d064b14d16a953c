//! Paths that belong to Cilium.

use shared_store::{KeyName, Prefix};

use crate::setup;

/// Prefixes below which Cilium keeps objects without a `vN` of their own right after the kind.
const PREFIXES: [&str; 2] = ["cilium/state/identities/v1/id", "cilium/state/identities/v1/value"];

/// A warning if the key's path is a prefix Cilium watches: its agents panic on a key there.
fn warning(prefix: &Prefix, name: &KeyName) -> Option<String> {
    let path = format!("{prefix}/{}", name.as_str());
    is_prefix(&path).then(|| {
        format!(
            "warning: {path} is a prefix that Cilium watches, and a key with exactly that path makes its agents crash: \
             use --prefix {path} and another name"
        )
    })
}

/// Says so on stderr for each of these names.
pub(crate) fn warn<'a>(prefix: &Prefix, names: impl IntoIterator<Item = &'a KeyName>) {
    names.into_iter().filter_map(|name| warning(prefix, name)).for_each(setup::say);
}

/// `cilium/state/KIND/vN`, `cilium/cache/KIND/vN` and, in the cache of other clusters, `cilium/cache/KIND/vN/CLUSTER`.
fn is_prefix(path: &str) -> bool {
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
    };
    match path.split('/').collect::<Vec<_>>()[..] {
        ["cilium", "state" | "cache", _, version] | ["cilium", "cache", _, version, _] => is_version(version),
        _ => PREFIXES.contains(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_at_a_prefix_of_ciliums_is_warned_of_and_one_below_it_is_not() {
        for path in [
            "cilium/state/nodes/v1",
            "cilium/state/services/v1",
            "cilium/state/ip/v1",
            "cilium/state/cnpstatuses/v2",
            "cilium/state/identities/v1/id",
            "cilium/cache/nodes/v1",
            "cilium/cache/nodes/v1/cluster1",
        ] {
            let (prefix, name) = path.rsplit_once('/').unwrap();
            assert!(warning(&Prefix::new(prefix).unwrap(), &KeyName::new(name).unwrap()).is_some(), "{path}");
        }
        for path in
            ["cilium/state/nodes/v1/node-a", "nodes/v1", "cilium/state/nodes/version", "cilium/cache/nodes/v1/c/n"]
        {
            assert!(!is_prefix(path), "{path}");
        }
    }
}
