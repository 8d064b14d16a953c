//! Keys of one kvstore copied into another: Cilium's KVStoreMesh.

mod cilium;
mod cluster_config;
mod gated;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::clock::bounded;
use crate::key::KeyName;
use crate::prefix::Prefix;
use crate::status::State;

pub use self::cilium::cilium_rules;
pub use self::cluster_config::{CLUSTER_CONFIGS, ClusterConfig, ClusterConfigError};
pub use self::gated::GatedBackend;
pub use self::status::{CopyStatus, Failed, MirrorStatus};

/// One prefix to copy, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirrorRule {
    /// What the status and the metrics call it, as `nodes/v1`.
    pub name: String,
    /// The prefix at the source.
    pub from: Prefix,
    /// The prefix of the copies. Nobody else should write there.
    pub to: Prefix,
    /// The whole path of a key of the source without which its prefix is not complete: no list without it is taken in.
    pub canary: Option<Bytes>,
    /// The key to write, below its prefix, once all keys of the source are copied.
    pub announce: Option<(Prefix, KeyName)>,
    /// Whether the copies are deleted when the source is lost for longer than [`MirrorTimes::keep`].
    pub expires: bool,
}

impl MirrorRule {
    /// Copies `from` to `to`, without a canary, and for ever.
    #[must_use]
    pub fn new(name: impl Into<String>, from: Prefix, to: Prefix) -> Self {
        Self { name: name.into(), from, to, canary: None, announce: None, expires: false }
    }

    /// Sets [`canary`](Self#structfield.canary).
    #[must_use]
    pub fn canary(mut self, path: impl Into<Bytes>) -> Self {
        self.canary = Some(path.into());
        self
    }

    /// Sets [`announce`](Self#structfield.announce).
    #[must_use]
    pub fn announce(mut self, prefix: Prefix, name: KeyName) -> Self {
        self.announce = Some((prefix, name));
        self
    }

    /// Sets [`expires`](Self#structfield.expires).
    #[must_use]
    pub fn expires(mut self) -> Self {
        self.expires = true;
        self
    }
}

/// What a mirror copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorRules {
    /// What Cilium's KVStoreMesh copies, as the configuration of the cluster says: see [`cilium_rules`].
    Cilium,
    /// These prefixes. The source needs no configuration of its cluster.
    These(Vec<MirrorRule>),
}

/// How long a mirror waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorTimes {
    /// Copies that expire are deleted when the source has been lost for so long. `None` (default) keeps them: an outage of
    /// the source is no reason to take away what works. (Cilium's `clustermesh-cache-ttl`.)
    pub keep: Option<Duration>,
    /// How long the copies stay after the configuration of a cluster that was removed. Default 3 min, as Cilium: its agents
    /// leave the cluster first, and so do not take the deletions for deletions by the source.
    pub grace: Duration,
}

impl Default for MirrorTimes {
    fn default() -> Self {
        Self { keep: None, grace: Duration::from_secs(180) }
    }
}

/// What a mirror wants its shell to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MirrorAction {
    /// Publish this value as the configuration of the cluster.
    PutConfig(Bytes),
    /// Own the copies that are there by these rules, as they are: an earlier mirror made them, and its leases end. The source
    /// has no say yet.
    TakeOver(Vec<MirrorRule>),
    /// Copy by these rules from now on. What is there stays until the first list by these rules is complete.
    Copy(Vec<MirrorRule>),
    /// Delete the copies of a rule; the source is copied on.
    Expire(usize),
    /// Put the copies of a rule again: the source is back.
    Fill(usize),
    /// Delete the configuration of the cluster.
    DeleteConfig,
    /// Delete all copies, and what announces them.
    DeleteCopies,
}

/// Decides what is copied from one source, and what becomes of it when the source is lost or removed. A pure machine: its
/// shell copies, and says how that goes.
///
/// # Invariants
/// 1. Nothing is copied before the configuration of the cluster is known, and it is published first.
/// 2. What was once known stays when the source is lost, and when it says that it has no configuration any more. That
///    includes what an earlier mirror knew: its configuration and its copies.
/// 3. Copies are deleted for three reasons only: the source has deleted the key, [`MirrorTimes::keep`] is over, the source was
///    removed.
#[derive(Debug)]
pub struct Mirror {
    cluster: String,
    rules: MirrorRules,
    times: MirrorTimes,
    config: Option<ClusterConfig>,
    /// A configuration is published: the source's, or that of an earlier mirror.
    announced: bool,
    /// Why the configuration is not as it should be.
    problem: Option<Arc<str>>,
    copies: Vec<Copied>,
    phase: Phase,
    failures: u64,
    last_failure: Option<(Instant, Arc<str>)>,
    actions: VecDeque<MirrorAction>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copies,
    /// Until when the copies stay.
    Leaves(Instant),
    Left,
}

