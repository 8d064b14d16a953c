//! The kvstore, and what other writers and operators do to it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::item::Dice;
use crate::backend::memory::Mvcc;
use crate::backend::{BackendError, Expect, ListRequest, Write, WriteAction, WriteOutcome};
use crate::key::KeyName;
use crate::kv::{ClusterId, Event, KeyRange, KeyValue, LeaseId, Revision};
use crate::prefix::Prefix;

/// What the kvstore holds below the prefix, by name.
pub(super) type Truth = BTreeMap<KeyName, (Bytes, Revision, LeaseId)>;

/// The kvstore and its backup.
pub(super) struct World {
    pub(super) mvcc: Mvcc,
    pub(super) prefix: Prefix,
    backup: Option<Mvcc>,
    /// History has gone back and a watch has not noticed. Nothing is written until then: once the revisions are reached
    /// again, no watch could notice.
    pub(super) frozen: bool,
    /// No member may write this path.
    pub(super) forbidden: Option<Bytes>,
    /// For each owner the lease of another process of it, which strangers use.
    pub(super) rivals: Vec<LeaseId>,
    /// Transactions whose answer was an error, and that may be applied yet.
    pub(super) delayed_writes: Vec<Vec<Write>>,
    /// Counts the steps of the simulation.
    pub(super) steps: u64,
    /// The states of each path, in order.
    journal: HashMap<Bytes, Vec<Was>>,
    noted: Revision,
    /// The step at which the last history ended.
    ended: u64,
}

/// A value that the kvstore refuses.
pub(super) const TOO_LARGE: &[u8] = b"5";

#[derive(Debug)]
struct Was {
    value: Bytes,
    revision: Revision,
    lease: LeaseId,
    since: u64,
    until: Option<u64>,
}

/// A change of the kvstore as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disaster {
    WentBack,
    Replaced,
}

impl Was {
    fn new(kv: KeyValue, since: u64) -> Self {
        Self { value: kv.value, revision: kv.mod_revision, lease: kv.lease, since, until: None }
    }
}

