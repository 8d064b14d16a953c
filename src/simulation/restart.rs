//! The process ends and another begins, perhaps with what an earlier one has left behind.

use std::time::Duration;

use bytes::Bytes;

use super::Simulation;
use super::auditor::Auditor;
use super::link::Link;
use super::model::{Known, Model};
use super::owner::Owner;
use crate::kv::{ClusterId, Revision};
use crate::store::Store;
use crate::watch::Watch;

/// How long an open watch may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// What a process has left behind.
pub(super) struct Left {
    file: Bytes,
    cluster: ClusterId,
    revision: Revision,
    known: Known,
    /// Whether the kvstore's history has gone back to before it.
    pub(super) dead: bool,
}

impl Simulation {
    /// A snapshot is written.
    pub(super) fn save(&mut self) {
        let Some(capture) = self.store.capture() else { return };
        let (cluster, revision) = (capture.cluster, capture.revision());
        assert_eq!(revision, self.model.revision);
        self.say(|| format!("save {revision}"));
        let (file, known) = (capture.encode().into(), self.model.known());
        self.left.push(Left { file, cluster, revision, known, dead: revision > self.world.revision() });
    }

    /// The kvstore's history went back.
    pub(super) fn outdated(&mut self) {
        let now = self.world.revision();
        self.left.iter_mut().for_each(|left| left.dead |= left.revision > now);
    }

    /// Another process begins with any of the files that are there, unless nobody could notice that it is outdated.
    pub(super) fn restart(&mut self) {
        let header = self.world.mvcc.header();
        let usable = |left: &&Left| !left.dead || left.cluster != header.cluster || left.revision > header.revision;
        let files: Vec<_> = self.left.iter().filter(usable).collect();
        let left = files.get(self.dice.0.usize(..=files.len()));
        let mut store = Store::new(&self.config, super::indexes());
        let mut model = Model::new(&self.config);
        let mut watch = Watch::new(self.config.prefix.range(), SILENCE, self.dice.0.u64(..));
        let mut words = "restart with nothing".to_owned();
        if let Some(left) = left {
            words = format!("restart with {} of {:?}", left.revision, left.cluster);
            let mut file = left.file.to_vec();
            if self.dice.one_in(5) {
                words += ", torn";
                if self.dice.one_in(2) {
                    file.truncate(self.dice.0.usize(..file.len()));
                } else {
                    let at = self.dice.0.usize(..file.len());
                    file[at] ^= self.dice.0.u8(1..);
                }
                store.load(self.now, &file.into()).expect_err("it is torn");
            } else {
                let resume = store.load(self.now, &file.into()).expect("it is as it was written");
                assert!(resume.since.is_some_and(|since| since < left.revision) || left.known.is_empty());
                watch = Watch::resume(self.config.prefix.range(), SILENCE, self.dice.0.u64(..), resume);
                model.restore(&left.known, left.revision);
                self.world.frozen |= left.dead && left.cluster == header.cluster;
            }
        }
        self.say(|| words);
        (self.reader, self.store, self.model) = (store.reader(), store, model);
        (self.auditor, self.doubt) = (Auditor::new(&self.config.prefix, self.dice.0.u64(..), &mut self.dice), None);
        self.owner = Owner::new(&self.config.prefix, &mut self.dice);
        self.link = Link::new(watch, &mut self.dice);
        self.observers.clear();
    }
}
