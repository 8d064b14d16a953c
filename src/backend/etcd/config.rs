//! Where etcd is and how to be let in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where etcd is and how to be let in.
#[derive(Clone)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// URLs of the members, `http://host:port` or `https://host:port`; `host:port` means the former. One is used at a
    /// time.
    pub endpoints: Vec<String>,
    /// User and password. While etcd has authentication off, they are kept for when it is switched on.
    pub user: Option<(String, String)>,
    /// File with the certificates of the authorities that may have signed etcd's. Default: the system's. A change of
    /// this file or of those below is noticed within a second of the next call, and used from then on.
    pub tls_ca: Option<PathBuf>,
    /// Files with our own certificate and its key, if etcd asks for them.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// How long a call may take; a page of a list three times as long. Default 10 s.
    pub call_timeout: Duration,
    /// How long connecting may take, up to etcd's first answer. Default 3 s.
    pub connect_timeout: Duration,
    /// How often a connection with a stream is pinged, and how long the answer may take: after their sum a dead one is
    /// given up. Default 10 s and 5 s. A default server refuses intervals below 5 s (`--grpc-keepalive-min-time`); the
    /// interval doubles until etcd accepts it.
    pub keep_alive: (Duration, Duration),
    /// For tests: which addresses `host:port` has. Default: what the system says.
    #[cfg(feature = "test-kit")]
    pub(super) resolver: Option<Resolver>,
}

/// The addresses of `host:port`.
#[cfg(feature = "test-kit")]
pub(super) type Resolver = std::sync::Arc<dyn Fn(&str) -> Vec<std::net::SocketAddr> + Send + Sync>;

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
            #[cfg(feature = "test-kit")]
            resolver: None,
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

    /// Sets which addresses `host:port` has.
    #[cfg(feature = "test-kit")]
    #[must_use]
    pub fn resolver(mut self, resolver: impl Fn(&str) -> Vec<std::net::SocketAddr> + Send + Sync + 'static) -> Self {
        self.resolver = Some(std::sync::Arc::new(resolver));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let config = EtcdConfig::new(["127.0.0.1:1"]).user("root", "secret");
        assert!(!format!("{config:?}").contains("secret"));
    }
}
