//! Finds out why a connection is closed before there is an answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::certificates::Certificates;
use super::failure::{Failure, Kind};

/// The misconfiguration, if that is the cause. etcd closes the connection on the wrong scheme without a message, as
/// any failing server does; and its alert about our certificate is lost when it closes the connection while a request
/// is being sent.
pub(super) async fn diagnosis(endpoint: &str, certificates: &Certificates) -> Option<Failure> {
    if let Some(authority) = endpoint.strip_prefix("http://") {
        return speaks_tls(authority).await.then(|| Failure::misconfigured("it speaks TLS: write https://"));
    }
    let authority = endpoint.strip_prefix("https://")?;
    if let Some(failure) = handshake(authority, certificates).await
        && failure.kind == Kind::Unreached
    {
        return Some(failure);
    }
    speaks_plainly(authority).await.then(|| Failure::misconfigured("it does not speak TLS: write http://"))
}

/// Whether the beginning of a handshake with nothing in it is answered by an alert.
async fn speaks_tls(authority: &str) -> bool {
    const EMPTY_CLIENT_HELLO: &[u8] = &[0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    const ALERT: u8 = 0x15;
    answer(authority, EMPTY_CLIENT_HELLO).await.is_ok_and(|answer| answer[0] == ALERT)
}

/// Whether the beginning of HTTP/2 is answered by settings.
async fn speaks_plainly(authority: &str) -> bool {
    const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    const SETTINGS: u8 = 4;
    answer(authority, PREFACE_AND_SETTINGS).await.is_ok_and(|answer| answer[3] == SETTINGS)
}

/// The first bytes of the answer.
async fn answer(authority: &str, greeting: &[u8]) -> std::io::Result<[u8; 4]> {
    let mut stream = TcpStream::connect(authority).await?;
    stream.write_all(greeting).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Why a handshake without a request after it fails. The server judges our certificate only after the handshake has
/// ended on our side.
async fn handshake(authority: &str, certificates: &Certificates) -> Option<Failure> {
    let (host, _) = authority.rsplit_once(':')?;
    let host = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let connector = certificates.connector()?;
    let verdict = async {
        let stream = TcpStream::connect(authority).await?;
        connector.connect(host, stream).await?.read_u8().await
    };
    verdict.await.err().map(|error| Failure::transport(&error.to_string(), &error))
}
