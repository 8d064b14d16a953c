//! How much an observer hears.

use std::num::NonZeroUsize;

/// How much an observer hears when it is slower than the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeliveryMode {
    /// At most one pending change a key: changes that were not told yet are merged into one.
    #[default]
    LatestPerKey,
    /// Every change, in revision order. When more than `capacity` wait behind the parcel under way, they are merged as
    /// in [`LatestPerKey`](Self::LatestPerKey), and [`Notice::Resynced`](crate::Notice::Resynced) says so before the difference.
    EveryEvent {
        /// How many changes may wait.
        capacity: NonZeroUsize,
    },
}

impl DeliveryMode {
    /// [`EveryEvent`](Self::EveryEvent) with so many changes that may wait. 0 counts as 1.
    ///
    /// ```
    /// # use shared_store_core::DeliveryMode;
    /// let mode = DeliveryMode::every_event(1024);
    /// assert!(matches!(mode, DeliveryMode::EveryEvent { capacity } if capacity.get() == 1024));
    /// assert_eq!(DeliveryMode::every_event(0), DeliveryMode::every_event(1));
    /// ```
    #[must_use]
    pub const fn every_event(capacity: usize) -> Self {
        let capacity = match NonZeroUsize::new(capacity) {
            Some(capacity) => capacity,
            None => NonZeroUsize::MIN,
        };
        Self::EveryEvent { capacity }
    }
}
