//! A snapshot file of any bytes, and one of any content under a right checksum.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_store_core::value_hash;
use shared_store_fuzz::Watched;

fuzz_target!(|input: (bool, &[u8])| {
    let (sealed, bytes) = input;
    let mut file = bytes.to_vec();
    if sealed {
        file.splice(..0, b"shstore\n\x02\0\0\0".iter().copied());
        file.extend(value_hash(&file).to_le_bytes());
    }
    let mut watched = Watched::new(false, false);
    watched.load(file);
    watched.end();
});
