//! The cache against a part of the kvstore at the same revision.

use std::collections::HashSet;
use std::fmt;
use std::time::Instant;

use super::{Refused, Store};
use crate::hash::value_hash;
use crate::key::{Key, KeyName};
use crate::kv::{KeyValue, Revision};
use crate::status::AuditStats;
use crate::watch::{AuditKind, AuditPart};

/// What one comparison of the whole cache with the kvstore found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditReport {
    /// The revision at which the last part was compared.
    pub revision: Revision,
    /// How many keys of the kvstore were compared. Keys that changed meanwhile are left out.
    pub keys: u64,
    /// How many keys were not compared, because their names are empty or not UTF-8: the store ignores them.
    pub ignored: u64,
    /// What differed, in name order.
    pub differences: Vec<Difference>,
}

impl AuditReport {
    /// The differences that nothing explains: an event was lost. A relist is repairing them.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| !difference.kind.is_explained())
    }
}

/// A key that is not the same in the cache and in the kvstore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key's name.
    pub name: KeyName,
    /// How they differ.
    pub kind: DifferenceKind,
}

/// How cache and kvstore differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DifferenceKind {
    /// In the kvstore, not in the cache.
    Missing {
        /// The revision that wrote it.
        kvstore: Revision,
    },
    /// In the cache, not in the kvstore.
    Extra {
        /// The revision the cache has.
        cache: Revision,
    },
    /// Of another revision.
    Outdated {
        /// The revision the cache has.
        cache: Revision,
        /// The revision that wrote it.
        kvstore: Revision,
    },
    /// Another value at the same revision.
    Altered {
        /// The revision.
        revision: Revision,
    },
    /// Explained: the value is not of the store's type and in quarantine.
    Undecodable {
        /// The revision that wrote it.
        kvstore: Revision,
    },
    /// Explained: an own key that somebody deleted, and that is being put again.
    BeingRepaired,
    /// Explained: gone, but the deletion is held back in case the key returns.
    HeldBack,
}

impl DifferenceKind {
    /// Whether the difference is explained.
    #[must_use]
    pub fn is_explained(self) -> bool {
        matches!(self, Self::Undecodable { .. } | Self::BeingRepaired | Self::HeldBack)
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { kvstore } => write!(f, "missing: the kvstore has it since revision {kvstore}"),
            Self::Extra { cache } => write!(f, "extra: the cache has it as of revision {cache}, the kvstore does not"),
            Self::Outdated { cache, kvstore } => {
                write!(f, "outdated: the cache has revision {cache}, the kvstore {kvstore}")
            }
            Self::Altered { revision } => write!(f, "altered: another value at the same revision {revision}"),
            Self::Undecodable { kvstore } => write!(f, "undecodable: the value of revision {kvstore} is in quarantine"),
            Self::BeingRepaired => f.write_str("being repaired: an own key that somebody deleted"),
            Self::HeldBack => f.write_str("held back: its deletion waits for the delay"),
        }
    }
}

/// What audits have found so far.
#[derive(Debug, Default)]
pub(super) struct Audits {
    stats: AuditStats,
    /// The round that was asked for, while it is under way.
    round: AuditReport,
    finished: Option<AuditReport>,
}

impl Audits {
    pub(super) fn stats(&self) -> AuditStats {
        self.stats
    }
}

impl<K: Key> Store<K> {
    /// The report of a round that was asked for, once it is over.
    pub fn poll_audit(&mut self) -> Option<AuditReport> {
        self.audits.finished.take()
    }

