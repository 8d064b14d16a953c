//! What is asked without a service of ours: etcd's version and health over HTTP, and services that are left out.

use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response, StatusCode, Uri};

use super::member::VERSION;
use super::refusal::not_served;

pub(super) async fn answer(uri: Uri, headers: HeaderMap) -> Response<Body> {
    let json = |text: String| {
        let mut response = Response::new(Body::new(text));
        response.headers_mut().insert("content-type", "application/json".parse().expect("it is a valid header"));
        response
    };
    let grpc = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    match uri.path() {
        path if grpc => not_served(path).into_http(),
        "/version" => json(format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"3.5.0"}}"#)),
        "/health" => json(r#"{"health":"true","reason":""}"#.to_owned()),
        path => {
            let mut response = Response::new(Body::new(format!("{}\n", not_served(path).message())));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
