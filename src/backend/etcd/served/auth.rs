//! etcd's Auth service, with authentication off.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use etcd_client::proto::{PbAuthDisableRequest, PbAuthEnableResponse};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::refusal::{authentication_is_off, not_served};
use super::{Service, proto};

/// Not the generated server: the client's crate does not give us the messages of `AuthStatus`.
#[derive(Debug, Clone)]
pub(super) struct Auth(pub(super) Service);

impl NamedService for Auth {
    const NAME: &'static str = "etcdserverpb.Auth";
}

impl tonic::codegen::Service<http::Request<Body>> for Auth {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let refused = match request.uri().path() {
            "/etcdserverpb.Auth/AuthStatus" => {
                let auth = self.clone();
                return Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(auth, request).await) });
            }
            "/etcdserverpb.Auth/Authenticate" => authentication_is_off(),
            _ => not_served("authentication"),
        };
        Box::pin(ready(Ok(refused.into_http())))
    }
}

/// `AuthStatus`: its request is as empty as this one, and a response that is only a header says that authentication is
/// off.
impl UnaryService<PbAuthDisableRequest> for Auth {
    type Response = PbAuthEnableResponse;
    type Future = Ready<Result<Response<PbAuthEnableResponse>, Status>>;

    fn call(&mut self, _: Request<PbAuthDisableRequest>) -> Self::Future {
        let header = Some(proto::header(self.0.memory.header()));
        ready(Ok(Response::new(PbAuthEnableResponse { header })))
    }
}
