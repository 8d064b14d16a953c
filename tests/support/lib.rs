//! What tests and benchmarks of all packages share: real etcds that start and end with a test, and
//! bad ways to them.

mod cluster;
mod etcd;
mod proxy;

pub use cluster::Cluster;
pub use etcd::{EtcdServer, Version};
pub use proxy::{Mode, Proxy};
