//! etcd's KV service.

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbResponseHeader, PbTxnRequest,
    PbTxnResponse,
};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::refusal::{not_served, status};
use super::{Service, check, proto, range, refusal, txn};
use crate::backend::etcd::convert;
use crate::backend::faulty::Op;
use crate::backend::memory::Mvcc;
use crate::kv::Revision;

/// Completes the header that an answer has inside a transaction.
fn complete(mvcc: &Mvcc, header: &mut Option<PbResponseHeader>) {
    let revision = header.as_ref().map_or(0, |header| header.revision);
    *header = Some(PbResponseHeader { revision, ..proto::header(mvcc.header()) });
}

#[tonic::async_trait]
impl PbKvService for Service {
    type RangeStreamStream = BoxStream<PbRangeStreamResponse>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        let request = request.into_inner();
        range::check(&request)?;
        self.call(Op::List, |mvcc, _| {
            let mut response = range::read(mvcc, request).map_err(status)?;
            complete(mvcc, &mut response.header);
            Ok(response)
        })
        .await
    }

    async fn range_stream(&self, _: Request<PbRangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(not_served("a range as a stream"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        let request = request.into_inner();
        check::put(&request)?;
        check::size(&request)?;
        self.call(Op::Write, |mvcc, _| {
            let mut response = txn::put(mvcc, request)?;
            complete(mvcc, &mut response.header);
            Ok(response)
        })
        .await
    }

    async fn delete_range(&self, request: Request<PbDeleteRequest>) -> Result<Response<PbDeleteResponse>, Status> {
        let request = request.into_inner();
        check::delete(&request)?;
        check::size(&request)?;
        self.call(Op::Write, |mvcc, _| {
            let mut response = txn::delete(mvcc, request);
            complete(mvcc, &mut response.header);
            Ok(response)
        })
        .await
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        let request = request.into_inner();
        check::transaction(&request)?;
        check::size(&request)?;
        self.call(Op::Write, |mvcc, _| {
            let mut response = txn::transaction(mvcc, request)?;
            complete(mvcc, &mut response.header);
            Ok(response)
        })
        .await
    }

    async fn compact(&self, request: Request<PbCompactionRequest>) -> Result<Response<PbCompactionResponse>, Status> {
        let asked = request.into_inner().revision;
        let revision = convert::revision(asked);
        let compact = |mvcc: &mut Mvcc| {
            // Unlike here, doing it again is an error of etcd's.
            if asked < 0 || (revision <= mvcc.oldest() && mvcc.oldest() > Revision::ZERO) {
                return Err(refusal::compacted());
            }
            mvcc.compact(revision).map_err(status)?;
            Ok(Response::new(PbCompactionResponse { header: Some(proto::header(mvcc.header())) }))
        };
        self.memory.with(|mvcc, _| compact(mvcc))
    }
}
