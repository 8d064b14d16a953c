//! Real etcds for these tests, and proxies that disturb the connections to them.

use shared_store_core::{EtcdBackend, EtcdConfig};
pub(crate) use shared_store_support::{
    Cluster, DeliveryMode, EtcdServer, GrpcProxy, Proxy, Version, certificates, eventually, real_time,
};

/// How tests reach an etcd.
pub(crate) trait Connect {
    /// A new collaborator's backend.
    fn backend(&self) -> EtcdBackend;
}

impl Connect for EtcdServer {
    fn backend(&self) -> EtcdBackend {
        EtcdBackend::new(EtcdConfig::new([self.endpoint()])).expect("a good configuration")
    }
}
