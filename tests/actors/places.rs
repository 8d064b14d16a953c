//! Where a store can be joined from, and where it runs.

use std::sync::mpsc;
use std::thread::ThreadId;

use bytes::Bytes;
use shared_store::{Codec, CodecError, KeyName, LeaseId};
use shared_store_core::backend::{Backend, Expect, Write, WriteAction};

use super::owning::stored;
use super::*;

/// What every caller of `join` does with a store.
async fn use_store(backend: &MemoryBackend) {
    let store = join(config(backend)).await.unwrap();
    let written = store.update_local_key_sync(node("a", "1")).await.unwrap();
    store.reader().at_least(written, PATIENCE).await.unwrap();
    assert_eq!(*store.reader().get("a").unwrap(), node("a", "1"));
    store.close().await.unwrap();
    assert_eq!(stored(backend, "a").await, None);
}

#[tokio::main(flavor = "current_thread")]
async fn on_one_thread_of_tokio() {
    use_store(&MemoryBackend::new()).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn on_many_threads_of_tokio() {
    use_store(&MemoryBackend::new()).await;
}

#[test]
fn a_store_is_joined_from_a_main_function_of_tokio() {
    on_one_thread_of_tokio();
    on_many_threads_of_tokio();
}

#[test]
fn a_store_is_joined_from_a_local_set() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        tokio::task::spawn_local(async { use_store(&MemoryBackend::new()).await }).await.unwrap();
    });
}

#[test]
fn a_task_on_any_thread_can_join_a_store() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let joining = tokio::spawn(async {
            let store = join::<Node>(config(&MemoryBackend::new())).await.unwrap();
            store.close().await.unwrap();
        });
        joining.await.unwrap();
    });
}

#[test]
fn stores_of_several_systems_work_beside_each_other() {
    let backend = MemoryBackend::new();
    let (sender, receiver) = mpsc::channel();
    let systems: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let (backend, sender) = (backend.clone(), sender.clone());
            std::thread::spawn(move || {
                actix_rt::System::new().block_on(async move {
                    let store = join(config(&backend)).await.unwrap();
                    store.update_local_key_sync(node(name, "1")).await.unwrap();
                    sender.send(store).unwrap();
                });
            })
        })
        .collect();
    systems.into_iter().for_each(|system| system.join().unwrap());
    let stores: Vec<_> = (0..3).map(|_| receiver.recv().unwrap()).collect();
    // Their systems are gone.
    actix_rt::System::new().block_on(async {
        for store in &stores {
            store.reader().at_least(backend.revision(), PATIENCE).await.unwrap();
            assert_eq!(store.reader().len(), 3);
        }
        for store in &stores {
            store.close().await.unwrap();
        }
    });
}

/// A value that records which thread decodes it, and waits there until the test lets it continue.
#[derive(Debug, Clone)]
struct Placed {
    name: String,
    decoded: Option<ThreadId>,
}

impl Key for Placed {
    type Codec = Here;

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[derive(Debug)]
enum Here {}

/// What decoding a value waits for.
static GATES: Mutex<BTreeMap<&str, mpsc::Receiver<()>>> = Mutex::new(BTreeMap::new());

impl Codec<Placed> for Here {
    const TAG: &'static str = "here";

