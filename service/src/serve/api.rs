//! The HTTP interface of stores and keys.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, ETag, EntityTag, Header as _, IfNoneMatch};
use actix_web::web::{self, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use serde::Deserialize;
use shared_store::Revision;
use tokio::time::{Instant, timeout};
use utoipa::IntoParams;

use super::Service;
use super::hosted::{Entry, Hosted, Owners, Page, Wanted, Written};
use super::names::Names;
use super::stream;
use crate::http::{Problem, Reads, Writes};

type Data = web::Data<Service>;
type Answer = Result<HttpResponse, Problem>;

/// How long a value may take to arrive.
const BODY: Duration = Duration::from_secs(30);
/// How long a read waits for `min_revision` or `consistent`, at most.
const MAX_WAIT: Duration = Duration::from_secs(60);
const MAX_LIMIT: usize = 10_000;

/// Which keys, and how many.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeysQuery {
    /// Names that begin with this.
    prefix: Option<String>,
    /// Names that match this pattern: `*` is any text, `?` one character.
    glob: Option<String>,
    /// An index of the configuration, with `value`.
    index: Option<String>,
    /// What the index has to find in the value of a key.
    value: Option<String>,
    /// Keys of this owner: a lease in hex, or `none`.
    owner: Option<String>,
    /// Wait until the cache shows this revision: a write of another process, say.
    min_revision: Option<u64>,
    /// Wait until the cache shows every write that the kvstore acknowledged before this request, of any client.
    #[serde(default)]
    consistent: bool,
    /// How long to wait for that, in ms; at most 60000.
    #[serde(default = "timeout_ms")]
    #[param(default = 5000, maximum = 60000)]
    timeout_ms: u64,
    /// Keys of a page; at most 10000.
    #[serde(default = "limit")]
    #[param(default = 100, minimum = 1, maximum = 10000)]
    limit: usize,
    /// Keys after this name: `next` of the page before.
    after: Option<String>,
}

/// Which state of a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeyQuery {
    /// Wait until the cache shows this revision.
    min_revision: Option<u64>,
    /// Wait until the cache shows every write that the kvstore acknowledged before this request, of any client.
    #[serde(default)]
    consistent: bool,
    /// How long to wait for that, in ms; at most 60000.
    #[serde(default = "timeout_ms")]
    #[param(default = 5000, maximum = 60000)]
    timeout_ms: u64,
    /// Answer with the bytes of the value, and nothing else.
    #[serde(default)]
    raw: bool,
}

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecentQuery {
    /// Names that begin with this.
    prefix: Option<String>,
    /// Names that match this pattern.
    glob: Option<String>,
    /// How many; at most 10000.
    #[serde(default = "limit")]
    #[param(default = 100, minimum = 1, maximum = 10000)]
    limit: usize,
}

fn timeout_ms() -> u64 {
    5000
}

fn limit() -> usize {
    100
}

fn within(limit: usize) -> Result<usize, Problem> {
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::bad_request(format_args!("limit is {limit}: use 1 to {MAX_LIMIT}")))
    }
}

/// Waits until the cache shows what is to be read.
async fn reached(
    store: &Arc<dyn Hosted>,
    revision: Option<u64>,
    consistent: bool,
    timeout_ms: u64,
) -> Result<(), Problem> {
    let wait = Duration::from_millis(timeout_ms);
    if wait > MAX_WAIT {
        return Err(Problem::bad_request(format_args!(
            "timeout_ms is {timeout_ms}: use at most {}",
            MAX_WAIT.as_millis()
        )));
    }
    let begun = Instant::now();
    if let Some(revision) = revision {
        store.at_least(Revision(revision), wait).await?;
    }
    // In whole milliseconds, for the message.
    let left = timeout_ms.saturating_sub(begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
    if consistent { store.catch_up(Duration::from_millis(left)).await } else { Ok(()) }
}

fn json(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").insert_header((header::CACHE_CONTROL, "no-cache")).body(text)
}

fn etag(revision: Revision) -> ETag {
    ETag(EntityTag::new_strong(revision.to_string()))
}

/// All stores with their states.
#[utoipa::path(tag = "stores", responses(
    (status = 200, description = "every store, as `/v1/stores/{store}` answers", body = serde_json::Value)))]
#[get("/v1/stores")]
pub(crate) async fn list_stores(service: Data) -> Answer {
    let mut all = Vec::new();
    for entry in service.stores.all() {
        all.push(entry.status().await?);
    }
    Ok(json(format!("{{\"stores\":[{}]}}", all.join(","))))
}

