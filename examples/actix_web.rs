//! A web service that embeds a store: reads from its cache, owns keys, streams changes, and ends in order.
//!
//! ```console
//! $ cargo run --example actix_web &
//! listening on http://127.0.0.1:8080
//! $ curl -N http://127.0.0.1:8080/changes &
//! $ curl -X PUT -H 'content-type: application/json' -d '{"ip":"10.0.0.1"}' http://127.0.0.1:8080/nodes/alpha
//! $ curl http://127.0.0.1:8080/nodes
//! $ curl http://127.0.0.1:8080/readyz
//! $ kill %1
//! ```
//!
//! The first argument is the port. It has a kvstore of its own, unless `ETCD_ENDPOINTS` names an etcd:
//! `ETCD_ENDPOINTS=http://127.0.0.1:2379 cargo run --features etcd --example actix_web`.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpResponse, HttpServer, Responder, delete, get, put, rt, web};
use futures_util::stream;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared_store::{
    Change, Config, Json, Key, KeyName, Prefix, SharedStore, State, StoreError, Until, WriteError, join,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Node {
    #[serde(default)]
    name: String,
    ip: String,
}

impl Key for Node {
    type Codec = Json;

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// More streams than this are refused: each has an outbox in the store.
const STREAMS: u32 = 100;
/// After this long without a change a stream sends a comment, so that a client that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a write waits until the cache shows it, and leaving waits for streams.
const PATIENCE: Duration = Duration::from_secs(5);

struct Service {
    store: SharedStore<Node>,
    prometheus: PrometheusHandle,
    streams: Arc<Semaphore>,
    /// True once the service has been told to stop.
    stopping: watch::Receiver<bool>,
}

type Data = web::Data<Service>;

fn failed(status: StatusCode, error: &dyn Display) -> HttpResponse {
    HttpResponse::build(status).json(json!({"error": error.to_string()}))
}

fn written(result: Result<shared_store::Revision, StoreError>) -> HttpResponse {
    match result {
        Ok(revision) => HttpResponse::Ok().json(json!({"revision": revision})),
        Err(error @ StoreError::Key(_)) => failed(StatusCode::BAD_REQUEST, &error),
        // It is written, and shown a little later.
        Err(error @ StoreError::NotYet { .. }) => failed(StatusCode::ACCEPTED, &error),
        Err(error @ StoreError::Write(WriteError::NotOwned { .. } | WriteError::Conflict { .. })) => {
            failed(StatusCode::CONFLICT, &error)
        }
        Err(error) => failed(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// The names, from the cache: no message, no wait for the kvstore.
#[get("/nodes")]
async fn list(service: Data) -> impl Responder {
    let snapshot = service.store.reader().scan("");
    let names: Vec<_> = snapshot.names().map(KeyName::as_str).collect();
    HttpResponse::Ok().json(json!({"revision": snapshot.revision, "nodes": names}))
}

#[get("/nodes/{name:.+}")]
async fn get_node(service: Data, name: web::Path<String>) -> impl Responder {
    match service.store.reader().get(&name) {
        Some(node) => HttpResponse::Ok().json(&*node),
        None => failed(StatusCode::NOT_FOUND, &"no such node"),
    }
}

/// Owns the key. Answers when it is in the kvstore and a GET shows it.
#[put("/nodes/{name:.+}")]
async fn put_node(service: Data, name: web::Path<String>, node: web::Json<Node>) -> impl Responder {
    let node = Node { name: name.into_inner(), ..node.into_inner() };
    written(service.store.update_local_key_until(node, Until::Shown, PATIENCE).await)
}

/// Gives up a key. One that another process owns stays.
#[delete("/nodes/{name:.+}")]
async fn delete_node(service: Data, name: web::Path<String>) -> impl Responder {
    written(service.store.delete_local_key_until(name.as_str(), Until::Shown, PATIENCE).await)
}

/// All nodes, then every change, as server-sent events. A slow client is told the newest state of each changed node: what
/// waits for it is bounded by the number of nodes.
#[get("/changes")]
async fn changes(service: Data) -> HttpResponse {
    let Ok(permit) = Arc::clone(&service.streams).try_acquire_owned() else {
        return failed(StatusCode::SERVICE_UNAVAILABLE, &"too many streams");
    };
    let changes = match service.store.changes_with(|observer| observer.named("sse")).await {
        Ok(changes) => changes,
        Err(error) => return failed(StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    let begun = Some((changes, service.stopping.clone(), permit));
    let events = stream::unfold(begun, |state| async {
        let (mut changes, mut stopping, permit) = state?;
        let event = tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => None,
            change = timeout(HEARTBEAT, changes.next()) => match change {
                Ok(change) => change.map(|change| event(&change)),
                Err(_) => Some(": no change\n\n".to_owned()),
            },
        };
        let (event, state) = match event {
            Some(event) => (event, Some((changes, stopping, permit))),
            // The client is told that this is no fault; the subscription and the permit end here.
            None => ("event: end\ndata: {}\n\n".to_owned(), None),
        };
        Some((Ok::<_, Infallible>(web::Bytes::from(event)), state))
    });
    HttpResponse::Ok().content_type("text/event-stream").insert_header(("cache-control", "no-store")).streaming(events)
}

fn event(change: &Change<Node>) -> String {
    let Change { name, new, revision, .. } = change;
    let (kind, data) = match new {
        Some(node) => ("update", json!({"name": name.as_str(), "node": **node})),
        None => ("delete", json!({"name": name.as_str()})),
    };
    format!("event: {kind}\nid: {revision}\ndata: {data}\n\n")
}

/// The process is alive, whatever etcd does.
#[get("/livez")]
async fn livez() -> impl Responder {
    HttpResponse::Ok().json(json!({"alive": true}))
}

/// Whether the cache shows the kvstore, and if not, why.
#[get("/readyz")]
async fn readyz(service: Data) -> impl Responder {
    let (state, stopping) = (service.store.reader().state(), *service.stopping.borrow());
    let ready = state == State::Synced && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(json!({"ready": ready, "stopping": stopping, "store": state}))
}

#[get("/metrics")]
async fn metrics(service: Data) -> impl Responder {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(service.prometheus.render())
}

#[cfg(feature = "etcd")]
fn on_etcd(config: Config, endpoints: &str) -> anyhow::Result<Config> {
    use shared_store::{EtcdBackend, EtcdConfig};
    Ok(config.backend(EtcdBackend::new(EtcdConfig::new(endpoints.split(',')))?))
}

#[cfg(not(feature = "etcd"))]
fn on_etcd(_: Config, _: &str) -> anyhow::Result<Config> {
    anyhow::bail!("ETCD_ENDPOINTS needs the feature etcd")
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse())?;
    // Before the store: what was recorded before is lost.
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let mut config = Config::new(Prefix::new("examples/nodes")?);
    if let Ok(endpoints) = std::env::var("ETCD_ENDPOINTS") {
        config = on_etcd(config, &endpoints)?;
    }
    // It does not wait for the kvstore: the port is open at once, and `readyz` says what is missing.
    let store = join::<Node>(config).start().await?;
    let (stop, stopping) = watch::channel(false);
    let streams = Arc::new(Semaphore::new(STREAMS as usize));
    let service =
        Service { store: store.clone(), prometheus: prometheus.clone(), streams: Arc::clone(&streams), stopping };
    let data = web::Data::new(service);
    let application = move || {
        let application = App::new().app_data(data.clone()).service(list).service(get_node).service(put_node);
        application.service(delete_node).service(changes).service(livez).service(readyz).service(metrics)
    };
    // It handles signals itself: actix-web would wait for streams that never end.
    let server = HttpServer::new(application).workers(2).disable_signals().shutdown_timeout(5);
    let server = server.bind(("127.0.0.1", port))?;
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    let server = server.run();
    let handle = server.handle();
    let running = rt::spawn(server);
    // Durations are kept until they are summed up, here or when they are read.
    rt::spawn(async move {
        loop {
            tokio::time::sleep(PATIENCE).await;
            prometheus.run_upkeep();
        }
    });
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }

    println!("stopping");
    stop.send_replace(true);
    if timeout(PATIENCE, streams.acquire_many(STREAMS)).await.is_ok() {
        println!("streams have ended");
    }
    // Others see the own keys go, and send no more requests. Reads are answered from the cache until the end.
    match store.close().await {
        Ok(()) => println!("own keys are deleted"),
        Err(error) => eprintln!("{error}"),
    }
    handle.stop(true).await;
    running.await??;
    println!("server has ended");
    Ok(())
}
