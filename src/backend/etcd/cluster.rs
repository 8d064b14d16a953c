//! The cluster as it is configured now, and a connection to one of its members.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions};

use super::addresses::{addresses, first_answer, host};
use super::certificates::Certificates;
use super::config::EtcdConfig;
use super::diagnosis::diagnosis;
use super::endpoint::Tls;
use super::endpoints::Endpoints;
use super::error::EtcdConfigError;
use super::failure::{Failure, Kind};
use super::pings::Pings;
use super::version::answers_progress;

/// Where the cluster is and how to be let in.
#[derive(Debug)]
pub(super) struct Cluster {
    config: EtcdConfig,
    pub(super) endpoints: Endpoints,
    pub(super) certificates: Certificates,
    pub(super) pings: Pings,
    /// Whether the last login failed because etcd has authentication switched off.
    auth_off: AtomicBool,
}

/// A client that has received an answer.
pub(super) struct Connected {
    pub(super) client: Client,
    /// Whether the member's version is known to answer requests for the progress of watches as it should.
    pub(super) answers_progress: bool,
}

impl Cluster {
    pub(super) fn new(mut config: EtcdConfig) -> Result<Self, EtcdConfigError> {
        let urls = std::mem::take(&mut config.endpoints);
        // Endpoints first: what is said about them needs no file.
        let has_tls_files = config.tls_ca.is_some() || config.tls_identity.is_some();
        let endpoints = Endpoints::new(urls, if has_tls_files { Tls::Required } else { Tls::Optional })?;
        let certificates = Certificates::new(&config, Instant::now())?;
        let pings = Pings::new(config.keep_alive.0);
        Ok(Self { config, endpoints, certificates, pings, auth_off: AtomicBool::new(false) })
    }

    /// A client that has logged in and received an answer. A request is sent only to an endpoint that has answered: if
    /// nobody listens, the TLS handshake fails or the listener never answers, the request was never sent.
    pub(super) async fn connect(
        self: &Arc<Self>,
        endpoint: &str,
        ping_interval: Duration,
    ) -> Result<Connected, Failure> {
        let patience = self.config.connect_timeout;
        let begun = tokio::time::Instant::now();
        let failure = match tokio::time::timeout_at(begun + patience, self.any_address(endpoint, ping_interval)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(Failure::timed_out(patience).never_sent()),
        };
        let reason = match failure.kind {
            Kind::Closed | Kind::Broken => diagnosis(endpoint, &self.certificates),
            Kind::Answered | Kind::Token | Kind::NoLogin | Kind::AuthOff | Kind::Elsewhere | Kind::Unreached => {
                return Err(failure);
            }
        };
        let reason = tokio::time::timeout_at(begun + patience, reason).await.unwrap_or(None);
        Err(reason.unwrap_or(failure).never_sent())
    }

    /// Connects by the name first, because a proxy in between may need it. Then by each of the addresses; they are
    /// tried within the connect timeout.
    async fn any_address(self: &Arc<Self>, endpoint: &str, ping_interval: Duration) -> Result<Connected, Failure> {
        let addresses = addresses(&self.config, endpoint).await;
        let attempts = std::iter::once(None).chain(addresses.iter().copied().map(Some));
        let attempts = attempts.map(|address| {
            let (this, endpoint) = (Arc::clone(self), endpoint.to_owned());
            async move { this.answering(&endpoint, address, ping_interval).await }
        });
        let each = self.config.connect_timeout / u32::try_from(addresses.len() + 2).unwrap_or(u32::MAX);
        first_answer(attempts, each).await
    }

    async fn answering(
        &self,
        endpoint: &str,
        address: Option<SocketAddr>,
        ping_interval: Duration,
    ) -> Result<Connected, Failure> {
        let client = self.logged_in(endpoint, address, ping_interval).await?;
        let version = Self::answer(&client).await?;
        Ok(Connected { client, answers_progress: version.is_some_and(|version| answers_progress(&version)) })
    }

    /// Whether somebody still answers over a connection that was idle.
    pub(super) async fn is_alive(&self, client: &Client) -> bool {
        matches!(tokio::time::timeout(self.config.keep_alive.1, Self::answer(client)).await, Ok(Ok(_)))
    }

    /// The version of the member, if it may be known.
    async fn answer(client: &Client) -> Result<Option<String>, Failure> {
        match client.maintenance_client().status().await.map_err(Failure::from) {
            Ok(status) => Ok(Some(status.version().to_owned())),
            Err(failure) => match failure.kind {
                // The request may not be permitted, but it was etcd that answered.
                Kind::Answered | Kind::Token | Kind::NoLogin | Kind::AuthOff => Ok(None),
                Kind::Elsewhere | Kind::Unreached | Kind::Closed | Kind::Broken => Err(failure),
            },
        }
    }

    /// A client with a token, or without one while etcd has authentication switched off.
    async fn logged_in(
        &self,
        endpoint: &str,
        address: Option<SocketAddr>,
        ping_interval: Duration,
    ) -> Result<Client, Failure> {
        let options = self.options(endpoint, address, ping_interval);
        let scheme = if endpoint.starts_with("https://") { "https" } else { "http" };
        let url = address.map_or_else(|| endpoint.to_owned(), |address| format!("{scheme}://{address}"));
        let Some((user, password)) = &self.config.user else {
            return Ok(Client::connect([&url], Some(options)).await?);
        };
        // The token has expired: one login for all calls that notice it at the same time.
        let with_user = options.clone().with_user(user, password).with_auto_token_refresh(true);
        match Client::connect([&url], Some(with_user)).await.map_err(Failure::from) {
            Ok(client) => {
                if self.auth_off.swap(false, Ordering::Relaxed) {
                    tracing::info!(endpoint, user, "etcd has authentication on again: logged in");
                }
                Ok(client)
            }
            Err(failure) if failure.kind == Kind::AuthOff => {
                if !self.auth_off.swap(true, Ordering::Relaxed) {
                    tracing::warn!(endpoint, user, "etcd has authentication off: going on without logging in");
                }
                Ok(Client::connect([&url], Some(options)).await?)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether there is a user to log in with.
    pub(super) fn logs_in(&self) -> bool {
        self.config.user.is_some()
    }

    fn options(&self, endpoint: &str, address: Option<SocketAddr>, ping_interval: Duration) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.config.connect_timeout)
            .with_keep_alive(ping_interval, self.config.keep_alive.1)
            // Every etcd refuses pings without a stream, at any interval.
            .with_keep_alive_while_idle(false)
            .with_tcp_keepalive(ping_interval)
            .with_require_leader(true);
        if endpoint.starts_with("https://") {
            let tls = self.certificates.options();
            // The certificate is for the name.
            options = options.with_tls(if address.is_some() { tls.domain_name(host(endpoint)) } else { tls });
        }
        options
    }
}
