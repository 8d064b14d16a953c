//! The integration tests, one module a behaviour.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod actors;
mod backends;
#[cfg(feature = "etcd")]
mod etcd;
mod examples;
mod faulty;
mod memory;
mod promises;
#[cfg(feature = "etcd")]
mod served;
#[cfg(feature = "etcd")]
mod support;
