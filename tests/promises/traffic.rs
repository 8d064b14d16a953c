//! Random writes by others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use shared_store_core::backend::{Backend, Expect, Write, WriteAction, WriteOutcome};
use shared_store_core::{LeaseId, Revision};

use super::prefix;
use crate::actors::node;

/// Transactions of few keys with few values, in the prefix and right beside it, under leases that expire.
pub(super) struct Traffic {
    backend: Arc<dyn Backend>,
    random: Rng,
    leases: Vec<LeaseId>,
}

impl Traffic {
    pub(super) fn new(backend: Arc<dyn Backend>, seed: u64) -> Self {
        Self { backend, random: Rng::with_seed(seed ^ 0x7a), leases: vec![LeaseId::NONE] }
    }

    /// One step, which may fail: the recorded history shows whether it was applied.
    pub(super) async fn step(&mut self) {
        match self.random.u8(..12) {
            0 => {
                if let Ok(grant) = self.backend.grant(LeaseId::NONE, Duration::from_secs(self.random.u64(1..6))).await {
                    self.leases.push(grant.lease);
                }
            }
            1 if self.leases.len() > 1 => {
                let lease = self.leases.swap_remove(self.random.usize(1..self.leases.len()));
                let _ = self.backend.revoke(lease).await;
            }
            _ => {
                let mut writes = BTreeMap::new();
                for _ in 0..self.random.usize(1..5) {
                    let path = self.path();
                    let action = self.action(&path);
                    writes.insert(path, action);
                }
                let expect = Expect::Any;
                let writes = writes.into_iter().map(|(path, action)| Write { path: path.into(), expect, action });
                let _ = self.backend.write(writes.collect()).await;
            }
        }
    }

    fn path(&mut self) -> String {
        let prefix = prefix();
        match self.random.u8(..10) {
            0 => prefix.to_string(),
            1 => format!("{prefix}0/a"),
            2 => format!("{prefix}-/a"),
            _ => format!("{prefix}/{}", ["a", "b", "a/b", "//", "..", "\u{10ffff}"][self.random.usize(..6)]),
        }
    }

    fn action(&mut self, path: &str) -> WriteAction {
        if self.random.u8(..3) == 0 {
            return WriteAction::Delete;
        }
        let name = path.split_once(&format!("{}/", prefix())).map_or("n", |(_, name)| name);
        let value = serde_json::to_vec(&node(name, &self.random.u8(..3).to_string())).unwrap().into();
        let lease = self.leases[self.random.usize(..self.leases.len())];
        WriteAction::Put { value, lease }
    }

    /// A last write, so that there is something to wait for.
    pub(super) async fn last(&self) -> Revision {
        let value = serde_json::to_vec(&node("last", "last")).unwrap().into();
        let action = WriteAction::Put { value, lease: LeaseId::NONE };
        let write = Write { path: format!("{}/last", prefix()).into(), expect: Expect::Any, action };
        match self.backend.write(vec![write]).await.unwrap() {
            WriteOutcome::Committed { revision } => revision,
            refused @ WriteOutcome::Refused { .. } => panic!("{refused:?}"),
        }
    }
}
