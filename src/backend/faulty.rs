//! A backend that fails on command.

mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use self::stream::FaultyWatch;
use super::{
    Backend, BackendError, LeaseGrant, LeaseTime, ListPage, ListRequest, WatchRequest, WatchStream, Write, WriteOutcome,
};
use crate::kv::LeaseId;
use crate::thread::Thread;

/// A backend around another that fails, stalls, breaks and fragments as it is told.
///
/// A clone is a handle: a test keeps one, and the store under test gets the other.
///
/// ```
/// use shared_store_core::backend::faulty::{Faulty, Op, When};
/// use shared_store_core::{Backend, BackendError, MemoryBackend};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let faulty = Faulty::new(MemoryBackend::new());
/// faulty.fail(Op::Write, 1, When::After, BackendError::unavailable("answer lost"));
/// assert!(faulty.write(vec![]).await.is_err());
/// assert!(faulty.write(vec![]).await.is_ok());
/// assert_eq!(faulty.calls(Op::Write), 2);
/// # }
/// ```
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    script: Arc<watch::Sender<Script>>,
}

/// A call of the [`Backend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Backend::list`].
    List,
    /// [`Backend::watch`]. What the stream does is not a call: see [`Faulty::break_watches`].
    Watch,
    /// [`Backend::write`].
    Write,
    /// [`Backend::grant`].
    Grant,
    /// [`Backend::keep_alive`].
    KeepAlive,
    /// [`Backend::lease_time`].
    LeaseTime,
    /// [`Backend::revoke`].
    Revoke,
}

/// When a fault happens: before the kvstore has the request, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// On the way to the kvstore: nothing is applied.
    Before,
    /// On the way back: the request is applied, and its answer is lost or late.
    After,
}

/// What is to happen, and what has.
#[derive(Debug, Default)]
struct Script {
    calls: BTreeMap<Op, usize>,
    faults: BTreeMap<Op, VecDeque<Fault>>,
    held: BTreeSet<(Op, When)>,
    /// How often the open watches were broken, and what the last break said.
    breaks: (u64, Option<BackendError>),
    muted: bool,
    lossy: bool,
    max_events: Option<usize>,
    without_progress: bool,
    progress_requests: usize,
}

#[derive(Debug)]
struct Fault {
    calls: usize,
    when: When,
    error: BackendError,
}

impl Script {
    /// The fault that is next for `op`, if it happens at this side.
    fn next_fault(&mut self, op: Op, when: When) -> Option<BackendError> {
        let faults = self.faults.get_mut(&op)?;
        let fault = faults.front_mut().filter(|fault| fault.when == when)?;
        fault.calls -= 1;
        let error = fault.error.clone();
        if fault.calls == 0 {
            faults.pop_front();
        }
        Some(error)
    }
}

impl Faulty {
    /// A backend that does what `inner` does until it is told otherwise.
    pub fn new(inner: impl Backend) -> Self {
        Self { inner: Arc::new(inner), script: Arc::default() }
    }

    /// Fails the next `calls` of a kind, after those that are to fail already.
    pub fn fail(&self, op: Op, calls: usize, when: When, error: BackendError) {
        if calls > 0 {
            let fault = Fault { calls, when, error };
            self.script.send_modify(|script| script.faults.entry(op).or_default().push_back(fault));
        }
    }

    /// Lets calls of a kind wait at one side of the kvstore until [`release`](Self::release).
    pub fn hold(&self, op: Op, when: When) {
        self.script.send_modify(|script| {
            script.held.insert((op, when));
        });
    }

    /// Lets all held calls of a kind go on.
    pub fn release(&self, op: Op) {
        self.script.send_modify(|script| script.held.retain(|(held, _)| *held != op));
    }

    /// Ends every open watch with an error, whatever it still had to tell. New ones work.
    pub fn break_watches(&self, error: BackendError) {
        self.script.send_modify(|script| script.breaks = (script.breaks.0 + 1, Some(error)));
    }

    /// Lets open and new watches fall silent, as behind a network that drops everything.
    pub fn mute_watches(&self) {
        self.script.send_modify(|script| script.muted = true);
    }

