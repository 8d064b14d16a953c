//! Between etcd's messages and ours, as a server sees them.

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbEvent, PbKeyValue, PbPutRequest, PbRangeRequest, PbRangeResponse, PbResponseHeader,
    PbTargetUnion, PbTxnOpRequest, PbTxnRequest,
};
use tonic::Status;

use crate::backend::etcd::convert::{DELETE, PUT, revision, to_i64};
use crate::backend::{Expect, ListPage, ListRequest, Write, WriteAction};
use crate::kv::{Event, Header, KeyRange, KeyValue, LeaseId, Revision};

/// Compare's `EQUAL`.
const EQUAL: i32 = 0;
/// A path after all others: with a range end of one zero byte etcd means everything from the key on.
const AFTER_ALL: [u8; 64] = [0xff; 64];

pub(super) fn header(header: Header) -> PbResponseHeader {
    PbResponseHeader { cluster_id: header.cluster.0, member_id: 1, revision: to_i64(header.revision), raft_term: 1 }
}

pub(super) fn range(key: Vec<u8>, range_end: Vec<u8>) -> KeyRange {
    let start = key.into();
    match &range_end[..] {
        [] => KeyRange::one(&start),
        [0] => KeyRange { start, end: AFTER_ALL.to_vec().into() },
        _ => KeyRange { start, end: range_end.into() },
    }
}

pub(super) fn list_request(request: PbRangeRequest) -> Result<ListRequest, Status> {
    let sorted = request.sort_order != 0 && (request.sort_order, request.sort_target) != (1, 0);
    if sorted || request.max_mod_revision > 0 || request.min_create_revision > 0 || request.max_create_revision > 0 {
        return Err(not_served("this order or filter of a range"));
    }
    let given = |number: i64| (number > 0).then(|| revision(number));
    Ok(ListRequest {
        range: range(request.key, request.range_end),
        revision: given(request.revision),
        min_mod_revision: given(request.min_mod_revision),
        limit: if request.count_only { 1 } else { usize::try_from(request.limit).unwrap_or(0) },
        keys_only: request.keys_only || request.count_only,
    })
}

pub(super) fn range_response(page: ListPage) -> PbRangeResponse {
    PbRangeResponse {
        header: Some(header(page.header)),
        kvs: page.kvs.into_iter().map(key_value).collect(),
        more: page.more,
        count: page.count.cast_signed(),
    }
}

pub(super) fn key_value(kv: KeyValue) -> PbKeyValue {
    PbKeyValue {
        key: kv.path.into(),
        value: kv.value.into(),
        create_revision: to_i64(kv.create_revision),
        mod_revision: to_i64(kv.mod_revision),
        lease: kv.lease.0,
        ..PbKeyValue::default()
    }
}

pub(super) fn event(event: Event) -> PbEvent {
    let (number, kv) = match event {
        Event::Put(kv) => (PUT, key_value(kv)),
        Event::Delete { path, revision } => {
            (DELETE, PbKeyValue { key: path.into(), mod_revision: to_i64(revision), ..PbKeyValue::default() })
        }
    };
    PbEvent { r#type: number, kv: Some(kv), prev_kv: None }
}

pub(super) fn put(request: PbPutRequest) -> Result<Write, Status> {
    if request.prev_kv || request.ignore_value || request.ignore_lease {
        return Err(not_served("a put that needs the previous value"));
    }
    let action = WriteAction::Put { value: request.value.into(), lease: LeaseId(request.lease) };
    Ok(Write { path: request.key.into(), expect: Expect::Any, action })
}

fn delete(request: PbDeleteRequest) -> Result<Write, Status> {
    if request.prev_kv || !request.range_end.is_empty() {
        return Err(not_served("a delete of a range, or with its previous value, in a transaction"));
    }
    Ok(Write { path: request.key.into(), expect: Expect::Any, action: WriteAction::Delete })
}

/// A transaction, and for each read of its other branch which of the writes' paths it reads.
pub(super) fn transaction(request: PbTxnRequest) -> Result<(Vec<Write>, Vec<usize>), Status> {
    let mut writes = Vec::new();
    for operation in request.success {
        writes.push(match operation.request {
            Some(PbTxnOpRequest::RequestPut(request)) => put(request)?,
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => delete(request)?,
            _ => return Err(not_served("a transaction that reads, or has transactions in it")),
        });
    }
    let written = |writes: &[Write], key: &[u8]| writes.iter().position(|write| write.path == key);
    let mut reads = Vec::new();
    for operation in request.failure {
        reads.push(match operation.request {
            Some(PbTxnOpRequest::RequestRange(read)) if read.range_end.is_empty() => written(&writes, &read.key),
            _ => None,
        });
    }
    let reads = reads.into_iter().collect::<Option<Vec<_>>>();
    let reads = reads.ok_or_else(|| not_served("a transaction that otherwise does more than read its paths"))?;
    for compare in request.compare {
        let (Some(expect), Some(index)) = (expectation(&compare), written(&writes, &compare.key)) else {
            return Err(not_served("this comparison"));
        };
        writes[index].expect = match (writes[index].expect, expect) {
            (Expect::Any, expect) => expect,
            (Expect::Revision(revision), Expect::Is { lease, .. }) => Expect::Is { revision, lease },
            _ => return Err(not_served("these comparisons of one key")),
        };
    }
    Ok((writes, reads))
}

fn expectation(compare: &PbCompare) -> Option<Expect> {
    let equal = compare.result == EQUAL && compare.range_end.is_empty();
    match compare.target_union {
        Some(PbTargetUnion::Version(0) | PbTargetUnion::CreateRevision(0) | PbTargetUnion::ModRevision(0)) if equal => {
            Some(Expect::Absent)
        }
        Some(PbTargetUnion::ModRevision(number)) if equal && number > 0 => Some(Expect::Revision(revision(number))),
        // Only after a comparison of the revision.
        Some(PbTargetUnion::Lease(lease)) if equal => {
            Some(Expect::Is { revision: Revision::ZERO, lease: LeaseId(lease) })
        }
        _ => None,
    }
}

pub(super) fn not_served(what: &str) -> Status {
    Status::unimplemented(format!("not served: {what}"))
}

/// The revision a watch begins at; 0 is the next one.
pub(super) fn start(number: i64, newest: Revision) -> Revision {
    if number > 0 { revision(number) } else { newest.next() }
}
