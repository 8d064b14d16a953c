//! TLS: errors say what is wrong, at once, and changed certificates are used.

use std::path::PathBuf;
use std::time::Instant;

use shared_store_core::backend::{WatchResponse, WatchStream};
use shared_store_core::{BackendError, EtcdConfigError};
use tempfile::TempDir;

use super::backend::{everything, from_the_start, put};
use super::*;
use crate::support::certificates::{Authority, Pair, Quality};

/// The files of a cluster: `ca.pem`, and what its authority signs.
pub(super) struct Files {
    directory: TempDir,
    pub(super) authority: Authority,
}

/// Whom the server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clients {
    Anybody,
    /// Clients with a certificate of an authority in `clients.pem`.
    Signed,
}

impl Files {
    pub(super) fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), authority: Authority::new("first") };
        files.write("ca.pem", &files.authority.pem());
        files.write("clients.pem", &files.authority.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(super) fn issue(&self, name: &str, quality: Quality) -> Pair {
        self.authority.issue(self.directory.path(), name, quality)
    }

    pub(super) fn server(&self, version: Version, quality: Quality, clients: Clients, more: &[&str]) -> EtcdServer {
        let pair = self.issue("server", quality);
        let mut flags =
            vec![format!("--cert-file={}", pair.certificate.display()), format!("--key-file={}", pair.key.display())];
        if clients == Clients::Signed {
            let ca = self.path("clients.pem");
            flags.extend(["--client-cert-auth".to_owned(), format!("--trusted-ca-file={}", ca.display())]);
        }
        EtcdServer::start_with(
            version,
            &flags.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>(),
        )
    }

    /// With the authority's certificate.
    pub(super) fn config(&self, server: &EtcdServer) -> EtcdConfig {
        EtcdConfig::new([server.endpoint()]).tls_ca(self.path("ca.pem"))
    }
}

async fn sees_a_change(watch: &mut dyn WatchStream) {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(next, Ok(WatchResponse::Events(_))), "{next:?}");
}

/// Every call fails with the same cause, at once.
async fn told(config: EtcdConfig, words: &str) {
    let expected = BackendError::misconfigured(format_args!("etcd at {}: {words}", config.endpoints[0]));
    let backend = EtcdBackend::new(config).unwrap();
    let begun = Instant::now();
    assert_eq!(backend.list(everything()).await.map(drop), Err(expected.clone()));
    assert_eq!(backend.write(put(b"1")).await.map(drop), Err(expected.clone()));
    assert_eq!(backend.watch(from_the_start()).await.map(drop), Err(expected.clone()));
    assert_eq!(backend.keep_alive(LeaseId(1)).await.map(drop), Err(expected));
    // Long before a call would time out.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

const UNKNOWN: &str = "its certificate is signed by no authority we know (UnknownIssuer): is this the right CA file?";
const REFUSED: &str = "it refuses our certificate, or that there is none (BadCertificate): it wants one that has not \
                       expired and that its authority has signed";

async fn all_calls_work_with_the_right_authority_and_certificate(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Good, Clients::Signed, &[]);
    let client = files.issue("client", Quality::Good);
    let backend = EtcdBackend::new(files.config(&server).tls_identity(&client.certificate, &client.key)).unwrap();
    let lease = backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap().lease;
    backend.write(put(b"1")).await.unwrap();
    assert_eq!(backend.list(everything()).await.unwrap().kvs.len(), 1);
    sees_a_change(&mut *backend.watch(from_the_start()).await.unwrap()).await;
    backend.keep_alive(lease).await.unwrap();
    backend.revoke(lease).await.unwrap();
}

async fn an_authority_that_is_wrong_or_missing_is_told(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Good, Clients::Anybody, &[]);
    files.write("other.pem", &Authority::new("other").pem());
    told(files.config(&server).tls_ca(files.path("other.pem")), UNKNOWN).await;
    // The system's authorities did not sign this one.
    told(EtcdConfig::new([server.endpoint()]), UNKNOWN).await;
}

