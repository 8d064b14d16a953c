//! A backend that many hold is a backend.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Backend, BackendError, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome,
};
use crate::kv::LeaseId;
use crate::thread::Thread;

/// What a call of a backend gives.
pub(crate) type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// Hands each call on as it is: no future is boxed twice.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn list<'b, 'a>(&'b self, request: ListRequest) -> Call<'a, ListPage>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).list(request)
    }

    fn watch<'b, 'a>(&'b self, request: WatchRequest) -> Call<'a, Box<dyn WatchStream>>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).watch(request)
    }

    fn write<'b, 'a>(&'b self, writes: Vec<Write>) -> Call<'a, WriteOutcome>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).write(writes)
    }

    fn max_writes(&self) -> usize {
        (**self).max_writes()
    }

    fn thread(&self) -> Option<Thread> {
        (**self).thread()
    }

    fn grant<'b, 'a>(&'b self, lease: LeaseId, ttl: Duration) -> Call<'a, LeaseGrant>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).grant(lease, ttl)
    }

    fn keep_alive<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, Duration>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).keep_alive(lease)
    }

    fn lease_time<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, LeaseTime>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).lease_time(lease)
    }

    fn revoke<'b, 'a>(&'b self, lease: LeaseId) -> Call<'a, ()>
    where
        'b: 'a,
        Self: 'a,
    {
        (**self).revoke(lease)
    }
}
