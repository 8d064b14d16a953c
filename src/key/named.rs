//! A value that does not know its name.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, Json, Key, KeyName};

/// A value of any serde type, with its name beside it: a [`Key`] that needs no implementation.
///
/// The kvstore holds the value alone, as JSON. The name is that of the key.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shared_store_core::{Key, Named, encoded};
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Address { ip: String }
///
/// let node = Named::new("node1", Address { ip: "10.0.0.1".into() });
/// let (name, value) = encoded(&node)?;
/// assert_eq!((name.as_str(), &value[..]), ("node1", &br#"{"ip":"10.0.0.1"}"#[..]));
/// # Ok::<(), shared_store_core::KeyError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Named<T> {
    /// The key's name, unique below the prefix.
    pub name: Arc<str>,
    /// The value.
    pub value: T,
}

impl<T> Named<T> {
    /// The value with its name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, value: T) -> Self {
        Self { name: name.into(), value }
    }
}

impl<T> Key for Named<T>
where
    T: Serialize + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    type Codec = Json;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl<T: Serialize + DeserializeOwned> Codec<Named<T>> for Json {
    const TAG: &'static str = "json";

    fn encode(key: &Named<T>) -> Result<Bytes, CodecError> {
        Self::encode(&key.value)
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Named<T>, CodecError> {
        Ok(Named { name: Arc::clone(&name.0), value: Self::decode(name, value)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyError, KeyNameError, encoded};

    #[test]
    fn a_named_value_is_read_as_it_was_written_and_takes_its_name_from_the_key() {
        let port = Named::new("a/b", 80_u16);
        let (name, value) = encoded(&port).unwrap();
        assert_eq!(value, "80");
        let decode = |value: &'static str| <Json as Codec<Named<u16>>>::decode(&name, &value.into());
        assert_eq!(decode("80"), Ok(port));
        assert_eq!(decode("-1").unwrap_err().to_string(), "JSON does not fit the type, line 1 column 2");
        assert_eq!(encoded(&Named::new("", 80_u16)), Err(KeyError::Name(KeyNameError::Empty)));
    }
}
