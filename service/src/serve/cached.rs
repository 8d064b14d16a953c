//! A store with a cache: full or read-only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use shared_store::{
    Backend, CloseError, Config, DeliveryMode, Entry as CacheEntry, Index, KeyName, LeaseId, Revision, SharedStore,
    State, Status, StoreError, Until, join,
};

use super::feed::LogFeed;
use super::follow::follow;
use super::hosted::{Entry, Feed, Hosted, Owner, Owners, Page, Wanted, Written};
use super::log::{ChangeLog, Since};
use super::names::Names;
use super::settings::{Limits, Mode, StoreSettings};
use crate::cli::OnExit;
use crate::document::{Document, read_lines};
use crate::entry::hex;
use crate::history;
use crate::http::Problem;
use crate::kvstore::Kvstore;
use crate::record::Value;
use crate::setup::Failure;
use crate::value::Form;

/// How long a write waits until the cache shows it and the log of changes has it: a stream that begins then has it, too.
const TOLD: Duration = Duration::from_secs(5);
/// Keys of the cache that are looked through at once.
const PART: usize = 1024;
/// Steps that may wait until the log has written them.
const CAPACITY: usize = 100_000;
/// Leases that are asked about at once, and at all.
const LEASES: usize = 32;
const MAX_LEASES: usize = 1000;

#[derive(Debug)]
pub(crate) struct Cached<V: Form> {
    settings: StoreSettings,
    names: Names,
    store: SharedStore<Document<V>>,
    log: Arc<ChangeLog<V>>,
    backend: Arc<dyn Backend>,
}

/// The status of a store, with what the configuration says.
#[derive(Debug, Serialize)]
struct StoreStatus<'a> {
    name: &'a str,
    prefix: &'a str,
    mode: &'static str,
    value: &'static str,
    indexes: Vec<&'a str>,
    streams: usize,
    #[serde(flatten)]
    status: Status,
}

/// What is known of a key.
#[derive(Debug, Serialize)]
struct Explained {
    name: String,
    cache: Option<Entry>,
    state: State,
    /// Nothing if the kvstore does not answer.
    kvstore: Option<Box<RawValue>>,
    kvstore_error: Option<String>,
}

impl<V: Form> Cached<V> {
    /// Starts the store. It does not wait for the kvstore.
    pub(crate) async fn start(settings: StoreSettings, config: Config, limits: &Limits) -> Result<Self, Failure> {
        let backend = Arc::clone(&config.backend);
        let mut joining = join::<Document<V>>(config);
        for (name, pointer) in &settings.indexes {
            let pointer = pointer.clone();
            joining = joining.index(Index::new(name.as_str(), move |document: &Document<V>| {
                serde_json::from_slice(document.bytes()).map(|json| found(&json, &pointer)).unwrap_or_default()
            }));
        }
        let keys = settings.keys_file.as_ref().map(|file| keys(file)).transpose()?;
        let store = joining.start().await?;
        let mode = DeliveryMode::every_event(CAPACITY);
        let changes = store.changes_with(|observer| observer.named("http").mode(mode).with_progress()).await;
        let parcels = changes.map_err(Failure::promise)?.into_parcels();
        let log = Arc::new(ChangeLog::new(limits.history_changes, limits.history_bytes));
        actix_rt::spawn(follow(Arc::clone(&log), parcels, store.reader().clone()));
        if let Some(keys) = keys {
            store.update_local_keys(keys).await.map_err(Failure::promise)?;
        }
        let names = Names::of_store(&settings.filter);
        Ok(Self { settings, names, store, log, backend })
    }

    fn entry(&self, entry: &CacheEntry<Document<V>>) -> Entry {
        let document = &entry.key;
        Entry {
            name: entry.name.to_string(),
            value: Value::of(document),
            encoding: V::ENCODING,
            revision: entry.revision,
            create_revision: entry.create_revision,
            lease: hex(entry.lease),
            origin: entry.origin,
            size: document.bytes().len(),
            raw: document.shared_bytes(),
        }
    }

