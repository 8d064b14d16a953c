//! The page, which is part of the program.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get};

use crate::http::Problem;

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";

const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => { &[$(($name, $kind, include_str!(concat!("page/", $name)))),*] };
}

/// Every file: its name, its type, its text.
const FILES: &[(&str, &str, &str)] = files! {
    "index.html": HTML, "style.css": CSS, "favicon.svg": SVG, "app.js": SCRIPT, "detail.js": SCRIPT, "diff.js": SCRIPT,
    "json.js": SCRIPT, "keyboard.js": SCRIPT, "model.js": SCRIPT, "side.js": SCRIPT, "stream.js": SCRIPT,
    "table.js": SCRIPT, "theme.js": SCRIPT, "words.js": SCRIPT,
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/page");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<_> = files.collect();
        files.sort();
        let mut served: Vec<_> = FILES.iter().map(|(name, ..)| name.to_owned()).collect();
        served.sort_unstable();
        assert_eq!(files, served);
    }
}
