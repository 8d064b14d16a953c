//! The integration tests, one module a behaviour.

mod backends;
mod faulty;
mod memory;
