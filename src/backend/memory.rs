//! A kvstore in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::{Backend, BackendError, LeaseGrant, ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome};
use crate::kv::LeaseId;

/// A kvstore in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {}

impl MemoryBackend {
    /// An empty kvstore.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn list(&self, _request: ListRequest) -> Result<ListPage, BackendError> {
        Err(BackendError::unreachable("not built"))
    }
    async fn watch(&self, _request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        Err(BackendError::unreachable("not built"))
    }
    async fn write(&self, _writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        Err(BackendError::unreachable("not built"))
    }
    async fn grant(&self, _ttl: Duration) -> Result<LeaseGrant, BackendError> {
        Err(BackendError::unreachable("not built"))
    }
    async fn keep_alive(&self, _lease: LeaseId) -> Result<Duration, BackendError> {
        Err(BackendError::unreachable("not built"))
    }
    async fn revoke(&self, _lease: LeaseId) -> Result<(), BackendError> {
        Err(BackendError::unreachable("not built"))
    }
}
