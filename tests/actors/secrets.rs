//! The content of a value is in no log, status or error, whatever goes wrong with it.

use std::fmt;

use bytes::Bytes;
use shared_store::{
    BackendError, Codec, CodecError, Conflict, ConflictPolicy, Filter, Index, KeyName, LeaseId, StateChanged,
    Undecodable, publish,
};
use shared_store_core::backend::faulty::{Faulty, Op, When};
use shared_store_core::backend::{Backend, WriteAction};

use super::logging::Log;
use super::owning::meddle;
use super::*;

const SECRET: &str = "s3cr3t-7b1f";
const MINUTE: Duration = Duration::from_secs(60);

/// A key whose own code quotes its value wherever it can.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: String,
    #[serde(serialize_with = "refuse_some")]
    password: String,
    port: u16,
}

fn login(name: &str, password: &str) -> Login {
    Login { name: name.to_owned(), password: format!("{password} {SECRET}"), port: 1 }
}

fn json(login: &Login) -> Bytes {
    serde_json::to_vec(login).unwrap().into()
}

fn refuse_some<S: serde::Serializer>(password: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if password.starts_with("refuse") {
        return Err(serde::ser::Error::custom(password));
    }
    serializer.serialize_str(password)
}

/// Panics without the panic hook, which belongs to the application and would print the message.
fn panic_with(value: &impl fmt::Debug) -> ! {
    std::panic::resume_unwind(Box::new(format!("cannot handle {value:?}")))
}

impl Key for Login {
    type Codec = Self;

    fn name(&self) -> String {
        if self.password.starts_with("nameless") { panic_with(self) } else { self.name.clone() }
    }
}

impl Codec<Login> for Login {
    const TAG: &'static str = "login";

    fn encode(login: &Login) -> Result<Bytes, CodecError> {
        if login.password.starts_with("panic") { panic_with(login) } else { Json::encode(login) }
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Login, CodecError> {
        if value.starts_with(b"panic") { panic_with(value) } else { Json::decode(name, value) }
    }
}

/// All text a store gives out, except its values.
#[derive(Debug, Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

impl Said {
    fn add(&self, what: &(impl fmt::Debug + ?Sized)) {
        self.0.lock().unwrap().push(format!("{what:?}"));
    }

    fn error(&self, error: &(impl std::error::Error + ?Sized)) {
        self.0.lock().unwrap().push(error.to_string());
        self.add(&error);
    }
}

impl Actor for Said {
    type Context = Context<Self>;
}

impl Handler<Update<Login>> for Said {
    type Result = ();

    fn handle(&mut self, _: Update<Login>, _: &mut Self::Context) {}
}

impl Handler<Delete<Login>> for Said {
    type Result = ();

    fn handle(&mut self, _: Delete<Login>, _: &mut Self::Context) {}
}

impl Handler<Undecodable> for Said {
    type Result = ();

    fn handle(&mut self, undecodable: Undecodable, _: &mut Self::Context) {
        self.error(&undecodable.cause);
        self.add(&undecodable);
    }
}

impl Handler<Conflict> for Said {
    type Result = ();

    fn handle(&mut self, conflict: Conflict, _: &mut Self::Context) {
        self.add(&conflict);
    }
}

impl Handler<StateChanged> for Said {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        self.add(&state.to_string());
        self.add(&state);
    }
}

async fn put(backend: &MemoryBackend, name: &str, value: impl Into<Bytes>) -> Revision {
    meddle(backend, name, WriteAction::Put { value: value.into(), lease: LeaseId::NONE }).await
}

