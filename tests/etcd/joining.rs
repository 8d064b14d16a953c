//! Joining where etcd does not answer: the error names the cause on one line, in time, and nothing runs afterwards.

use std::time::Instant;

use shared_store::{Config, JoinError, join};

use super::*;
use crate::support::certificates::{Authority, Quality};
use crate::support::{DeliveryMode, Proxy};

const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// The error of joining there.
async fn cause(endpoint: &str) -> String {
    cause_with(EtcdConfig::new([endpoint])).await
}

async fn cause_with(etcd: EtcdConfig) -> String {
    let endpoint = etcd.endpoints[0].clone();
    let etcd = etcd
        .call_timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(300))
        .keep_alive(Duration::from_millis(500), Duration::from_millis(500));
    let config = Config::new(prefix()).backend(EtcdBackend::new(etcd).unwrap()).list_timeout(LIST_TIMEOUT);
    let began = Instant::now();
    let error = join::<Node>(config).await.unwrap_err();
    assert!(began.elapsed() < LIST_TIMEOUT + Duration::from_secs(2), "it took {:?}", began.elapsed());
    println!("join: {:.2} s, {error}", began.elapsed().as_secs_f64());
    assert!(matches!(error, JoinError::ListTimeout { .. }), "{error:?}");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains(&endpoint), "{text}");
    text
}

#[test]
fn where_nothing_listens_the_error_says_that_the_connection_is_refused() {
    on_etcd(async {
        let server = EtcdServer::start(Version::V35);
        let endpoint = server.endpoint();
        drop(server);
        assert!(cause(&endpoint).await.contains("connection refused"));
    });
}

#[test]
fn where_etcd_is_paused_the_error_says_that_it_does_not_answer() {
    on_etcd(async {
        let server = EtcdServer::start(Version::V35);
        server.pause();
        assert!(cause(&server.endpoint()).await.contains("no answer within"));
    });
}

#[test]
fn where_connections_are_taken_and_bytes_vanish_the_error_says_that_nothing_answers() {
    on_etcd(async {
        let server = EtcdServer::start(Version::V35);
        for mode in [DeliveryMode::BlackHole, DeliveryMode::StallAnswers] {
            let proxy = Proxy::to(&server.endpoint());
            proxy.set(mode);
            assert!(cause(&proxy.endpoint()).await.contains("no answer within"));
        }
    });
}

#[test]
fn where_another_authority_signed_the_certificate_the_error_says_so() {
    on_etcd(async {
        let directory = tempfile::tempdir().unwrap();
        let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
        let pair = right.issue(directory.path(), "server", Quality::Good);
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, wrong.pem()).unwrap();
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        let flags = [format!("--cert-file={certificate}"), format!("--key-file={key}")];
        let server = EtcdServer::start_with(Version::V35, &[&flags[0], &flags[1]]);
        let text = cause_with(EtcdConfig::new([server.endpoint()]).tls_ca(ca)).await;
        assert!(text.contains("certificate"), "{text}");
    });
}

#[test]
fn where_not_even_connections_are_taken_the_error_says_that_it_cannot_be_reached() {
    on_etcd(async {
        // A queue of one that nobody empties: the system drops what would be the next connection.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
        }
        let text = cause(&format!("http://{address}")).await;
        assert!(text.contains("cannot reach etcd") || text.contains("no answer within"), "{text}");
    });
}

#[test]
fn after_a_join_that_failed_nobody_connects_any_more() {
    on_etcd(async {
        let server = EtcdServer::start(Version::V35);
        let proxy = Proxy::to(&server.endpoint());
        proxy.set(DeliveryMode::StallAnswers);
        cause(&proxy.endpoint()).await;
        assert!(proxy.connections() > 0);
        let before = proxy.connections();
        // Longer than any back-off that may have begun by then.
        real_time(Duration::from_secs(6)).await;
        assert_eq!(proxy.connections(), before, "nothing connects any more");
    });
}
