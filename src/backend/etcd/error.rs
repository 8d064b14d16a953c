//! What is wrong with a configuration, and what to write instead.

use std::path::PathBuf;

/// An [`EtcdConfig`](super::EtcdConfig) that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdConfigError {
    /// There is no endpoint.
    #[error("no etcd endpoint given")]
    NoEndpoints,
    /// An endpoint is not a URL of the form `http://host:port` or `https://host:port`.
    #[error("etcd endpoint {endpoint:?}: {problem}")]
    Endpoint {
        /// The endpoint, without a password.
        endpoint: String,
        /// What is wrong with it, and how to write it.
        problem: EndpointProblem,
    },
    /// TLS files are given, but an endpoint does not use TLS.
    #[error("etcd endpoint {0:?} does not use TLS, but TLS files are given: write {https}", https = .0.replacen("http:", "https:", 1))]
    TlsUnused(String),
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file was read but is of no use.
    #[error("cannot use {}: {cause}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The thread for the connections cannot be started.
    #[error("cannot start the thread for etcd")]
    Thread(#[from] std::io::Error),
}

impl EtcdConfigError {
    /// With its source, on one line.
    pub(super) fn in_words(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), |source| format!("{self}: {source}"))
    }
}

/// What is wrong with the URL of a member, and how to write it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProblem {
    /// There is nothing, perhaps because of a comma too many.
    #[error("endpoint is empty: write http://host:2379, and no comma after the last endpoint")]
    Empty,
    /// The scheme is neither `http` nor `https`.
    #[error("scheme is {0:?}: write http:// or https://")]
    Scheme(String),
    /// The URL holds a user and a password, which belong to [`EtcdConfig::user`](super::EtcdConfig::user).
    #[error("URL holds a user or a password: set them as user and password instead")]
    User,
    /// Something follows the port.
    #[error("{0:?} follows the address: write {1}")]
    Path(String, String),
    /// An IPv6 address is not in brackets.
    #[error("IPv6 address is not in brackets: write {0}")]
    Brackets(String),
    /// What is in brackets is no IPv6 address.
    #[error("{0:?} is not an IPv6 address without a zone: write http://[::1]:2379")]
    Ipv6(String),
    /// There is no port.
    #[error("port is missing: write {0}")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// There is no host, or it has characters that no host name has.
    #[error("{0:?} is not a host name: write http://host:2379")]
    Host(String),
}
