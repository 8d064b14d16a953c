//! What is kept over a restart.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::incoming::{Arrived, Incoming};
use super::{Quarantined, Shows, Store};
use crate::key::{Codec, Key, KeyName};
use crate::kv::{KeyValue, Revision};
use crate::status::State;
use crate::warm::{Capture, Image, Kind, Record, Shown, SnapshotError};
use crate::watch::Resume;

/// So many of the newest keys are read again after a restart though their revisions say that they are the same: an etcd
/// that lost its data and was filled again has other values there.
const OVERLAP: usize = 100;
/// And no more bytes of values, but for the first.
const OVERLAP_BYTES: usize = 256 << 10;

impl<K: Key> Store<K> {
    /// Grows with every change of what the cache shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.point.borrow().version
    }

    /// What the kvstore had at the revision of the cache, to be written where a restart finds it; `None` before the first
    /// list. Keys that are only shown still, though the kvstore no
    /// longer has them, are not in it.
    #[must_use]
    pub fn capture(&self) -> Option<Capture<K>> {
        if self.shows != Shows::List {
            return None;
        }
        let raw = |(name, quarantined): (&KeyName, &Quarantined)| {
            let Quarantined { hash, mod_revision, lease, ref raw, .. } = *quarantined;
            Record { name: name.clone(), kind: Kind::Raw, value: raw.clone(), hash, mod_revision, lease }
        };
        let cache = self.shared.read();
        let there = cache.iter().filter(|(name, _)| !self.gone.contains(name.as_str()));
        let shown = there.map(|(name, entry)| Shown {
            name: name.clone(),
            key: Arc::clone(&entry.key),
            hash: entry.hash,
            mod_revision: entry.mod_revision,
            lease: entry.lease,
        });
        Some(Capture {
            prefix: self.prefix.clone(),
            cluster: self.cluster,
            revision: self.revision,
            version: self.version(),
            shown: shown.collect(),
            raw: self.quarantine.iter().map(raw).collect(),
        })
    }

    /// Begins with a snapshot: it is shown at once as [`State::Stale`], and the first list of the [`Watch`] resumed with
    /// the answer tells what has changed since.
    ///
    /// [`Watch`]: crate::watch::Watch
    ///
    /// # Errors
    /// [`SnapshotError`] if the file is no snapshot of this store: it begins with nothing.
    pub fn load(&mut self, now: Instant, file: &Bytes) -> Result<Resume, SnapshotError> {
        let Image { cluster, revision, complete, records } = Image::parse(file, &self.prefix, K::Codec::TAG)?;
        debug_assert!(self.shows == Shows::Nothing, "a store begins once");
        let since = overlap(&records);
        let count = records.len();
        let incoming: Vec<_> = records.into_iter().filter_map(|record| self.restored(record)).collect();
        // A key left out has no value here, whatever its revision says.
        let since = since.filter(|_| complete && incoming.len() == count);
        let cause = format!("from a snapshot of revision {revision}, not verified yet").into();
        (self.state, self.cluster, self.shows) = (State::Stale { since: now, cause }, cluster, Shows::Snapshot);
        self.apply(now, incoming, revision, None);
        self.observers.begin_unverified(now, &self.snapshot(), revision);
        Ok(Resume { cluster, revision, since })
    }

    /// A key of a snapshot; `None` if our own encoding of it cannot be decoded any more.
    fn restored(&self, record: Record) -> Option<Incoming<K>> {
        let Record { name, kind, value, hash, mod_revision, lease } = record;
        if kind == Kind::Raw {
            let (path, create_revision) = (self.prefix.path(&name), mod_revision);
            let kv = KeyValue { path, value, create_revision, mod_revision, lease };
            return self.incoming(&self.shared.read(), &kv);
        }
        let key = Arc::new(self.decode(&name, &value).ok()?);
        let values = self.index_values(&name, &key);
        let arrived = Arrived { hash, lease, raw: value, value: Ok((key, values)) };
        Some(Incoming { name, revision: mod_revision, arrived: Some(arrived) })
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
