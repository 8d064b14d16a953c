//! etcd's KV service.

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService, PbPutRequest,
    PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse, PbResponseOp, PbTxnOpResponse, PbTxnRequest,
    PbTxnResponse,
};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use super::{Service, proto, status};
use crate::backend::etcd::convert;
use crate::backend::faulty::Op;
use crate::backend::{Backend, Expect, ListRequest, Write, WriteAction, WriteOutcome};
use crate::kv::{Header, KeyValue, Revision};

impl Service {
    fn header(&self, revision: Revision) -> Option<etcd_client::proto::PbResponseHeader> {
        Some(proto::header(Header { revision, ..self.memory.header() }))
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<WriteOutcome, Status> {
        self.faulty.write(writes).await.map_err(status)
    }
}

#[tonic::async_trait]
impl PbKvService for Service {
    type RangeStreamStream = BoxStream<PbRangeStreamResponse>;

    async fn range(&self, request: Request<PbRangeRequest>) -> Result<Response<PbRangeResponse>, Status> {
        self.wire.pass(Op::List)?;
        let request = request.into_inner();
        let count_only = request.count_only;
        let mut page = self.faulty.list(proto::list_request(request)?).await.map_err(status)?;
        if count_only {
            page.kvs.clear();
            page.more = false;
        }
        Ok(Response::new(proto::range_response(page)))
    }

    async fn range_stream(&self, _: Request<PbRangeRequest>) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(proto::not_served("a range as a stream"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        self.wire.pass(Op::Write)?;
        let outcome = self.commit(vec![proto::put(request.into_inner())?]).await?;
        let (WriteOutcome::Committed { revision } | WriteOutcome::Refused { revision, .. }) = outcome;
        Ok(Response::new(PbPutResponse { header: self.header(revision), prev_kv: None }))
    }

    /// Deletes the listed keys if they are still the same then; otherwise lists again.
    async fn delete_range(&self, request: Request<PbDeleteRequest>) -> Result<Response<PbDeleteResponse>, Status> {
        self.wire.pass(Op::Write)?;
        let request = request.into_inner();
        let range = proto::range(request.key, request.range_end);
        loop {
            let page = self.faulty.list(ListRequest::new(range.clone())).await.map_err(status)?;
            let expect = |kv: &KeyValue| Expect::Revision(kv.mod_revision);
            let delete =
                |kv: &KeyValue| Write { path: kv.path.clone(), expect: expect(kv), action: WriteAction::Delete };
            let writes = page.kvs.iter().map(delete).collect();
            if let WriteOutcome::Committed { revision } = self.commit(writes).await? {
                let deleted = i64::try_from(page.kvs.len()).unwrap_or(i64::MAX);
                let shown = if request.prev_kv { page.kvs } else { Vec::new() };
                let prev_kvs = shown.into_iter().map(proto::key_value).collect();
                return Ok(Response::new(PbDeleteResponse { header: self.header(revision), deleted, prev_kvs }));
            }
        }
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        self.wire.pass(Op::Write)?;
        let (writes, reads) = proto::transaction(request.into_inner())?;
        Ok(Response::new(match self.commit(writes).await? {
            WriteOutcome::Committed { revision } => {
                PbTxnResponse { header: self.header(revision), succeeded: true, responses: Vec::new() }
            }
            WriteOutcome::Refused { revision, current } => {
                let read = |index: usize| {
                    let kvs: Vec<_> = current[index].clone().map(proto::key_value).into_iter().collect();
                    let range = PbRangeResponse { count: i64::from(!kvs.is_empty()), kvs, ..Default::default() };
                    PbResponseOp { response: Some(PbTxnOpResponse::ResponseRange(range)) }
                };
                let responses = reads.into_iter().map(read).collect();
                PbTxnResponse { header: self.header(revision), succeeded: false, responses }
            }
        }))
    }

    async fn compact(&self, request: Request<PbCompactionRequest>) -> Result<Response<PbCompactionResponse>, Status> {
        self.memory.compact(convert::revision(request.into_inner().revision)).map_err(status)?;
        Ok(Response::new(PbCompactionResponse { header: self.header(self.memory.revision()) }))
    }
}
