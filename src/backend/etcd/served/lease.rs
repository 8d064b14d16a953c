//! etcd's Lease service.

use std::time::Duration;

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse, PbLeaseLeasesRequest,
    PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService, PbLeaseTimeToLiveRequest,
    PbLeaseTimeToLiveResponse,
};
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, proto, status};
use crate::backend::etcd::convert;
use crate::backend::faulty::Op;
use crate::backend::{Backend, BackendError};
use crate::kv::LeaseId;

impl Service {
    /// A lease that is gone is no error but has no time left.
    async fn prolong(&self, lease: i64) -> Result<PbLeaseKeepAliveResponse, Status> {
        self.wire.pass(Op::KeepAlive)?;
        let ttl = match self.faulty.keep_alive(LeaseId(lease)).await {
            Ok(ttl) => seconds(ttl),
            Err(BackendError::LeaseNotFound { .. }) => 0,
            Err(error) => return Err(status(error)),
        };
        Ok(PbLeaseKeepAliveResponse { header: Some(proto::header(self.memory.header())), id: lease, ttl })
    }
}

#[tonic::async_trait]
impl PbLeaseService for Service {
    type LeaseKeepAliveStream = BoxStream<PbLeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        self.wire.pass(Op::Grant)?;
        let PbLeaseGrantRequest { ttl, id } = request.into_inner();
        let grant = self.faulty.grant(LeaseId(id), convert::seconds(ttl)).await.map_err(status)?;
        let header = Some(proto::header(self.memory.header()));
        let (id, ttl) = (grant.lease.0, seconds(grant.ttl));
        Ok(Response::new(PbLeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        self.wire.pass(Op::Revoke)?;
        self.faulty.revoke(LeaseId(request.into_inner().id)).await.map_err(status)?;
        Ok(Response::new(PbLeaseRevokeResponse { header: Some(proto::header(self.memory.header())) }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (service, mut requests) = (self.clone(), request.into_inner());
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let answer = service.prolong(request.id).await;
                let failed = answer.is_err();
                if answers.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        self.wire.pass(Op::LeaseTime)?;
        let request = request.into_inner();
        if request.keys {
            return Err(proto::not_served("the keys of a lease"));
        }
        let id = request.id;
        let (ttl, granted_ttl) = match self.faulty.lease_time(LeaseId(id)).await {
            Ok(time) => (seconds(time.left), seconds(time.ttl)),
            // As etcd says of a lease that is gone.
            Err(BackendError::LeaseNotFound { .. }) => (-1, 0),
            Err(error) => return Err(status(error)),
        };
        let header = Some(proto::header(self.memory.header()));
        Ok(Response::new(PbLeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys: Vec::new() }))
    }

    async fn lease_leases(&self, _: Request<PbLeaseLeasesRequest>) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        Err(proto::not_served("a list of leases"))
    }
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)
}