/// One rule, and how its copies are.
#[derive(Debug)]
struct Copied {
    rule: MirrorRule,
    source: State,
    /// The first list is copied and announced.
    complete: bool,
    /// Copies of an earlier mirror are there.
    taken_over: bool,
    lost: Option<Instant>,
    expired: bool,
}

impl Copied {
    fn new(rule: MirrorRule) -> Self {
        let source = State::Connecting { cause: None };
        Self { rule, source, complete: false, taken_over: false, lost: None, expired: false }
    }

    fn can_expire(&self) -> bool {
        self.rule.expires && (self.complete || self.taken_over) && !self.expired
    }
}

impl Mirror {
    /// A mirror of one cluster. `rules` begin at once, unless they wait for the configuration of the cluster.
    ///
    /// # Panics
    /// As [`cilium_rules`].
    #[must_use]
    pub fn new(cluster: impl Into<String>, rules: MirrorRules, times: MirrorTimes) -> Self {
        let cluster = cluster.into();
        let (first, problem) = match &rules {
            // Where the copies are does not depend on the configuration.
            MirrorRules::Cilium => (
                cilium_rules(&cluster, &ClusterConfig::unknown()),
                Some("the configuration of the cluster is not read yet".into()),
            ),
            MirrorRules::These(rules) => (rules.clone(), None),
        };
        let mut actions = VecDeque::from([MirrorAction::TakeOver(first.clone())]);
        if rules != MirrorRules::Cilium {
            actions.push_back(MirrorAction::Copy(first.clone()));
        }
        Self {
            cluster,
            rules,
            times: MirrorTimes { keep: times.keep.map(bounded), grace: bounded(times.grace) },
            config: None,
            announced: false,
            problem,
            copies: first.into_iter().map(Copied::new).collect(),
            phase: Phase::Copies,
            failures: 0,
            last_failure: None,
            actions,
        }
    }

    /// The target has this configuration of the cluster, of an earlier mirror. It stays until the source's is known.
    pub fn take_over_configuration(&mut self, value: Bytes) {
        if !self.announced && self.phase == Phase::Copies && ClusterConfig::parse(&value).is_ok() {
            self.announced = true;
            self.actions.push_back(MirrorAction::PutConfig(value));
        }
    }

    /// So many copies of an earlier mirror are there by this rule. They expire as if they had been copied now.
    pub fn taken_over(&mut self, now: Instant, rule: usize, copies: usize) {
        let Some(copy) = self.copies.get_mut(rule) else { return };
        copy.taken_over |= copies > 0;
        if copy.source != State::Synced {
            copy.lost.get_or_insert(now);
        }
    }

    /// The source's configuration of the cluster is this, or there is none.
    pub fn configure(&mut self, now: Instant, value: Option<&[u8]>) {
        if self.rules != MirrorRules::Cilium || self.phase != Phase::Copies {
            return;
        }
        let parsed = match value {
            Some(value) => ClusterConfig::parse(value).map_err(|error| error.to_string()),
            None => Err(format!("the source has no key {CLUSTER_CONFIGS}/{}", self.cluster)),
        };
        let config = match parsed {
            Ok(config) => config,
            Err(problem) => {
                self.failed(now, problem.as_str().into());
                self.problem = Some(problem.into());
                return;
            }
        };
        self.problem = None;
        if self.config.as_ref() == Some(&config) {
            return;
        }
        self.announced = true;
        self.actions.push_back(MirrorAction::PutConfig(config.of_a_cache()));
        let rules = cilium_rules(&self.cluster, &config);
        if self.config.is_none() || self.copies.iter().map(|copy| &copy.rule).ne(&rules) {
            // The same targets as before, perhaps from other places.
            for (copy, rule) in self.copies.iter_mut().zip(&rules) {
                copy.rule = rule.clone();
            }
            self.actions.push_back(MirrorAction::Copy(rules));
        }
        self.config = Some(config);
    }

    /// The source's configuration of the cluster cannot be read.
    pub fn configuration_fails(&mut self, now: Instant, cause: &Arc<str>) {
        // One that is known stays, and the copies tell how their source is.
        if self.config.is_none() && self.problem.as_ref() != Some(cause) {
            self.failed(now, Arc::clone(cause));
            self.problem = Some(Arc::clone(cause));
        }
    }

