//! When actors record their metrics (feature `metrics`).

use std::time::Duration;

use actix::prelude::*;
use shared_store_core::Prefix;
use shared_store_core::metrics::StatusMetrics;

/// A status costs more than a change: it is recorded at most once in this time.
const PERIOD: Duration = Duration::from_secs(1);

/// What an actor has recorded, and whether it has changed since.
#[derive(Debug)]
pub(crate) struct Measuring {
    pub(crate) metrics: StatusMetrics,
    waits: bool,
    changed: bool,
}

impl Measuring {
    pub(crate) fn new(prefix: &Prefix) -> Self {
        Self { metrics: StatusMetrics::new(prefix), waits: false, changed: false }
    }
}

/// An actor with metrics.
pub(crate) trait Measure: Actor<Context = Context<Self>> {
    fn measuring(&mut self) -> &mut Measuring;

    /// Records the metrics of the current status. Returns whether they change with time alone.
    fn record(&mut self) -> bool;

    /// Something may have changed: records it now, or when the period since the last time is over. Nothing runs while
    /// nothing changes.
    fn measure(&mut self, ctx: &mut Context<Self>) {
        let measuring = self.measuring();
        if measuring.waits {
            measuring.changed = true;
            return;
        }
        let changed = self.record();
        let measuring = self.measuring();
        (measuring.waits, measuring.changed) = (true, changed);
        ctx.run_later(PERIOD, |actor, ctx| {
            let measuring = actor.measuring();
            measuring.waits = false;
            if measuring.changed {
                actor.measure(ctx);
            }
        });
    }
}
