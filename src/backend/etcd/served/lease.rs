//! etcd's Lease service.

use std::time::Duration;

use etcd_client::proto::{
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse, PbLeaseLeasesRequest,
    PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbLeaseService, PbLeaseStatus,
    PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
};
use tokio::sync::mpsc;
use tonic::codegen::BoxStream;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Service, proto, refusal};
use crate::backend::etcd::convert;
use crate::backend::faulty::Op;
use crate::kv::LeaseId;

/// As etcd's.
const MAX_TTL_SECONDS: i64 = 9_000_000_000;

impl Service {
    /// A lease that is gone is no error but has no time left.
    async fn prolong(&self, lease: i64) -> Result<PbLeaseKeepAliveResponse, Status> {
        let response = self.call(Op::KeepAlive, |mvcc, now| {
            let ttl = mvcc.keep_alive(LeaseId(lease), now).map_or(0, seconds);
            Ok(PbLeaseKeepAliveResponse { header: Some(proto::header(mvcc.header())), id: lease, ttl })
        });
        response.await.map(Response::into_inner)
    }
}

#[tonic::async_trait]
impl PbLeaseService for Service {
    type LeaseKeepAliveStream = BoxStream<PbLeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let PbLeaseGrantRequest { ttl, id } = request.into_inner();
        if ttl > MAX_TTL_SECONDS {
            return Err(refusal::ttl_too_large());
        }
        self.call(Op::Grant, |mvcc, now| {
            let grant = mvcc.grant(LeaseId(id), convert::seconds(ttl), now).map_err(refusal::status)?;
            let header = Some(proto::header(mvcc.header()));
            let (id, ttl) = (grant.lease.0, seconds(grant.ttl));
            Ok(PbLeaseGrantResponse { header, id, ttl, error: String::new() })
        })
        .await
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        let lease = LeaseId(request.into_inner().id);
        self.call(Op::Revoke, |mvcc, _| {
            if !mvcc.has_lease(lease) {
                return Err(refusal::lease_not_found());
            }
            mvcc.revoke(lease);
            Ok(PbLeaseRevokeResponse { header: Some(proto::header(mvcc.header())) })
        })
        .await
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (responses, stream) = mpsc::channel(1);
        let (service, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let response = service.prolong(request.id).await;
                let failed = response.is_err();
                if responses.send(response).await.is_err() || failed {
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
        let PbLeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let lease = LeaseId(id);
        self.call(Op::LeaseTime, |mvcc, now| {
            // As etcd says of a lease that is gone.
            let (ttl, granted_ttl) =
                mvcc.lease_time(lease, now).map_or((-1, 0), |time| (seconds(time.left), seconds(time.ttl)));
            let keys = mvcc.lease_keys(lease).filter(|_| keys).map(|key| key.to_vec()).collect();
            Ok(PbLeaseTimeToLiveResponse { header: Some(proto::header(mvcc.header())), id, ttl, granted_ttl, keys })
        })
        .await
    }

    async fn lease_leases(&self, _: Request<PbLeaseLeasesRequest>) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        self.call(Op::LeaseTime, |mvcc, _| {
            let leases = mvcc.leases().map(|lease| PbLeaseStatus { id: lease.0 }).collect();
            Ok(PbLeaseLeasesResponse { header: Some(proto::header(mvcc.header())), leases })
        })
        .await
    }
}

fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)
}
