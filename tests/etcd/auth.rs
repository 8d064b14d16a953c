//! Users, tokens that expire, and permissions that are revoked and granted.

use std::io::{Seek, Write as _};

use shared_store_core::BackendError;
use shared_store_core::backend::{WatchRequest, WatchResponse, WatchStream};

use super::backend::{everything, from_the_start, put};
use super::*;

/// How etcd knows who has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    /// It keeps the tokens. They are good for one second.
    Simple,
    /// Tokens are signed. They are good for two seconds, and only until users or roles change.
    Signed,
}

/// An etcd with authentication on: `root`, and `app` which may read and write the prefix. Both have the password
/// `secret`.
pub(super) struct Guarded {
    server: EtcdServer,
    _key: tempfile::TempDir,
}

impl Guarded {
    pub(super) fn start(version: Version, tokens: Tokens) -> Self {
        let guarded = Self::start_unguarded(version, tokens);
        guarded.enable();
        guarded
    }

    /// With these users, but with authentication off.
    pub(super) fn start_unguarded(version: Version, tokens: Tokens) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let flags = match tokens {
            Tokens::Simple => "--auth-token-ttl=1".to_owned(),
            Tokens::Signed => format!("--auth-token=jwt,priv-key={},sign-method=HS256,ttl=2s", key.display()),
        };
        let server = EtcdServer::start_with(version, &[&flags]);
        for command in [
            "user add root:secret",
            "user grant-role root root",
            "user add app:secret",
            "role add app",
            "role grant-permission app readwrite --prefix=true tests/",
            "user grant-role app app",
        ] {
            server.etcdctl(&command.split(' ').collect::<Vec<_>>());
        }
        Self { server, _key: directory }
    }

    pub(super) fn enable(&self) {
        self.server.etcdctl(&["auth", "enable"]);
    }

    pub(super) fn disable(&self) {
        self.etcdctl("auth disable");
    }

    /// As a power failure would.
    pub(super) fn restart(&mut self) {
        self.server.kill();
        self.server.restart();
    }

    /// Runs etcd's command line as root.
    fn etcdctl(&self, command: &str) {
        let arguments = ["--user", "root:secret"].into_iter().chain(command.split(' '));
        self.server.etcdctl(&arguments.collect::<Vec<_>>());
    }

    /// Changes the password of `app`, which voids its tokens even if it is the same.
    fn change_password(&self, password: &str) {
        let mut input = tempfile::tempfile().unwrap();
        writeln!(input, "{password}").unwrap();
        input.rewind().unwrap();
        let arguments = ["--user", "root:secret", "user", "passwd", "app", "--interactive=false"];
        self.server.etcdctl_with(&arguments, input.into());
    }

    pub(super) fn backend(&self, user: &str) -> EtcdBackend {
        EtcdBackend::new(EtcdConfig::new([self.server.endpoint()]).user(user, "secret")).unwrap()
    }

    fn denied(&self) -> BackendError {
        let endpoint = self.server.endpoint();
        BackendError::forbidden(format_args!(
            "etcd at {endpoint}: etcdserver: permission denied: the user needs a role that allows this"
        ))
    }
}

async fn sees_a_change(watch: &mut dyn WatchStream) {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(next, Ok(WatchResponse::Events(_))), "{next:?}");
}

async fn a_password_that_is_missing_or_wrong_is_told_in_words_and_the_right_one_works(version: Version) {
    let guarded = Guarded::start(version, Tokens::Simple);
    let config = || EtcdConfig::new([guarded.server.endpoint()]);
    for (config, words) in [
        (config(), "it asks for a user and a password"),
        (config().user("app", "wrong"), "etcdserver: authentication failed, invalid user ID or password"),
        (config().user("nobody", "secret"), "etcdserver: authentication failed, invalid user ID or password"),
    ] {
        let error = EtcdBackend::new(config).unwrap().write(put(b"1")).await.unwrap_err();
        let expected = format!("etcd at {}: {words}", guarded.server.endpoint());
        assert_eq!(error, BackendError::misconfigured(expected));
    }
    let backend = guarded.backend("app");
    backend.write(put(b"1")).await.unwrap();
    sees_a_change(&mut *backend.watch(from_the_start()).await.unwrap()).await;
}

