//! Between etcd's messages and ours, as a server sees them.

use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader};

use crate::backend::etcd::convert::{DELETE, PUT, to_i64};
use crate::backend::memory::Stored;
use crate::kv::{Event, Header, KeyRange, KeyValue, Revision};

/// The id of the only member.
pub(super) const MEMBER: u64 = 1;
/// The only term of the only leader.
pub(super) const TERM: u64 = 1;
/// After all keys but those that begin with these bytes.
const AFTER_ALL: [u8; 64] = [0xff; 64];

pub(super) fn header(header: Header) -> PbResponseHeader {
    PbResponseHeader {
        cluster_id: header.cluster.0,
        member_id: MEMBER,
        revision: to_i64(header.revision),
        raft_term: TERM,
    }
}

/// The header of an answer inside a transaction's: only a revision.
pub(super) fn inner_header(revision: Revision) -> PbResponseHeader {
    PbResponseHeader { revision: to_i64(revision), ..PbResponseHeader::default() }
}

/// No end is the key alone, and an end of one zero byte is everything from the key on.
pub(super) fn range(key: Vec<u8>, range_end: Vec<u8>) -> KeyRange {
    let start = Bytes::from(key);
    match &range_end[..] {
        [] => KeyRange::one(&start),
        [0] => KeyRange { start, end: Bytes::from_static(&AFTER_ALL) },
        _ => KeyRange { start, end: range_end.into() },
    }
}

pub(super) fn stored(stored: &Stored) -> PbKeyValue {
    key_value(stored, stored.version)
}

fn key_value(kv: &KeyValue, version: u64) -> PbKeyValue {
    PbKeyValue {
        key: kv.path.to_vec(),
        value: kv.value.to_vec(),
        create_revision: to_i64(kv.create_revision),
        mod_revision: to_i64(kv.mod_revision),
        version: version.cast_signed(),
        lease: kv.lease.0,
    }
}

/// An event with the version of its key after it.
pub(super) fn event(event: &Event, version: u64, prev_kv: Option<&Stored>) -> PbEvent {
    let (number, kv) = match event {
        Event::Put(kv) => (PUT, key_value(kv, version)),
        Event::Delete { path, revision } => {
            (DELETE, PbKeyValue { key: path.to_vec(), mod_revision: to_i64(*revision), ..PbKeyValue::default() })
        }
    };
    PbEvent { r#type: number, kv: Some(kv), prev_kv: prev_kv.map(stored) }
}

/// So many, as etcd counts.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
