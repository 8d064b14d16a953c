//! The configuration file of `serve`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shared_store::Prefix;
use toml::Spanned;

use super::cached::keys;
use crate::cli::{Backend, Common, Conflict, OnExit, ValueForm};
use crate::http::{Allowed, Https};
use crate::settings::{line, prefix, read, seconds};
use crate::setup::Failure;
use crate::value::{Base64, Json, Text};

/// All of the file. The example file `service/serve.toml` documents every key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<String>,
    pub(crate) backend: Option<BackendName>,
    pub(crate) tls_ca: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) hosts: Vec<String>,
    pub(crate) https: Option<Https>,
    pub(crate) limits: Limits,
    #[serde(rename = "store")]
    stores: Vec<Spanned<StoreSettings>>,
}

/// `etcd` or `memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendName {
    Etcd,
    Memory,
}

/// What clients can have at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    pub(crate) body_bytes: usize,
    pub(crate) history_changes: usize,
    pub(crate) history_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            streams: 1024,
            // etcd's own limit of a request.
            body_bytes: 1_572_864,
            history_changes: 100_000,
            history_bytes: 32 << 20,
        }
    }
}

/// What a store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Caches all keys and owns those that it is given.
    #[default]
    Full,
    /// Caches all keys and owns none.
    ReadOnly,
    /// Owns the keys that it is given and caches none.
    Publish,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Publish => "publish",
        }
    }
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreSettings {
    pub(crate) name: String,
    #[serde(deserialize_with = "prefix")]
    pub(crate) prefix: Prefix,
    #[serde(default)]
    pub(crate) mode: Mode,
    #[serde(default)]
    pub(crate) value: ValueForm,
    #[serde(default)]
    pub(crate) filter: Vec<String>,
    #[serde(default)]
    pub(crate) indexes: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) delete_delay: Option<Duration>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) keys_file: Option<PathBuf>,
    pub(crate) owner: Option<String>,
    #[serde(default)]
    pub(crate) conflict: Option<Conflict>,
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) lease_ttl: Option<Duration>,
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) sync_interval: Option<Duration>,
    #[serde(default)]
    pub(crate) on_exit: Option<OnExit>,
    pub(crate) canary: Option<String>,
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) canary_timeout: Option<Duration>,
}

impl StoreSettings {
    fn named(name: &str, prefix: Prefix) -> Self {
        Self {
            name: name.to_owned(),
            prefix,
            mode: Mode::default(),
            value: ValueForm::Json,
            filter: Vec::new(),
            indexes: BTreeMap::new(),
            delete_delay: None,
            state_dir: None,
            keys_file: None,
            owner: None,
            conflict: None,
            lease_ttl: None,
            sync_interval: None,
            on_exit: None,
            canary: None,
            canary_timeout: None,
        }
    }

    /// What cannot be, and what would have no effect.
    fn check(&self) -> Result<(), String> {
        let usual = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(usual) || self.name.starts_with('.') {
            return Err(format!("name {:?}: use letters, digits, - and _: it is a part of URLs", self.name));
        }
        let (owns, caches) = (self.mode != Mode::ReadOnly, self.mode != Mode::Publish);
        let given = [
            ("keys_file", self.keys_file.is_some(), owns),
            ("owner", self.owner.is_some(), owns),
            ("conflict", self.conflict.is_some(), owns),
            ("lease_ttl", self.lease_ttl.is_some(), owns),
            ("sync_interval", self.sync_interval.is_some(), owns),
            ("on_exit", self.on_exit.is_some(), owns),
            ("filter", !self.filter.is_empty(), caches),
            ("indexes", !self.indexes.is_empty(), caches && self.value == ValueForm::Json),
            ("delete_delay", self.delete_delay.is_some(), caches),
            ("state_dir", self.state_dir.is_some(), caches),
            ("canary", self.canary.is_some(), self.mode != Mode::Full),
            ("canary_timeout", self.canary_timeout.is_some(), self.mode == Mode::ReadOnly && self.canary.is_some()),
        ];
        if let Some((key, ..)) = given.iter().find(|(_, given, has_effect)| *given && !has_effect) {
            let value = if *key == "indexes" { " with JSON values" } else { "" };
            return Err(format!("{key} has no effect on a store that is {}: delete it{value}", self.mode.name()));
        }
        if let Some((index, pointer)) = self.indexes.iter().find(|(_, pointer)| !pointer.starts_with('/')) {
            return Err(format!("index {index} = {pointer:?}: write a JSON pointer, as in \"/IPAddresses/0/IP\""));
        }
        Ok(())
    }
}

