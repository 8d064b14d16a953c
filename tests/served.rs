//! The in-memory kvstore served as an etcd. Over it the etcd backend meets faults that no real etcd produces on
//! command; etcd's own command line and client work with it.

mod clients;
mod differential;
mod etcdctl;
mod faults;
mod stores;
mod threads;

use std::time::Duration;

use shared_store_core::backend::etcd::served::ServedEtcd;
use shared_store_core::{EtcdBackend, EtcdConfig};

/// A backend with short timeouts.
fn impatient(served: &ServedEtcd) -> EtcdBackend {
    let config = EtcdConfig::new([served.endpoint()]).call_timeout(Duration::from_millis(500));
    EtcdBackend::new(config).unwrap()
}
