//! Which writes etcd takes at all, whatever is in the kvstore.

use std::collections::HashSet;

use etcd_client::proto::{PbDeleteRequest, PbPutRequest, PbTxnOpRequest, PbTxnRequest, PbTxnRequestOp};
use prost::Message;
use tonic::Status;

use super::{proto, range, refusal};
use crate::backend::memory::{MAX_REQUEST_BYTES, MAX_WRITES};
use crate::kv::KeyRange;

pub(super) fn put(request: &PbPutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(refusal::empty_key());
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(refusal::value_provided());
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(refusal::lease_provided());
    }
    Ok(())
}

pub(super) fn delete(request: &PbDeleteRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(refusal::empty_key()) } else { Ok(()) }
}

pub(super) fn transaction(request: &PbTxnRequest) -> Result<(), Status> {
    operations(request, MAX_WRITES)?;
    written(&request.success)?;
    written(&request.failure)?;
    Ok(())
}

/// A request that writes may be as large as etcd's may by default.
pub(super) fn size(request: &impl Message) -> Result<(), Status> {
    if request.encoded_len() > MAX_REQUEST_BYTES { Err(refusal::too_large()) } else { Ok(()) }
}

/// As etcd counts: the longest of the three lists, and a transaction in it may have what is left.
fn operations(request: &PbTxnRequest, allowed: usize) -> Result<(), Status> {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = allowed.checked_sub(longest).ok_or_else(refusal::too_many_operations)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(refusal::empty_key());
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(PbTxnOpRequest::RequestRange(request)) => range::check(request)?,
            Some(PbTxnOpRequest::RequestPut(request)) => put(request)?,
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => delete(request)?,
            Some(PbTxnOpRequest::RequestTxn(request)) => operations(request, left)?,
            None => return Err(refusal::key_not_found()),
        }
    }
    Ok(())
}

/// What a list of operations may put and delete.
#[derive(Default)]
struct Written<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<KeyRange>,
}

impl<'a> Written<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Status> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) { Err(refusal::duplicate_key()) } else { Ok(()) }
    }
}

/// Refuses a key that is put twice, or put and deleted. The two branches of a transaction may put the same key: only one
/// of them is taken. Unlike etcd, which overlooks a deletion of everything from a key on.
fn written(operations: &[PbTxnRequestOp]) -> Result<Written<'_>, Status> {
    let mut all = Written::default();
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestDeleteRange(request)) = &operation.request {
            all.deletes.push(proto::range(request.key.clone(), request.range_end.clone()));
        }
    }
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestTxn(request)) = &operation.request {
            let (success, failure) = (written(&request.success)?, written(&request.failure)?);
            for key in success.puts.union(&failure.puts) {
                all.put(key)?;
            }
            all.deletes.extend(success.deletes.into_iter().chain(failure.deletes));
        }
    }
    for operation in operations {
        if let Some(PbTxnOpRequest::RequestPut(request)) = &operation.request {
            all.put(&request.key)?;
        }
    }
    Ok(all)
}