    fn can_write(&self, name: &str) -> Result<KeyName, Problem> {
        let store = &self.settings.name;
        if self.settings.mode == Mode::ReadOnly {
            return Err(Problem::wrong_mode(format_args!("store {store} is read-only")));
        }
        if !self.names.pass(name) {
            return Err(Problem::refused(format_args!("the name does not pass the filter of store {store}")));
        }
        KeyName::new(name).map_err(Problem::bad_request)
    }

    fn written(name: &KeyName, result: Result<Revision, StoreError>) -> Result<Written, Problem> {
        let (revision, shown) = match result {
            Ok(revision) => (revision, true),
            Err(StoreError::NotYet { written, .. }) => (written, false),
            Err(error) => return Err(error.into()),
        };
        Ok(Written { name: name.to_string(), revision: Some(revision), shown })
    }

    fn no_such_key(&self, name: &str) -> Problem {
        Problem::no_such_key(format_args!("store {} has no key named {name:?}", self.settings.name))
    }
}

#[async_trait]
impl<V: Form> Hosted for Cached<V> {
    fn state(&self) -> State {
        self.store.reader().state()
    }

    async fn status(&self) -> Result<String, Problem> {
        let status = self.store.status().await?;
        Ok(json(&StoreStatus {
            name: &self.settings.name,
            prefix: &self.settings.prefix.to_string(),
            mode: self.settings.mode.name(),
            value: V::ENCODING.unwrap_or("json"),
            indexes: self.settings.indexes.keys().map(String::as_str).collect(),
            streams: self.log.streams(),
            status,
        }))
    }

    fn names(&self) -> &Names {
        &self.names
    }

