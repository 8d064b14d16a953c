//! Keys of which only the bytes count.

use bytes::Bytes;
use shared_store_core::{Codec, CodecError, Key, KeyName};

/// A name and the bytes of its value.
#[derive(Debug, Clone)]
pub(super) struct Verbatim {
    name: KeyName,
    pub(super) value: Bytes,
}

impl Key for Verbatim {
    type Codec = Self;

    fn name(&self) -> String {
        self.name.as_str().to_owned()
    }
}

impl Codec<Self> for Verbatim {
    const TAG: &'static str = "bytes";

    fn encode(key: &Self) -> Result<Bytes, CodecError> {
        Ok(key.value.clone())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Self, CodecError> {
        Ok(Self { name: name.clone(), value: value.clone() })
    }
}