    /// The cache of the source's keys by this rule has this state.
    pub fn source_is(&mut self, now: Instant, rule: usize, state: State) {
        let Some(copy) = self.copies.get_mut(rule) else { return };
        let was_synced = copy.source == State::Synced;
        let cause = state.cause().cloned();
        let is_news = cause.is_some() && copy.source.cause() != cause.as_ref();
        copy.source = state;
        if copy.source == State::Synced {
            copy.lost = None;
            if std::mem::take(&mut copy.expired) && self.phase == Phase::Copies {
                self.actions.push_back(MirrorAction::Fill(rule));
            }
        } else {
            copy.lost.get_or_insert(now);
            if was_synced || is_news {
                self.failed(now, cause.unwrap_or_else(|| "the source is not synced".into()));
            }
        }
    }

    /// The first list by this rule is copied, and announced if it is to be.
    pub fn completed(&mut self, rule: usize) {
        if let Some(copy) = self.copies.get_mut(rule) {
            copy.complete = true;
        }
    }

    fn failed(&mut self, now: Instant, cause: Arc<str>) {
        self.failures += 1;
        self.last_failure = Some((now, cause));
    }

    /// The source is not mirrored any more: the configuration of the cluster goes at once, the copies after
    /// [`MirrorTimes::grace`].
    pub fn remove(&mut self, now: Instant) {
        if self.phase != Phase::Copies {
            return;
        }
        // Without a configuration nobody has to leave the cluster first.
        let grace = if self.announced { self.times.grace } else { Duration::ZERO };
        self.actions.push_back(MirrorAction::DeleteConfig);
        self.phase = Phase::Leaves(now + grace);
        self.timeout(now);
    }

    /// When [`timeout`](Self::timeout) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leaves(until) => Some(until),
            Phase::Left => None,
            Phase::Copies => {
                let keep = self.times.keep?;
                self.copies.iter().filter(|copy| copy.can_expire()).filter_map(|copy| Some(copy.lost? + keep)).min()
            }
        }
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        match (self.phase, self.times.keep) {
            (Phase::Leaves(until), _) if until <= now => {
                self.phase = Phase::Left;
                self.actions.push_back(MirrorAction::DeleteCopies);
            }
            (Phase::Copies, Some(keep)) => {
                for (rule, copy) in self.copies.iter_mut().enumerate() {
                    let is_over = copy.lost.is_some_and(|lost| lost + keep <= now);
                    if copy.can_expire() && is_over {
                        copy.expired = true;
                        self.actions.push_back(MirrorAction::Expire(rule));
                    }
                }
            }
            (Phase::Copies | Phase::Leaves(_) | Phase::Left, _) => {}
        }
    }

    /// The next action, in order.
    pub fn poll_action(&mut self) -> Option<MirrorAction> {
        self.actions.pop_front()
    }

    /// The current status, without what only the shell knows.
    #[must_use]
    pub fn status(&self, now: Instant) -> MirrorStatus {
        let copies = self.copies.iter().map(|copy| CopyStatus {
            name: copy.rule.name.clone(),
            from: copy.rule.from.as_str().to_owned(),
            to: copy.rule.to.as_str().to_owned(),
            state: copy.source.name(),
            cause: copy.source.cause().map(ToString::to_string),
            complete: copy.complete,
            expired: copy.expired,
            keys: 0,
            pending: 0,
            refused: 0,
        });
        MirrorStatus {
            cluster: self.cluster.clone(),
            ready: self.phase == Phase::Copies && self.is_synced(),
            connected: !self.copies.is_empty() && self.copies.iter().all(|copy| copy.source == State::Synced),
            leaves: self.phase != Phase::Copies,
            problem: self.problem.as_ref().map(ToString::to_string),
            copies: copies.collect(),
            failures: self.failures,
            last_failure: self.last_failure.as_ref().map(|(at, cause)| Failed {
                seconds_ago: now.saturating_duration_since(*at).as_secs_f64(),
                cause: cause.to_string(),
            }),
        }
    }

    fn is_synced(&self) -> bool {
        self.problem.is_none()
            && !self.copies.is_empty()
            && self.copies.iter().all(|copy| copy.complete && copy.source == State::Synced)
    }

    /// Whether all copies were complete once: what a readiness probe waits for.
    #[must_use]
    pub fn has_been_complete(&self) -> bool {
        !self.copies.is_empty() && self.copies.iter().all(|copy| copy.complete)
    }
}