    /// Compares, counts, and asks for a relist if something was lost.
    pub(super) fn audited(&mut self, now: Instant, part: &AuditPart) -> Result<(), Refused> {
        debug_assert!(part.revision <= self.revision, "the cache has been there");
        let differences = self.compare(part);
        let lost = differences.iter().filter(|difference| !difference.kind.is_explained());
        for Difference { name, kind } in lost.clone() {
            tracing::error!(key = %name, "audit: {kind}");
        }
        let ignored = part.keys.iter().filter(|kv| self.prefix.strip_str(&kv.path).is_none()).count() as u64;
        let (keys, mut lost) = (part.keys.len() as u64 - ignored, lost.count());
        self.audits.stats.keys += keys;
        self.audits.stats.differences += lost as u64;
        self.audits.stats.rounds += u64::from(part.last);
        if part.kind == AuditKind::Asked {
            let round = &mut self.audits.round;
            if part.first {
                *round = AuditReport::default();
            }
            round.revision = part.revision;
            round.keys += keys;
            round.ignored += ignored;
            round.differences.extend(differences);
            // The report is completed before the relist.
            lost = if part.last { round.unexplained().count() } else { 0 };
            self.audits.finished = part.last.then(|| std::mem::take(round));
        }
        if lost == 0 {
            return Ok(());
        }
        self.out_of_date(now, format!("an audit found differences ({lost}): listing again").into());
        Err(Refused::Inconsistent)
    }

    fn compare(&self, part: &AuditPart) -> Vec<Difference> {
        let cache = &self.shared.read();
        let named = |kv: &KeyValue| self.prefix.strip(&kv.path).filter(|_| !part.changed.contains(&kv.path));
        let mut present = HashSet::with_capacity(part.keys.len());
        let mut differences = Vec::new();
        for (name, kv) in part.keys.iter().filter_map(|kv| Some((named(kv)?, kv))) {
            let kvstore = kv.mod_revision;
            let altered = |hash: u128| part.kind == AuditKind::Asked && hash != value_hash(&kv.value);
            let kind = if self.tombstones.contains(name.as_str()) {
                Some(DifferenceKind::Missing { kvstore })
            } else if let Some(quarantined) = self.quarantine.get(&name) {
                let cache = quarantined.mod_revision;
                let same = cache == kvstore;
                Some(if same {
                    DifferenceKind::Undecodable { kvstore }
                } else {
                    DifferenceKind::Outdated { cache, kvstore }
                })
            } else {
                match cache.get(name.as_str()) {
                    None => Some(DifferenceKind::Missing { kvstore }),
                    Some(entry) if entry.mod_revision != kvstore => {
                        Some(DifferenceKind::Outdated { cache: entry.mod_revision, kvstore })
                    }
                    Some(entry) if altered(entry.hash()) => Some(DifferenceKind::Altered { revision: kvstore }),
                    Some(_) => None,
                }
            };
            differences.extend(kind.map(|kind| Difference { name: name.clone(), kind }));
            present.insert(name);
        }
        let absent = |name: &KeyName| {
            let path = self.prefix.path(name);
            part.range.contains(&path) && !present.contains(name) && !part.changed.contains(&path)
        };
        let start = self.prefix.strip(&part.range.start);
        let shown =
            cache.scan_from(start.as_ref().map_or("", KeyName::as_str)).map(|(name, entry)| (name, entry.mod_revision));
        let shown = shown.take_while(|(name, _)| self.prefix.path(name) < part.range.end);
        let unseen = self.quarantine.iter().filter(|(name, _)| cache.get(name.as_str()).is_none());
        let unseen = unseen.map(|(name, quarantined)| (name, quarantined.mod_revision));
        for (name, revision) in shown.chain(unseen).filter(|(name, _)| absent(name)) {
            let kind = match (self.tombstones.contains(name.as_str()), self.tombstones.is_kept(name.as_str())) {
                (_, true) => DifferenceKind::BeingRepaired,
                (true, false) => DifferenceKind::HeldBack,
                (false, false) => DifferenceKind::Extra { cache: revision },
            };
            differences.push(Difference { name: name.clone(), kind });
        }
        differences.sort_by(|a, b| a.name.cmp(&b.name));
        differences
    }
}