    fn encode(_: &Placed) -> Result<Bytes, CodecError> {
        Ok("here".into())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Placed, CodecError> {
        let gate = GATES.lock().unwrap().remove(std::str::from_utf8(value).unwrap());
        if let Some(gate) = gate {
            gate.recv_timeout(PATIENCE).map_err(CodecError::new)?;
        }
        Ok(Placed { name: name.to_string(), decoded: Some(std::thread::current().id()) })
    }
}

async fn put(backend: &MemoryBackend, name: &str, value: &'static str) {
    write(backend, name, WriteAction::Put { value: value.into(), lease: LeaseId::NONE }).await;
}

async fn write(backend: &MemoryBackend, name: &str, action: WriteAction) {
    let path = Prefix::new("nodes").unwrap().path(&KeyName::new(name).unwrap());
    backend.write(vec![Write { path, expect: Expect::Any, action }]).await.unwrap();
}

async fn fill(backend: &MemoryBackend, keys: usize) {
    let prefix = Prefix::new("nodes").unwrap();
    for first in (0..keys).step_by(100) {
        let writes = (first..first + 100).map(|n| Write {
            path: prefix.path(&KeyName::new(format!("{n:06}")).unwrap()),
            expect: Expect::Any,
            action: WriteAction::Put { value: "here".into(), lease: LeaseId::NONE },
        });
        backend.write(writes.collect()).await.unwrap();
    }
}

fn decoded_by(store: &SharedStore<Placed>) -> ThreadId {
    store.reader().get("a").unwrap().decoded.unwrap()
}

#[test]
fn stores_share_a_thread_that_is_given_to_them_and_have_their_own_otherwise() {
    actix_rt::System::new().block_on(async {
        let backend = MemoryBackend::new();
        put(&backend, "a", "here").await;
        let shared = StoreThread::new().unwrap();
        let first = join::<Placed>(config(&backend)).on(shared.clone()).await.unwrap();
        let second = join::<Placed>(config(&backend)).on(shared.clone()).await.unwrap();
        let alone = join::<Placed>(config(&backend)).await.unwrap();
        assert_eq!(decoded_by(&first), decoded_by(&second));
        assert_ne!(decoded_by(&first), decoded_by(&alone));
        assert!([&first, &alone].iter().all(|store| decoded_by(store) != std::thread::current().id()));
        // The thread goes on for the others when one leaves and the handle is dropped.
        drop(shared);
        first.close().await.unwrap();
        let written = second.update_local_key_sync(Placed { name: "b".into(), decoded: None }).await.unwrap();
        second.reader().at_least(written, PATIENCE).await.unwrap();
        second.close().await.unwrap();
    });
}

/// The last of 100,000 values is decoded only after the arbiter of the application has handled messages: if the store
/// were decoding there, both would wait for each other.
#[test]
fn an_application_handles_messages_while_its_store_decodes_a_large_list() {
    const KEYS: usize = 100_000;
    actix_rt::System::new().block_on(async {
        let backend = MemoryBackend::new();
        fill(&backend, KEYS).await;
        put(&backend, "z", "last of a list").await;
        let (go_on, gate) = mpsc::channel();
        GATES.lock().unwrap().insert("last of a list", gate);
        let ticker = Shadow::default().actor();
        let ticking = actix_rt::spawn(async move {
            for entries in 0..1000 {
                ticker.send(Synced { revision: Revision::ZERO, entries }).await.unwrap();
            }
            go_on.send(()).unwrap();
        });
        let store = join::<Placed>(config(&backend)).await.unwrap();
        ticking.await.unwrap();
        assert_eq!((store.reader().len(), store.status().await.unwrap().undecodable), (KEYS + 1, 0));
        assert_ne!(store.reader().get("z").unwrap().decoded, Some(std::thread::current().id()));
        store.close().await.unwrap();
    });
}

#[test]
fn a_thread_of_stores_goes_on_while_one_of_them_decodes_a_page() {
    const KEYS: usize = 5000;
    actix_rt::System::new().block_on(async {
        let (backend, shared) = (MemoryBackend::new(), StoreThread::new().unwrap());
        fill(&backend, KEYS).await;
        put(&backend, "000700", "in a page").await;
        let (go_on, gate) = mpsc::channel();
        GATES.lock().unwrap().insert("in a page", gate);
        let others = Config::new(Prefix::new("others").unwrap()).backend(backend.clone());
        let other = join::<Node>(others).on(shared.clone()).await.unwrap();
        let joining = actix_rt::spawn(join::<Placed>(config(&backend)).on(shared).into_future());
        while GATES.lock().unwrap().contains_key("in a page") {
            tokio::task::yield_now().await;
        }
        // It is being decoded, and ends only when this is done.
        other.update_local_key_sync(node("a", "1")).await.unwrap();
        go_on.send(()).unwrap();
        let store = joining.await.unwrap().unwrap();
        assert_eq!((store.reader().len(), store.status().await.unwrap().undecodable), (KEYS, 0));
        store.close().await.unwrap();
        other.close().await.unwrap();
    });
}

/// A value that writes down which thread has freed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Heavy {
    name: String,
}

impl Key for Heavy {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

static FREED: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

impl Drop for Heavy {
    fn drop(&mut self) {
        FREED.lock().unwrap().push(std::thread::current().id());
    }
}

struct Counting(tokio::sync::mpsc::UnboundedSender<usize>);

impl Actor for Counting {
    type Context = Context<Self>;
}

impl Handler<Changes<Heavy>> for Counting {
    type Result = ();

    fn handle(&mut self, Changes(changes): Changes<Heavy>, _: &mut Self::Context) {
        self.0.send(changes.len()).unwrap();
    }
}

#[test]
fn what_an_observer_was_told_is_not_freed_on_its_thread() {
    actix_rt::System::new().block_on(async {
        let backend = MemoryBackend::new();
        put(&backend, "a", r#"{"name":"a"}"#).await;
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let counting = Counting(sender).start();
        let store = join::<Heavy>(config(&backend)).observer(Observer::batched(&counting)).await.unwrap();
        assert_eq!(told.recv().await, Some(1));
        write(&backend, "a", WriteAction::Delete).await;
        assert_eq!(told.recv().await, Some(1));
        // The observer has answered by then.
        counting.send(Changes(Vec::new().into())).await.unwrap();
        store.close().await.unwrap();
        let freed = FREED.lock().unwrap();
        assert!(!freed.is_empty());
        assert!(!freed.contains(&std::thread::current().id()));
    });
}