impl World {
    pub(super) fn new(prefix: &Prefix) -> Self {
        let mvcc = Mvcc::new();
        Self {
            noted: mvcc.header().revision,
            mvcc,
            prefix: prefix.clone(),
            backup: None,
            frozen: false,
            forbidden: None,
            rivals: Vec::new(),
            delayed_writes: Vec::new(),
            steps: 1,
            journal: HashMap::new(),
            ended: 0,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.mvcc.header().revision
    }

    /// Everything below the prefix.
    pub(super) fn all(&self) -> Vec<KeyValue> {
        self.mvcc.list(&ListRequest::new(self.prefix.range())).expect("the newest revision is there").kvs
    }

    /// What the kvstore held below the prefix at a revision; `None` if that is compacted.
    pub(super) fn truth_at(&self, revision: Revision) -> Option<Truth> {
        let request = ListRequest { revision: Some(revision), ..ListRequest::new(self.prefix.range()) };
        let kvs = match self.mvcc.list(&request) {
            Err(BackendError::Compacted { .. }) => return None,
            page => page.expect("it is a revision of this history").kvs,
        };
        let named = kvs.into_iter().filter_map(|kv| Some((self.prefix.strip(&kv.path)?, kv)));
        Some(named.map(|(name, kv)| (name, (kv.value, kv.mod_revision, kv.lease))).collect())
    }

    pub(super) fn get(&self, path: &Bytes) -> Option<KeyValue> {
        self.mvcc.list(&ListRequest::new(KeyRange::one(path))).expect("the newest revision is there").kvs.pop()
    }

    pub(super) fn put(&mut self, path: Bytes, value: Bytes, lease: LeaseId) {
        let action = WriteAction::Put { value, lease };
        self.write(vec![Write { path, expect: Expect::Any, action }]);
    }

    fn delete(&mut self, path: Bytes) {
        self.write(vec![Write { path, expect: Expect::Any, action: WriteAction::Delete }]);
    }

    fn write(&mut self, writes: Vec<Write>) {
        self.mvcc.write(writes).expect("the write is possible");
    }

    /// Ends the leases that are due.
    pub(super) fn expire(&mut self, now: Instant) {
        if !self.frozen {
            self.mvcc.expire(now);
            self.note();
        }
    }

    fn lease(&mut self, dice: &mut Dice, now: Instant) -> LeaseId {
        if dice.one_in(3) {
            let seconds = dice.0.u64(1..90);
            let mut grant = |id| self.mvcc.grant(id, Duration::from_secs(seconds), now);
            match self.rivals.get(usize::try_from(seconds).expect("it is small") % 8) {
                // If it is alive already that is no matter.
                Some(rival) => grant(*rival).map_or(*rival, |grant| grant.lease),
                None => grant(LeaseId::NONE).expect("the lease is possible").lease,
            }
        } else {
            LeaseId::NONE
        }
    }

    /// One random change, in words.
    pub(super) fn step(&mut self, dice: &mut Dice, now: Instant) -> String {
        let path = self.prefix.path(&dice.name());
        match dice.0.u32(..20) {
            _ if self.frozen => "frozen".into(),
            0..8 => {
                let (value, lease) = (dice.value(), self.lease(dice, now));
                let words = format!("put {path:?} {value:?} lease {lease}");
                self.put(path, value, lease);
                words
            }
            8..11 => {
                let words = format!("delete {path:?}");
                self.delete(path);
                words
            }
            11 => {
                let value = dice.value();
                let words = format!("delete {path:?} and put it {value:?}");
                self.delete(path.clone());
                self.put(path, value, LeaseId::NONE);
                words
            }
            12..15 => {
                let mut writes: Vec<Write> = Vec::new();
                for _ in 0..dice.0.usize(2..6) {
                    let path = self.prefix.path(&dice.name());
                    let value = dice.value();
                    let put = WriteAction::Put { value, lease: LeaseId::NONE };
                    let action = if dice.one_in(3) { WriteAction::Delete } else { put };
                    if writes.iter().all(|write| write.path != path) {
                        writes.push(Write { path, expect: Expect::Any, action });
                    }
                }
                let words = format!("transaction of {writes:?}");
                self.write(writes);
                words
            }
            15 => {
                let stranger = dice.of(&[&b"p"[..], b"p/", b"p0/a", b"p1/a", b"px", b"p/\xff", b"p/\xff", b"o"]);
                let path = Bytes::from_static(stranger);
                let words = format!("put or delete stranger {path:?}");
                if dice.one_in(3) {
                    self.delete(path);
                } else {
                    self.put(path, "1".into(), LeaseId::NONE);
                }
                words
            }
            16 => {
                self.backup = Some(self.mvcc.clone());
                "backup".into()
            }
            17 => {
                let revision = Revision(self.revision().0.saturating_sub(dice.0.u64(..6)));
                let done = self.mvcc.compact(revision).is_ok();
                format!("compact {revision}: {done}")
            }
            18 => {
                let count = if dice.one_in(30) { 500 } else { dice.0.u32(1..30) };
                for n in 0..count {
                    let (path, value) = (self.prefix.path(&dice.name()), dice.0.u32(..6).to_string());
                    if n % 4 == 3 { self.delete(path) } else { self.put(path, value.into(), LeaseId::NONE) }
                }
                format!("{count} writes at once")
            }
            _ => {
                let path = Bytes::from_static(b"elsewhere");
                self.put(path, "1".into(), LeaseId::NONE);
                "put elsewhere".into()
            }
        }
    }

    /// So many writes that replaying them is too slow.
    pub(super) fn flood(&mut self, dice: &mut Dice, writes: usize) {
        for n in 0..writes {
            let (path, value) = (self.prefix.path(&dice.name()), dice.0.u32(..100).to_string());
            if n % 9 == 8 { self.delete(path) } else { self.put(path, value.into(), LeaseId::NONE) }
        }
    }

    /// An older backup or another cluster.
    pub(super) fn disaster(&mut self, dice: &mut Dice, now: Instant) -> Option<Disaster> {
        if self.frozen {
            return None;
        }
        let disaster = if dice.one_in(3) {
            let cluster = ClusterId(self.mvcc.header().cluster.0 + 1);
            let mut other = Self { mvcc: Mvcc::new().cluster(cluster), ..Self::new(&self.prefix) };
            for _ in 0..dice.0.u32(..30) {
                other.step(dice, now);
            }
            *self = Self { forbidden: self.forbidden.clone(), steps: self.steps, ..other };
            Disaster::Replaced
        } else {
            self.mvcc.restore(self.backup.as_ref()?, now);
            self.frozen = true;
            Disaster::WentBack
        };
        self.delayed_writes.clear();
        let everything = ListRequest::new(KeyRange { start: Bytes::new(), end: Bytes::from_static(&[255]) });
        let there = self.mvcc.list(&everything).expect("the newest revision is there").kvs;
        self.journal = there.into_iter().map(|kv| (kv.path.clone(), vec![Was::new(kv, self.steps)])).collect();
        self.noted = self.revision();
        self.ended = self.steps;
        Some(disaster)
    }

    /// A member's transaction, and what the kvstore answers.
    pub(super) fn transact(&mut self, writes: Vec<Write>) -> Result<WriteOutcome, BackendError> {
        if writes.iter().any(|write| self.forbidden.as_ref() == Some(&write.path)) {
            return Err(BackendError::forbidden("permission denied"));
        }
        if writes.iter().any(|write| matches!(&write.action, WriteAction::Put { value, .. } if value == TOO_LARGE)) {
            return Err(BackendError::rejected("too large"));
        }
        let outcome = self.mvcc.write(writes);
        self.note();
        outcome
    }

    /// Remembers what has happened since the last time.
    pub(super) fn note(&mut self) {
        let everything = KeyRange { start: Bytes::new(), end: Bytes::from_static(&[255]) };
        let Ok((events, _)) = self.mvcc.events_since(&everything, self.noted.next(), usize::MAX) else { return };
        self.noted = self.revision();
        for event in events {
            let of_path = self.journal.entry(event.path().clone()).or_default();
            if let Some(last) = of_path.last_mut() {
                last.until.get_or_insert(self.steps);
            }
            if let Event::Put(kv) = event {
                of_path.push(Was::new(kv, self.steps));
            }
        }
    }

    /// Whether a path had this value, written at this revision, at some time since a step.
    pub(super) fn had(&self, path: &Bytes, value: &Bytes, revision: Revision, since: u64) -> bool {
        let was =
            |was: &Was| was.value == *value && was.revision == revision && was.until.is_none_or(|until| until >= since);
        self.ended >= since || self.journal.get(path).is_some_and(|of_path| of_path.iter().any(was))
    }

    /// Whether a path has been under such a lease all the time since a step.
    pub(super) fn has_been(&self, path: &Bytes, lease: impl Fn(LeaseId) -> bool, since: u64) -> bool {
        let is = |was: &Was| was.until.is_none() && was.since < since && lease(was.lease);
        self.ended < since && self.journal.get(path).and_then(|of_path| of_path.last()).is_some_and(is)
    }

    /// Whether a history has ended at this step or later.
    pub(super) fn went_back_since(&self, step: u64) -> bool {
        self.ended >= step
    }

    /// Whether a path ever had this state since a step. Of an earlier history nothing is known: then it may have.
    pub(super) fn was(&self, path: &Bytes, state: impl Fn(&Bytes, LeaseId) -> bool, since: u64) -> bool {
        let was = |was: &Was| state(&was.value, was.lease);
        self.ended >= since || self.journal.get(path).is_some_and(|of_path| of_path.iter().any(was))
    }
}
