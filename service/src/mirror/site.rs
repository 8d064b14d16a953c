//! The HTTP interface of the mirror.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use serde::Serialize;
use shared_store::mirror::MirrorStatus;

use super::Mirroring;
use super::settings::Settings;
use crate::http::{self, Server, Site};
use crate::setup::Failure;

/// Only probes and operators connect to it.
const CONNECTIONS: usize = 256;

const ROUTES: [(&str, &str); 4] =
    [("/livez", "GET, HEAD"), ("/readyz", "GET, HEAD"), ("/v1/status", "GET"), ("/metrics", "GET")];

pub(super) fn bind(mirroring: &Data<Mirroring>, settings: &Settings) -> Result<Server, Failure> {
    let site = Site {
        address: settings.address(),
        https: None,
        connections: CONNECTIONS,
        routes: &ROUTES,
        see: "/v1/status, /livez, /readyz and /metrics",
    };
    let data = mirroring.clone();
    http::bind(&site, &mirroring.access, move |config| {
        config.app_data(data.clone()).service(readyz).service(get_status).service(metrics);
    })
}

fn fresh() -> (actix_web::http::header::HeaderName, HeaderValue) {
    (CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Whether readers can rely on the copies.
#[derive(Debug, Serialize)]
struct Ready {
    ready: bool,
    /// Whether the program has been told to stop.
    stopping: bool,
    /// Whether it is ready because it has waited for long enough.
    timed_out: bool,
    sources: Vec<SourceReady>,
}

#[derive(Debug, Serialize)]
struct SourceReady {
    cluster: String,
    /// Whether all was copied once.
    complete: bool,
    /// Why it is not.
    waits_for: Option<String>,
}

impl SourceReady {
    fn of(status: &MirrorStatus) -> Self {
        let open = status.copies.iter().find(|copy| !copy.complete);
        let waits_for = match (&status.problem, open) {
            (Some(problem), _) => Some(problem.clone()),
            (None, Some(copy)) => {
                let cause = copy.cause.as_ref().map_or_else(|| copy.state.to_owned(), Clone::clone);
                Some(format!("{}: {cause}, {} to write", copy.name, copy.pending))
            }
            (None, None) => None,
        };
        let complete = open.is_none();
        Self { cluster: status.cluster.clone(), complete, waits_for: waits_for.filter(|_| !complete) }
    }
}

/// Whether every source was copied once, or there was time enough for that.
#[get("/readyz")]
async fn readyz(mirroring: Data<Mirroring>) -> HttpResponse {
    let all = mirroring.sources.status().await;
    let sources: Vec<_> = all.iter().filter(|status| !status.leaves).map(SourceReady::of).collect();
    let stopping = *mirroring.stopping.borrow();
    let timed_out = mirroring.started.elapsed() >= mirroring.ready_timeout;
    let complete = sources.iter().all(|source| source.complete);
    // Once ready it stays so: a source that is added later is no reason to send readers away from the others.
    let ready = !stopping && mirroring.was_ready(complete || timed_out);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let ready = Ready { ready, stopping, timed_out: timed_out && !complete, sources };
    HttpResponse::build(status).insert_header(fresh()).json(ready)
}

/// How all sources are.
#[get("/v1/status")]
async fn get_status(mirroring: Data<Mirroring>) -> HttpResponse {
    let sources = mirroring.sources.status().await;
    HttpResponse::Ok().insert_header(fresh()).json(serde_json::json!({ "sources": sources }))
}

/// Metrics in Prometheus' text format.
#[get("/metrics")]
async fn metrics(mirroring: Data<Mirroring>) -> HttpResponse {
    let statuses = mirroring.sources.status().await;
    mirroring.record(&statuses);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(mirroring.prometheus.render())
}
