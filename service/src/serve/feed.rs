//! The text of one stream, from a log of changes.

use std::fmt::Write as _;
use std::sync::Arc;
use std::vec::IntoIter;

use async_trait::async_trait;
use serde_json::json;
use shared_store::{KeyName, Revision, State};
use tokio::sync::watch;

use super::cached;
use super::hosted::Feed;
use super::log::{ChangeLog, Cursor, Held, Read, Since, event, update};
use super::names::Names;
use crate::value::Form;

/// A part of all keys is about so long.
const CHUNK: usize = 64 << 10;

pub(crate) struct LogFeed<V: Form> {
    log: Arc<ChangeLog<V>>,
    names: Names,
    cursor: Cursor,
    readable: watch::Receiver<u64>,
    /// What is sent before anything else.
    opening: String,
    /// All keys that are still to be sent, and then where the stream goes on.
    keys: Option<Keys<V>>,
}

struct Keys<V> {
    rest: IntoIter<(KeyName, Arc<Held<V>>)>,
    /// Sent after the last one.
    end: String,
}

impl<V: Form> LogFeed<V> {
    pub(crate) fn new(log: Arc<ChangeLog<V>>, names: Names, since: &Since, reached: Revision, state: &State) -> Self {
        // Before anything is read: from now on no change is missed.
        let readable = log.readable();
        let resumed = log.resume(since, &names, reached);
        let mut opening = opened(&log, resumed.is_some());
        opening.push_str(&(event("status", &cached::json(state)) + "\n"));
        let (cursor, keys) = match resumed {
            Some(cursor) => (cursor, None),
            None => {
                if let Some(from) = since.revision {
                    opening.push_str(&begins_again(from, reached));
                }
                let (cursor, keys) = Keys::of(&log, &names);
                (cursor, Some(keys))
            }
        };
        Self { log, names, cursor, readable, opening, keys }
    }

    /// What can be sent now.
    fn piece(&mut self) -> Option<String> {
        if !self.opening.is_empty() {
            return Some(std::mem::take(&mut self.opening));
        }
        if let Some(keys) = &mut self.keys {
            let (text, complete) = keys.part();
            if complete {
                self.keys = None;
            }
            if !text.is_empty() {
                return Some(text);
            }
        }
        match self.log.read(&mut self.cursor) {
            Read::Text(text) => Some(text),
            Read::Nothing => None,
            Read::Behind => {
                let (cursor, keys) = Keys::of(&self.log, &self.names);
                (self.cursor, self.keys) = (cursor, Some(keys));
                Some(opened(&self.log, false) + &begins_again(Revision::ZERO, Revision::ZERO))
            }
        }
    }
}

#[async_trait]
impl<V: Form> Feed for LogFeed<V> {
    async fn next(&mut self) -> String {
        loop {
            self.readable.borrow_and_update();
            if let Some(piece) = self.piece() {
                return piece;
            }
            if self.readable.changed().await.is_err() {
                // The log lives as long as this.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn opened<V: Form>(log: &ChangeLog<V>, resumed: bool) -> String {
    event("opened", &json!({"run": log.run(), "resumed": resumed}).to_string()) + "\n"
}

/// Says that what the client knows is void: all keys follow.
fn begins_again(from: Revision, to: Revision) -> String {
    event("resynced", &json!({"from": from, "to": to, "all": true}).to_string()) + "\n"
}

impl<V: Form> Keys<V> {
    fn of(log: &ChangeLog<V>, names: &Names) -> (Cursor, Self) {
        let whole = log.whole(names);
        let mut end = String::new();
        if whole.synced {
            let (revision, entries) = (whole.mark.unwrap_or_default(), whole.keys.len());
            end = event("synced", &json!({"revision": revision, "entries": entries}).to_string());
            // Writing to a text cannot fail.
            let _ = writeln!(end, "id: {revision}\n");
        }
        (whole.cursor, Self { rest: whole.keys.into_iter(), end })
    }

    /// The next part, and whether it is the last one.
    fn part(&mut self) -> (String, bool) {
        let mut text = String::new();
        while text.len() < CHUNK {
            let Some((name, held)) = self.rest.next() else {
                text.push_str(&self.end);
                return (text, true);
            };
            text.push_str(&event("update", &update(&name, &held, None, "first_state", true)));
            text.push('\n');
        }
        (text, false)
    }
}
