//! The stores of the configuration: they start, change and leave with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use futures_util::future::join_all;
use serde_json::json;
use shared_store::{Backend, CanaryGate, Config, ConflictPolicy, GateProgress, GatedStore, OnTimeout, Prefix, State};

use super::cached::Cached;
use super::hosted::Hosted;
use super::publishing::Publishing;
use super::settings::{Mode, Settings, StoreSettings};
use crate::cli::{Common, Conflict, ValueForm};
use crate::http::Problem;
use crate::setup::{self, Alone, Failure};
use crate::value::{Base64, Form, Json, Text};

/// All stores, by name. Requests read it while a reload changes it.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    registered: RwLock<BTreeMap<String, Arc<Registered>>>,
}

/// A store that is hosted, or waits for its canary.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) settings: StoreSettings,
    hosted: OnceLock<Arc<dyn Hosted>>,
    gate: Option<CanaryGate>,
    /// Set when the store is not wanted any more: it does not start then.
    left: OnceLock<()>,
}

/// The kvstore of all stores.
#[derive(Debug)]
pub(crate) struct Connection {
    backend: Arc<dyn Backend>,
    gates: Mutex<HashMap<String, CanaryGate>>,
}

impl Connection {
    pub(crate) fn open(common: &Common, settings: &Settings) -> Result<Self, Failure> {
        let common = settings.common(common);
        // The prefix is any one: what counts is the backend.
        let config = setup::config_below(&common, "unused", Alone::Refused)?;
        Ok(Self { backend: config.backend, gates: Mutex::default() })
    }

    pub(crate) fn of(backend: impl Backend) -> Self {
        Self { backend: Arc::new(backend), gates: Mutex::default() }
    }

    fn config(&self, settings: &StoreSettings) -> Config {
        let mut config = Config::new(settings.prefix.clone()).shared_backend(Arc::clone(&self.backend));
        if let Some(delay) = settings.delete_delay {
            config = config.delete_delay(delay);
        }
        if let Some(ttl) = settings.lease_ttl {
            config = config.lease_ttl(ttl);
        }
        if let Some(interval) = settings.sync_interval {
            config = config.sync_interval(interval);
        }
        if let Some(directory) = &settings.state_dir {
            config = config.state_dir(directory);
        }
        if let Some(conflict) = settings.conflict {
            config = config.conflict(match conflict {
                Conflict::Overwrite => ConflictPolicy::Overwrite,
                Conflict::Yield => ConflictPolicy::Yield,
                Conflict::Fail => ConflictPolicy::Fail,
            });
        }
        config.owner.clone_from(&settings.owner);
        config
    }

    /// The gate of a cluster's canaries.
    fn gate(&self, cluster: &str) -> Result<CanaryGate, Failure> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(cluster) {
            return Ok(gate.clone());
        }
        let canaries = Prefix::canaries(cluster).map_err(Failure::usage)?;
        let gate = CanaryGate::start(&Config::new(canaries).shared_backend(Arc::clone(&self.backend)))?;
        gates.insert(cluster.to_owned(), gate.clone());
        Ok(gate)
    }
}

impl Registered {
    async fn open(
        connection: &Arc<Connection>,
        settings: &Settings,
        store: &StoreSettings,
    ) -> Result<Arc<Self>, Failure> {
        let gate = match (&store.canary, store.mode) {
            (Some(cluster), Mode::ReadOnly) => Some(connection.gate(cluster)?),
            (Some(_) | None, _) => None,
        };
        let entry = Arc::new(Self { settings: store.clone(), hosted: OnceLock::new(), gate, left: OnceLock::new() });
        let Some(gate) = &entry.gate else {
            entry.start(connection, settings).await?;
            return Ok(entry);
        };
        let mut gated = GatedStore::new(store.prefix.clone());
        if let Some(timeout) = store.canary_timeout {
            gated = gated.timeout(timeout).on_timeout(OnTimeout::Start);
        }
        let (waiting, connection, settings) = (Arc::clone(&entry), Arc::clone(connection), settings.clone());
        let start = move || async move {
            if waiting.left.get().is_none()
                && let Err(failure) = waiting.start(&connection, &settings).await
            {
                tracing::error!(store = %waiting.settings.name, %failure, "the store cannot start");
            }
        };
        gate.register(gated, start).await.map_err(Failure::promise)?;
        Ok(entry)
    }