/// One store with its state.
#[utoipa::path(tag = "stores", params(("store" = String, Path, description = "its name in the configuration")), responses(
    (status = 200, description = "the members are documented with `Status` of the crate shared-store", body = serde_json::Value), Reads))]
#[get("/v1/stores/{store}")]
pub(crate) async fn get_store(service: Data, store: Path<String>) -> Answer {
    service.stores.get(&store)?.status().await.map(json)
}

/// Keys in the order of their names, from the cache.
#[utoipa::path(tag = "keys", params(("store" = String, Path), KeysQuery), responses(
    (status = 200, body = Page), Reads))]
#[get("/v1/stores/{store}/keys")]
pub(crate) async fn list_keys(service: Data, store: Path<String>, query: Query<KeysQuery>) -> Answer {
    let hosted = service.stores.get(&store)?.hosted().await?;
    let query = query.into_inner();
    let limit = within(query.limit)?;
    let index = match (query.index, query.value) {
        (Some(index), Some(value)) => Some((index, value)),
        (None, None) => None,
        _ => return Err(Problem::bad_request("index and value need each other")),
    };
    let names = hosted.names().narrowed(query.prefix.as_deref(), query.glob.as_deref());
    reached(&hosted, query.min_revision, query.consistent, query.timeout_ms).await?;
    let page = hosted.keys(&Wanted { names, index, owner: query.owner, after: query.after, limit })?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(page))
}

/// One key with its value, revisions and owner, from the cache.
#[utoipa::path(tag = "keys", params(("store" = String, Path), ("name" = String, Path, description = "slashes stay as they are"), KeyQuery),
    responses(
    (status = 200, description = "`ETag` is the revision",
        content((Entry = "application/json"), (String = "application/octet-stream"))),
    (status = 304, description = "it has the revision of `If-None-Match`"), Reads))]
#[get("/v1/stores/{store}/keys/{name:.*}")]
pub(crate) async fn get_key(
    service: Data,
    path: Path<(String, String)>,
    query: Query<KeyQuery>,
    request: HttpRequest,
) -> Answer {
    let (store, name) = path.into_inner();
    let hosted = service.stores.get(&store)?.hosted().await?;
    reached(&hosted, query.min_revision, query.consistent, query.timeout_ms).await?;
    let entry = hosted.key(&name)?;
    let tag = etag(entry.revision);
    // What is not a list of tags names none.
    let unchanged = match IfNoneMatch::parse(&request) {
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag.0)),
        Ok(IfNoneMatch::Any) | Err(_) => false,
    };
    let mut answer = HttpResponse::Ok();
    answer.insert_header(tag).insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(if unchanged {
        answer.status(StatusCode::NOT_MODIFIED).finish()
    } else if query.raw {
        answer.content_type("application/octet-stream").body(entry.raw)
    } else {
        answer.json(entry)
    })
}

fn may_write(service: &Service, request: &HttpRequest) -> Result<(), Problem> {
    service.access.write(request)?;
    let conditional = [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE];
    if conditional.iter().any(|name| request.headers().contains_key(name)) {
        return Err(Problem::precondition_failed("a write has no conditions: the owner of a key decides what it is"));
    }
    Ok(())
}

fn written(written: &Written) -> HttpResponse {
    let mut answer = if written.shown { HttpResponse::Ok() } else { HttpResponse::Accepted() };
    if let Some(revision) = written.revision {
        answer.insert_header(etag(revision));
    }
    answer.json(written)
}

/// Owns a key: the body is its value, to the letter. It is put back when others damage it, and goes with the service.
#[utoipa::path(tag = "keys", params(("store" = String, Path), ("name" = String, Path)), security((), ("token" = [])),
    request_body(description = "the bytes of the value: JSON, text, or any, as the store has it",
        content((serde_json::Value = "application/json"), (String = "text/plain"), (String = "application/octet-stream"))), responses(
    (status = 200, description = "it is in the kvstore, and reading shows it; `ETag` is its revision", body = Written),
    (status = 202, description = "it is written, or will be; reading does not show it yet", body = Written), Writes))]
