//! Between etcd's words and ours.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::proto::{PbEvent, PbKeyValue};
use etcd_client::{GetOptions, GetResponse, ResponseHeader, TxnOpResponse};

use crate::backend::{ListPage, ListRequest};
use crate::kv::{ClusterId, Event, Header, KeyValue, LeaseId, Revision};

/// etcd's type numbers; the client's own function panics on others.
pub(super) const PUT: i32 = 0;
pub(super) const DELETE: i32 = 1;

pub(super) fn to_i64(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn revision(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

pub(super) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

pub(super) fn header(header: Option<&ResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header {
        cluster: ClusterId(header.cluster_id()),
        revision: revision(header.revision()),
    })
}

pub(super) fn get_options(request: &ListRequest) -> GetOptions {
    let mut options = GetOptions::new()
        .with_range(request.range.end.to_vec())
        .with_limit(i64::try_from(request.limit).unwrap_or(i64::MAX));
    if let Some(revision) = request.revision {
        options = options.with_revision(to_i64(revision));
    }
    if let Some(revision) = request.min_mod_revision {
        options = options.with_min_mod_revision(to_i64(revision));
    }
    if request.keys_only { options.with_keys_only() } else { options }
}

pub(super) fn key_value(kv: etcd_client::KeyValue) -> KeyValue {
    let (create_revision, mod_revision) = (revision(kv.create_revision()), revision(kv.mod_revision()));
    let lease = LeaseId(kv.lease());
    let (path, value) = kv.into_key_value();
    KeyValue { path: path.into(), value: value.into(), create_revision, mod_revision, lease }
}

pub(super) fn page(mut response: GetResponse) -> ListPage {
    ListPage {
        header: header(response.header()),
        more: response.more(),
        count: response.count().cast_unsigned(),
        kvs: response.take_kvs().into_iter().map(key_value).collect(),
    }
}

/// The key a read inside a transaction found.
pub(super) fn first_key_value(response: TxnOpResponse) -> Option<KeyValue> {
    match response {
        TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next().map(key_value),
        TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
    }
}

/// An event, or what etcd says that we do not understand.
pub(super) fn event(event: PbEvent) -> Result<Event, String> {
    let Some(kv) = event.kv else { return Err("an event without a key".to_owned()) };
    let PbKeyValue { key, create_revision, mod_revision, value, lease, .. } = kv;
    let path = Bytes::from(key);
    match event.r#type {
        PUT => Ok(Event::Put(KeyValue {
            path,
            value: value.into(),
            create_revision: revision(create_revision),
            mod_revision: revision(mod_revision),
            lease: LeaseId(lease),
        })),
        DELETE => Ok(Event::Delete { path, revision: revision(mod_revision) }),
        other => Err(format!("an event of the unknown type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any message is an event or an error with words, by seed.
    #[test]
    fn whatever_etcd_says_is_an_event_or_is_told_in_words() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut understood = 0;
        for _ in 0..10_000 {
            let mut number = || random.i64(..) >> random.u32(..64);
            let (create_revision, mod_revision, lease) = (number(), number(), number());
            let mut bytes = || random.u64(..).to_le_bytes()[..random.usize(..8)].to_vec();
            let (key, value) = (bytes(), bytes());
            let kv = PbKeyValue { key: key.clone(), value, create_revision, mod_revision, lease, ..Default::default() };
            let kind = if random.bool() { random.i32(0..2) } else { random.i32(..) };
            let kv = (random.u8(..8) > 0).then_some(kv);
            match event(PbEvent { r#type: kind, kv: kv.clone(), prev_kv: None }) {
                Ok(event) => {
                    assert_eq!(event.path(), &key);
                    assert_eq!(event.revision().0, u64::try_from(mod_revision).unwrap_or(0), "never negative");
                    assert_eq!(matches!(event, Event::Delete { .. }), kind == DELETE);
                    understood += 1;
                }
                Err(words) => assert_eq!(words.contains("unknown type"), kv.is_some(), "{words}"),
            }
        }
        assert!((1000..9000).contains(&understood), "{understood}");
    }
}