    /// Lets muted watches go on; they lose nothing.
    pub fn unmute_watches(&self) {
        self.script.send_modify(|script| script.muted = false);
    }

    /// Lets watches lose events, without a sign, from now on until [`heal`](Self::heal). No kvstore may do that; an
    /// audit finds it.
    pub fn lose_events(&self) {
        self.script.send_modify(|script| script.lossy = true);
    }

    /// Cuts the events of watches into responses of at most `max_events` (0 for whole ones again), also inside a
    /// revision, and flags such responses as incomplete. The header of each response is that of the whole, ahead of
    /// its events.
    pub fn fragment(&self, max_events: usize) {
        self.script.send_modify(|script| script.max_events = (max_events > 0).then_some(max_events));
    }

    /// Lets watches say that they cannot be asked for their progress, as those of old versions of etcd.
    pub fn without_progress(&self) {
        self.script.send_modify(|script| script.without_progress = true);
    }

    /// Waits until watches were asked for their progress so often since the beginning.
    pub async fn asked_for_progress(&self, requests: usize) {
        self.until(|script| script.progress_requests >= requests).await;
    }

    /// How often watches were asked for their progress.
    #[must_use]
    pub fn progress_requests(&self) -> usize {
        self.script.borrow().progress_requests
    }

    /// Forgets every fault: nothing fails, waits or is cut any more. Broken watches stay broken, counts stay.
    pub fn heal(&self) {
        self.script.send_modify(|script| {
            let Script { calls, breaks, progress_requests, .. } = std::mem::take(script);
            *script = Script { calls, breaks, progress_requests, ..Script::default() };
        });
    }

    /// How many calls of a kind have arrived, held and failed ones included.
    #[must_use]
    pub fn calls(&self, op: Op) -> usize {
        self.script.borrow().calls.get(&op).copied().unwrap_or_default()
    }

    /// Waits until `calls` of a kind have arrived since the beginning.
    pub async fn arrived(&self, op: Op, calls: usize) {
        self.until(|script| script.calls.get(&op).is_some_and(|arrived| *arrived >= calls)).await;
    }

    async fn until(&self, holds: impl FnMut(&Script) -> bool) {
        // Cannot end in an error: `self` is a sender.
        let _ = self.script.subscribe().wait_for(holds).await;
    }

    /// Lets a call through, with what the script has for it.
    pub(super) async fn call<T>(
        &self,
        op: Op,
        call: impl Future<Output = Result<T, BackendError>> + Send,
    ) -> Result<T, BackendError> {
        self.script.send_modify(|script| *script.calls.entry(op).or_default() += 1);
        self.pass(op, When::Before).await?;
        let answer = call.await;
        self.pass(op, When::After).await?;
        answer
    }

    async fn pass(&self, op: Op, when: When) -> Result<(), BackendError> {
        self.until(|script| !script.held.contains(&(op, when))).await;
        let mut fault = None;
        self.script.send_if_modified(|script| {
            fault = script.next_fault(op, when);
            false // Nobody waits for a fault to be used up.
        });
        fault.map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).field("script", &*self.script.borrow()).finish()
    }
}

#[async_trait]
impl Backend for Faulty {
    async fn list(&self, request: ListRequest) -> Result<ListPage, BackendError> {
        self.call(Op::List, self.inner.list(request)).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, BackendError> {
        let stream = self.call(Op::Watch, self.inner.watch(request)).await?;
        Ok(Box::new(FaultyWatch::new(stream, self.script.clone())))
    }

    async fn write(&self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        self.call(Op::Write, self.inner.write(writes)).await
    }

    fn max_writes(&self) -> usize {
        self.inner.max_writes()
    }

    fn thread(&self) -> Option<Thread> {
        self.inner.thread()
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant, BackendError> {
        self.call(Op::Grant, self.inner.grant(lease, ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, BackendError> {
        self.call(Op::KeepAlive, self.inner.keep_alive(lease)).await
    }

    async fn lease_time(&self, lease: LeaseId) -> Result<LeaseTime, BackendError> {
        self.call(Op::LeaseTime, self.inner.lease_time(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), BackendError> {
        self.call(Op::Revoke, self.inner.revoke(lease)).await
    }
}
