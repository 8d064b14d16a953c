//! What a user puts into the store: a typed key with a name and a codec.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::filter::{Panicked, contained};

/// A key shared with other collaborators: the whole value, which knows its own name.
///
/// Cilium calls the pair `Key` and `LocalKey`; its `DeepKeyCopy` is [`Clone`] here, and its `KeyCreator` is the type
/// parameter. Values in the cache are `Arc<K>`: replaced, never changed.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shared_store::{Json, Key};
///
/// #[derive(Debug, Clone, Serialize, Deserialize)]
/// struct Node { name: String, ip: String }
///
/// impl Key for Node {
///     type Codec = Json;
///     fn name(&self) -> String { self.name.clone() }
/// }
/// ```
pub trait Key: Clone + fmt::Debug + Send + Sync + 'static {
    /// How a value becomes bytes and back; [`Json`] for every serde type.
    type Codec: Codec<Self>;

    /// The key's name, unique below the prefix. Must not change while the store owns the key.
    fn name(&self) -> String;
}

/// How a key becomes the bytes of its kvstore value and back.
///
/// Both functions run under `catch_unwind`: a panic counts as an error and harms nobody else.
pub trait Codec<K>: 'static {
    /// Names the format; a snapshot written under another tag is refused on a warm restart.
    const TAG: &'static str;

    /// The bytes to put into the kvstore.
    ///
    /// # Errors
    /// [`CodecError`] if this value has no encoding.
    fn encode(key: &K) -> Result<Bytes, CodecError>;

    /// The key with this name from the bytes in the kvstore.
    ///
    /// # Errors
    /// [`CodecError`] if the bytes are not a value of this type.
    fn decode(name: &KeyName, value: &Bytes) -> Result<K, CodecError>;
}

/// JSON through serde: Cilium's format, and the default choice.
#[derive(Debug, Clone, Copy)]
pub enum Json {}

impl<K: Serialize + DeserializeOwned> Codec<K> for Json {
    const TAG: &'static str = "json";

    fn encode(key: &K) -> Result<Bytes, CodecError> {
        serde_json::to_vec(key).map(Bytes::from).map_err(CodecError::new)
    }

    fn decode(_name: &KeyName, value: &Bytes) -> Result<K, CodecError> {
        serde_json::from_slice(value).map_err(CodecError::new)
    }
}

/// A value that could not be encoded or decoded. Says why, never shows the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(Arc<str>);

impl CodecError {
    /// An error with the text of `cause`.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string().into())
    }
}

/// The name of a key below its prefix: any text that is not empty, kept to the letter.
///
/// Slashes, dots and `//` mean nothing here: two names are the same only if their bytes are. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

/// Why a text cannot be a [`KeyName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyNameError {
    /// The name is empty: the path would be the bare prefix.
    #[error("key name is empty")]
    Empty,
}

/// A key that cannot be put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Its name is not one.
    #[error(transparent)]
    Name(#[from] KeyNameError),
    /// Its value has no encoding.
    #[error("key cannot be encoded: {0}")]
    Encode(#[from] CodecError),
    /// Its `name` or its codec panicked; the text of the panic.
    #[error("key's own code panicked: {0}")]
    Panicked(String),
}

/// The name and the bytes of a key, as they are put. A panic in the key's own code is an error.
///
/// # Errors
/// [`KeyError`] says why it cannot be put.
pub fn encoded<K: Key>(key: &K) -> Result<(KeyName, Bytes), KeyError> {
    let encoded = contained(|| (key.name(), K::Codec::encode(key)));
    let (name, value) = encoded.map_err(|Panicked(text)| KeyError::Panicked(text))?;
    Ok((KeyName::new(name)?, value?))
}

impl KeyName {
    /// Takes `name` verbatim.
    ///
    /// # Errors
    /// [`KeyNameError::Empty`] if it is empty.
    pub fn new(name: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, KeyNameError> {
        if name.as_ref().is_empty() { Err(KeyNameError::Empty) } else { Ok(Self(name.into())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for KeyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::str::FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_verbatim_and_only_the_empty_one_is_refused() {
        for name in ["a", "..", ".", "a//b", "/a", "a/", "ü", " "] {
            assert_eq!(KeyName::new(name).unwrap().as_str(), name);
        }
        assert_eq!(KeyName::new(""), Err(KeyNameError::Empty));
    }

    #[test]
    fn json_says_why_a_value_is_not_one() {
        let name = KeyName::new("a").unwrap();
        let error = <Json as Codec<u32>>::decode(&name, &Bytes::from_static(b"\"secret\"")).unwrap_err();
        assert!(error.to_string().contains("invalid type"), "{error}");
        assert_eq!(<Json as Codec<u32>>::decode(&name, &Bytes::from_static(b"7")), Ok(7));
    }
}
