//! What the state says when the first list is complete and its watch cannot be opened.

use shared_store::{BackendError, State};
use shared_store_core::backend::faulty::{Faulty, Op, When};

use super::*;

/// A store that has joined over a backend that answers lists and opens no watch.
async fn joined_without_a_watch(set: impl FnOnce(&Faulty)) -> (Faulty, SharedStore<Node>) {
    let memory = MemoryBackend::new();
    let faulty = Faulty::new(memory.clone());
    set(&faulty);
    let shadow = Shadow::default();
    let config = config(&memory).backend(faulty.clone());
    let store =
        join::<Node>(config).observer(shadow.observer()).on(shared_store::StoreThread::current()).await.unwrap();
    assert_eq!(shadow.log(), ["synced 0"], "the list was complete");
    (faulty, store)
}

async fn synced(store: &SharedStore<Node>) {
    let mut state = store.reader().state();
    while state != State::Synced {
        state = store.reader().state_changed(&state).await;
    }
}

#[test]
fn after_join_the_state_is_stale_with_its_cause_while_the_watch_cannot_be_opened() {
    paused(async {
        let down = || BackendError::unreachable("down");
        let (faulty, store) = joined_without_a_watch(|faulty| {
            faulty.fail(Op::Watch, usize::MAX, When::Before, down());
        })
        .await;
        for _ in 0..20 {
            assert!(matches!(store.reader().state(), State::Stale { .. }), "{}", store.reader().state());
            pass(Duration::from_secs(30)).await;
            assert_eq!(store.reader().state().cause().map(|cause| &**cause), Some("down"));
        }
        faulty.heal();
        synced(&store).await;
    });
}
