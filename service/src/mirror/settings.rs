//! The configuration file of `mirror`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use shared_store::mirror::{MirrorRule, MirrorRules, MirrorTimes, is_cluster_name};
use shared_store::{ConfigError, KeyName, Prefix};
use toml::Spanned;

use super::overlaps;
use crate::cli::Common;
use crate::http::Allowed;
use crate::settings::{line, prefix, read, seconds, time};
use crate::setup::Failure;

/// All of the file. The example file `service/mirror.toml` documents every key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) endpoints: Vec<String>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) hosts: Vec<String>,
    pub(super) heartbeat: bool,
    owner: String,
    #[serde(deserialize_with = "seconds")]
    lease_ttl: Option<Duration>,
    #[serde(deserialize_with = "seconds")]
    keep: Option<Duration>,
    #[serde(deserialize_with = "time")]
    grace: Duration,
    #[serde(deserialize_with = "time")]
    pub(super) ready_timeout: Duration,
    #[serde(rename = "source")]
    pub(super) sources: Vec<Spanned<Source>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            user: None,
            password_file: None,
            listen: None,
            hosts: Vec::new(),
            heartbeat: false,
            owner: "mirror".to_owned(),
            lease_ttl: None,
            keep: None,
            grace: MirrorTimes::default().grace,
            ready_timeout: Duration::from_secs(600),
            sources: Vec::new(),
        }
    }
}

/// One kvstore to copy from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) cluster: String,
    #[serde(default)]
    pub(super) endpoints: Vec<String>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    preset: Option<Preset>,
    #[serde(default)]
    pub(super) copy: Vec<Spanned<Copy>>,
}

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    Cilium,
}

/// One prefix to copy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Copy {
    name: String,
    #[serde(deserialize_with = "prefix")]
    from: Prefix,
    #[serde(deserialize_with = "prefix")]
    to: Prefix,
    canary: Option<String>,
    announce: Option<Announce>,
    #[serde(default)]
    expires: bool,
}

/// The key that says that all is copied.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Announce {
    #[serde(deserialize_with = "prefix")]
    prefix: Prefix,
    #[serde(deserialize_with = "name")]
    name: KeyName,
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyName, D::Error> {
    KeyName::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// A source with all that concerns it: when it changes, the source begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) source: Source,
    pub(super) owner: String,
    pub(super) lease_ttl: Option<Duration>,
    pub(super) times: MirrorTimes,
}

impl Copy {
    pub(super) fn rule(&self) -> MirrorRule {
        let mut rule = MirrorRule::new(&self.name, self.from.clone(), self.to.clone());
        if let Some(canary) = &self.canary {
            rule = rule.canary(canary.clone());
        }
        if let Some(Announce { prefix, name }) = &self.announce {
            rule = rule.announce(prefix.clone(), name.clone());
        }
        if self.expires { rule.expires() } else { rule }
    }
}

impl Source {
    pub(super) fn rules(&self) -> MirrorRules {
        if self.copy.is_empty() {
            return MirrorRules::Cilium;
        }
        MirrorRules::These(self.copy.iter().map(|copy| copy.get_ref().rule()).collect())
    }

    /// As the command line would say it.
    pub(super) fn common(&self, common: &Common) -> Common {
        Common {
            endpoints: self.endpoints.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            ..common.clone()
        }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        if !is_cluster_name(&self.cluster) {
            return Err(ConfigError::Cluster(self.cluster.clone()).to_string());
        }
        if self.endpoints.is_empty() {
            return Err("endpoints is missing: give the URLs of its etcd".to_owned());
        }
        if self.user.is_some() && self.password_file.is_none() {
            return Err("user needs password_file".to_owned());
        }
        if self.preset.is_some() && !self.copy.is_empty() {
            return Err("there is a preset and [[source.copy]]: delete one of them".to_owned());
        }
        let mut names = BTreeMap::new();
        for copy in &self.copy {
            let (at, copy) = (line(text, &copy.span()), copy.get_ref());
            if copy.name.is_empty() {
                return Err(format!("the copy of line {at} needs a name"));
            }
            if copy.canary.as_ref().is_some_and(String::is_empty) {
                return Err(format!("the canary of line {at} is empty: give the path of a key"));
            }
            if let Some(first) = names.insert(&copy.name, at) {
                return Err(format!("lines {first} and {at}: both copies are named {:?}", copy.name));
            }
        }
        Ok(())
    }
}

impl Settings {
    /// Reads the file, and adds what the command line says, which counts more.
    pub(super) fn load(common: &Common, file: &Path, listen: Option<SocketAddr>) -> Result<Self, Failure> {
        let mut settings = read(file, |text| Self::parse(text, &common.endpoints))?;
        for (given, setting) in [
            (&common.tls_ca, &mut settings.tls_ca),
            (&common.tls_cert, &mut settings.tls_cert),
            (&common.tls_key, &mut settings.tls_key),
            (&common.password_file, &mut settings.password_file),
        ] {
            if given.is_some() {
                setting.clone_from(given);
            }
        }
        if common.user.is_some() {
            settings.user.clone_from(&common.user);
        }
        settings.listen = listen.or(settings.listen);
        Ok(settings)
    }

    /// With the endpoints of the command line, if there are any.
    fn parse(text: &str, endpoints: &[String]) -> Result<Self, String> {
        let mut settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if !endpoints.is_empty() {
            endpoints.clone_into(&mut settings.endpoints);
        }
        if settings.endpoints.is_empty() {
            return Err("endpoints is missing: give the URLs of the etcd that the copies go to".to_owned());
        }
        if settings.owner.is_empty() {
            return Err("owner is empty: delete it, or give a name".to_owned());
        }
        let mut clusters = BTreeMap::new();
        for source in &settings.sources {
            let (at, source) = (line(text, &source.span()), source.get_ref());
            source.check(text).map_err(|error| format!("line {at}, source {:?}: {error}", source.cluster))?;
            if let Some(first) = clusters.insert(source.cluster.as_str(), at) {
                return Err(format!("lines {first} and {at}: both sources are the cluster {:?}", source.cluster));
            }
        }
        overlaps::check(text, &settings)?;
        Ok(settings)
    }

    /// Where to listen.
    pub(super) fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| ([127, 0, 0, 1], 8081).into())
    }

    /// Who may connect. Nobody writes.
    pub(super) fn allowed(&self) -> Allowed<'_> {
        Allowed { address: self.address(), token_file: None, known_clients: false, hosts: &self.hosts }
    }

    /// Whether the copies go to the same kvstore.
    pub(super) fn same_kvstore(&self, other: &Self) -> bool {
        let connection = |settings: &Self| {
            (
                (settings.endpoints.clone(), settings.user.clone(), settings.password_file.clone()),
                (settings.tls_ca.clone(), settings.tls_cert.clone(), settings.tls_key.clone()),
            )
        };
        connection(self) == connection(other)
    }

    /// The kvstore of the copies, as the command line would say it.
    pub(super) fn common(&self, common: &Common) -> Common {
        Common {
            endpoints: self.endpoints.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            ..common.clone()
        }
    }

    /// The sources, by their clusters.
    pub(super) fn wanted(&self) -> BTreeMap<String, Wanted> {
        let wanted = |source: &Source| Wanted {
            source: source.clone(),
            owner: self.owner.clone(),
            lease_ttl: self.lease_ttl,
            times: MirrorTimes { keep: self.keep, grace: self.grace },
        };
        self.sources.iter().map(|source| (source.get_ref().cluster.clone(), wanted(source.get_ref()))).collect()
    }
}

#[cfg(test)]
mod tests;
