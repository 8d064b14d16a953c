//! etcd's Cluster and Maintenance services: this one member and its status.

use etcd_client::proto::{
    PbAlarmRequest, PbAlarmResponse, PbClusterService, PbDefragmentRequest, PbDefragmentResponse, PbDowngradeRequest,
    PbDowngradeResponse, PbHashKvRequest, PbHashKvResponse, PbHashRequest, PbHashResponse, PbMaintenanceService,
    PbMember, PbMemberAddRequest, PbMemberAddResponse, PbMemberListRequest, PbMemberListResponse,
    PbMemberPromoteRequest, PbMemberPromoteResponse, PbMemberRemoveRequest, PbMemberRemoveResponse,
    PbMemberUpdateRequest, PbMemberUpdateResponse, PbMoveLeaderRequest, PbMoveLeaderResponse, PbResponseHeader,
    PbSnapshotRequest, PbSnapshotResponse, PbStatusRequest, PbStatusResponse,
};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::Service;
use super::proto::{self, MEMBER, TERM};
use super::refusal::not_served;

/// The version of etcd whose API this is. It has none of the faults that clients look for by version.
pub(super) const VERSION: &str = "3.5.21";
/// Alarm's `ACTIVATE`.
const ACTIVATE: i32 = 1;

impl Service {
    fn header(&self) -> Option<PbResponseHeader> {
        Some(proto::header(self.memory.header()))
    }
}

#[tonic::async_trait]
impl PbClusterService for Service {
    async fn member_add(&self, _: Request<PbMemberAddRequest>) -> Result<Response<PbMemberAddResponse>, Status> {
        Err(not_served("members"))
    }

    async fn member_remove(
        &self,
        _: Request<PbMemberRemoveRequest>,
    ) -> Result<Response<PbMemberRemoveResponse>, Status> {
        Err(not_served("members"))
    }

    async fn member_update(
        &self,
        _: Request<PbMemberUpdateRequest>,
    ) -> Result<Response<PbMemberUpdateResponse>, Status> {
        Err(not_served("members"))
    }

    async fn member_list(&self, _: Request<PbMemberListRequest>) -> Result<Response<PbMemberListResponse>, Status> {
        let client_ur_ls = vec![self.endpoint.to_string()];
        let member = PbMember { id: MEMBER, name: "memory".to_owned(), client_ur_ls, ..PbMember::default() };
        Ok(Response::new(PbMemberListResponse { header: self.header(), members: vec![member] }))
    }

    async fn member_promote(
        &self,
        _: Request<PbMemberPromoteRequest>,
    ) -> Result<Response<PbMemberPromoteResponse>, Status> {
        Err(not_served("members"))
    }
}

#[tonic::async_trait]
impl PbMaintenanceService for Service {
    type SnapshotStream = BoxStream<PbSnapshotResponse>;

    async fn alarm(&self, request: Request<PbAlarmRequest>) -> Result<Response<PbAlarmResponse>, Status> {
        if request.into_inner().action == ACTIVATE {
            return Err(not_served("alarms"));
        }
        Ok(Response::new(PbAlarmResponse { header: self.header(), alarms: Vec::new() }))
    }

    async fn status(&self, _: Request<PbStatusRequest>) -> Result<Response<PbStatusResponse>, Status> {
        let header = self.memory.header();
        Ok(Response::new(PbStatusResponse {
            header: Some(proto::header(header)),
            version: VERSION.to_owned(),
            leader: MEMBER,
            raft_index: header.revision.0,
            raft_term: TERM,
            raft_applied_index: header.revision.0,
            ..PbStatusResponse::default()
        }))
    }

    /// There is nothing to do.
    async fn defragment(&self, _: Request<PbDefragmentRequest>) -> Result<Response<PbDefragmentResponse>, Status> {
        Ok(Response::new(PbDefragmentResponse { header: self.header() }))
    }

    async fn hash(&self, _: Request<PbHashRequest>) -> Result<Response<PbHashResponse>, Status> {
        Err(not_served("hashes"))
    }

    async fn hash_kv(&self, _: Request<PbHashKvRequest>) -> Result<Response<PbHashKvResponse>, Status> {
        Err(not_served("hashes"))
    }

    async fn snapshot(&self, _: Request<PbSnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_served("snapshots"))
    }

    async fn move_leader(&self, _: Request<PbMoveLeaderRequest>) -> Result<Response<PbMoveLeaderResponse>, Status> {
        Err(not_served("another leader"))
    }

    async fn downgrade(&self, _: Request<PbDowngradeRequest>) -> Result<Response<PbDowngradeResponse>, Status> {
        Err(not_served("downgrades"))
    }
}
