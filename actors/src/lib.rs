//! The actix actors that run a shared store.
