//! Observers are told what went wrong with keys, and when it is right again.

use shared_store::{BackendError, Damage, Filter, Healed, Repaired, SetAside, Undecodable};
use shared_store_core::LeaseId;
use shared_store_core::backend::WriteAction;
use shared_store_core::backend::faulty::{Faulty, Op, When};

use super::owning::{meddle, stored};
use super::*;

/// Writes down the notices it is told, and no changes.
#[derive(Debug, Clone, Default)]
struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// The observer, and its actor, which the test keeps.
    fn observer(&self) -> (Observer<Node>, Addr<Self>) {
        let addr = self.clone().start();
        let observer = Observer::batched(&addr)
            .undecodable(addr.clone().recipient())
            .healed(addr.clone().recipient())
            .repaired(addr.clone().recipient())
            .set_aside(addr.clone().recipient());
        (observer, addr)
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Actor for Notices {
    type Context = Context<Self>;
}

impl Handler<Changes<Node>> for Notices {
    type Result = ();

    fn handle(&mut self, _: Changes<Node>, _: &mut Self::Context) {}
}

impl Handler<Undecodable> for Notices {
    type Result = ();

    fn handle(&mut self, undecodable: Undecodable, _: &mut Self::Context) {
        self.note(format!("undecodable {} @{}", undecodable.name, undecodable.revision));
    }
}

impl Handler<Healed> for Notices {
    type Result = ();

    fn handle(&mut self, healed: Healed, _: &mut Self::Context) {
        self.note(format!("healed {} @{}", healed.name, healed.revision));
    }
}

impl Handler<Repaired> for Notices {
    type Result = ();

    fn handle(&mut self, Repaired { name, damage, revision }: Repaired, _: &mut Self::Context) {
        self.note(format!("repaired {name} @{revision}, {damage}"));
    }
}

impl Handler<SetAside> for Notices {
    type Result = ();

    fn handle(&mut self, SetAside { name, cause }: SetAside, _: &mut Self::Context) {
        self.note(format!("set aside {name}: {cause:?}"));
    }
}

/// Waits until the key is put after this revision, and returns the revision of that put.
async fn back(backend: &MemoryBackend, name: &str, after: Revision) -> Revision {
    loop {
        match stored(backend, name).await {
            Some(kv) if kv.mod_revision > after => return kv.mod_revision,
            Some(_) | None => pass(Duration::from_millis(10)).await,
        }
    }
}

fn put(value: &'static str) -> WriteAction {
    WriteAction::Put { value: value.into(), lease: LeaseId::NONE }
}

#[test]
fn an_observer_is_told_each_repair_of_an_own_key_and_what_had_been_done_to_it() {
    paused(async {
        let (backend, notices) = (MemoryBackend::new(), Notices::default());
        let (observer, _kept) = notices.observer();
        let (elsewhere, unconcerned) = (Notices::default(), Filter::new().prefix("b"));
        let (other, _kept_too) = elsewhere.observer();
        let joining = join(config(&backend)).observer(observer).observer(other.filter(unconcerned));
        let store = joining.on(StoreThread::current()).await.unwrap();
        settled(&store, store.update_local_key_sync(node("a", "1")).await.unwrap()).await;

        let deleted = back(&backend, "a", meddle(&backend, "a", WriteAction::Delete).await).await;
        settled(&store, deleted).await;
        assert_eq!(notices.told(), [format!("repaired a @{deleted}, {}", Damage::Deleted)]);

        let bad = meddle(&backend, "a", put("no node")).await;
        let right = back(&backend, "a", bad).await;
        settled(&store, right).await;
        let mut told = notices.told();
        // `Healed` follows from the watch, `Repaired` from the answer to the write: their order is open.
        told.sort_unstable();
        let repaired = format!("repaired a @{right}, {}", Damage::Overwritten);
        assert_eq!(told, [format!("healed a @{right}"), repaired, format!("undecodable a @{bad}")]);
        let status = store.status().await.unwrap();
        assert_eq!((status.repairs, status.healed, elsewhere.told()), (2, 1, vec![]));
    });
}

#[test]
fn an_observer_is_told_when_a_key_of_others_can_be_decoded_again_or_is_gone() {
    paused(async {
        let (backend, notices) = (MemoryBackend::new(), Notices::default());
        let (observer, _kept) = notices.observer();
        let store = join(config(&backend)).observer(observer).on(StoreThread::current()).await.unwrap();
        meddle(&backend, "a", put("bad")).await;
        settled(&store, meddle(&backend, "b", put("bad")).await).await;
        notices.told();
        let good = meddle(&backend, "a", put(r#"{"name":"a","ip":"1"}"#)).await;
        let gone = meddle(&backend, "b", WriteAction::Delete).await;
        settled(&store, gone).await;
        assert_eq!(notices.told(), [format!("healed a @{good}"), format!("healed b @{gone}")]);
        let status = store.status().await.unwrap();
        assert_eq!((status.undecodable, status.healed, status.repairs), (0, 2, 0));
    });
}

#[test]
fn an_observer_is_told_which_own_key_the_kvstore_refuses_why_and_when_it_accepts_it() {
    paused(async {
        let (memory, notices) = (MemoryBackend::new(), Notices::default());
        let backend = Faulty::new(memory.clone());
        let (observer, _kept) = notices.observer();
        let joining = join(config(&memory).backend(backend.clone())).observer(observer);
        let store = joining.on(StoreThread::current()).await.unwrap();
        backend.fail(Op::Write, 2, When::Before, BackendError::forbidden("no role allows it"));
        store.update_local_key(node("a", "1")).await.unwrap();
        pass(Duration::from_secs(450)).await;
        assert_eq!(notices.told(), [r#"set aside a: Some("no role allows it")"#], "once, though it was tried twice");
        let late = Notices::default();
        let (observer, _kept_too) = late.observer();
        store.subscribe(observer).await.unwrap();
        let written = back(&memory, "a", Revision::ZERO).await;
        settled(&store, written).await;
        assert_eq!(notices.told(), ["set aside a: None"]);
        assert_eq!(late.told(), [r#"set aside a: Some("no role allows it")"#, "set aside a: None"]);
        assert_eq!(store.status().await.unwrap().repairs, 0);
    });
}
