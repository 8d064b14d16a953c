//! The URL of one member: checked before anything connects, with what to write instead.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::error::{EndpointProblem, EtcdConfigError};

/// Whether an endpoint has to use TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    /// TLS files are given: it has to.
    Required,
    /// Its URL says whether it does.
    Optional,
}

/// The URL with scheme, host and port and nothing else. Without a scheme it is `http://`.
pub(super) fn checked(url: &str, tls: Tls) -> Result<Arc<str>, EtcdConfigError> {
    match parsed(url.trim()) {
        Ok(whole) if tls == Tls::Required && !whole.starts_with("https://") => Err(EtcdConfigError::TlsUnused(whole)),
        Ok(whole) => Ok(whole.into()),
        Err(problem) => Err(EtcdConfigError::Endpoint { endpoint: without_password(url), problem }),
    }
}

fn parsed(url: &str) -> Result<String, EndpointProblem> {
    use EndpointProblem as Problem;

    if url.is_empty() {
        return Err(Problem::Empty);
    }
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(Problem::Scheme(scheme));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(Problem::User);
    }
    if !path.is_empty() {
        return Err(Problem::Path(path.to_owned(), format!("{scheme}://{authority}")));
    }
    let (host, port) = host_and_port(&scheme, authority)?;
    match host.strip_prefix('[') {
        Some(address) => {
            let address = address.strip_suffix(']').unwrap_or(address);
            address.parse::<Ipv6Addr>().map_err(|_| Problem::Ipv6(address.to_owned()))?;
        }
        None if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) => {
            return Err(Problem::Host(host.to_owned()));
        }
        None => {}
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(format!("{scheme}://{host}:{number}")),
        Ok(_) | Err(_) => Err(Problem::Port(port.to_owned())),
    }
}

/// An authority without its colon in the middle. The host keeps its brackets.
fn host_and_port<'a>(scheme: &str, authority: &'a str) -> Result<(&'a str, &'a str), EndpointProblem> {
    use EndpointProblem as Problem;

    let no_port = |host: &str| Problem::NoPort(format!("{scheme}://{host}:2379"));
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or_else(|| Problem::Ipv6(authority.to_owned()))?;
        let (host, port) = authority.split_at(end + 1);
        return Ok((host, port.strip_prefix(':').ok_or_else(|| no_port(host))?));
    }
    let Some((host, port)) = authority.rsplit_once(':') else {
        return Err(if authority.is_empty() { Problem::Host(String::new()) } else { no_port(authority) });
    };
    if host.contains(':') {
        // `::1:2379` is an address as a whole, too. Most likely the last part is the port.
        let written = match (host.parse::<Ipv6Addr>(), authority.parse::<Ipv6Addr>()) {
            (Ok(_), _) => format!("{scheme}://[{host}]:{port}"),
            (Err(_), Ok(_)) => format!("{scheme}://[{authority}]:2379"),
            (Err(_), Err(_)) => return Err(Problem::Host(host.to_owned())),
        };
        return Err(Problem::Brackets(written));
    }
    Ok((host, port))
}

/// An URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.rsplit_once('@'), url.split_once("://")) {
        (None, _) => url.to_owned(),
        (Some((_, host)), Some((scheme, _))) => format!("{scheme}://...@{host}"),
        (Some((_, host)), None) => format!("...@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_can_work_is_brought_into_one_form() {
        for (url, whole) in [
            ("127.0.0.1:2379", "http://127.0.0.1:2379"),
            (" http://etcd_0.etcd-1:2379/ ", "http://etcd_0.etcd-1:2379"),
            ("HTTPS://Host:02379\n", "https://Host:2379"),
            ("http://[::1]:2379", "http://[::1]:2379"),
        ] {
            assert_eq!(&*checked(url, Tls::Optional).unwrap(), whole, "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_what_to_write() {
        for (url, words) in [
            ("", "\"\": endpoint is empty: write http://host:2379, and no comma after the last endpoint"),
            (" ", "\" \": endpoint is empty: write http://host:2379, and no comma after the last endpoint"),
            ("http://::1:2379", "\"http://::1:2379\": IPv6 address is not in brackets: write http://[::1]:2379"),
            ("::1:2379", "\"::1:2379\": IPv6 address is not in brackets: write http://[::1]:2379"),
            ("https://fe80::2", "\"https://fe80::2\": IPv6 address is not in brackets: write https://[fe80::2]:2379"),
            ("http://[::1]", "\"http://[::1]\": port is missing: write http://[::1]:2379"),
            (
                "http://[::1:2379",
                "\"http://[::1:2379\": \"[::1:2379\" is not an IPv6 address without a zone: write \
                http://[::1]:2379",
            ),
            (
                "http://[fe80::1%eth0]:1",
                "\"http://[fe80::1%eth0]:1\": \"fe80::1%eth0\" is not an IPv6 address without \
                a zone: write http://[::1]:2379",
            ),
            ("host", "\"host\": port is missing: write http://host:2379"),
            ("https://host", "\"https://host\": port is missing: write https://host:2379"),
            ("http://", "\"http://\": \"\" is not a host name: write http://host:2379"),
            ("http://:2379", "\"http://:2379\": \"\" is not a host name: write http://host:2379"),
            ("http://a b:1", "\"http://a b:1\": \"a b\" is not a host name: write http://host:2379"),
            ("http://a:1,b:2", "\"http://a:1,b:2\": \"a:1,b\" is not a host name: write http://host:2379"),
            ("http://a:1,", "\"http://a:1,\": port \"1,\" is not a number from 1 to 65535"),
            ("http://host:0", "\"http://host:0\": port \"0\" is not a number from 1 to 65535"),
            ("http://host:99999", "\"http://host:99999\": port \"99999\" is not a number from 1 to 65535"),
            ("http://h:1/v3", "\"http://h:1/v3\": \"/v3\" follows the address: write http://h:1"),
            ("ftp://host:1", "\"ftp://host:1\": scheme is \"ftp\": write http:// or https://"),
            ("unix:///tmp/etcd", "\"unix:///tmp/etcd\": scheme is \"unix\": write http:// or https://"),
            (
                "http://me:s3cr3t@h:1",
                "\"http://...@h:1\": URL holds a user or a password: set them as user and \
                password instead",
            ),
        ] {
            let error = checked(url, Tls::Optional).unwrap_err().to_string();
            assert_eq!(error, format!("etcd endpoint {words}"));
        }
    }

    #[test]
    fn with_tls_files_a_url_without_tls_is_refused_with_what_to_write() {
        for url in ["http://host:1", "host:1"] {
            let error = checked(url, Tls::Required).unwrap_err().to_string();
            let words = "does not use TLS, but TLS files are given: write https://host:1";
            assert_eq!(error, format!("etcd endpoint \"http://host:1\" {words}"));
        }
    }
}
