//! A watch that breaks, falls silent and fragments on command.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Script;
use crate::backend::{BackendError, Events, WatchResponse, WatchStream};
use crate::kv::{Event, Header};

#[derive(Debug)]
pub(super) struct FaultyWatch {
    inner: Box<dyn WatchStream>,
    /// Fragments that are still to be told.
    pending: VecDeque<WatchResponse>,
    script: watch::Receiver<Script>,
    sender: Arc<watch::Sender<Script>>,
    /// How many breaks there had been when this watch began.
    breaks: u64,
}

impl FaultyWatch {
    pub(super) fn new(inner: Box<dyn WatchStream>, sender: Arc<watch::Sender<Script>>) -> Self {
        let script = sender.subscribe();
        let breaks = script.borrow().breaks.0;
        Self { inner, pending: VecDeque::new(), script, sender, breaks }
    }
}

#[async_trait]
impl WatchStream for FaultyWatch {
    fn header(&self) -> Header {
        self.inner.header()
    }

    async fn next(&mut self) -> Result<WatchResponse, BackendError> {
        loop {
            let (muted, lossy, max_events) = {
                let script = self.script.borrow_and_update();
                if let (breaks, Some(error)) = &script.breaks
                    && *breaks != self.breaks
                {
                    return Err(error.clone());
                }
                (script.muted, script.lossy, script.max_events)
            };
            if !muted && let Some(response) = self.pending.pop_front() {
                return Ok(response);
            }
            tokio::select! {
                biased;
                _ = self.script.changed() => {}
                response = self.inner.next(), if !muted => match response? {
                    WatchResponse::Events(_) if lossy => {}
                    WatchResponse::Events(events) => self.pending = fragments(events, max_events),
                    progress @ WatchResponse::Progress(_) => return Ok(progress),
                },
            }
        }
    }

    fn request_progress(&mut self) -> bool {
        let mut can = false;
        self.sender.send_if_modified(|script| {
            script.progress_requests += 1;
            can = !script.without_progress;
            true
        });
        can && self.inner.request_progress()
    }
}

/// The same events in responses of at most `max_events`.
fn fragments(whole: Events, max_events: Option<usize>) -> VecDeque<WatchResponse> {
    let Events { header, events, complete } = whole;
    let size = max_events.unwrap_or(usize::MAX);
    let mut rest = events.chunks(size).skip(1).map(|chunk| chunk[0].revision()).collect::<VecDeque<_>>();
    let fragment = |chunk: &[Event]| {
        let last = chunk.last().map(Event::revision);
        let complete = rest.pop_front().map_or(complete, |next| Some(next) != last);
        WatchResponse::Events(Events { header, events: chunk.to_vec(), complete })
    };
    events.chunks(size).map(fragment).collect()
}