/// Every kind of call works, and an open watch is told a change.
async fn all_works(backend: &EtcdBackend, watch: &mut dyn WatchStream) {
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    backend.write(put(b"1")).await.unwrap();
    backend.list(everything()).await.unwrap();
    backend.keep_alive(lease).await.unwrap();
    backend.revoke(lease).await.unwrap();
    sees_a_change(&mut *backend.watch(from_the_start()).await.unwrap()).await;
    sees_a_change(watch).await;
}

async fn a_login_is_used_from_when_authentication_is_switched_on_until_it_is_off_again(version: Version) {
    for tokens in [Tokens::Simple, Tokens::Signed] {
        let mut guarded = Guarded::start_unguarded(version, tokens);
        let backend = guarded.backend("app");
        let mut open = backend.watch(from_the_start()).await.unwrap();
        all_works(&backend, &mut *open).await;
        for _ in 0..2 {
            guarded.enable();
            let stranger = EtcdBackend::new(EtcdConfig::new([guarded.server.endpoint()])).unwrap();
            assert!(stranger.write(put(b"2")).await.is_err(), "it asks for a login now");
            all_works(&backend, &mut *open).await;
            guarded.disable();
            all_works(&backend, &mut *open).await;
        }
        guarded.restart();
        all_works(&backend, &mut *resumed(&backend).await).await;
        guarded.enable();
        guarded.restart();
        all_works(&backend, &mut *resumed(&backend).await).await;
    }
}

/// A watch on what comes from now on.
async fn resumed(backend: &EtcdBackend) -> Box<dyn WatchStream> {
    let start = backend.list(everything()).await.unwrap().header.revision.next();
    backend.watch(WatchRequest { start, ..from_the_start() }).await.unwrap()
}

