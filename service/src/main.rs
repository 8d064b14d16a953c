//! The `shared-store` program.

fn main() {}
