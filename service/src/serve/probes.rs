//! What orchestrators and monitoring ask.

use actix_web::http::StatusCode;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Query};
use actix_web::{HttpResponse, get};
use serde::{Deserialize, Serialize};
use shared_store::State;
use utoipa::{IntoParams, ToSchema};

use super::{Service, server};
use crate::http::{Asks, Problem};

/// Whether the service can be routed to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    ready: bool,
    /// Whether the service has been told to stop.
    stopping: bool,
    stores: Vec<StoreReady>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoreReady {
    name: String,
    ready: bool,
    #[serde(flatten)]
    #[schema(value_type = serde_json::Value)]
    state: State,
}

/// Of which store.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadyQuery {
    /// Only this store; without it, all.
    store: Option<String>,
}

/// Whether every store shows the kvstore, and if not, why.
#[utoipa::path(tag = "probes", params(ReadyQuery), responses(
    (status = 200, body = Ready), (status = 503, body = Ready), Asks))]
#[get("/readyz")]
pub(crate) async fn readyz(service: web::Data<Service>, query: Query<ReadyQuery>) -> Result<HttpResponse, Problem> {
    let registered = match &query.store {
        Some(name) => vec![service.stores.get(name)?],
        None => service.stores.all(),
    };
    let stopping = *service.stopping.borrow();
    let mut stores = Vec::new();
    for store in registered {
        let state = store.state().await;
        stores.push(StoreReady { name: store.settings.name.clone(), ready: state == State::Synced, state });
    }
    let ready = !stopping && stores.iter().all(|store| store.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(Ready { ready, stopping, stores }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(tag = "probes", responses((status = 200, body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub(crate) async fn metrics(service: web::Data<Service>) -> HttpResponse {
    server::record(&service);
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(service.prometheus.render())
}
