//! Where stores over etcd run.

use bytes::Bytes;
use shared_store::{Codec, CodecError, Config, Key, KeyName, StoreThread, join};
use shared_store_core::Prefix;
use shared_store_core::backend::etcd::served::ServedEtcd;

use super::impatient;
use crate::actors::PATIENCE;

/// A value that knows which thread decoded it.
#[derive(Debug, Clone)]
struct Decoded {
    name: String,
    thread: Option<String>,
}

impl Key for Decoded {
    type Codec = Self;

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Codec<Self> for Decoded {
    const TAG: &'static str = "decoded";

    fn encode(_: &Self) -> Result<Bytes, CodecError> {
        Ok(Bytes::from_static(b"1"))
    }

    fn decode(name: &KeyName, _: &Bytes) -> Result<Self, CodecError> {
        Ok(Self { name: name.to_string(), thread: std::thread::current().name().map(str::to_owned) })
    }
}

#[tokio::test]
async fn stores_run_on_the_thread_of_their_backends_watches_unless_they_are_told_otherwise() {
    let served = ServedEtcd::start().unwrap();
    let backend = impatient(&served);
    let config = || Config::new(Prefix::new("nodes").unwrap()).backend(backend.clone());
    let writer = join::<Decoded>(config()).await.unwrap();
    let reader = join::<Decoded>(config()).await.unwrap();
    let elsewhere = join::<Decoded>(config()).on(StoreThread::new().unwrap()).await.unwrap();
    let written = writer.update_local_key_sync(Decoded { name: "a".to_owned(), thread: None }).await.unwrap();
    let threads = [(&writer, "shared-store-live"), (&reader, "shared-store-live"), (&elsewhere, "shared-store")];
    for (store, thread) in threads {
        store.reader().at_least(written, PATIENCE).await.unwrap();
        assert_eq!(store.reader().get("a").unwrap().thread.as_deref(), Some(thread));
        store.release().await.unwrap();
    }
}

/// The thread ends with the last of its users, and not with the backend.
#[tokio::test]
async fn a_store_outlives_its_backend_when_it_is_attached_to_another() {
    let (before, after) = (ServedEtcd::start().unwrap(), ServedEtcd::start().unwrap());
    let prefix = Prefix::new("nodes").unwrap();
    let store = join::<Decoded>(Config::new(prefix.clone()).backend(impatient(&before))).await.unwrap();
    store.detach().await.unwrap();
    store.attach(impatient(&after), prefix.clone()).await.unwrap();
    drop(before);
    let writer = join::<Decoded>(Config::new(prefix).backend(impatient(&after))).await.unwrap();
    let written = writer.update_local_key_sync(Decoded { name: "a".to_owned(), thread: None }).await.unwrap();
    store.reader().at_least(written, PATIENCE).await.unwrap();
    assert!(store.reader().get("a").is_some());
    writer.close().await.unwrap();
    store.close().await.unwrap();
}
