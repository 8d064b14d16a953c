//! What an application writes: with one import path, and with the types it has at hand.

use shared_store::backend::{Expect, Write, WriteAction, WriteOutcome};
use shared_store::{
    Backend, Bytes, Closed, Codec, CodecError, KeyError, KeyName, KeyNameError, LeaseId, NameCheck, OwnEvent,
    StoreError, WriteError, publish,
};

use super::*;

/// A codec of one's own, with nothing from another crate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain(String, String);

impl Key for Plain {
    type Codec = Self;

    fn name(&self) -> String {
        self.0.clone()
    }
}

impl Codec<Self> for Plain {
    const TAG: &'static str = "plain";

    fn encode(key: &Self) -> Result<Bytes, CodecError> {
        Ok(Bytes::from(key.1.clone()))
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Self, CodecError> {
        let value = std::str::from_utf8(value).map_err(CodecError::new)?;
        Ok(Self(name.to_string(), value.to_owned()))
    }
}

fn plain(backend: impl Backend) -> Config {
    Config::new(Prefix::new("nodes").unwrap()).backend(backend).seed(1)
}

#[test]
fn a_backend_in_an_arc_is_a_backend_typed_or_not() {
    paused(async {
        let kvstore = Arc::new(MemoryBackend::new());
        let anything: Arc<dyn Backend> = Arc::<MemoryBackend>::clone(&kvstore);
        let one = join::<Plain>(plain(Arc::clone(&kvstore))).on(StoreThread::current()).await.unwrap();
        let other = join::<Plain>(plain(Arc::clone(&anything))).on(StoreThread::current()).await.unwrap();
        let written = one.update_local_key_sync(Plain("a".into(), "1".into())).await.unwrap();
        other.reader().at_least(written, PATIENCE).await.unwrap();
        assert_eq!(other.reader().get("a").unwrap().1, "1");
        other.detach().await.unwrap();
        other.attach(anything, Prefix::new("nodes").unwrap()).await.unwrap();
        one.close().await.unwrap();
    });
}

#[test]
fn names_are_given_as_any_text_and_an_empty_one_is_an_error_before_anything_is_done() {
    paused(async {
        let kvstore = MemoryBackend::new();
        let store = join::<Plain>(plain(kvstore.clone())).on(StoreThread::current()).await.unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            store.update_local_key_sync(Plain(name.into(), "1".into())).await.unwrap();
        }
        store.delete_local_key("a").await.unwrap();
        store.delete_local_key(String::from("b")).await.unwrap();
        store.delete_local_key(&KeyName::new("c").unwrap()).await.unwrap();
        let empty = Err(StoreError::Key(KeyError::Name(KeyNameError::Empty)));
        assert_eq!(store.delete_local_keys(["d", ""]).await, empty);
        let gone = store.delete_local_keys([KeyName::new("d").unwrap()]).await.unwrap();
        store.reader().at_least(gone, PATIENCE).await.unwrap();
        let name = KeyName::new("e").unwrap();
        assert_eq!((store.reader().len(), store.reader().get(&name).unwrap().1.as_str()), (1, "1"));
        let value = Bytes::from_static(b"\xff");
        let path = Prefix::new("nodes").unwrap().path(&KeyName::new("x").unwrap());
        let action = WriteAction::Put { value: value.clone(), lease: LeaseId::NONE };
        let write = kvstore.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap();
        let WriteOutcome::Committed { revision } = write else { panic!("it expects nothing") };
        store.reader().at_least(revision, PATIENCE).await.unwrap();
        assert_eq!((store.quarantined("x").await, store.quarantined("e").await), (Ok(Some(value)), Ok(None)));
    });
}

#[test]
fn a_publisher_takes_names_as_any_text_too() {
    paused(async {
        let publisher = publish::<Plain>(plain(MemoryBackend::new())).on(StoreThread::current()).start().unwrap();
        let keys = ["a", "b", "c"].map(|name| Plain(name.into(), "1".into()));
        publisher.update_keys(keys.to_vec()).await.unwrap();
        publisher.synced().await.unwrap();
        publisher.delete_key("a").await.unwrap();
        publisher.delete_keys(["b"]).await.unwrap();
        assert_eq!(publisher.status().await.unwrap().own, 1);
    });
}

#[test]
fn a_value_that_has_the_name_of_another_key_is_not_taken_unless_that_is_wanted() {
    paused(async {
        let kvstore = MemoryBackend::new();
        let strict = joined(&kvstore).await;
        let lax = config(&kvstore).name_check(NameCheck::Ignore);
        let lax = join::<Node>(lax).on(StoreThread::current()).await.unwrap();
        let value = serde_json::to_vec(&node("b", "1")).unwrap().into();
        let put = super::owning::meddle(&kvstore, "a", WriteAction::Put { value, lease: LeaseId::NONE }).await;
        settled(&strict, put).await;
        settled(&lax, put).await;
        assert_eq!((strict.reader().len(), strict.status().await.unwrap().undecodable), (0, 1));
        assert_eq!((lax.reader().get("a").unwrap().name.as_str(), lax.status().await.unwrap().undecodable), ("b", 0));
        // Its owner takes the name back, and it heals.
        strict.update_local_key_until(node("a", "2"), shared_store::Until::Shown, PATIENCE).await.unwrap();
        assert_eq!((strict.reader().len(), strict.status().await.unwrap().undecodable), (1, 0));
    });
}

/// These are named by what a store answers and tells.
#[test]
fn what_answers_and_events_are_made_of_has_the_same_import_path() {
    let error: StoreError = WriteError::Superseded.into();
    assert_eq!(error.to_string(), WriteError::Superseded.to_string());
    assert_eq!(Closed.to_string(), "store is closed");
    assert_ne!(OwnEvent::HistoryChanged, OwnEvent::Lost { name: KeyName::new("a").unwrap() });
}
