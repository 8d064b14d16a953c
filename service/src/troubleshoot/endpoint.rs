//! One endpoint: its name, its port, its certificate, its version and its clock.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::version::{Known, known};
use super::{PATIENCE, Report};
use crate::cli::Common;
use crate::setup::Failure;

/// A certificate that ends sooner is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// etcd tells its time in whole seconds.
const SKEW: Duration = Duration::from_secs(3);
/// As much of an answer is read.
const MAX_ANSWER: u64 = 64 << 10;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Whether it is worth asking the endpoint for more.
pub(super) async fn check(report: &mut Report, common: &Common, url: &str) -> Result<bool, Failure> {
    let (scheme, authority) = url.split_once("://").unwrap_or(("http", url));
    let authority = authority.trim_end_matches('/');
    let (host, _) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let Some(addresses) = resolve(report, authority, host).await? else { return Ok(false) };
    let Some(stream) = connect(report, &addresses).await? else { return Ok(false) };
    let stream: Box<dyn Stream> = if scheme == "https" {
        match tls(report, common, host, stream).await? {
            Some(stream) => stream,
            None => return Ok(false),
        }
    } else {
        Box::new(stream)
    };
    version(report, stream, authority).await?;
    Ok(true)
}

async fn resolve(report: &mut Report, authority: &str, host: &str) -> Result<Option<Vec<SocketAddr>>, Failure> {
    let answer = timeout(PATIENCE, tokio::net::lookup_host(authority)).await;
    let found: Vec<_> = match answer.unwrap_or_else(|_| Err(io::Error::other("no answer within 10 s"))) {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            report.fail(
                "name",
                format!("{host} has no address: {error}"),
                "correct the name in --endpoints, or look at the name service: getent hosts",
            )?;
            return Ok(None);
        }
    };
    let addresses: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
    report.ok("name", format!("{host} is {}", addresses.join(", ")))?;
    Ok(Some(found))
}

async fn connect(report: &mut Report, addresses: &[SocketAddr]) -> Result<Option<TcpStream>, Failure> {
    let mut open = None;
    let mut causes = Vec::new();
    for address in addresses {
        let begun = Instant::now();
        let answer = timeout(PATIENCE, TcpStream::connect(address)).await;
        match answer.unwrap_or_else(|_| Err(io::Error::other("no answer within 10 s"))) {
            Ok(stream) => {
                let took = begun.elapsed();
                open = open.or(Some((stream, *address, took)));
            }
            Err(error) => causes.push(format!("{address}: {error}")),
        }
    }
    match open {
        Some((stream, address, took)) if causes.is_empty() => {
            report.ok("connection", format!("{address} accepts connections in {took:.1?}"))?;
            Ok(Some(stream))
        }
        Some((stream, address, _)) => {
            let what = format!("{address} accepts connections, others do not: {}", causes.join("; "));
            report.warn("connection", what, "remove the addresses of members that are gone from the name service")?;
            Ok(Some(stream))
        }
        None => {
            let remedy = "is etcd running there (--listen-client-urls), and does a firewall let you through?";
            report.fail("connection", causes.join("; "), remedy)?;
            Ok(None)
        }
    }
}

/// Takes any certificate and keeps what is wrong with it: its dates are worth telling then most of all.
#[derive(Debug)]
struct Curious {
    verifier: Arc<WebPkiServerVerifier>,
    wrong: std::sync::Mutex<Option<TlsError>>,
}

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if let (Err(error), Ok(mut wrong)) =
            (self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now), self.wrong.lock())
        {
            *wrong = Some(error);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

async fn tls(
    report: &mut Report,
    common: &Common,
    host: &str,
    stream: TcpStream,
) -> Result<Option<Box<dyn Stream>>, Failure> {
    let (config, curious) = client(common)?;
    let name = ServerName::try_from(host.to_owned()).map_err(Failure::promise)?;
    let handshake = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let stream = match handshake.unwrap_or_else(|_| Err(io::Error::other("no answer within 10 s"))) {
        Ok(stream) => stream,
        Err(error) => {
            let remedy =
                "does etcd serve https there (--cert-file)? Does it want a certificate (--tls-cert, --tls-key)?";
            report.fail("tls", format!("the handshake failed: {error}"), remedy)?;
            return Ok(None);
        }
    };
    let dates = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map_or_else(String::new, dates);
    let wrong = curious.wrong.lock().ok().and_then(|mut wrong| wrong.take());
    if let Some(error) = wrong {
        #[allow(clippy::wildcard_enum_match_arm, reason = "all others are told as they are")]
        let (cause, remedy) = match &error {
            TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => (
                "an authority we do not know has signed the certificate".to_owned(),
                "give the file of the authority that signed etcd's certificate: --tls-ca",
            ),
            TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => {
                (error.to_string(), "use a name or address that is in the certificate, or have one made with this name")
            }
            TlsError::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                ("the certificate has expired".to_owned(), "renew etcd's certificate")
            }
            _ => (error.to_string(), "look at etcd's certificate and at the clock of this machine"),
        };
        report.fail("tls", format!("{cause}; {dates}"), remedy)?;
        return Ok(None);
    }
    let ends = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(ends);
    match ends.map(|end| end.duration_since(SystemTime::now())) {
        Some(Ok(left)) if left < SOON => {
            let days = left.as_secs() / (24 * 60 * 60);
            report.warn(
                "tls",
                format!("the certificate ends in {days} days; {dates}"),
                "renew etcd's certificate soon",
            )?;
        }
        Some(_) | None => report.ok("tls", dates)?,
    }
    Ok(Some(Box::new(stream)))
}

