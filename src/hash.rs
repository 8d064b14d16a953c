//! Comparing values without keeping them.

/// A 128-bit fingerprint of a value's bytes. Two values with one fingerprint are taken to be equal: for `n` values the
/// chance of being wrong is about `n^2 / 2^129`.
#[must_use]
pub fn value_hash(value: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(value)
}
