//! Where etcd is and how to be let in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// Where etcd is and how to be let in.
#[derive(Clone)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// URLs of the members, `http://host:port` or `https://host:port`. One is used at a time.
    pub endpoints: Vec<String>,
    /// User and password, if etcd has authentication on.
    pub user: Option<(String, String)>,
    /// File with the certificates of the authorities that may have signed etcd's. Default: the system's.
    pub tls_ca: Option<PathBuf>,
    /// Files with our own certificate and its key, if etcd asks for them.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// How long a call may take; a page of a list three times as long. Default 10 s.
    pub call_timeout: Duration,
    /// How long connecting may take. Default 3 s.
    pub connect_timeout: Duration,
    /// How often a connection is proven alive, and how long the proof may take: after their sum a dead one is given
    /// up. Default 10 s and 5 s; a default server refuses intervals below 5 s.
    pub keep_alive: (Duration, Duration),
}

/// An [`EtcdConfig`] that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdConfigError {
    /// There is no endpoint.
    #[error("no etcd endpoint given")]
    NoEndpoints,
    /// An endpoint is not a URL of the form `http://host:port`.
    #[error("etcd endpoint {0:?} is not of the form http://host:port or https://host:port")]
    Endpoint(String),
    /// TLS files are given, but an endpoint does not use TLS.
    #[error("etcd endpoint {0:?} does not use TLS, but TLS files are given: write https://")]
    TlsUnused(String),
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread for the connections cannot be started.
    #[error("cannot start the thread for etcd")]
    Thread(#[from] std::io::Error),
}

impl EtcdConfig {
    /// These endpoints, all else by default.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            user: None,
            tls_ca: None,
            tls_identity: None,
            call_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            keep_alive: (Duration::from_secs(10), Duration::from_secs(5)),
        }
    }

    /// Sets the user and the password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Sets the file with the authorities' certificates.
    #[must_use]
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls_ca = Some(file.into());
        self
    }

    /// Sets the files with our certificate and its key.
    #[must_use]
    pub fn tls_identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls_identity = Some((certificate.into(), key.into()));
        self
    }

    /// Sets how long a call may take.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets how long connecting may take.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how often a connection is proven alive and how long the proof may take.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = (interval, timeout);
        self
    }
}

impl fmt::Debug for EtcdConfig {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("tls_ca", &self.tls_ca)
            .finish_non_exhaustive()
    }
}

/// A configuration that was checked.
#[derive(Debug)]
pub(super) struct Endpoints {
    config: EtcdConfig,
}

impl Endpoints {
    pub(super) fn new(mut config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        if config.endpoints.is_empty() {
            return Err(EtcdConfigError::NoEndpoints);
        }
        for endpoint in &mut config.endpoints {
            if !endpoint.contains("://") {
                endpoint.insert_str(0, "http://");
            }
            check(endpoint)?;
            let tls = config.tls_ca.is_some() || config.tls_identity.is_some();
            if tls && !endpoint.starts_with("https://") {
                return Err(EtcdConfigError::TlsUnused(endpoint.clone()));
            }
        }
        let endpoints = Self { config };
        endpoints.tls()?;
        Ok(endpoints)
    }

    pub(super) fn len(&self) -> usize {
        self.config.endpoints.len()
    }

    pub(super) fn get(&self, index: usize) -> &str {
        &self.config.endpoints[index % self.config.endpoints.len()]
    }

    /// How to connect to an endpoint. Certificates are read anew each time, so a rotated one is used from the next
    /// connection on.
    pub(super) fn options(&self, index: usize) -> Result<ConnectOptions, EtcdConfigError> {
        let (interval, timeout) = self.config.keep_alive;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.config.connect_timeout)
            .with_keep_alive(interval, timeout)
            .with_keep_alive_while_idle(true)
            .with_tcp_keepalive(interval)
            .with_require_leader(true);
        if let Some((name, password)) = &self.config.user {
            options = options.with_user(name, password);
        }
        if self.get(index).starts_with("https://") {
            options = options.with_tls(self.tls()?);
        }
        Ok(options)
    }

    fn tls(&self) -> Result<TlsOptions, EtcdConfigError> {
        let mut tls = TlsOptions::new();
        tls = match &self.config.tls_ca {
            Some(file) => tls.ca_certificate(Certificate::from_pem(read(file)?)),
            None => tls.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.config.tls_identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        Ok(tls)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, EtcdConfigError> {
    std::fs::read(path).map_err(|source| EtcdConfigError::File { path: path.to_owned(), source })
}

/// Whether it is scheme, host and port and nothing else.
fn check(endpoint: &str) -> Result<(), EtcdConfigError> {
    let authority = ["http://", "https://"].iter().find_map(|scheme| endpoint.strip_prefix(scheme));
    let authority = authority.map(|authority| authority.strip_suffix('/').unwrap_or(authority));
    let valid = authority.and_then(|authority| authority.rsplit_once(':')).is_some_and(|(host, port)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:%".contains(c);
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if valid { Ok(()) } else { Err(EtcdConfigError::Endpoint(endpoint.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_cannot_work_are_named() {
        for bad in ["", "http://", "http://host", "ftp://host:1", "http://host:0", "http://host:99999", "http://h/x:1"]
        {
            let error = Endpoints::new(EtcdConfig::new([bad])).unwrap_err();
            assert!(matches!(error, EtcdConfigError::Endpoint(_)), "{bad}: {error}");
        }
        for good in ["127.0.0.1:2379", "http://[::1]:2379", "https://etcd-0.etcd:2379/"] {
            Endpoints::new(EtcdConfig::new([good])).unwrap();
        }
        let none: [&str; 0] = [];
        assert!(matches!(Endpoints::new(EtcdConfig::new(none)), Err(EtcdConfigError::NoEndpoints)));
    }

    #[test]
    fn tls_files_that_cannot_be_used_are_named() {
        let config = EtcdConfig::new(["https://127.0.0.1:1"]).tls_ca("/does/not/exist");
        assert_eq!(Endpoints::new(config).unwrap_err().to_string(), "cannot read /does/not/exist");
        let config = EtcdConfig::new(["http://127.0.0.1:1"]).tls_ca("/does/not/exist");
        assert!(matches!(Endpoints::new(config), Err(EtcdConfigError::TlsUnused(_))));
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = EtcdConfig::new(["127.0.0.1:1"]).user("root", "secret");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
