//! The HTTP server: routes, limits, what holds for every request.

use std::any::Any;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ResourceDef, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, ResponseError, web};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::SockRef;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use super::problem::Problem;
use super::settings::{Https, Settings};
use super::{Service, api, openapi, page, probes};
use crate::setup::Failure;

const WORKERS: usize = 2;
/// The connection of a client that reads nothing for so long is closed.
const UNREAD: Duration = Duration::from_secs(60);
const HEAD: Duration = Duration::from_secs(10);
const REQUESTS: &str = "shared_store_http_requests_total";
const SECONDS: &str = "shared_store_http_request_duration_seconds";
const STREAMS: &str = "shared_store_http_streams";

/// Routes and the methods they have, for those who use another one.
const ROUTES: [(&str, &str); 12] = [
    ("/v1/stores", "GET"),
    ("/v1/stores/{store}", "GET"),
    ("/v1/stores/{store}/keys", "GET"),
    ("/v1/stores/{store}/keys/{name:.*}", "GET, PUT, DELETE"),
    ("/v1/stores/{store}/owners", "GET"),
    ("/v1/stores/{store}/recent", "GET"),
    ("/v1/stores/{store}/changes", "GET"),
    ("/v1/stores/{store}/explain/{name:.*}", "GET"),
    ("/livez", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/metrics", "GET"),
    ("/openapi.json", "GET"),
];

pub(crate) struct Server {
    running: actix_web::dev::Server,
    url: String,
}

impl Server {
    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    pub(crate) fn run(self) -> (JoinHandle<std::io::Result<()>>, ServerHandle) {
        let handle = self.running.handle();
        (actix_web::rt::spawn(self.running), handle)
    }
}

/// Binds the port. Clients can connect, and are answered once it runs.
pub(crate) fn bind(service: &web::Data<Service>, settings: &Settings) -> Result<Server, Failure> {
    let address = settings.address();
    let data = service.clone();
    let application = move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::QueryConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
            .app_data(web::PathConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
            .wrap(from_fn(each))
            .service(api::list_stores)
            .service(api::get_store)
            .service(api::list_keys)
            .service(api::get_key)
            .service(api::put_key)
            .service(api::delete_key)
            .service(api::list_owners)
            .service(api::recent_changes)
            .service(api::stream_changes)
            .service(api::explain_key)
            .service(probes::livez)
            .service(probes::readyz)
            .service(probes::metrics)
            .service(openapi::openapi_json)
            .configure(page::routes)
            .default_service(web::to(nothing_here))
    };
    let server = HttpServer::new(application)
        .workers(WORKERS)
        .disable_signals()
        .shutdown_timeout(1)
        .client_request_timeout(HEAD)
        .max_connections(settings.limits.connections.div_ceil(WORKERS))
        .on_connect(limit_unread_data);
    let (server, scheme) = match &settings.https {
        Some(https) => (server.bind_rustls_0_23(address, tls(https)?), "https"),
        None => (server.bind(address), "http"),
    };
    let server = server.map_err(|error| Failure::promise(format_args!("cannot listen on {address}: {error}")))?;
    let url = format!("{scheme}://{}", server.addrs().first().unwrap_or(&address));
    Ok(Server { running: server.run(), url })
}

/// Limits how long data may wait for a client to read it. Only Linux has this limit.
fn limit_unread_data(connection: &dyn Any, _: &mut Extensions) {
    let encrypted = connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
    let stream = connection.downcast_ref::<TcpStream>().or(encrypted);
    #[cfg(target_os = "linux")]
    if let Some(stream) = stream {
        // Without it a client that stops reading keeps its connection.
        let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, UNREAD);
}

fn tls(https: &Https) -> Result<ServerConfig, Failure> {
    let usage = |what: &std::path::Path, error: &dyn std::fmt::Display| {
        Failure::usage(format_args!("https: {}: {error}", what.display()))
    };
    let open = |file: &std::path::Path| File::open(file).map(BufReader::new).map_err(|error| usage(file, &error));
    let certificates = |file: &std::path::Path| {
        let all = CertificateDer::pem_reader_iter(open(file)?).collect::<Result<Vec<_>, _>>();
        all.map_err(|error| usage(file, &error))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(Failure::promise)?;
    let builder = match &https.client_ca {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| usage(file, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| usage(file, &error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_reader(open(&https.key)?).map_err(|error| usage(&https.key, &error))?;
    builder.with_single_cert(certificates(&https.cert)?, key).map_err(|error| usage(&https.cert, &error))
}

/// Holds for every request: its host, what is measured, headers of the answer.
async fn each(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let service = request.app_data::<web::Data<Service>>().cloned();
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if let Some(service) = &service {
        service.access.host(host.as_deref().unwrap_or_default())?;
        let open = service.limits.streams - service.streams.available_permits();
        metrics::gauge!(STREAMS).set(u32::try_from(open).unwrap_or(u32::MAX));
    }
    let method = method(request.method());
    let answer = next.call(request).await;
    let (route, status) = match &answer {
        Ok(answer) => (answer.request().match_pattern(), answer.status()),
        Err(error) => (None, error.as_response_error().status_code()),
    };
    let route = route.unwrap_or_else(|| "none".to_owned());
    metrics::counter!(REQUESTS, "method" => method, "route" => route.clone(), "status" => status.as_str().to_owned())
        .increment(1);
    metrics::histogram!(SECONDS, "method" => method, "route" => route).record(began.elapsed());
    let mut answer = answer?;
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(answer)
}

/// Methods by name, all unknown ones by the same: a client cannot make up time series.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

pub(crate) fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "HTTP requests that were answered");
    metrics::describe_histogram!(SECONDS, metrics::Unit::Seconds, "Time until an HTTP answer began");
    metrics::describe_gauge!(STREAMS, "Open streams of changes");
}

async fn nothing_here(request: HttpRequest) -> HttpResponse {
    let path = request.path();
    let route = ROUTES.iter().find(|(pattern, _)| ResourceDef::new(*pattern).is_match(path));
    match route {
        Some((_, allowed)) => {
            let problem = Problem::method_not_allowed(format_args!("use {allowed}"));
            let mut answer = problem.error_response();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
        None => Problem::no_such_resource(format_args!("{path}: see /openapi.json")).error_response(),
    }
}
