//! How long a rolling round takes.

use super::*;
use crate::backend::memory::Mvcc;
use crate::backend::{Expect, Write, WriteAction};
use crate::key::KeyName;

fn filled(keys: usize) -> Mvcc {
    let prefix = Prefix::new("p").unwrap();
    let mut kv = Mvcc::new();
    for chunk in (0..keys).collect::<Vec<_>>().chunks(128) {
        let put = |n: &usize| Write {
            path: prefix.path(&KeyName::new(format!("{n:08}")).unwrap()),
            expect: Expect::Any,
            action: WriteAction::Put { value: Bytes::new(), lease: LeaseId::NONE },
        };
        kv.write(chunk.iter().map(put).collect()).unwrap();
    }
    kv
}

/// From the first part of a round until the first part of the next one, and the requests it takes.
fn round(keys: usize, interval: Duration) -> (Duration, usize) {
    let kv = filled(keys);
    let mut audit = Audit::new(Prefix::new("p").unwrap().range(), interval, 3);
    let (mut now, mut requests, mut began) = (Instant::now(), 0, None);
    loop {
        let Some(request) = audit.poll_request(now, Some(kv.header())) else {
            now = audit.deadline().unwrap();
            continue;
        };
        requests += 1;
        let part = part(audit.answer(now, kv.list(&request)));
        let began = *began.get_or_insert(now);
        if part.last {
            return (audit.deadline().unwrap() - began, requests);
        }
    }
}

#[test]
fn a_round_takes_its_interval_however_many_keys_there_are() {
    for keys in [0, 1, 10_000, 100_000] {
        let (took, requests) = round(keys, HOUR);
        assert!(took > HOUR.mul_f64(0.9) && took < HOUR.mul_f64(1.1), "{keys} keys, {requests} requests: {took:?}");
    }
}
