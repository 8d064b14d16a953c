//! The cluster as it is configured now, and a connection to one of its members.

use std::time::Instant;

use etcd_client::{Client, ConnectOptions};

use super::certificates::Certificates;
use super::config::{EtcdConfig, EtcdConfigError};
use super::diagnosis::diagnosis;
use super::endpoints::Endpoints;
use super::failure::{Failure, Kind};

/// Where the cluster is and how to be let in.
#[derive(Debug)]
pub(super) struct Cluster {
    config: EtcdConfig,
    pub(super) endpoints: Endpoints,
    pub(super) certificates: Certificates,
}

impl Cluster {
    pub(super) fn new(mut config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        let urls = std::mem::take(&mut config.endpoints);
        // Endpoints first: what is said about them needs no file.
        let endpoints = Endpoints::new(urls, config.tls_ca.is_some() || config.tls_identity.is_some())?;
        let certificates = Certificates::new(&config, Instant::now())?;
        Ok(Self { config, endpoints, certificates })
    }

    /// A client that has logged in and had an answer. A request goes to nobody who has not shown to be there: what
    /// fails before was never sent, whether nobody listens, TLS does not come about, or who listens never answers.
    pub(super) async fn connect(&self, endpoint: &str) -> Result<Client, Failure> {
        let patience = self.config.connect_timeout;
        let begun = tokio::time::Instant::now();
        let failure = match tokio::time::timeout_at(begun + patience, self.answering(endpoint)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(Failure::timed_out(patience).never_sent()),
        };
        let reason = match failure.kind {
            Kind::Broken => diagnosis(endpoint, &self.certificates),
            Kind::Answered | Kind::Token | Kind::Elsewhere | Kind::Unreached => return Err(failure),
        };
        let reason = tokio::time::timeout_at(begun + patience, reason).await.unwrap_or(None);
        Err(reason.unwrap_or(failure).never_sent())
    }

    async fn answering(&self, endpoint: &str) -> Result<Client, Failure> {
        let client = Client::connect([endpoint], Some(self.options(endpoint))).await?;
        match client.maintenance_client().status().await.map_err(Failure::from) {
            Ok(_) => Ok(client),
            // It may not be for us to ask, but it was etcd that said so.
            Err(failure) if matches!(failure.kind, Kind::Answered | Kind::Token) => Ok(client),
            Err(failure) => Err(failure),
        }
    }

    fn options(&self, endpoint: &str) -> ConnectOptions {
        let (interval, timeout) = self.config.keep_alive;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.config.connect_timeout)
            .with_keep_alive(interval, timeout)
            .with_keep_alive_while_idle(true)
            .with_tcp_keepalive(interval)
            .with_require_leader(true);
        if let Some((name, password)) = &self.config.user {
            // A token that has run out: one login for all calls that find out at once.
            options = options.with_user(name, password).with_auto_token_refresh(true);
        }
        if endpoint.starts_with("https://") {
            options = options.with_tls(self.certificates.options());
        }
        options
    }
}
