//! The page, which is part of the program.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get};

use super::problem::Problem;

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

/// Every file: its name, its type, its text.
const FILES: [(&str, &str, &str); 1] = [("index.html", HTML, include_str!("page/index.html"))];

pub(crate) fn routes(config: &mut ServiceConfig) {
    config.service(page).service(page_file);
}

#[get("/")]
async fn page() -> Result<HttpResponse, Problem> {
    answer("index.html")
}

#[get("/page/{name}")]
async fn page_file(name: web::Path<String>) -> Result<HttpResponse, Problem> {
    answer(&name)
}

fn answer(name: &str) -> Result<HttpResponse, Problem> {
    let file = FILES.iter().find(|(file, ..)| *file == name);
    let (_, kind, text) = file.ok_or_else(|| Problem::no_such_resource(format_args!("/page/{name}")))?;
    Ok(HttpResponse::Ok()
        .content_type(*kind)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(*text))
}
