//! What tests and benchmarks of all packages share: real etcds that start and end with a test.

mod etcd;

pub use etcd::{EtcdServer, Version};