    async fn start(&self, connection: &Connection, settings: &Settings) -> Result<(), Failure> {
        let hosted = match self.settings.value {
            ValueForm::Json => self.host::<Json>(connection, settings).await?,
            ValueForm::Text => self.host::<Text>(connection, settings).await?,
            ValueForm::Base64 => self.host::<Base64>(connection, settings).await?,
        };
        // It starts once.
        let _ = self.hosted.set(hosted);
        Ok(())
    }

    async fn host<V: Form>(&self, connection: &Connection, settings: &Settings) -> Result<Arc<dyn Hosted>, Failure> {
        let (store, config) = (self.settings.clone(), connection.config(&self.settings));
        Ok(match store.mode {
            Mode::Publish => Arc::new(Publishing::<V>::start(store, config).await?),
            Mode::Full | Mode::ReadOnly => Arc::new(Cached::<V>::start(store, config, &settings.limits).await?),
        })
    }

    /// How far what it shows can be trusted.
    pub(crate) async fn state(&self) -> State {
        match self.hosted.get() {
            Some(hosted) => hosted.state(),
            None => State::Connecting { cause: Some(self.waits_for().await.into()) },
        }
    }

    async fn waits_for(&self) -> String {
        let Some(gate) = &self.gate else { return "it is starting".to_owned() };
        let progress = gate.status().await.ok().and_then(|status| {
            status.stores.into_iter().find(|(prefix, _)| *prefix == self.settings.prefix).map(|(_, progress)| progress)
        });
        progress
            .map_or_else(|| "the canaries cannot be watched".to_owned(), |progress: GateProgress| progress.to_string())
    }

    /// The store, unless it waits for its canary.
    pub(crate) async fn hosted(&self) -> Result<Arc<dyn Hosted>, Problem> {
        match self.hosted.get() {
            Some(hosted) => Ok(Arc::clone(hosted)),
            None => {
                let (name, waits) = (&self.settings.name, self.waits_for().await);
                Err(Problem::unavailable(format_args!("store {name} has not started: {waits}")))
            }
        }
    }

    /// All that is known of the store, as JSON.
    pub(crate) async fn status(&self) -> Result<String, Problem> {
        if let Some(hosted) = self.hosted.get() {
            return hosted.status().await;
        }
        let StoreSettings { name, prefix, mode, .. } = &self.settings;
        let mut status = json!({"name": name, "prefix": prefix.to_string(), "mode": mode.name()});
        let state = serde_json::to_value(self.state().await).map_err(Problem::failed)?;
        if let (Some(status), serde_json::Value::Object(state)) = (status.as_object_mut(), state) {
            status.extend(state);
        }
        Ok(status.to_string())
    }

    /// Leaves; says on stderr what could not be done.
    async fn close(&self) {
        let _ = self.left.set(());
        if let Some(hosted) = self.hosted.get()
            && let Err(error) = hosted.close().await
        {
            setup::say(format_args!("store {}: {error}", self.settings.name));
        }
    }
}

impl Stores {
    pub(crate) fn all(&self) -> Vec<Arc<Registered>> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Registered>, Problem> {
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        registered.get(name).cloned().ok_or_else(|| {
            let names = registered.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Problem::no_such_store(format_args!("no store is named {name:?}; there are {names}"))
        })
    }

    /// Starts, changes and ends stores, so that they are those of these settings. Those that stay the same are not
    /// touched, unless the connection is another one. Says what it does.
    pub(crate) async fn apply(
        &self,
        connection: &Arc<Connection>,
        settings: &Settings,
        renew: bool,
    ) -> Result<(), Failure> {
        let wanted: BTreeMap<_, _> = settings.stores().map(|store| (store.name.as_str(), store)).collect();
        let old = self.all();
        let stays = |entry: &Arc<Registered>| !renew && wanted.get(&*entry.settings.name) == Some(&&entry.settings);
        let ends: Vec<_> = old.iter().filter(|entry| !stays(entry)).collect();
        let registered = || self.registered.write().unwrap_or_else(PoisonError::into_inner);
        for entry in &ends {
            tracing::info!(store = %entry.settings.name, "the store leaves");
            registered().remove(&entry.settings.name);
        }
        join_all(ends.iter().map(|entry| entry.close())).await;
        for store in wanted.values().filter(|store| !old.iter().any(|entry| stays(entry) && entry.settings == ***store))
        {
            tracing::info!(store = %store.name, prefix = %store.prefix, "the store starts");
            let entry = Registered::open(connection, settings, store).await?;
            registered().insert(store.name.clone(), entry);
        }
        Ok(())
    }

    /// All stores leave.
    pub(crate) async fn close(&self) {
        join_all(self.all().iter().map(|entry| entry.close())).await;
    }
}
