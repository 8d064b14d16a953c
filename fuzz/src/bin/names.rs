//! Prefixes, names and paths: what is made can be taken apart again, and nothing else can.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared_store_core::{KeyName, Prefix};

fuzz_target!(|input: (&str, &str, &[u8])| {
    let (prefix, name, path) = input;
    let Ok(prefix) = Prefix::new(prefix) else { return };
    let range = prefix.range();
    if let Ok(name) = KeyName::new(name) {
        let path = prefix.path(&name);
        assert!(range.contains(&path));
        assert_eq!(prefix.strip(&path), Some(name));
    }
    for path in [path, &[prefix.as_str().as_bytes(), path].concat()] {
        if let Some(name) = prefix.strip(path) {
            assert_eq!(prefix.path(&name), path);
            assert!(range.contains(path));
        }
    }
});
