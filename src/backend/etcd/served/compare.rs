//! The comparisons of a transaction.

use std::cmp::Ordering;

use etcd_client::proto::{PbCompare, PbTargetUnion};

use super::proto;
use crate::backend::etcd::convert::to_i64;
use crate::backend::memory::{Mvcc, Stored};

// What is compared, and how, by etcd's numbers.
const VERSION: i32 = 0;
const CREATE: i32 = 1;
const MOD: i32 = 2;
const VALUE: i32 = 3;
const LEASE: i32 = 4;
const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const LESS: i32 = 2;
const NOT_EQUAL: i32 = 3;

/// Whether it holds for every key of its range. A key that does not exist has version, revisions and lease 0 and no
/// value, so that every comparison of its value fails.
pub(super) fn holds(mvcc: &Mvcc, compare: &PbCompare) -> bool {
    // Without a revision it cannot fail.
    let found = mvcc.at(None, &proto::range(compare.key.clone(), compare.range_end.clone())).unwrap_or_default();
    if found.is_empty() {
        return compare.target != VALUE && one(compare, None);
    }
    found.into_iter().all(|stored| one(compare, Some(stored)))
}

fn one(compare: &PbCompare, stored: Option<&Stored>) -> bool {
    let number = |of: fn(&Stored) -> i64| stored.map_or(0, of);
    let expected = match compare.target_union {
        Some(
            PbTargetUnion::Version(number)
            | PbTargetUnion::CreateRevision(number)
            | PbTargetUnion::ModRevision(number)
            | PbTargetUnion::Lease(number),
        ) => number,
        Some(PbTargetUnion::Value(_)) | None => 0,
    };
    let order = match compare.target {
        VERSION => number(|stored| stored.version.cast_signed()).cmp(&expected),
        CREATE => number(|stored| to_i64(stored.create_revision)).cmp(&expected),
        MOD => number(|stored| to_i64(stored.mod_revision)).cmp(&expected),
        LEASE => number(|stored| stored.lease.0).cmp(&expected),
        VALUE => {
            let expected = match &compare.target_union {
                Some(PbTargetUnion::Value(value)) => &value[..],
                _ => &[],
            };
            stored.map_or(&[][..], |stored| &stored.value).cmp(expected)
        }
        // As etcd with a target it does not know.
        _ => Ordering::Equal,
    };
    match compare.result {
        EQUAL => order.is_eq(),
        GREATER => order.is_gt(),
        LESS => order.is_lt(),
        NOT_EQUAL => order.is_ne(),
        _ => true,
    }
}
