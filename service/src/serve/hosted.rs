//! A store as the HTTP interface sees it, whatever its values are.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use shared_store::{CloseError, Origin, Revision, State};
use utoipa::ToSchema;

use super::log::Since;
use super::names::Names;
use crate::http::Problem;
use crate::record::Value;

/// A store of the configuration.
#[async_trait]
pub(crate) trait Hosted: fmt::Debug + Send + Sync {
    /// How far what it shows can be trusted.
    fn state(&self) -> State;

    /// All that is known of the store, as JSON.
    async fn status(&self) -> Result<String, Problem>;

    /// What passes the patterns of the configuration.
    fn names(&self) -> &Names;

    /// Waits until the cache shows a revision.
    async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), Problem>;

    /// Waits until the cache shows every write that the kvstore has acknowledged.
    async fn catch_up(&self, timeout: Duration) -> Result<(), Problem>;

    fn keys(&self, wanted: &Wanted) -> Result<Page, Problem>;

    fn key(&self, name: &str) -> Result<Entry, Problem>;

    /// Owns a key and answers when the cache shows it.
    async fn put(&self, name: &str, value: Bytes) -> Result<Written, Problem>;

    /// Gives a key up and answers when the cache shows it no longer.
    async fn delete(&self, name: &str) -> Result<Written, Problem>;

    async fn owners(&self) -> Result<Owners, Problem>;

    /// What is known of a key, as JSON.
    async fn explain(&self, name: &str) -> Result<String, Problem>;

    /// The last changes, the newest first, each as JSON.
    fn recent(&self, names: &Names, limit: usize) -> Result<Vec<String>, Problem>;

    /// Begins a stream of changes.
    fn changes(&self, names: Names, since: Since) -> Result<Box<dyn Feed>, Problem>;

    /// Leaves.
    async fn close(&self) -> Result<(), CloseError>;
}

/// The text of a stream, piece by piece.
#[async_trait]
pub(crate) trait Feed: Send {
    /// Waits for the next piece. Cancel-safe.
    async fn next(&mut self) -> String;
}

/// Which keys a page is to have.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) names: Names,
    /// An index and a value.
    pub(crate) index: Option<(String, String)>,
    /// A lease in hex, or `none`.
    pub(crate) owner: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

/// A key in the cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// JSON to the letter; a string in a store of text, and one of base64 in a store of bytes.
    #[schema(value_type = serde_json::Value)]
    pub(crate) value: Value,
    /// `text` or `base64`; nothing for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<&'static str>,
    /// The revision that wrote the value.
    #[schema(value_type = u64)]
    pub(crate) revision: Revision,
    /// The revision that created the key.
    #[schema(value_type = u64)]
    pub(crate) create_revision: Revision,
    /// Who owns the key: a lease in hex; nobody without one.
    pub(crate) lease: Option<String>,
    /// `local` if this service owns it, else `remote`.
    #[schema(value_type = String)]
    pub(crate) origin: Origin,
    /// Bytes of the value.
    pub(crate) size: usize,
    /// The bytes themselves.
    #[serde(skip)]
    pub(crate) raw: Bytes,
}

/// Keys of one store in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page {
    /// The revision that the cache showed at least when the page was read.
    #[schema(value_type = u64)]
    pub(crate) revision: Revision,
    pub(crate) keys: Vec<Entry>,
    /// What `after` is for the next page; nothing if there is none.
    pub(crate) next: Option<String>,
}

/// A write that is in the kvstore.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// Nothing if the write will be done as soon as the kvstore can be reached (a store that publishes).
    #[schema(value_type = Option<u64>)]
    pub(crate) revision: Option<Revision>,
    /// Whether reading the key here shows the write already.
    pub(crate) shown: bool,
}

/// Who owns keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Owners {
    #[schema(value_type = u64)]
    pub(crate) revision: Revision,
    pub(crate) owners: Vec<Owner>,
}

/// A lease and its keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Owner {
    /// In hex; nothing for keys under no lease.
    pub(crate) lease: Option<String>,
    pub(crate) keys: usize,
    /// Of their values.
    pub(crate) bytes: usize,
    /// Seconds until the lease ends, unless it is kept alive; nothing if the kvstore does not say.
    pub(crate) ttl: Option<u64>,
    /// Whether it is a lease of this service.
    pub(crate) own: bool,
}
