//! What the service serves.

use actix_web::web::Data;

use super::settings::Settings;
use super::{Service, api, openapi, page, probes};
use crate::http::{self, Server, Site};
use crate::setup::Failure;

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

/// Binds the port. Clients can connect, and are answered once it runs.
pub(crate) fn bind(service: &Data<Service>, settings: &Settings) -> Result<Server, Failure> {
    let site = Site {
        address: settings.address(),
        https: settings.https.clone(),
        connections: settings.limits.connections,
        routes: &ROUTES,
        see: "/openapi.json",
    };
    let data = service.clone();
    http::bind(&site, &service.access, move |config| {
        config
            .app_data(data.clone())
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
            .service(probes::readyz)
            .service(probes::metrics)
            .service(openapi::openapi_json)
            .configure(page::routes);
    })
}

pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(STREAMS, "Open streams of changes");
}

/// Records what only the service knows.
pub(crate) fn record(service: &Service) {
    let open = service.limits.streams - service.streams.available_permits();
    metrics::gauge!(STREAMS).set(u32::try_from(open).unwrap_or(u32::MAX));
}
