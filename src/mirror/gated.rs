//! A kvstore whose lists count only while a canary says that the prefix is complete.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::backend::{
    Backend, BackendError, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome,
};
use crate::kv::{KeyRange, LeaseId, Revision};
use crate::thread::Thread;

/// A backend that lists the newest revision only if a canary is there at that revision. A kvstore that has lost its data
/// is empty, and being filled: its canary is missing until it is complete. So what a store has of it stays until then.
///
/// Pages at a given revision follow one that was checked, and are not checked again. A watch needs no canary: it goes on
/// where it was, or fails and leads to a list.
#[derive(Debug)]
pub struct GatedBackend {
    inner: Arc<dyn Backend>,
    canary: Bytes,
}

impl GatedBackend {
    /// Over a backend, with the whole path of the canary.
    pub fn new(inner: Arc<dyn Backend>, canary: Bytes) -> Self {
        Self { inner, canary }
    }

    async fn check(&self, revision: Option<Revision>) -> Result<(), BackendError> {
        let mut request = ListRequest::new(KeyRange::one(&self.canary));
        (request.revision, request.keys_only) = (revision, true);
        if self.inner.list(request).await?.kvs.is_empty() {
            let path = String::from_utf8_lossy(&self.canary);
            let cause = format_args!("the source is not complete: it has no key {path}");
            return Err(BackendError::unreachable(cause));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for GatedBackend {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        if request.revision.is_some() {
            return self.inner.list(request).await;
        }
        // First, so that a source that is not complete costs little.
        self.check(None).await?;
        let page = self.inner.list(request).await?;
        self.check(Some(page.header.revision)).await?;
        Ok(page)
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        self.inner.watch(request).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        self.inner.write(writes).await
    }

    fn thread(&self) -> Option<Thread> {
        self.inner.thread()
    }

    fn max_writes(&self) -> usize {
        self.inner.max_writes()
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        self.inner.grant(lease, ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        self.inner.keep_alive(lease).await
    }

    async fn lease_time(&self, lease: LeaseId) -> Result<LeaseTime, BackendError> {
        self.inner.lease_time(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        self.inner.revoke(lease).await
    }
}
