//! The integration tests, one module a behaviour.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod actors;
mod backends;
#[cfg(feature = "etcd")]
mod etcd;
mod faulty;
mod memory;
#[cfg(feature = "etcd")]
mod support;