#[put("/v1/stores/{store}/keys/{name:.*}")]
pub(crate) async fn put_key(
    service: Data,
    path: Path<(String, String)>,
    request: HttpRequest,
    body: Payload,
) -> Answer {
    may_write(&service, &request)?;
    let (store, name) = path.into_inner();
    let hosted = service.stores.get(&store)?.hosted().await?;
    let limit = service.limits.body_bytes;
    let value = match timeout(BODY, body.to_bytes_limited(limit)).await {
        Ok(Ok(Ok(value))) => value,
        Ok(Ok(Err(error))) => return Err(Problem::bad_request(format_args!("the value was not received: {error}"))),
        Ok(Err(_)) => return Err(Problem::too_large(format_args!("values have at most {limit} bytes"))),
        Err(_) => return Err(Problem::too_slow("the value did not arrive in time")),
    };
    hosted.put(&name, value).await.as_ref().map(written).map_err(Clone::clone)
}

/// Gives up an own key: it is deleted.
#[utoipa::path(tag = "keys", params(("store" = String, Path), ("name" = String, Path)), security((), ("token" = [])), responses(
    (status = 200, description = "it is gone, and reading shows that", body = Written),
    (status = 202, description = "it is gone; reading shows it a little longer", body = Written), Writes))]
#[delete("/v1/stores/{store}/keys/{name:.*}")]
pub(crate) async fn delete_key(service: Data, path: Path<(String, String)>, request: HttpRequest) -> Answer {
    may_write(&service, &request)?;
    let (store, name) = path.into_inner();
    let hosted = service.stores.get(&store)?.hosted().await?;
    hosted.delete(&name).await.as_ref().map(written).map_err(Clone::clone)
}

/// Who owns keys: leases with the number of their keys.
#[utoipa::path(tag = "keys", params(("store" = String, Path)), responses(
    (status = 200, body = Owners), Reads))]
#[get("/v1/stores/{store}/owners")]
pub(crate) async fn list_owners(service: Data, store: Path<String>) -> Answer {
    let owners = service.stores.get(&store)?.hosted().await?.owners().await?;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-cache")).json(owners))
}

/// What is known of a key: in the cache, in the kvstore, its owner, its last changes.
#[utoipa::path(tag = "keys", params(("store" = String, Path), ("name" = String, Path)), responses(
    (status = 200, body = serde_json::Value), Reads))]
#[get("/v1/stores/{store}/explain/{name:.*}")]
pub(crate) async fn explain_key(service: Data, path: Path<(String, String)>) -> Answer {
    let (store, name) = path.into_inner();
    service.stores.get(&store)?.hosted().await?.explain(&name).await.map(json)
}

/// The last changes that this service has seen, the newest first.
#[utoipa::path(tag = "changes", params(("store" = String, Path), RecentQuery), responses(
    (status = 200, description = "`changes`: events with their `type`", body = serde_json::Value), Reads))]
#[get("/v1/stores/{store}/recent")]
pub(crate) async fn recent_changes(service: Data, store: Path<String>, query: Query<RecentQuery>) -> Answer {
    let hosted = service.stores.get(&store)?.hosted().await?;
    let names = narrowed(&hosted, query.prefix.as_deref(), query.glob.as_deref());
    let changes = hosted.recent(&names, within(query.limit)?)?;
    Ok(json(format!("{{\"changes\":[{}]}}", changes.join(","))))
}

fn narrowed(hosted: &Arc<dyn Hosted>, prefix: Option<&str>, glob: Option<&str>) -> Names {
    hosted.names().narrowed(prefix, glob)
}

/// All keys, and then every change, as server-sent events.
#[utoipa::path(tag = "changes", params(("store" = String, Path), stream::ChangesQuery,
    ("Last-Event-ID" = Option<u64>, Header, description = "go on after this event")), responses(
    (status = 200, description = "events `opened`, `update`, `delete`, `synced`, `resynced`, `status`, ...: see the guide", body = String, content_type = "text/event-stream"), Reads))]
#[get("/v1/stores/{store}/changes")]
pub(crate) async fn stream_changes(
    service: Data,
    store: Path<String>,
    query: Query<stream::ChangesQuery>,
    request: HttpRequest,
) -> Answer {
    let hosted = service.stores.get(&store)?.hosted().await?;
    let names = narrowed(&hosted, query.prefix.as_deref(), query.glob.as_deref());
    let since = query.since(&request)?;
    let permit = service.stream_permit()?;
    let feed = hosted.changes(names, since)?;
    Ok(stream::respond(feed, service.stopping.clone(), permit))
}
