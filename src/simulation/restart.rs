//! The process ends and another starts, perhaps from the snapshot and as the owner of an earlier one.

use std::time::Instant;

use bytes::Bytes;

use super::item::Dice;
use super::link::Link;
use super::member::Member;
use super::model::{Known, Own};
use super::party::SILENCE;
use super::world::World;
use crate::kv::{ClusterId, Revision};
use crate::store::Store;
use crate::watch::Watch;

/// A snapshot that a process has left on the disk.
pub(super) struct Left {
    file: Bytes,
    cluster: ClusterId,
    pub(super) revision: Revision,
    known: Known,
    /// Whether the kvstore's history has gone back to before it.
    pub(super) dead: bool,
}

impl Member {
    /// A snapshot is written.
    pub(super) fn save(&mut self, world: &World) {
        let Some(capture) = self.store.capture() else { return };
        let (cluster, revision) = (capture.image.cluster, capture.revision());
        assert_eq!(revision, self.model.revision);
        self.say(|| format!("save {revision}"));
        let (file, known) = (capture.encode().into(), self.model.known());
        self.left.push(Left { file, cluster, revision, known, dead: revision > world.revision() });
    }

    /// Another process begins, perhaps as the same owner, with any of the files that are there.
    pub(super) fn begin_anew(&mut self, world: &mut World, dice: &mut Dice, now: Instant) {
        let header = world.mvcc.header();
        let usable = |left: &&Left| !left.dead || left.cluster != header.cluster || left.revision > header.revision;
        let files: Vec<_> = self.left.iter().filter(usable).collect();
        let left = files.get(dice.0.usize(..=files.len()));
        if dice.one_in(2) {
            self.shell.config.owner = Some(dice.0.u64(..).to_string());
        }
        let mut store = Store::new(&self.shell.config, super::member::indexes());
        let mut watch = Watch::new(self.shell.config.prefix.range(), SILENCE, dice.0.u64(..));
        let mut restored = None;
        let mut words = "restart with nothing".to_owned();
        if let Some(left) = left {
            words = format!("restart with {} of {:?}", left.revision, left.cluster);
            let mut file = left.file.to_vec();
            if dice.one_in(5) {
                words += ", torn";
                if dice.one_in(2) {
                    file.truncate(dice.0.usize(..file.len()));
                } else {
                    let at = dice.0.usize(..file.len());
                    file[at] ^= dice.0.u8(1..);
                }
                store.load(now, &file.into()).expect_err("it is torn");
            } else {
                let resume = store.load(now, &file.into()).expect("it is as it was written");
                assert!(resume.since.is_some_and(|since| since < left.revision) || left.known.is_empty());
                watch = Watch::resume(self.shell.config.prefix.range(), SILENCE, dice.0.u64(..), resume);
                restored = Some((left.known.clone(), left.revision));
                self.shell.rollback_unnoticed |= left.dead && left.cluster == header.cluster;
            }
        }
        self.say(|| words);
        self.crash(world, dice, store);
        if let Some((known, revision)) = restored {
            self.model.own = Own::of(self.store.own());
            self.model.restore(&known, revision);
        } else {
            self.shell.rollback_unnoticed = false;
        }
        self.reading = self.reading.of_next_process(&watch);
        self.shell.replace(Link::new(watch, dice));
    }
}