fn client(common: &Common) -> Result<(ClientConfig, Arc<Curious>), Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &common.tls_ca {
        roots.add_parsable_certificates(certificates(file)?);
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| {
        Failure::usage(format_args!("there is no authority to check etcd's certificate with: {error}; give --tls-ca"))
    })?;
    let curious = Arc::new(Curious { verifier, wrong: std::sync::Mutex::default() });
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Curious>::clone(&curious);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Failure::promise)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match (&common.tls_cert, &common.tls_key) {
        (Some(certificate), Some(key)) => {
            let what = key.display();
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| Failure::usage(format_args!("{what} holds no key: {error}")))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(Failure::usage)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok((config, curious))
}

fn certificates(file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let what = file.display();
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| Failure::usage(format_args!("{what} holds no certificates: {error}")))
}

/// From when to when a certificate is valid, for whom and by whom.
fn dates(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return "an unreadable certificate".to_owned() };
    let validity = parsed.validity();
    let issuer = parsed.issuer().to_string();
    format!("certificate valid from {} to {}, issued by {issuer}", validity.not_before, validity.not_after)
}

fn ends(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The version and the time etcd tells over HTTP.
async fn version(report: &mut Report, stream: Box<dyn Stream>, host: &str) -> Result<(), Failure> {
    let answer = timeout(PATIENCE, ask(stream, host)).await;
    let remedy =
        "is it etcd's client port (2379)? Does it speak TLS (https://)? Does it want a certificate (--tls-cert)?";
    let answer = match answer.unwrap_or_else(|_| Err(io::Error::other("no answer within 10 s"))) {
        Ok(answer) => answer,
        Err(error) => return report.fail("version", format!("it does not tell its version: {error}"), remedy),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let told: Option<serde_json::Value> =
        body.find('{').zip(body.rfind('}')).and_then(|(from, to)| serde_json::from_str(body.get(from..=to)?).ok());
    let Some(version) = told.as_ref().and_then(|told| told["etcdserver"].as_str()) else {
        return report.warn("version", "it does not tell its version", remedy);
    };
    match known(version) {
        Known::Good => report.ok("version", version)?,
        Known::Fault(fault) => {
            let remedy = "upgrade to 3.4.34, 3.5.16 or newer; until then audits find what a store misses";
            report.warn("version", format!("{version}: {fault}"), remedy)?;
        }
        Known::TooOld => report.fail("version", version, "upgrade: 3.4 or newer is needed")?,
        Known::Unreadable => report.warn("version", version, "is it etcd?")?,
    }
    let date =
        head.lines().find_map(|line| line.strip_prefix("Date: ")).and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(date) = date else { return Ok(()) };
    let now = SystemTime::now();
    let skew = now.duration_since(date).unwrap_or_else(|error| error.duration());
    if skew < SKEW {
        report.ok("clock", "within 3 s of ours")
    } else {
        let which = if now > date { "behind" } else { "ahead of" };
        let what = format!("{} s {which} ours", skew.as_secs());
        report.warn("clock", what, "synchronise the clocks: certificates and the times in logs depend on them")
    }
}

async fn ask(mut stream: Box<dyn Stream>, host: &str) -> io::Result<String> {
    let request = format!("GET /version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
    // Some end the connection without saying goodbye.
    if answer.is_empty() {
        read?;
        return Err(io::Error::other("it ends the connection"));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
