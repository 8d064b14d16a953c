//! The certificates in use, and newer ones soon after their files have changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use etcd_client::{Certificate, Identity, TlsOptions};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::config::EtcdConfig;
use super::error::EtcdConfigError;

/// The files are looked at before a call, and at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The certificates of a configuration.
#[derive(Debug)]
pub(super) struct Certificates {
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    state: Mutex<State>,
}

struct State {
    files: Files,
    /// Counts the changes.
    generation: u64,
    looked: Instant,
    /// Why the files as they are now are not used. Told once.
    refused: Option<String>,
}

/// What is in the files, checked: each can be used, and key and certificate belong together.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for State {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads and checks the files.
    pub(super) fn new(config: &EtcdConfig, now: Instant) -> Result<Self, EtcdConfigError> {
        let (ca, identity) = (config.tls_ca.clone(), config.tls_identity.clone());
        let files = Files::read(ca.as_deref(), identity.as_ref())?;
        let state = Mutex::new(State { files, generation: 0, looked: now, refused: None });
        Ok(Self { ca, identity, state })
    }

    fn given(&self) -> bool {
        self.ca.is_some() || self.identity.is_some()
    }

    /// Returns the number of the certificates in use; it grows with each change. Takes changed files into use. If they
    /// cannot be used (they are being written, or key and certificate do not match), the last good ones stay in use.
    pub(super) fn generation(&self, now: Instant) -> u64 {
        let mut state = self.lock();
        if !self.given() || now.saturating_duration_since(state.looked) < LOOK_EVERY {
            return state.generation;
        }
        state.looked = now;
        match Files::read(self.ca.as_deref(), self.identity.as_ref()) {
            Ok(files) => {
                state.refused = None;
                if files != state.files {
                    state.files = files;
                    state.generation += 1;
                    tracing::info!("certificates for etcd have changed");
                }
            }
            Err(error) => {
                let cause = Some(error.in_words());
                if cause != state.refused {
                    tracing::warn!(cause, "changed certificates for etcd cannot be used: the old ones stay in use");
                    state.refused = cause;
                }
            }
        }
        state.generation
    }

    /// For a new connection.
    pub(super) fn options(&self) -> TlsOptions {
        let state = self.lock();
        let mut options = TlsOptions::new();
        options = match &state.files.ca {
            Some(pem) => options.ca_certificate(Certificate::from_pem(pem)),
            None => options.with_enabled_roots(),
        };
        match &state.files.identity {
            Some((certificate, key)) => options.identity(Identity::from_pem(certificate, key)),
            None => options,
        }
    }

    /// For a handshake of our own, if these can be used at all.
    pub(super) fn connector(&self) -> Option<TlsConnector> {
        let state = self.lock();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(match &state.files.ca {
            Some(pem) => parsed(pem).ok()?,
            None => rustls_native_certs::load_native_certs().certs,
        });
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().ok()?.with_root_certificates(roots);
        let mut config = match &state.files.identity {
            Some((certificate, key)) => config
                .with_client_auth_cert(parsed(certificate).ok()?, PrivateKeyDer::from_pem_slice(key).ok()?)
                .ok()?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols.push(b"h2".to_vec());
        Some(Arc::new(config).into())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn read(ca: Option<&Path>, identity: Option<&(PathBuf, PathBuf)>) -> Result<Self, EtcdConfigError> {
        let ca = ca.map(authorities).transpose()?;
        let identity = identity.map(|(certificate, key)| pair(certificate, key)).transpose()?;
        Ok(Self { ca, identity })
    }
}

fn authorities(path: &Path) -> Result<Vec<u8>, EtcdConfigError> {
    let pem = read(path)?;
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certificates(path, &pem)?);
    if usable > 0 { Ok(pem) } else { Err(unusable(path, "its certificates are damaged")) }
}

fn pair(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), EtcdConfigError> {
    let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
    let chain = certificates(certificate, &certificate_pem)?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| unusable(key, "it holds no private key"))?;
    match CertifiedKey::from_der(chain, private, &default_provider()) {
        Ok(_) => Ok((certificate_pem, key_pem)),
        Err(Error::InconsistentKeys(_)) => {
            Err(unusable(key, format!("it is not the key of the certificate in {}", certificate.display())))
        }
        Err(error) => Err(unusable(key, format!("with {}: {error}", certificate.display()))),
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, EtcdConfigError> {
    match parsed(pem) {
        Ok(certificates) if certificates.is_empty() => Err(unusable(path, "it holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(path, format!("it is damaged: {error}"))),
    }
}

fn parsed(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, tokio_rustls::rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdConfigError> {
    std::fs::read(path).map_err(|source| EtcdConfigError::File { path: path.to_owned(), source })
}

fn unusable(path: &Path, cause: impl Into<String>) -> EtcdConfigError {
    EtcdConfigError::Certificate { path: path.to_owned(), cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Made, generate_simple_self_signed};

    use super::*;

    /// An authority and a client in a directory, new with each call.
    fn write(directory: &Path) {
        let Made { cert, signing_key } = generate_simple_self_signed(["ours".to_owned()]).unwrap();
        for (file, pem) in [("ca", cert.pem()), ("cert", cert.pem()), ("key", signing_key.serialize_pem())] {
            std::fs::write(directory.join(file), pem).unwrap();
        }
    }

    fn config(directory: &Path) -> EtcdConfig {
        let file = |name| directory.join(name);
        EtcdConfig::new(["https://e:1"]).tls_ca(file("ca")).tls_identity(file("cert"), file("key"))
    }

    #[test]
    fn changed_files_are_noticed_at_most_once_a_second() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path());
        let start = Instant::now();
        let certificates = Certificates::new(&config(directory.path()), start).unwrap();
        let after = |millis| certificates.generation(start + Duration::from_millis(millis));
        assert_eq!(after(1000), 0, "nothing has changed");
        write(directory.path());
        assert_eq!(after(1999), 0, "not looked at yet");
        assert_eq!((after(2000), after(2001), after(9000)), (1, 1, 1));
    }

    #[test]
    fn files_that_cannot_be_used_leave_what_was_good_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let write_half = |file: &str| {
            let path = directory.path().join(file);
            let pem = std::fs::read(&path).unwrap();
            std::fs::write(path, &pem[..pem.len() / 2]).unwrap();
        };
        for file in ["ca", "cert", "key"] {
            write(directory.path());
            let start = Instant::now();
            let certificates = Certificates::new(&config(directory.path()), start).unwrap();
            let after = |seconds| certificates.generation(start + Duration::from_secs(seconds));
            write(directory.path());
            write_half(file);
            assert_eq!(after(2), 0, "{file} is written by half");
            assert!(certificates.connector().is_some());
            write(directory.path());
            std::fs::remove_file(directory.path().join(file)).unwrap();
            assert_eq!(after(4), 0, "{file} is gone");
            write(directory.path());
            assert_eq!(after(6), 1, "{file} is good again");
        }
    }

    #[test]
    fn a_certificate_is_not_used_without_its_key() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path());
        let start = Instant::now();
        let certificates = Certificates::new(&config(directory.path()), start).unwrap();
        let key = std::fs::read(directory.path().join("key")).unwrap();
        write(directory.path());
        std::fs::write(directory.path().join("key"), key).unwrap();
        assert_eq!(certificates.generation(start + Duration::from_secs(2)), 0);
    }
}
