//! `status`: how the stores of a running service are.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::cli::{Common, Format, StatusArgs};
use crate::entry::table;
use crate::output::print_all;
use crate::printable::printable;
use crate::setup::Failure;

/// A service that lives answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

const HEAD: [&str; 7] = ["STORE", "STATE", "KEYS", "OWN", "PENDING", "REVISION", "CAUSE"];

pub(crate) fn run(common: &Common, args: &StatusArgs) -> Result<(), Failure> {
    let all = ask(common, &args.url, "/v1/stores")?;
    let Some(stores) = all["stores"].as_array() else { return Err(no_service(&args.url, &all)) };
    print_all(|out| print(out, common.output, stores))?;
    let not_synced = stores.iter().filter(|store| store["state"] != "synced").count();
    if not_synced == 0 {
        return Ok(());
    }
    Err(Failure::promise(format_args!("{not_synced} of {} stores do not show the kvstore", stores.len())))
}

/// What a running service answers.
pub(crate) fn ask(common: &Common, url: &str, path: &str) -> Result<Value, Failure> {
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let told = |error: &dyn std::fmt::Display| Failure::promise(format_args!("{url}: {error}"));
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots(common)?)
        .client_cert(own(common)?)
        .build();
    let agent =
        Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).tls_config(tls).build();
    let mut answer = Agent::from(agent).get(&url).call().map_err(|error| told(&error))?;
    let text = answer.body_mut().read_to_string().map_err(|error| told(&error))?;
    serde_json::from_str(&text).map_err(|_| told(&"it is no shared-store service"))
}

/// The answer is not what the service answers.
pub(crate) fn no_service(url: &str, answer: &Value) -> Failure {
    Failure::promise(format_args!("{url}: {}", answer["detail"].as_str().unwrap_or("it is no shared-store service")))
}

/// A member of an answer, for people.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text).into_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Who signs certificates: those of `--tls-ca`, or those whom browsers trust.
fn roots(common: &Common) -> Result<RootCerts, Failure> {
    let certificates = common.tls_ca.as_deref().map(certificates).transpose()?;
    Ok(certificates.map_or(RootCerts::WebPki, |certificates| RootCerts::Specific(Arc::new(certificates))))
}

/// The certificate of `--tls-cert`, for a service that wants to see one.
fn own(common: &Common) -> Result<Option<ClientCert>, Failure> {
    let (Some(certificate), Some(key)) = (&common.tls_cert, &common.tls_key) else { return Ok(None) };
    let pem = std::fs::read(key).map_err(|error| unreadable(key, &error))?;
    let key = PrivateKey::from_pem(&pem).map_err(|error| unreadable(key, &error))?;
    Ok(Some(ClientCert::new_with_certs(&certificates(certificate)?, key)))
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(unreadable(file, &error))),
    });
    certificates.collect()
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format_args!("{}: {error}", file.display()))
}

fn print(out: &mut dyn Write, format: Format, stores: &[Value]) -> io::Result<()> {
    if format == Format::Json {
        return stores.iter().try_for_each(|store| writeln!(out, "{}", printable(&store.to_string())));
    }
    let members = ["name", "state", "entries", "own", "pending_writes", "revision", "cause"];
    table(out, HEAD, stores.iter().map(|store| members.map(|member| cell(&store[member]))))
}