async fn a_server_certificate_that_is_expired_or_for_another_name_is_told(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Expired, Clients::Anybody, &[]);
    told(files.config(&server), "its certificate has expired").await;
    let server = files.server(version, Quality::WrongName, Clients::Anybody, &[]);
    let words = "its certificate is not for the name \"127.0.0.1\"; certificate is only valid for \
                 DnsName(\"elsewhere.example\")";
    told(files.config(&server), words).await;
}

async fn a_client_certificate_that_is_missing_expired_or_unknown_is_told(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Good, Clients::Signed, &[]);
    told(files.config(&server), REFUSED).await;
    let expired = files.issue("expired", Quality::Expired);
    let unknown = Authority::new("other").issue(files.directory.path(), "unknown", Quality::Good);
    for pair in [expired, unknown] {
        // In TLS 1.3 the refusal follows the handshake and can get lost with the connection: several attempts.
        for _ in 0..10 {
            told(files.config(&server).tls_identity(&pair.certificate, &pair.key), REFUSED).await;
        }
    }
}

async fn the_wrong_scheme_is_told(version: Version) {
    let files = Files::new();
    for clients in [Clients::Anybody, Clients::Signed] {
        let server = files.server(version, Quality::Good, clients, &[]);
        let config = EtcdConfig::new([server.endpoint().replace("https", "http")]);
        told(config, "it speaks TLS: write https://").await;
    }
    let server = EtcdServer::start(version);
    let config = EtcdConfig::new([server.endpoint().replace("http", "https")]).tls_ca(files.path("ca.pem"));
    told(config, "it does not speak TLS: write http://").await;
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_is_sent() {
    let files = Files::new();
    let (one, two) = (files.issue("one", Quality::Good), files.issue("two", Quality::Good));
    files.write("garbage.pem", "garbage");
    files.write("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.write("half.pem", &files.authority.pem()[..200]);
    let config = || EtcdConfig::new(["https://127.0.0.1:1"]);
    let (ca, garbage) = (files.path("ca.pem"), files.path("garbage.pem"));
    let cause = |config, file: &PathBuf| {
        let error = EtcdBackend::new(config).unwrap_err();
        let EtcdConfigError::Certificate { path, cause } = error else { panic!("{error}") };
        assert_eq!(path, *file);
        cause
    };
    assert_eq!(cause(config().tls_ca(&garbage), &garbage), "it holds no certificate");
    assert_eq!(cause(config().tls_ca(&one.key), &one.key), "it holds no certificate");
    let damaged = files.path("damaged.pem");
    assert_eq!(cause(config().tls_ca(&damaged), &damaged), "its certificates are damaged");
    let half = files.path("half.pem");
    assert!(cause(config().tls_ca(&half), &half).starts_with("it is damaged: "));
    assert_eq!(cause(config().tls_identity(&garbage, &one.key), &garbage), "it holds no certificate");
    assert_eq!(cause(config().tls_identity(&ca, &garbage), &garbage), "it holds no private key");
    let expected = format!("it is not the key of the certificate in {}", one.certificate.display());
    assert_eq!(cause(config().tls_identity(&one.certificate, &two.key), &two.key), expected);
    let error = EtcdBackend::new(config().tls_ca("/does/not/exist")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /does/not/exist");
    let error = EtcdBackend::new(EtcdConfig::new(["http://127.0.0.1:1"]).tls_ca(&ca)).unwrap_err();
    assert!(matches!(error, EtcdConfigError::TlsUnused(_)), "{error}");
}

/// The whole cluster moves to a new authority: the server first, the client when it is told.
async fn a_new_authority_and_new_certificates_are_used_by_a_running_backend(version: Version) {
    let mut files = Files::new();
    let mut server = files.server(version, Quality::Good, Clients::Signed, &[]);
    let client = files.issue("client", Quality::Good);
    let backend = EtcdBackend::new(files.config(&server).tls_identity(&client.certificate, &client.key)).unwrap();
    backend.write(put(b"1")).await.unwrap();
    backend.watch(from_the_start()).await.unwrap();
    files.authority = Authority::new("second");
    files.write("clients.pem", &files.authority.pem());
    files.issue("server", Quality::Good);
    server.restart();
    let untrusted = |result: &Result<_, BackendError>| match result {
        Err(BackendError::Misconfigured { cause }) => cause.contains("no authority we know"),
        _ => false,
    };
    let write = async || backend.write(put(b"2")).await.map(drop);
    eventually("the server is not trusted", PATIENCE, write, untrusted).await.unwrap_err();
    files.write("ca.pem", &files.authority.pem());
    files.issue("client", Quality::Good);
    let begun = Instant::now();
    eventually("the server is trusted", PATIENCE, write, Result::is_ok).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sees_a_change(&mut *backend.watch(from_the_start()).await.unwrap()).await;
}

/// etcd takes the name in a certificate for the user: that of the first may read only.
async fn a_new_certificate_is_used_while_the_old_connection_works_and_the_watch_goes_on(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Good, Clients::Signed, &[]);
    let (reader, writer) = (files.issue("reader", Quality::Good), files.issue("writer", Quality::Good));
    let root = files.issue("root", Quality::Good);
    let etcdctl = |command: &str| {
        let ca = files.path("ca.pem");
        let tls = ["--cacert", ca.to_str().unwrap(), "--cert", root.certificate.to_str().unwrap(), "--key"];
        let arguments = tls.into_iter().chain([root.key.to_str().unwrap()]).chain(command.split(' '));
        server.etcdctl(&arguments.collect::<Vec<_>>());
    };
    for command in [
        "user add root:secret",
        "user grant-role root root",
        "role add reader",
        "role grant-permission reader read --prefix=true tests/",
        "user add reader:secret",
        "user grant-role reader reader",
        "role add writer",
        "role grant-permission writer readwrite --prefix=true tests/",
        "user add writer:secret",
        "user grant-role writer writer",
        "auth enable",
    ] {
        etcdctl(command);
    }
    let (certificate, key) = (files.path("in-use.pem"), files.path("in-use.key"));
    let take = |pair: &Pair| {
        std::fs::copy(&pair.key, &key).unwrap();
        std::fs::copy(&pair.certificate, &certificate).unwrap();
    };
    take(&reader);
    let backend = EtcdBackend::new(files.config(&server).tls_identity(&certificate, &key)).unwrap();
    let mut open = backend.watch(from_the_start()).await.unwrap();
    let write = async || backend.write(put(b"1")).await.map(drop);
    assert!(matches!(write().await, Err(BackendError::Forbidden { .. })), "as the reader");
    take(&writer);
    let begun = Instant::now();
    eventually("the write is accepted", PATIENCE, write, Result::is_ok).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sees_a_change(&mut *open).await;
    backend.watch(from_the_start()).await.unwrap();
}

/// Good files, but not (yet) for this cluster.
async fn certificates_nobody_trusts_do_not_end_a_connection_that_works(version: Version) {
    let files = Files::new();
    let server = files.server(version, Quality::Good, Clients::Signed, &[]);
    let client = files.issue("client", Quality::Good);
    let backend = EtcdBackend::new(files.config(&server).tls_identity(&client.certificate, &client.key)).unwrap();
    let mut open = backend.watch(from_the_start()).await.unwrap();
    backend.write(put(b"1")).await.unwrap();
    Authority::new("other").issue(files.directory.path(), "client", Quality::Good);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        backend.write(put(b"2")).await.unwrap();
        backend.grant(LeaseId::NONE, Duration::from_secs(60)).await.unwrap();
        // The files are read again now and then: each call may be the first after that.
        real_time(Duration::from_millis(50)).await;
    }
    sees_a_change(&mut *open).await;
}

on_both! {
    all_calls_work_with_the_right_authority_and_certificate
    an_authority_that_is_wrong_or_missing_is_told
    a_server_certificate_that_is_expired_or_for_another_name_is_told
    a_client_certificate_that_is_missing_expired_or_unknown_is_told
    the_wrong_scheme_is_told
    a_new_authority_and_new_certificates_are_used_by_a_running_backend
    a_new_certificate_is_used_while_the_old_connection_works_and_the_watch_goes_on
    certificates_nobody_trusts_do_not_end_a_connection_that_works
}
