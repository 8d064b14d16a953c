//! What belongs to Cilium: its paths, and its file with the way to etcd.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared_store::{KeyName, Prefix};

use crate::cli::Common;
use crate::setup::{self, Failure};

/// The file that Cilium's `--kvstore-opt etcd.config` names: etcd's own client configuration. What does not concern the
/// connection is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EtcdConfig {
    endpoints: Vec<String>,
    trusted_ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    username: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

/// Takes from the file of `--etcd-config` what the command line does not say.
pub(crate) fn complete(common: &mut Common) -> Result<(), Failure> {
    let Some(file) = common.etcd_config.clone() else { return Ok(()) };
    let refused = |cause: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {cause}", file.display()));
    let text = fs::read_to_string(&file).map_err(|error| refused(&error))?;
    let config: EtcdConfig = serde_yaml_ng::from_str(&text).map_err(|error| refused(&error))?;
    if config.insecure_skip_tls_verify {
        return Err(refused(&"insecure-skip-tls-verify is not supported: give the authority in trusted-ca-file"));
    }
    if common.endpoints.is_empty() {
        common.endpoints = config.endpoints;
    }
    // Relative to the file, as the files beside it are meant.
    let beside = |named: PathBuf| file.parent().unwrap_or(Path::new("")).join(named);
    let take = |given: &mut Option<PathBuf>, named: Option<PathBuf>| *given = given.take().or(named.map(beside));
    take(&mut common.tls_ca, config.trusted_ca_file);
    take(&mut common.tls_cert, config.cert_file);
    take(&mut common.tls_key, config.key_file);
    common.user = common.user.take().or(config.username);
    Ok(())
}

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