impl Settings {
    /// Reads the file, and adds what the command line says, which counts more.
    pub(crate) fn load(common: &Common, file: Option<&Path>, listen: Option<SocketAddr>) -> Result<Self, Failure> {
        let mut settings = match file {
            Some(file) => read(file, Self::parse)?,
            None => Self::of_prefix(common)?,
        };
        if !common.endpoints.is_empty() {
            settings.endpoints.clone_from(&common.endpoints);
        }
        let backend = common.backend.map(|backend| match backend {
            Backend::Etcd => BackendName::Etcd,
            Backend::Memory => BackendName::Memory,
        });
        settings.backend = backend.or(settings.backend);
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

    /// Without a file: the store of `--prefix`, named by its last part.
    fn of_prefix(common: &Common) -> Result<Self, Failure> {
        let Some(text) = &common.prefix else {
            return Err(Failure::usage("give --config FILE, or --prefix for a single store"));
        };
        let prefix = Prefix::new(text.as_str()).map_err(Failure::usage)?;
        let last = text.rsplit('/').next().unwrap_or(text);
        let name: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let store = StoreSettings { value: common.value, ..StoreSettings::named(&name, prefix) };
        Ok(Self { stores: vec![Spanned::new(0..0, store)], ..Self::default() })
    }

    /// One store below a prefix of the embedded kvstore.
    pub(crate) fn one(name: &str, prefix: Prefix, listen: SocketAddr) -> Self {
        let stores = vec![Spanned::new(0..0, StoreSettings::named(name, prefix))];
        Self { stores, backend: Some(BackendName::Memory), listen: Some(listen), ..Self::default() }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        if settings.stores.is_empty() {
            return Err("there is no [[store]]".to_owned());
        }
        let mut names = BTreeMap::new();
        for store in &settings.stores {
            let at = line(text, &store.span());
            let store = store.get_ref();
            store.check().map_err(|error| format!("line {at}, store {:?}: {error}", store.name))?;
            if let Some(first) = names.insert(store.name.as_str(), at) {
                return Err(format!("lines {first} and {at}: both stores are named {:?}", store.name));
            }
        }
        Ok(settings)
    }

    /// Whether the files it names can be read.
    pub(crate) fn check_files(&self) -> Result<(), Failure> {
        for store in self.stores() {
            if let Some(file) = &store.keys_file {
                match store.value {
                    ValueForm::Json => keys::<Json>(file).map(drop)?,
                    ValueForm::Text => keys::<Text>(file).map(drop)?,
                    ValueForm::Base64 => keys::<Base64>(file).map(drop)?,
                }
            }
        }
        Ok(())
    }

    /// The stores, in the order of the file.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &StoreSettings> {
        self.stores.iter().map(Spanned::get_ref)
    }

    /// Where to listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| ([127, 0, 0, 1], 8080).into())
    }

    /// Who may connect and write.
    pub(crate) fn allowed(&self) -> Allowed<'_> {
        Allowed {
            address: self.address(),
            token_file: self.token_file.as_deref(),
            known_clients: self.https.as_ref().is_some_and(|https| https.client_ca.is_some()),
            hosts: &self.hosts,
        }
    }

    /// Whether another connection to the kvstore is wanted.
    pub(crate) fn same_kvstore(&self, other: &Self) -> bool {
        let connection = |settings: &Self| {
            (
                (settings.endpoints.clone(), settings.backend, settings.user.clone(), settings.password_file.clone()),
                (settings.tls_ca.clone(), settings.tls_cert.clone(), settings.tls_key.clone()),
            )
        };
        connection(self) == connection(other)
    }

    /// As the command line would say it, for what commands have in common.
    pub(crate) fn common(&self, common: &Common) -> Common {
        Common {
            endpoints: self.endpoints.clone(),
            backend: self.backend.map(|backend| match backend {
                BackendName::Etcd => Backend::Etcd,
                BackendName::Memory => Backend::Memory,
            }),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
            ..common.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = "[[store]]\nname = \"a\"\nprefix = \"p/a\"\n";

    fn error(text: &str) -> String {
        Settings::parse(text).unwrap_err()
    }

    #[test]
    fn the_example_file_is_valid_and_names_every_key() {
        let text = include_str!("../../serve.toml");
        let settings = Settings::parse(text).unwrap();
        assert!(settings.stores().count() >= 3);
        // Every setting that is commented out is valid, too, and none is missing.
        let all: String = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
        let all = format!("{:?}", Settings::parse(&all).unwrap());
        let store = StoreSettings::named("a", Prefix::new("p").unwrap());
        let unset = format!("{:?}, {store:?}", Settings::default());
        for key in unset.split(", ").filter_map(|member| member.strip_suffix(": None")) {
            let key = key.rsplit(' ').next().unwrap();
            assert!(all.contains(&format!("{key}: Some")), "{key} is not in the example");
        }
    }

    #[test]
    fn an_error_names_the_line_and_the_reason() {
        assert!(error("listen = 3").contains("line 1"));
        assert!(error("[[store]]\nname = \"a\"\nprefix = \"/p/\"\n").contains("line 3"));
        assert!(error(&format!("{STORE}colour = 1\n")).contains("unknown field `colour`"));
        assert_eq!(error(""), "there is no [[store]]");
        assert_eq!(error(&format!("{STORE}\n{STORE}")), "lines 1 and 5: both stores are named \"a\"");
        assert_eq!(
            error("\n[[store]]\nname = \"a b\"\nprefix = \"p\"\n"),
            "line 2, store \"a b\": name \"a b\": use letters, digits, - and _: it is a part of URLs"
        );
        assert_eq!(
            error(&format!("{STORE}mode = \"read-only\"\nkeys_file = \"f\"\n")),
            "line 1, store \"a\": keys_file has no effect on a store that is read-only: delete it"
        );
        assert_eq!(
            error(&format!("{STORE}indexes = {{ ip = \"IP\" }}\n")),
            "line 1, store \"a\": index ip = \"IP\": write a JSON pointer, as in \"/IPAddresses/0/IP\""
        );
        assert!(error(&format!("{STORE}delete_delay = \"5 parsecs\"\n")).contains("write 30s"));
    }
}
