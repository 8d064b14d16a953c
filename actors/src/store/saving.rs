//! Keeping a snapshot on the disk, without waiting for it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use shared_store_core::watch::Resume;
use shared_store_core::{Config, Index, Key, Revision, Status, Store};

use super::StoreActor;
use crate::clock::now;
use crate::state_file::StateFile;
use crate::thread::can_start;

/// What is known of the snapshot of one store.
#[derive(Debug)]
pub(crate) struct Saving {
    /// Not here while it is being written.
    file: Option<StateFile>,
    interval: Duration,
    /// The version of the cache that is in the file.
    version: Option<u64>,
    saved: Option<Revision>,
    error: Option<Arc<str>>,
    /// Whether this is the last one.
    leaving: Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    No,
    /// Asked to write the last one.
    Begun,
    /// The last one has been tried.
    Tried,
}

/// A store to be started: with what an earlier one left behind, if there is something.
#[derive(Debug)]
pub(crate) struct Prepared<K: Key> {
    pub(crate) store: Store<K>,
    pub(crate) resume: Option<Resume>,
    pub(crate) saving: Option<Saving>,
}

impl<K: Key> Prepared<K> {
    /// Makes a store, and loads its snapshot. Waits for the disk.
    pub(crate) fn new(config: &Config, indexes: Vec<Index<K>>) -> Self {
        let mut store = Store::new(config, indexes);
        let Some(directory) = &config.state_dir else { return Self { store, resume: None, saving: None } };
        let file = StateFile::new(directory, &config.prefix);
        let loaded = match file.read() {
            Ok(Some(bytes)) => store.load(now(), &Bytes::from(bytes)).map(Some).map_err(|error| error.to_string()),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let (resume, error) = match loaded {
            Ok(resume) => (resume, None),
            Err(error) => {
                tracing::warn!(file = %file.path().display(), %error, "snapshot is refused: starting without it");
                (None, Some(format!("snapshot is refused: {error}").into()))
            }
        };
        let version = resume.map(|_| store.version());
        let saving = Saving {
            file: Some(file),
            interval: config.state_interval,
            version,
            saved: None,
            error,
            leaving: Leaving::No,
        };
        Self { store, resume, saving: Some(saving) }
    }
}

impl Saving {
    /// Adds what the status says of it.
    pub(super) fn describe(&self, status: &mut Status) {
        (status.saved, status.state_error) = (self.saved, self.error.clone());
    }
}

impl<K: Key> StoreActor<K> {
    /// Writes the snapshot at every interval if the cache has changed.
    pub(super) fn save_later(&mut self, ctx: &mut Context<Self>) {
        let Some(interval) = self.saving.as_ref().map(|saving| saving.interval) else { return };
        ctx.run_later(interval, |actor, ctx| {
            // Else the last one is being written.
            if actor.closing.is_none() {
                actor.save(ctx);
                actor.save_later(ctx);
            }
        });
    }

    /// Whether leaving has to wait for the last snapshot; [`finish`](Self::finish) is called when it has not.
    pub(super) fn saves_last(&mut self, ctx: &mut Context<Self>) -> bool {
        let (close_timeout, Some(saving)) = (self.config.close_timeout, &mut self.saving) else { return false };
        if saving.leaving == Leaving::No {
            saving.leaving = Leaving::Begun;
            ctx.run_later(close_timeout, |actor, ctx| {
                tracing::warn!("left without the last snapshot: the disk takes too long");
                actor.saving = None;
                actor.finish(ctx);
            });
        }
        if saving.file.is_none() {
            return true;
        }
        if saving.leaving == Leaving::Tried {
            return false;
        }
        saving.leaving = Leaving::Tried;
        self.save(ctx)
    }

    /// Writes the snapshot if the cache has changed and nothing is being written; whether it does.
    fn save(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(saving) = &mut self.saving else { return false };
        if saving.version == Some(self.store.version()) {
            return false;
        }
        if let Err(error) = can_start() {
            tracing::warn!(%error, "snapshot is not written: cannot start a thread");
            saving.error = Some(format!("snapshot is not written: cannot start a thread: {error}").into());
            return false;
        }
        let Some(mut file) = saving.file.take() else { return false };
        let Some(capture) = self.store.capture() else {
            saving.file = Some(file);
            return false;
        };
        let (version, revision) = (capture.version(), capture.revision());
        let write = tokio::task::spawn_blocking(move || {
            let written = file.write(&capture.encode());
            (file, written)
        });
        ctx.spawn(write.into_actor(self).map(move |done, actor, ctx| {
            let Some(saving) = &mut actor.saving else { return };
            // It can fail only if the runtime ends.
            let Ok((file, written)) = done else { return };
            if let Err(error) = &written {
                tracing::warn!(file = %file.path().display(), %error, "snapshot is not written");
                saving.error = Some(format!("snapshot is not written: {error}").into());
            } else {
                (saving.version, saving.saved, saving.error) = (Some(version), Some(revision), None);
            }
            saving.file = Some(file);
            if saving.leaving != Leaving::No {
                actor.finish(ctx);
            }
        }));
        true
    }
}
