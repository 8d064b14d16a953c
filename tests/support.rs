//! What several tests need.

#[cfg(feature = "etcd")]
pub(crate) mod certificates;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
