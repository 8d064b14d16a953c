//! Puts, deletions, and transactions of them.

use etcd_client::proto::{
    PbDeleteRequest, PbDeleteResponse, PbPutRequest, PbPutResponse, PbRangeRequest, PbResponseHeader, PbResponseOp,
    PbTxnOpRequest, PbTxnOpResponse, PbTxnRequest, PbTxnResponse,
};
use tonic::Status;

use super::refusal::{self, status};
use super::{compare, proto, range};
use crate::backend::memory::Mvcc;
use crate::kv::{LeaseId, Revision};

/// One put. Its lease is looked for first, as etcd does.
pub(super) fn put(mvcc: &mut Mvcc, request: PbPutRequest) -> Result<PbPutResponse, Status> {
    has_lease(mvcc, &request)?;
    has_previous(mvcc, &request)?;
    Ok(mvcc.commit(|mvcc, revision| apply_put(mvcc, request, revision)))
}

pub(super) fn delete(mvcc: &mut Mvcc, request: PbDeleteRequest) -> PbDeleteResponse {
    mvcc.commit(|mvcc, revision| apply_delete(mvcc, request, revision))
}

/// All operations of the branch that the comparisons choose, at one revision, or an error and none of them.
pub(super) fn transaction(mvcc: &mut Mvcc, request: PbTxnRequest) -> Result<PbTxnResponse, Status> {
    let plan = Plan::new(mvcc, request);
    plan.check(&mut |operation| match operation {
        Operation::Put(request) => has_previous(mvcc, request).and_then(|()| has_lease(mvcc, request)),
        Operation::Range(_) | Operation::Delete(_) | Operation::Transaction(_) => Ok(()),
    })?;
    plan.check(&mut |operation| match operation {
        Operation::Range(request) => mvcc.reaches(range::revision(request)).map_err(status),
        Operation::Put(_) | Operation::Delete(_) | Operation::Transaction(_) => Ok(()),
    })?;
    let mut response = mvcc.commit(|mvcc, revision| plan.apply(mvcc, revision))?;
    response.header = Some(proto::inner_header(mvcc.newest()));
    Ok(response)
}

fn has_lease(mvcc: &Mvcc, request: &PbPutRequest) -> Result<(), Status> {
    let lease = LeaseId(request.lease);
    if lease == LeaseId::NONE || mvcc.has_lease(lease) { Ok(()) } else { Err(refusal::lease_not_found()) }
}

fn has_previous(mvcc: &Mvcc, request: &PbPutRequest) -> Result<(), Status> {
    let needed = request.ignore_value || request.ignore_lease;
    if needed && mvcc.get(&request.key).is_none() { Err(refusal::key_not_found()) } else { Ok(()) }
}

/// What a transaction does, once its comparisons have chosen. All comparisons, those of inner transactions included, are
/// made before anything is written.
struct Plan {
    succeeded: bool,
    operations: Vec<Operation>,
}

enum Operation {
    Range(PbRangeRequest),
    Put(PbPutRequest),
    Delete(PbDeleteRequest),
    Transaction(Plan),
}

impl Plan {
    fn new(mvcc: &Mvcc, request: PbTxnRequest) -> Self {
        let succeeded = request.compare.iter().all(|one| compare::holds(mvcc, one));
        let chosen = if succeeded { request.success } else { request.failure };
        let operations = chosen.into_iter().filter_map(|operation| {
            // An empty operation was refused before.
            Some(match operation.request? {
                PbTxnOpRequest::RequestRange(request) => Operation::Range(request),
                PbTxnOpRequest::RequestPut(request) => Operation::Put(request),
                PbTxnOpRequest::RequestDeleteRange(request) => Operation::Delete(request),
                PbTxnOpRequest::RequestTxn(request) => Operation::Transaction(Self::new(mvcc, request)),
            })
        });
        Self { succeeded, operations: operations.collect() }
    }

    /// Checks every operation, those of inner transactions where they stand.
    fn check(&self, check: &mut impl FnMut(&Operation) -> Result<(), Status>) -> Result<(), Status> {
        self.operations.iter().try_for_each(|operation| match operation {
            Operation::Transaction(plan) => plan.check(check),
            Operation::Range(_) | Operation::Put(_) | Operation::Delete(_) => check(operation),
        })
    }

    fn apply(self, mvcc: &mut Mvcc, revision: Revision) -> Result<PbTxnResponse, Status> {
        let mut responses = Vec::with_capacity(self.operations.len());
        for operation in self.operations {
            let response = match operation {
                Operation::Range(request) => {
                    PbTxnOpResponse::ResponseRange(range::read(mvcc, request).map_err(status)?)
                }
                Operation::Put(request) => PbTxnOpResponse::ResponsePut(apply_put(mvcc, request, revision)),
                Operation::Delete(request) => {
                    PbTxnOpResponse::ResponseDeleteRange(apply_delete(mvcc, request, revision))
                }
                Operation::Transaction(plan) => PbTxnOpResponse::ResponseTxn(plan.apply(mvcc, revision)?),
            };
            responses.push(PbResponseOp { response: Some(response) });
        }
        Ok(PbTxnResponse { header: Some(PbResponseHeader::default()), succeeded: self.succeeded, responses })
    }
}

fn apply_put(mvcc: &mut Mvcc, request: PbPutRequest, revision: Revision) -> PbPutResponse {
    let old = mvcc.get(&request.key);
    let prev_kv = old.filter(|_| request.prev_kv).map(proto::stored);
    let kept = |ignore: bool| old.filter(|_| ignore);
    let value = kept(request.ignore_value).map_or_else(|| request.value.into(), |old| old.value.clone());
    let lease = kept(request.ignore_lease).map_or(LeaseId(request.lease), |old| old.lease);
    mvcc.put(request.key.into(), value, lease, revision);
    PbPutResponse { header: Some(proto::inner_header(mvcc.newest())), prev_kv }
}

fn apply_delete(mvcc: &mut Mvcc, request: PbDeleteRequest, revision: Revision) -> PbDeleteResponse {
    let range = proto::range(request.key, request.range_end);
    // Without a revision it cannot fail.
    let found = mvcc.at(None, &range).unwrap_or_default();
    let prev_kvs =
        if request.prev_kv { found.iter().map(|stored| proto::stored(stored)).collect() } else { Vec::new() };
    let paths: Vec<_> = found.into_iter().map(|stored| stored.path.clone()).collect();
    let deleted = proto::count(paths.len());
    paths.into_iter().for_each(|path| mvcc.delete(path, revision));
    PbDeleteResponse { header: Some(proto::inner_header(mvcc.newest())), deleted, prev_kvs }
}
