//! Who may do what: names of the service, tokens, limits.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::setup::{Failure, secret};

/// Who may connect and write, as a configuration says it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) token_file: Option<&'a Path>,
    /// Clients show certificates.
    pub(crate) known_clients: bool,
    pub(crate) hosts: &'a [String],
}

/// The rules of the configuration. A reload changes them.
#[derive(Debug)]
pub(crate) struct Access {
    rules: RwLock<Rules>,
}

struct Rules {
    token: Option<String>,
    loopback: bool,
    /// Clients show certificates.
    known_clients: bool,
    hosts: Vec<String>,
}

impl std::fmt::Debug for Rules {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

impl Rules {
    fn new(allowed: Allowed<'_>) -> Result<Self, Failure> {
        Ok(Self {
            token: allowed.token_file.map(secret).transpose()?,
            loopback: allowed.address.ip().is_loopback(),
            known_clients: allowed.known_clients,
            hosts: allowed.hosts.to_vec(),
        })
    }
}

impl Access {
    pub(crate) fn new(allowed: Allowed<'_>) -> Result<Self, Failure> {
        Rules::new(allowed).map(|rules| Self { rules: RwLock::new(rules) })
    }

    pub(crate) fn reload(&self, allowed: Allowed<'_>) -> Result<(), Failure> {
        let rules = Rules::new(allowed)?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// Whether the request names this service. On loopback another site's page could otherwise reach it under a name of its
    /// own (DNS rebinding).
    pub(crate) fn host(&self, host: &str) -> Result<(), Problem> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let name = host_name(host);
        let known = !rules.loopback
            || name == "localhost"
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || rules.hosts.iter().any(|known| known == name);
        if known {
            Ok(())
        } else {
            Err(Problem::misdirected(format_args!(
                "a service on loopback is not {name:?}: add it to hosts if it should be"
            )))
        }
    }

    /// Whether the request may write.
    pub(crate) fn write(&self, request: &HttpRequest) -> Result<(), Problem> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let Some(token) = &rules.token else {
            return if rules.loopback || rules.known_clients {
                Ok(())
            } else {
                Err(Problem::forbidden("this service takes no writes: it has neither token_file nor client_ca"))
            };
        };
        let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        match given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
            Some((_, given)) if bool::from(given.trim().as_bytes().ct_eq(token.as_bytes())) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the token is wrong")),
            None => Err(Problem::unauthorized("writes need Authorization: Bearer TOKEN")),
        }
    }
}

/// A host without its port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or(address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn access(token: Option<&str>, loopback: bool, known_clients: bool) -> Access {
        let hosts = vec!["store.internal".to_owned()];
        let rules = Rules { token: token.map(str::to_owned), loopback, known_clients, hosts };
        Access { rules: RwLock::new(rules) }
    }

    fn writes(access: &Access, header: Option<&str>) -> Result<(), String> {
        let request = TestRequest::default();
        let request = match header {
            Some(header) => request.insert_header((AUTHORIZATION, header)),
            None => request,
        };
        access.write(&request.to_http_request()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn writes_need_the_token_or_loopback_or_a_client_certificate() {
        assert!(writes(&access(None, true, false), None).is_ok());
        assert!(writes(&access(None, false, true), None).is_ok());
        assert!(writes(&access(None, false, false), None).unwrap_err().contains("takes no writes"));
        for (loopback, known_clients) in [(true, false), (false, true), (false, false)] {
            let access = access(Some("s3cr3t"), loopback, known_clients);
            assert!(writes(&access, Some("Bearer s3cr3t")).is_ok() && writes(&access, Some("bearer s3cr3t")).is_ok());
            for bad in [None, Some("Bearer s3cr3"), Some("Bearer "), Some("Basic s3cr3t"), Some("s3cr3t")] {
                let error = writes(&access, bad).unwrap_err();
                assert!(!error.contains("s3cr3t"), "{error}");
            }
        }
    }

    #[test]
    fn a_service_on_loopback_has_only_its_own_names() {
        let access = access(None, true, false);
        for good in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "store.internal:80"] {
            assert!(access.host(good).is_ok(), "{good}");
        }
        for bad in ["evil.example", "evil.example:8080", "10.0.0.1:8080", "", "localhost.evil.example"] {
            assert!(access.host(bad).is_err(), "{bad}");
        }
        assert!(super::tests::access(None, false, false).host("store.example").is_ok());
    }
}
