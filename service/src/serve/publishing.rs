//! A store that publishes: it owns keys and caches none.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use shared_store::{CloseError, Config, KeyName, Prefix, Publisher, PublisherStatus, Revision, State, publish};

use super::cached::{json, keys};
use super::hosted::{Entry, Feed, Hosted, Owners, Page, Wanted, Written};
use super::log::Since;
use super::names::Names;
use super::settings::StoreSettings;
use crate::cli::OnExit;
use crate::document::Document;
use crate::http::Problem;
use crate::setup::Failure;
use crate::value::Form;

#[derive(Debug)]
pub(crate) struct Publishing<V: Form> {
    settings: StoreSettings,
    names: Names,
    publisher: Publisher<Document<V>>,
}

/// The status of a store that publishes, with what the configuration says.
#[derive(Debug, Serialize)]
struct StoreStatus<'a> {
    name: &'a str,
    prefix: &'a str,
    mode: &'static str,
    value: &'static str,
    #[serde(flatten)]
    status: PublisherStatus,
}

impl<V: Form> Publishing<V> {
    /// Starts it. It does not wait for the kvstore.
    pub(crate) async fn start(settings: StoreSettings, config: Config) -> Result<Self, Failure> {
        let mut publishing = publish::<Document<V>>(config);
        if let Some(cluster) = &settings.canary {
            publishing = publishing.canary(Prefix::canaries(cluster.as_str()).map_err(Failure::usage)?);
        }
        let keys = settings.keys_file.as_ref().map(|file| keys(file)).transpose()?;
        let publisher = publishing.start()?;
        if let Some(keys) = keys {
            publisher.update_keys(keys).await.map_err(Failure::promise)?;
        }
        // All keys are given for now: the canary can follow them.
        let synced = publisher.clone();
        actix_rt::spawn(async move { synced.synced().await.map(drop) });
        Ok(Self { settings, names: Names::default(), publisher })
    }

    fn no_cache<T>(&self) -> Result<T, Problem> {
        Err(Problem::wrong_mode(format_args!("store {} only publishes: it caches no keys", self.settings.name)))
    }
}

#[async_trait]
impl<V: Form> Hosted for Publishing<V> {
    fn state(&self) -> State {
        self.publisher.state()
    }

    async fn status(&self) -> Result<String, Problem> {
        Ok(json(&StoreStatus {
            name: &self.settings.name,
            prefix: &self.settings.prefix.to_string(),
            mode: self.settings.mode.name(),
            value: V::ENCODING.unwrap_or("json"),
            status: self.publisher.status().await?,
        }))
    }

    fn names(&self) -> &Names {
        &self.names
    }

    async fn at_least(&self, _: Revision, _: Duration) -> Result<(), Problem> {
        self.no_cache()
    }

    async fn catch_up(&self, _: Duration) -> Result<(), Problem> {
        self.no_cache()
    }

    fn keys(&self, _: &Wanted) -> Result<Page, Problem> {
        self.no_cache()
    }

    fn key(&self, _: &str) -> Result<Entry, Problem> {
        self.no_cache()
    }

    async fn put(&self, name: &str, value: Bytes) -> Result<Written, Problem> {
        let name = KeyName::new(name).map_err(Problem::bad_request)?;
        V::check(&value).map_err(Problem::bad_value)?;
        self.publisher.update_key(Document::from_bytes(name.clone(), value)).await?;
        Ok(Written { name: name.to_string(), revision: None, shown: false })
    }

    async fn delete(&self, name: &str) -> Result<Written, Problem> {
        let name = KeyName::new(name).map_err(Problem::bad_request)?;
        let revision = self.publisher.delete_key(&name).await?;
        Ok(Written { name: name.to_string(), revision: Some(revision), shown: false })
    }

    async fn owners(&self) -> Result<Owners, Problem> {
        self.no_cache()
    }

    async fn explain(&self, _: &str) -> Result<String, Problem> {
        self.no_cache()
    }

    fn recent(&self, _: &Names, _: usize) -> Result<Vec<String>, Problem> {
        self.no_cache()
    }

    fn changes(&self, _: Names, _: Since) -> Result<Box<dyn Feed>, Problem> {
        self.no_cache()
    }

    async fn close(&self) -> Result<(), CloseError> {
        match self.settings.on_exit {
            Some(OnExit::Release) => self.publisher.release().await,
            Some(OnExit::Close) | None => self.publisher.close().await,
        }
    }
}