/// Each kind of call is the first one after authentication was switched on.
async fn each_call_logs_in_when_authentication_is_switched_on(version: Version) {
    let guarded = Guarded::start_unguarded(version, Tokens::Simple);
    let each: [fn(EtcdBackend, LeaseId) -> Answer; 6] = [
        |backend, _| Box::pin(async move { backend.write(put(b"1")).await.map(drop) }),
        |backend, _| Box::pin(async move { backend.list(everything()).await.map(drop) }),
        |backend, _| Box::pin(async move { backend.watch(from_the_start()).await.map(drop) }),
        |backend, _| Box::pin(async move { backend.grant(LeaseId::NONE, PATIENCE).await.map(drop) }),
        |backend, lease| Box::pin(async move { backend.keep_alive(lease).await.map(drop) }),
        |backend, lease| Box::pin(async move { backend.revoke(lease).await }),
    ];
    for (number, call) in each.into_iter().enumerate() {
        let backend = guarded.backend("app");
        // Both connections are made, without a login.
        let lease = backend.grant(LeaseId::NONE, PATIENCE).await.unwrap().lease;
        backend.write(put(b"0")).await.unwrap();
        guarded.enable();
        assert_eq!(call(backend, lease).await, Ok(()), "call {number}");
        guarded.disable();
    }
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<(), BackendError>>>>;

/// Each call is the first one after the login has run out.
async fn every_call_logs_in_again(guarded: &Guarded, run_out: impl AsyncFn()) {
    let backend = guarded.backend("app");
    backend.write(put(b"1")).await.unwrap();
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    let mut open = backend.watch(from_the_start()).await.unwrap();
    sees_a_change(&mut *open).await;
    run_out().await;
    assert_eq!(backend.keep_alive(lease).await, Ok(Duration::from_secs(60)));
    backend.list(everything()).await.unwrap();
    run_out().await;
    backend.write(put(b"2")).await.unwrap();
    sees_a_change(&mut *backend.watch(from_the_start()).await.unwrap()).await;
    run_out().await;
    backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap();
    run_out().await;
    backend.revoke(lease).await.unwrap();
    // etcd asks who is watching when a watch is opened, and never again.
    sees_a_change(&mut *open).await;
}

async fn a_token_expires() {
    // Tokens are good for 2 s at most here, and etcd looks for expired ones once a second.
    real_time(Duration::from_millis(2500)).await;
}

async fn every_call_logs_in_again_when_the_token_has_expired(version: Version) {
    let guarded = Guarded::start(version, Tokens::Simple);
    every_call_logs_in_again(&guarded, a_token_expires).await;
}

async fn every_call_logs_in_again_when_the_signed_token_has_expired(version: Version) {
    let guarded = Guarded::start(version, Tokens::Signed);
    every_call_logs_in_again(&guarded, a_token_expires).await;
}

/// "revision of auth store is old" is said of signed tokens after any change of users and roles.
async fn every_call_logs_in_again_when_users_have_changed(version: Version) {
    for tokens in [Tokens::Simple, Tokens::Signed] {
        let guarded = Guarded::start(version, tokens);
        let count = std::cell::Cell::new(0);
        let change = async || {
            count.set(count.get() + 1);
            guarded.etcdctl(&format!("role add other{}", count.get()));
            guarded.change_password("secret");
        };
        every_call_logs_in_again(&guarded, change).await;
    }
}

async fn a_permission_that_is_revoked_is_told_and_one_that_is_granted_again_works(version: Version) {
    for tokens in [Tokens::Simple, Tokens::Signed] {
        let guarded = Guarded::start(version, tokens);
        let (backend, root) = (guarded.backend("app"), guarded.backend("root"));
        let mut open = backend.watch(from_the_start()).await.unwrap();
        backend.write(put(b"1")).await.unwrap();
        sees_a_change(&mut *open).await;
        guarded.etcdctl("role revoke-permission app tests/ --prefix=true");
        for result in [
            backend.write(put(b"2")).await.map(drop),
            backend.list(everything()).await.map(drop),
            backend.watch(from_the_start()).await.map(drop),
        ] {
            assert_eq!(result, Err(guarded.denied()), "{tokens:?}");
        }
        // What is open stays open: etcd does not ask again.
        root.write(put(b"3")).await.unwrap();
        sees_a_change(&mut *open).await;
        guarded.etcdctl("role grant-permission app readwrite --prefix=true tests/");
        backend.write(put(b"4")).await.unwrap();
        backend.list(everything()).await.unwrap();
        backend.watch(from_the_start()).await.unwrap();
        sees_a_change(&mut *open).await;
    }
}

/// The caller can go on with its other keys.
async fn one_forbidden_key_is_told_apart_from_keys_that_are_permitted(version: Version) {
    let guarded = Guarded::start(version, Tokens::Simple);
    let backend = guarded.backend("app");
    let outside = |expect| {
        let action = WriteAction::Put { value: "1".into(), lease: LeaseId::NONE };
        Write { path: "outside/a".into(), expect, action }
    };
    for expect in [Expect::Any, Expect::Absent] {
        let together = [put(b"1"), vec![outside(expect)]].concat();
        assert_eq!(backend.write(together).await, Err(guarded.denied()), "the whole transaction");
        assert_eq!(backend.write(vec![outside(expect)]).await, Err(guarded.denied()));
    }
    assert_eq!(backend.list(everything()).await.unwrap().kvs, [], "nothing was applied");
    backend.write(put(b"1")).await.unwrap();
    guarded.etcdctl("role grant-permission app readwrite --prefix=true outside/");
    backend.write(vec![outside(Expect::Absent)]).await.unwrap();
}

async fn a_password_that_is_changed_is_told_by_every_call(version: Version) {
    let guarded = Guarded::start(version, Tokens::Simple);
    let backend = guarded.backend("app");
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    backend.write(put(b"1")).await.unwrap();
    let mut open = backend.watch(from_the_start()).await.unwrap();
    sees_a_change(&mut *open).await;
    guarded.change_password("other");
    let words = "etcdserver: authentication failed, invalid user ID or password";
    let expected = BackendError::misconfigured(format_args!("etcd at {}: {words}", guarded.server.endpoint()));
    assert_eq!(backend.write(put(b"2")).await, Err(expected.clone()));
    assert_eq!(backend.watch(from_the_start()).await.map(drop), Err(expected.clone()));
    assert_eq!(backend.keep_alive(lease).await, Err(expected));
    guarded.change_password("secret");
    backend.write(put(b"3")).await.unwrap();
    backend.keep_alive(lease).await.unwrap();
    sees_a_change(&mut *open).await;
}

on_both! {
    a_password_that_is_missing_or_wrong_is_told_in_words_and_the_right_one_works
    a_login_is_used_from_when_authentication_is_switched_on_until_it_is_off_again
    each_call_logs_in_when_authentication_is_switched_on
    every_call_logs_in_again_when_the_token_has_expired
    every_call_logs_in_again_when_the_signed_token_has_expired
    every_call_logs_in_again_when_users_have_changed
    a_permission_that_is_revoked_is_told_and_one_that_is_granted_again_works
    one_forbidden_key_is_told_apart_from_keys_that_are_permitted
    a_password_that_is_changed_is_told_by_every_call
}
