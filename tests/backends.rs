//! Every backend passes every case of the contract.

mod memory {
    shared_store::conformance!(shared_store::MemoryBackend::new());
}
