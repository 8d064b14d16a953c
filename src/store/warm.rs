//! What is kept over a restart.

use std::time::Instant;

use bytes::Bytes;

use super::apply::Cause;
use super::incoming::Incoming;
use super::{Contents, Quarantined, Store};
use crate::cache::Entry;
use crate::key::{Codec, Key};
use crate::kv::{KeyValue, Revision};
use crate::reason::Reason;
use crate::status::State;
use crate::warm::{Capture, Image, Kind, Record, SnapshotError};
use crate::watch::Resume;

/// How many of the newest keys are read again after a restart although their revisions are the same: an etcd that lost
/// its data and was filled again has other values there.
const OVERLAP: usize = 100;
/// At most so many bytes of values are read again, except for the first key.
const OVERLAP_BYTES: usize = 256 << 10;

impl<K: Key> Store<K> {
    /// Grows with every change of what the cache shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.point.borrow().version
    }

    /// A snapshot of what the kvstore had at the revision of the cache. `None` before the first list, and without a
    /// [`Config::state_dir`](crate::Config::state_dir), for which the bytes of values are kept. It leaves out keys
    /// that are shown although the kvstore no longer has them.
    #[must_use]
    pub fn capture(&self) -> Option<Capture> {
        if self.shows != Contents::List || !self.keeps_raw {
            return None;
        }
        let cache = self.shared.read();
        let shown =
            cache.iter().filter(|(name, _)| !self.tombstones.contains(name.as_str())).filter_map(|(name, entry)| {
                let Entry { mod_revision, create_revision, lease, .. } = *entry;
                let (name, value) = (name.clone(), Bytes::clone(entry.raw.as_ref()?));
                Some(Record { name, kind: Kind::Shown, value, mod_revision, create_revision, lease })
            });
        let quarantined = self.quarantine.iter().map(|(name, quarantined)| {
            let Quarantined { mod_revision, lease, ref raw, .. } = *quarantined;
            let (name, value, create_revision) = (name.clone(), raw.clone(), mod_revision);
            Record { name, kind: Kind::Quarantined, value, mod_revision, create_revision, lease }
        });
        Some(Capture {
            prefix: self.prefix.clone(),
            codec: K::Codec::TAG,
            version: self.version(),
            image: Image {
                cluster: self.cluster,
                revision: self.revision,
                records: shown.chain(quarantined).collect(),
            },
        })
    }

    /// Begins with a snapshot, which is shown at once as [`State::Stale`]. The first list of the [`Watch`] that is
    /// resumed with the returned value tells what has changed since.
    ///
    /// [`Watch`]: crate::watch::Watch
    ///
    /// # Errors
    /// [`SnapshotError`] if the file is no snapshot of this store: it begins with nothing.
    pub fn load(&mut self, now: Instant, file: &Bytes) -> Result<Resume, SnapshotError> {
        let Image { cluster, revision, records } = Image::parse(file, &self.prefix, K::Codec::TAG)?;
        debug_assert!(self.shows == Contents::Nothing, "a store begins once");
        let since = overlap(&records);
        // Of two records with one name the second, which could not be decoded, is the newer one.
        let incoming = vec![records.into_iter().filter_map(|record| self.restored(record)).collect()];
        let cause = format!("from a snapshot of revision {revision}, not verified yet").into();
        (self.state, self.cluster, self.shows) = (State::Stale { since: now, cause }, cluster, Contents::Snapshot);
        self.apply(now, incoming, revision, Cause::told(Reason::FirstState));
        self.observers.notify_held(now);
        self.observers.begin_unverified(now, &self.snapshot(), revision);
        Ok(Resume { cluster, revision, since })
    }

    /// A key of a snapshot, as if the kvstore had put it.
    fn restored(&self, record: Record) -> Option<Incoming<K>> {
        let Record { name, value, mod_revision, create_revision, lease, .. } = record;
        // Copied: a part of the file would keep the whole file in memory.
        let value = Bytes::copy_from_slice(&value);
        let path = self.prefix.path(&name);
        self.decoder.one(&KeyValue { path, value, create_revision, mod_revision, lease })
    }
}

/// From which revision on the newest keys are read again; `None` for all.
fn overlap(records: &[Record]) -> Option<Revision> {
    let mut newest: Vec<_> = records.iter().map(|record| (record.mod_revision, record.value.len())).collect();
    newest.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let fits = |(_, length): &&(Revision, usize)| {
        bytes += length;
        bytes <= OVERLAP_BYTES
    };
    let count = newest.iter().take(OVERLAP).take_while(fits).count().max(1);
    Some(Revision(newest.get(count - 1)?.0.0.saturating_sub(1)))
}
