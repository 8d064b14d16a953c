//! Reads of ranges.

use etcd_client::proto::{PbRangeRequest, PbRangeResponse};
use tonic::Status;

use super::{proto, refusal};
use crate::backend::BackendError;
use crate::backend::etcd::convert;
use crate::backend::memory::{Mvcc, Stored};
use crate::kv::Revision;

/// What a range is sorted by, by etcd's numbers.
const TARGETS: [fn(&Stored, &Stored) -> std::cmp::Ordering; 5] = [
    |a, b| a.path.cmp(&b.path),
    |a, b| a.version.cmp(&b.version),
    |a, b| a.create_revision.cmp(&b.create_revision),
    |a, b| a.mod_revision.cmp(&b.mod_revision),
    |a, b| a.value.cmp(&b.value),
];
const NO_ORDER: i32 = 0;
const DESCENDING: i32 = 2;

/// Whether etcd takes such a request.
pub(super) fn check(request: &PbRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(refusal::empty_key());
    }
    let known = usize::try_from(request.sort_target).is_ok_and(|target| target < TARGETS.len());
    if known && (NO_ORDER..=DESCENDING).contains(&request.sort_order) { Ok(()) } else { Err(refusal::invalid_sort()) }
}

/// The revision asked for; `None` for the newest.
pub(super) fn revision(request: &PbRangeRequest) -> Option<Revision> {
    (request.revision > 0).then(|| convert::revision(request.revision))
}

/// Reads a range; in a transaction it sees what was written before it.
pub(super) fn read(mvcc: &Mvcc, request: PbRangeRequest) -> Result<PbRangeResponse, BackendError> {
    let at = revision(&request);
    let header = Some(proto::inner_header(mvcc.newest()));
    let mut kvs = mvcc.at(at, &proto::range(request.key, request.range_end))?;
    let count = proto::count(kvs.len());
    if request.count_only {
        return Ok(PbRangeResponse { header, kvs: Vec::new(), more: false, count });
    }
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let filters =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    // As etcd: an order without a direction sorts only what the limit has left, and one key more.
    if request.sort_order == NO_ORDER && filters == [0; 4] {
        kvs.truncate(limit.saturating_add(1));
    }
    let within = |revision: Revision, min: i64, max: i64| {
        let revision = convert::to_i64(revision);
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    kvs.retain(|kv| {
        within(kv.mod_revision, filters[0], filters[1]) && within(kv.create_revision, filters[2], filters[3])
    });
    let compare = usize::try_from(request.sort_target).ok().and_then(|target| TARGETS.get(target));
    if let Some(compare) = compare {
        if request.sort_order == DESCENDING {
            kvs.sort_by(|a, b| compare(b, a));
        } else {
            kvs.sort_by(|a, b| compare(a, b));
        }
    }
    let more = kvs.len() > limit;
    let shown = kvs.into_iter().take(limit).map(|kv| {
        let mut kv = proto::stored(kv);
        if request.keys_only {
            kv.value.clear();
        }
        kv
    });
    Ok(PbRangeResponse { header, kvs: shown.collect(), more, count })
}