#[test]
fn a_secret_value_is_in_no_log_status_or_error() {
    paused(async {
        let (log, _logging) = Log::from(tracing::Level::DEBUG);
        let (said, memory) = (Said::default(), MemoryBackend::new());
        let (backend, addr) = (Faulty::new(memory.clone()), said.clone().start());
        let observer = Observer::new(&addr)
            .filter(Filter::new().keys(|_, login: &Login| login.port != 2 || panic_with(login)))
            .undecodable(addr.clone().recipient())
            .conflict(addr.clone().recipient());
        let store = join::<Login>(config(&memory).backend(backend.clone()).conflict(ConflictPolicy::Yield))
            .observer(observer)
            .state_observer(addr.clone().recipient())
            .index(Index::new("port", |login: &Login| if login.port == 2 { panic_with(login) } else { vec![] }))
            .on(StoreThread::current())
            .await
            .unwrap();

        // Values at which the codec, an index and a filter fail or panic.
        put(&memory, "type", format!("{{\"name\":\"a\",\"password\":\"x\",\"port\":\"{SECRET}\"}}")).await;
        put(&memory, "field", format!("{{\"{SECRET}\":1}}")).await;
        put(&memory, "syntax", SECRET).await;
        put(&memory, "panic", format!("panic {SECRET}")).await;
        put(&memory, "index", json(&Login { port: 2, ..login("index", "x") })).await;

        // Own keys that cannot be put, that the kvstore refuses, and that another owner has.
        for password in ["refuse", "panic", "nameless"] {
            said.error(&store.update_local_key(login("own", password)).await.unwrap_err());
        }
        backend.fail(Op::Write, 2, When::Before, BackendError::rejected("request is too large"));
        said.error(&store.update_local_key_sync(login("refused", "x")).await.unwrap_err());
        store.update_local_key(login("aside", "x")).await.unwrap();
        let lease = memory.grant(LeaseId::NONE, MINUTE * 60).await.unwrap().lease;
        let value = json(&login("taken", "theirs"));
        meddle(&memory, "taken", WriteAction::Put { value, lease }).await;
        said.error(&store.update_local_key_sync(login("taken", "ours")).await.unwrap_err());
        store.update_local_key(login("taken", "ours")).await.unwrap();
        pass(MINUTE).await;
        let status = store.status().await.unwrap();
        assert_eq!((status.undecodable, status.set_aside.len()), (4, 1), "{status:?}");
        said.add(&status);

        // A value that was lost.
        backend.lose_events();
        put(&memory, "lost", json(&login("lost", "x"))).await;
        pass(MINUTE).await;
        backend.heal();
        let last = put(&memory, "seen", json(&login("seen", "x"))).await;
        store.reader().at_least(last, PATIENCE).await.unwrap();
        let report = store.audit(MINUTE).await.unwrap();
        assert_eq!(report.unexplained().count(), 1, "{report:?}");
        said.add(&report);
        report.differences.iter().for_each(|found| said.add(&found.kind.to_string()));

        let publisher = publish::<Login>(config(&memory)).on(StoreThread::current()).start().unwrap();
        said.error(&publisher.update_key(login("published", "panic")).await.unwrap_err());
        publisher.update_key(login("published", "x")).await.unwrap();
        said.add(&publisher.synced().await.unwrap());
        publisher.close().await.unwrap();

        backend.fail(Op::Revoke, usize::MAX, When::Before, BackendError::unreachable("down"));
        backend.fail(Op::Write, usize::MAX, When::Before, BackendError::unreachable("down"));
        if let Err(error) = store.close().await {
            said.error(&error);
        }

        let log = log.lines().join("\n");
        for told in [
            "value cannot be decoded",
            "decoding panicked",
            "index function panicked",
            "the kvstore refuses an own key",
            "another owner, or another process with the same owner name, writes an own key",
            "audit: missing",
        ] {
            assert!(log.contains(told), "{told:?} is logged: {log}");
        }
        let mut said = said.0.lock().unwrap().clone();
        for told in ["Undecodable", "Conflict {", "name or codec of ", "the type refuses to be written", "Missing"] {
            assert!(said.iter().any(|said| said.contains(told)), "{told:?} is said: {said:#?}");
        }
        said.push(log);
        for said in said {
            assert!(!said.contains(SECRET), "{said}");
        }
    });
}
