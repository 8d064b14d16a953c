//! Leaving one kvstore or prefix for another: Cilium's restartable `WatchStore`, and its `Drain`.

use std::time::Instant;

use super::Store;
use crate::key::Key;
use crate::prefix::Prefix;
use crate::reason::Reason;

impl<K: Key> Store<K> {
    /// Nothing more will be delivered for now: the cache keeps its state, which becomes outdated.
    pub fn detach(&mut self, now: Instant) {
        self.staging = None;
        self.out_of_date(now, "detached".into());
    }

    /// Deliveries from now on are of another kvstore or another prefix. Nothing known so far applies to it: its first
    /// list tells the true difference. No deletion is held back, since the change is intended.
    pub fn attach(&mut self, prefix: Prefix) {
        self.decoder.prefix = prefix.clone();
        self.prefix = prefix;
        self.reattached = true;
    }

    /// Tells every key as deleted, and empties the cache.
    pub fn drain(&mut self, now: Instant) {
        let names: Vec<_> = self.shared.read().names().cloned().collect();
        let undecodable: Vec<_> = self.quarantine.keys().cloned().collect();
        undecodable.iter().for_each(|name| self.healed(name, self.revision, "drained"));
        self.give_up(now, &names, Reason::Drained);
        self.observers.notify_held(now);
    }
}
