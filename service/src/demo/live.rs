//! Collaborators that come, change and go for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use shared_store::{Config, MemoryBackend, Prefix, SharedStore, join};
use tokio::time::sleep;

use super::story::{Act, Story};
use crate::document::Document;
use crate::setup::Failure;
use crate::value::Json;

/// Between two acts.
const STEP: Duration = Duration::from_millis(700);
/// How long the key of a collaborator that crashed stays.
const LEASE_TTL: Duration = Duration::from_secs(5);

/// Where their keys are.
pub(crate) fn prefix() -> Prefix {
    Prefix::new("demo/services").expect("it is a valid prefix")
}

/// Lets collaborators come, change their keys, leave and crash on this kvstore until `stop` ends. Each is a store of its
/// own, and its key is below [`prefix`]. The same seed has them do the same. Those that are there at the end leave.
///
/// # Errors
/// If a store cannot start, write or leave.
pub(crate) async fn live(kvstore: MemoryBackend, seed: u64, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    let mut stores = BTreeMap::new();
    let acting = async {
        for act in Story::new(seed) {
            perform(act, &kvstore, &mut stores).await?;
            sleep(STEP).await;
        }
        Ok(())
    };
    let acted = tokio::select! {
        acted = acting => acted,
        () = stop => Ok(()),
    };
    for store in stores.into_values() {
        store.close().await?;
    }
    acted
}

type Stores = BTreeMap<&'static str, SharedStore<Document<Json>>>;

async fn perform(act: Act, kvstore: &MemoryBackend, stores: &mut Stores) -> Result<(), Failure> {
    match act {
        Act::Come(name, service) => {
            let config = Config::new(prefix()).backend(kvstore.clone()).lease_ttl(LEASE_TTL);
            let store = join(config).await?;
            stores.insert(name, store.clone());
            put(&store, name, &service.to_string()).await
        }
        Act::Change(name, service) => match stores.get(name) {
            Some(store) => put(store, name, &service.to_string()).await,
            None => Ok(()),
        },
        Act::Leave(name) => match stores.remove(name) {
            Some(store) => store.close().await.map_err(Failure::from),
            None => Ok(()),
        },
        Act::Crash(name) => match stores.remove(name) {
            // As after a crash, its key stays until its lease ends.
            Some(store) => store.release().await.map_err(Failure::from),
            None => Ok(()),
        },
    }
}

async fn put(store: &SharedStore<Document<Json>>, name: &str, value: &str) -> Result<(), Failure> {
    let document = Document::from_argument(name, value).map_err(Failure::usage)?;
    store.update_local_key_sync(document).await.map_err(Failure::promise)?;
    Ok(())
}