    async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), Problem> {
        Ok(self.store.reader().at_least(revision, timeout).await?)
    }

    async fn catch_up(&self, timeout: Duration) -> Result<(), Problem> {
        Ok(self.store.catch_up(timeout).await.map(|_| ())?)
    }

    fn keys(&self, wanted: &Wanted) -> Result<Page, Problem> {
        let reader = self.store.reader();
        // Before the keys: they show this revision or a newer one.
        let revision = reader.revision();
        let owner = |entry: &CacheEntry<_>| {
            wanted.owner.as_deref().is_none_or(|owner| hex(entry.lease).as_deref().unwrap_or("none") == owner)
        };
        let passes = |entry: &CacheEntry<_>| wanted.names.pass(&entry.name) && owner(entry);
        let mut found = Vec::new();
        if let Some((index, value)) = &wanted.index {
            let names = reader.lookup(index, value)?;
            let after = |name: &&KeyName| wanted.after.as_deref().is_none_or(|after| name.as_str() > after);
            let entries = names.names().filter(after).filter_map(|name| reader.entry(name));
            found.extend(entries.filter(passes).take(wanted.limit + 1));
        } else {
            let mut after = wanted.after.clone();
            loop {
                let part = reader.page(wanted.names.prefix(), after.as_deref(), PART);
                let last = part.last().map(|entry| entry.name.to_string());
                let more = part.len() == PART;
                found.extend(part.into_iter().filter(passes).take(wanted.limit + 1 - found.len()));
                if !more || found.len() > wanted.limit {
                    break;
                }
                after = last;
            }
        }
        let more = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        let next = found.last().filter(|_| more).map(|entry| entry.name.to_string());
        Ok(Page { revision, keys: found.iter().map(|entry| self.entry(entry)).collect(), next })
    }

    fn key(&self, name: &str) -> Result<Entry, Problem> {
        let entry = self.store.reader().entry(name).filter(|entry| self.names.pass(&entry.name));
        entry.map(|entry| self.entry(&entry)).ok_or_else(|| self.no_such_key(name))
    }

    async fn put(&self, name: &str, value: Bytes) -> Result<Written, Problem> {
        let name = self.can_write(name)?;
        V::check(&value).map_err(Problem::bad_value)?;
        let document = Document::from_bytes(name.clone(), value);
        Self::written(&name, self.store.update_local_key_until(document, Until::Told, TOLD).await)
    }

    async fn delete(&self, name: &str) -> Result<Written, Problem> {
        let name = self.can_write(name)?;
        if self.store.reader().get(&name).is_none() {
            return Err(self.no_such_key(&name));
        }
        Self::written(&name, self.store.delete_local_key_until(&name, Until::Told, TOLD).await)
    }

    async fn owners(&self) -> Result<Owners, Problem> {
        let reader = self.store.reader();
        let revision = reader.revision();
        let mut leases: BTreeMap<LeaseId, (usize, usize, bool)> = BTreeMap::new();
        for entry in reader.entries().filter(|entry| self.names.pass(&entry.name)) {
            let (keys, bytes, own) = leases.entry(entry.lease).or_default();
            *keys += 1;
            *bytes += entry.key.bytes().len();
            *own |= entry.origin == shared_store::Origin::Local;
        }
        let ask = async |(index, (lease, (keys, bytes, own)))| {
            let known = index < MAX_LEASES && lease != LeaseId::NONE;
            let time = if known { self.backend.lease_time(lease).await.ok() } else { None };
            Owner { lease: hex(lease), keys, bytes, ttl: time.map(|time| time.left.as_secs()), own }
        };
        let asked = stream::iter(leases.into_iter().enumerate().map(ask)).buffered(LEASES);
        let mut owners: Vec<_> = asked.collect().await;
        owners.sort_by_key(|owner| std::cmp::Reverse(owner.keys));
        Ok(Owners { revision, owners })
    }

    async fn explain(&self, name: &str) -> Result<String, Problem> {
        let name = KeyName::new(name).map_err(Problem::bad_request)?;
        // It asks once: who waits is told why nothing comes.
        let kvstore = Kvstore::new(Arc::clone(&self.backend), self.settings.prefix.clone(), Duration::ZERO);
        let (kvstore, kvstore_error) = match history::explained::<V>(&kvstore, &name).await {
            Ok(json) => (RawValue::from_string(json).ok(), None),
            Err(failure) => (None, Some(failure.to_string())),
        };
        let cache = self.store.reader().entry(&name).map(|entry| self.entry(&entry));
        Ok(json(&Explained { name: name.to_string(), cache, state: self.state(), kvstore, kvstore_error }))
    }

    fn recent(&self, names: &Names, limit: usize) -> Result<Vec<String>, Problem> {
        Ok(self.log.recent(names, limit))
    }

    fn changes(&self, names: Names, since: Since) -> Result<Box<dyn Feed>, Problem> {
        let reached = self.store.reader().revision();
        Ok(Box::new(LogFeed::new(Arc::clone(&self.log), names, &since, reached, &self.state())))
    }

    async fn close(&self) -> Result<(), CloseError> {
        match self.settings.on_exit {
            Some(OnExit::Release) => self.store.release().await,
            Some(OnExit::Close) | None => self.store.close().await,
        }
    }
}

/// The keys of a file.
pub(crate) fn keys<V: Form>(file: &std::path::Path) -> Result<Vec<Document<V>>, Failure> {
    let bytes =
        std::fs::read(file).map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    read_lines(&bytes, &file.display().to_string()).map_err(Failure::usage)
}

/// What an index finds in a value: a text, a number or a boolean, or each of an array.
fn found(json: &Json, pointer: &str) -> Vec<String> {
    match json.pointer(pointer) {
        Some(Json::Array(all)) => all.iter().filter_map(text).collect(),
        Some(one) => text(one).into_iter().collect(),
        None => Vec::new(),
    }
}

fn text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(boolean) => Some(boolean.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it has text as keys, and its values are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_texts_numbers_booleans_and_the_elements_of_an_array() {
        let json = serde_json::json!({"ip": ["10.0.0.1", {"x": 1}, 7], "up": true, "a/b": "c", "none": null});
        assert_eq!(found(&json, "/ip"), ["10.0.0.1", "7"]);
        assert_eq!(found(&json, "/ip/0"), ["10.0.0.1"]);
        assert_eq!(found(&json, "/up"), ["true"]);
        assert_eq!(found(&json, "/a~1b"), ["c"]);
        assert!(found(&json, "/none").is_empty() && found(&json, "/ip/1/y").is_empty());
    }
}
