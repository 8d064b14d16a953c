//! The interface as an OpenAPI document.

use actix_web::{HttpResponse, get};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{api, probes};
use crate::http;

/// All paths of the interface.
#[derive(OpenApi)]
#[openapi(
    info(title = "shared-store", description = "Stores of keys that many processes share over etcd."),
    paths(
        api::list_stores, api::get_store, api::list_keys, api::get_key, api::put_key, api::delete_key, api::list_owners, api::explain_key,
        api::recent_changes, api::stream_changes, http::livez, probes::readyz, probes::metrics,
    ),
    components(schemas(http::Problem)),
    modifiers(&Token),
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The OpenAPI document.
#[get("/openapi.json")]
pub(crate) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok().json(Document::openapi())
}
