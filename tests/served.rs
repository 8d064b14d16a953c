//! The kvstore in memory served as an etcd: the etcd backend meets over the network what no real etcd can be made to
//! do on command, and to etcd's own command line and client it is an etcd.

mod clients;
mod differential;
mod etcdctl;
mod faults;
mod stores;

use std::time::Duration;

use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::{EtcdBackend, EtcdConfig};

/// A backend that gives up soon.
fn impatient(served: &ServedEtcd) -> EtcdBackend {
    let config = EtcdConfig::new([served.endpoint()]).call_timeout(Duration::from_millis(500));
    EtcdBackend::new(config).unwrap()
}
