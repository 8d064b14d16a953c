//! What tests and benchmarks of all packages share: real etcds that start and end with a test, proxies that disturb the
//! connections to them, and how a test waits.
#![allow(clippy::missing_panics_doc, clippy::must_use_candidate, reason = "these are parts of tests")]

pub mod certificates;
mod cluster;
mod etcd;
mod grpc_proxy;
mod proxy;
mod waiting;

pub use cluster::Cluster;
pub use etcd::{EtcdServer, Version};
pub use grpc_proxy::GrpcProxy;
pub use proxy::{DeliveryMode, Proxy};
#[cfg(feature = "paused-clock")]
pub use waiting::pass;
pub use waiting::{eventually, eventually_blocking, real_time, real_time_blocking, seen_within};
