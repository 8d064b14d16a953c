//! HTTP as the services of this program speak it: ports, limits, what holds for every request.

mod access;
mod problem;
mod tls;

use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ResourceDef, ServerHandle, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, ResponseError, get};
use socket2::SockRef;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

pub(crate) use self::access::{Access, Allowed};
pub(crate) use self::problem::{Asks, Problem, Reads, Writes};
pub(crate) use self::tls::Https;
use crate::setup::Failure;

const WORKERS: usize = 2;
/// The connection of a client that reads nothing for so long is closed.
const UNREAD: Duration = Duration::from_secs(60);
const HEAD: Duration = Duration::from_secs(10);
const REQUESTS: &str = "shared_store_http_requests_total";
const SECONDS: &str = "shared_store_http_request_duration_seconds";

/// What a service serves where.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) https: Option<Https>,
    /// How many connections it takes.
    pub(crate) connections: usize,
    /// Routes and the methods they have, for those who use another one.
    pub(crate) routes: &'static [(&'static str, &'static str)],
    /// Where one reads what there is.
    pub(crate) see: &'static str,
}

/// What is said of paths and methods that there are not.
#[derive(Debug, Clone, Copy)]
struct Known {
    routes: &'static [(&'static str, &'static str)],
    see: &'static str,
}

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

/// Binds the port. Clients can connect, and are answered once it runs. `serve` adds the services and their data.
pub(crate) fn bind(
    site: &Site,
    access: &Data<Access>,
    serve: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> Result<Server, Failure> {
    let (address, access, known) = (site.address, access.clone(), Known { routes: site.routes, see: site.see });
    let application = move || {
        App::new()
            .app_data(access.clone())
            .app_data(Data::new(known))
            .app_data(web::QueryConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
            .app_data(web::PathConfig::default().error_handler(|error, _| Problem::bad_request(error).into()))
            .wrap(from_fn(each))
            .configure(serve.clone())
            .service(livez)
            .default_service(web::to(nothing_here))
    };
    let server = HttpServer::new(application)
        .workers(WORKERS)
        .disable_signals()
        .shutdown_timeout(1)
        .client_request_timeout(HEAD)
        .max_connections(site.connections.div_ceil(WORKERS))
        .on_connect(limit_unread_data);
    let (server, scheme) = match &site.https {
        Some(https) => (server.bind_rustls_0_23(address, tls::tls(https)?), "https"),
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

/// Holds for every request: its host, what is measured, headers of the answer.
async fn each(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let began = Instant::now();
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if let Some(access) = request.app_data::<Data<Access>>() {
        access.host(host.as_deref().unwrap_or_default())?;
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
}

/// The process is alive, whatever the kvstore does.
#[utoipa::path(tag = "probes", responses((status = 200, body = serde_json::Value)))]
#[get("/livez")]
pub(crate) async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({"alive": true}))
}

async fn nothing_here(request: HttpRequest, known: Data<Known>) -> HttpResponse {
    let path = request.path();
    let route = known.routes.iter().find(|(pattern, _)| ResourceDef::new(*pattern).is_match(path));
    match route {
        Some((_, allowed)) => {
            let problem = Problem::method_not_allowed(format_args!("use {allowed}"));
            let mut answer = problem.error_response();
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            answer
        }
        None => Problem::no_such_resource(format_args!("{path}: see {}", known.see)).error_response(),
    }
}
