//! The metrics of a store.

use shared_store_core::Key;

use super::StoreActor;
use crate::clock::now;
use crate::measuring::{Measure, Measuring};

impl<K: Key> Measure for StoreActor<K> {
    fn measuring(&mut self) -> &mut Measuring {
        &mut self.measuring
    }

    fn record(&mut self) -> bool {
        let mut status = self.store.status();
        self.name_observers(&mut status);
        self.measuring.metrics.store(now(), &status)
    }
}

impl<K: Key> StoreActor<K> {
    /// What has still to be counted is counted, and the gauges end.
    pub(super) fn end_metrics(&mut self) {
        self.record();
        self.measuring.metrics.end();
    }
}
