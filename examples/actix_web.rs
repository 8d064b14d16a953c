//! A web application that embeds a store, answers from its cache, and closes it when it is told to stop.
//!
//! ```console
//! $ cargo run --example actix_web &
//! $ curl -X PUT -H 'content-type: application/json' -d '{"ip":"10.0.0.1"}' http://127.0.0.1:8080/nodes/alpha
//! $ curl http://127.0.0.1:8080/nodes
//! $ curl http://127.0.0.1:8080/ip/10.0.0.1
//! $ kill %1
//! ```

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, Responder, delete, get, put, web};
use serde::{Deserialize, Serialize};
use shared_store::{Config, Index, Json, Key, KeyName, Prefix, SharedStore, State, StoreError, join};

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

type Store = web::Data<SharedStore<Node>>;

/// From the cache: no message, no wait for the kvstore.
#[get("/nodes")]
async fn list_nodes(store: Store) -> impl Responder {
    let snapshot = store.reader().scan("");
    let nodes: Vec<&Node> = snapshot.values().map(|node| &**node).collect();
    HttpResponse::Ok().insert_header(("x-revision", snapshot.revision.to_string())).json(nodes)
}

#[get("/nodes/{name}")]
async fn get_node(store: Store, name: web::Path<String>) -> impl Responder {
    match store.reader().get(&name) {
        Some(node) => HttpResponse::Ok().json(&*node),
        None => HttpResponse::NotFound().finish(),
    }
}

/// Which nodes have this address: a secondary index.
#[get("/ip/{ip}")]
async fn by_ip(store: Store, ip: web::Path<String>) -> impl Responder {
    match store.reader().lookup("ip", &ip) {
        Ok(found) => HttpResponse::Ok().json(found.names().map(KeyName::as_str).collect::<Vec<_>>()),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Answers when the key is in the kvstore and in this application's own cache.
#[put("/nodes/{name}")]
async fn put_node(store: Store, name: web::Path<String>, node: web::Json<Node>) -> impl Responder {
    let node = Node { name: name.into_inner(), ..node.into_inner() };
    let written = match store.update_local_key_sync(node).await {
        Ok(revision) => revision,
        Err(StoreError::Key(error)) => return HttpResponse::BadRequest().body(error.to_string()),
        Err(error) => return HttpResponse::ServiceUnavailable().body(error.to_string()),
    };
    match store.reader().at_least(written, Duration::from_secs(5)).await {
        Ok(()) => HttpResponse::Created().body(written.to_string()),
        Err(error) => HttpResponse::Accepted().body(error.to_string()),
    }
}

#[delete("/nodes/{name}")]
async fn delete_node(store: Store, name: web::Path<String>) -> impl Responder {
    match store.delete_local_key(name.as_str()).await {
        Ok(revision) => HttpResponse::Ok().body(revision.to_string()),
        Err(StoreError::Key(error)) => HttpResponse::BadRequest().body(error.to_string()),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

/// Whether the cache shows the kvstore.
#[get("/readyz")]
async fn readyz(store: Store) -> impl Responder {
    let state = store.reader().state();
    let mut answer = if state == State::Synced { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.body(format!("{state}\n"))
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse())?;
    let config = Config::new(Prefix::new("examples/nodes")?);
    // It does not wait for the kvstore: the port is open, and `readyz` says what is missing.
    let store = join::<Node>(config).index(Index::new("ip", |node: &Node| vec![node.ip.clone()])).start().await?;

    let data = web::Data::new(store.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .service(list_nodes)
            .service(get_node)
            .service(by_ip)
            .service(put_node)
            .service(delete_node)
            .service(readyz)
    });
    println!("listening on http://127.0.0.1:{port}");
    server.bind(("127.0.0.1", port))?.run().await?;

    // After SIGTERM or ctrl-c the system still lives: take back what this application published.
    store.close().await?;
    println!("closed");
    Ok(())
}
