//! What every backend must do, one case a behaviour: the tests of the [`Backend`] contract.
//!
//! Write a [`Harness`] for a backend and let [`conformance!`](crate::conformance) make a test of every case:
//!
//! ```no_run
//! # // no_run: the tests the macro makes exist only under `cargo test`.
//! mod memory {
//!     shared_store_core::conformance!(shared_store_core::MemoryBackend::new());
//! }
//! ```
//!
//! A case works below a prefix of its own, and assumes nothing about the revision at which it starts or about what
//! others write elsewhere meanwhile: all cases can run at once on one kvstore, except those of [`compaction`].

pub mod compaction;
pub mod leases;
pub mod lists;
mod space;
pub mod watches;
pub mod writes;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::space::{Follower, Space, delete, put};
use super::Backend;
use super::memory::MemoryBackend;
use crate::kv::Revision;

/// A kvstore under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A collaborator on the kvstore, a new one with each call.
    fn backend(&self) -> Arc<dyn Backend>;

    /// Compacts the kvstore up to `revision`, and answers when that is done.
    async fn compact(&self, revision: Revision);
}

#[async_trait]
impl Harness for MemoryBackend {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    /// # Panics
    /// If there is no such revision.
    async fn compact(&self, revision: Revision) {
        MemoryBackend::compact(self, revision).expect("the case names a revision it wrote");
    }
}

/// Makes a `#[tokio::test]` of every case of [`backend::conformance`](crate::backend::conformance).
///
/// The expression makes the [`Harness`](crate::backend::conformance::Harness); it is evaluated once per test, on the
/// test's own runtime, and may `.await`. Cases that compact take the second expression, if there is one: the kvstore it
/// gives must not be used by any other test at the same time.
///
/// The caller needs tokio with `macros` and `rt`.
#[macro_export]
macro_rules! conformance {
    ($shared:expr) => {
        $crate::conformance!($shared, compacting: $shared);
    };
    ($shared:expr, compacting: $alone:expr) => {
        $crate::conformance! { @cases $shared;
            lists: what_was_put_is_listed_with_its_revision,
            lists: an_empty_value_is_a_value,
            lists: keys_come_in_path_order_whatever_their_bytes,
            lists: an_empty_range_lists_nothing,
            lists: a_sibling_prefix_is_not_in_the_range,
            lists: a_range_of_one_path_holds_just_that_path,
            lists: a_limit_cuts_the_page_and_says_how_many_there_are,
            lists: pages_at_a_pinned_revision_show_one_state_while_others_write,
            lists: a_pinned_list_shows_deleted_and_overwritten_keys_as_they_were,
            lists: only_keys_written_since_a_revision,
            lists: keys_only_leaves_the_values_out,
            lists: a_revision_in_the_future_is_refused,
            lists: a_second_collaborator_sees_what_was_written,
            writes: all_writes_of_a_transaction_share_one_revision,
            writes: a_refused_transaction_applies_nothing_and_says_what_is_there,
            writes: a_put_keeps_the_create_revision_until_the_key_is_deleted,
            writes: deleting_an_absent_key_is_committed_and_changes_nothing,
            writes: an_absent_key_can_be_expected,
            writes: a_revision_can_be_expected,
            writes: a_delete_can_expect_a_revision,
            writes: a_delete_can_expect_a_lease,
            writes: one_of_many_concurrent_creators_wins,
            writes: a_value_that_is_too_large_is_rejected,
            writes: as_many_writes_as_allowed_are_one_transaction,
            writes: one_write_more_than_allowed_is_rejected,
            writes: a_path_twice_in_a_transaction_is_rejected,
            watches: a_watch_from_a_past_revision_sees_every_event_once_in_order,
            watches: a_watch_from_the_next_revision_sees_only_what_comes,
            watches: a_watch_from_a_future_revision_is_silent_until_then,
            watches: a_watch_sees_only_its_range,
            watches: a_delete_event_carries_its_revision,
            watches: a_long_catch_up_is_complete_and_resumable_after_each_response,
            watches: events_of_one_revision_come_together_or_are_flagged,
            watches: two_watches_see_the_same,
            watches: a_dropped_next_loses_nothing,
            watches: a_dropped_watch_can_be_resumed_by_another,
            watches: progress_that_is_asked_for_comes_after_all_earlier_events,
            leases: a_key_under_a_lease_says_so,
            leases: a_ttl_that_is_too_large_is_rejected,
            leases: a_lease_has_the_id_the_caller_chose,
            leases: an_id_that_is_taken_is_refused_and_nothing_changes,
            leases: an_id_can_be_chosen_again_after_its_lease_has_ended,
            leases: without_a_chosen_id_every_lease_gets_a_fresh_one,
            leases: revoking_a_lease_deletes_its_keys_at_one_revision,
            leases: revoking_an_unknown_lease_is_no_error,
            leases: a_put_on_an_unknown_lease_fails_and_applies_nothing,
            leases: a_keep_alive_answers_the_ttl,
            leases: a_keep_alive_of_a_gone_lease_says_so,
            leases: a_lease_tells_how_long_it_has_left,
            leases: a_put_under_another_lease_detaches_the_key_from_the_first,
            leases: a_put_without_a_lease_detaches_the_key,
        }
        $crate::conformance! { @cases $alone;
            compaction: a_list_at_a_compacted_revision_says_so,
            compaction: a_list_at_the_oldest_kept_revision_works,
            compaction: a_watch_from_a_compacted_revision_says_so,
            compaction: a_watch_that_has_caught_up_survives_compaction,
        }
    };
    (@cases $harness:expr; $($module:ident: $case:ident,)*) => {
        $(
            #[::tokio::test]
            async fn $case() {
                $crate::backend::conformance::$module::$case(&$harness).await;
            }
        )*
    };
}
