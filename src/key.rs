//! What a user puts into the store: a typed key with a name and a codec.

mod named;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

pub use self::named::Named;
use crate::user_code::{Panicked, contained};

/// A key shared with other collaborators: the whole value, which knows its own name.
///
/// Cilium calls the pair `Key` and `LocalKey`; its `DeepKeyCopy` is [`Clone`] here, and its `KeyCreator` is the type
/// parameter. Values in the cache are `Arc<K>`: replaced, never changed. [`Named`] makes a key of a value that does not know its
/// name.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shared_store_core::{Json, Key};
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
/// Both functions run under `catch_unwind`: a panic counts as an error and affects nothing else. The text of the panic
/// goes only to the application's panic hook; the default hook prints it to stderr, including values that it quotes.
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
///
/// Its errors name the kind of error, the line and the column. They never show any part of the value: values can hold
/// secrets, and errors end up in logs.
#[derive(Debug, Clone, Copy)]
pub enum Json {}

impl<K: Serialize + DeserializeOwned> Codec<K> for Json {
    const TAG: &'static str = "json";

    fn encode(key: &K) -> Result<Bytes, CodecError> {
        serde_json::to_vec(key).map(Bytes::from).map_err(|error| CodecError::written(&error))
    }

    fn decode(_name: &KeyName, value: &Bytes) -> Result<K, CodecError> {
        // One check of all bytes costs less than one of each string in them.
        let decoded = match str::from_utf8(value) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(value),
        };
        decoded.map_err(|error| CodecError::read(&error))
    }
}

/// A value that could not be encoded or decoded. Says why, never shows the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(Arc<str>);

impl CodecError {
    /// An error with the text of `cause`. The text ends up in logs: it must not show any part of the value.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string().into())
    }

    /// Why a value cannot be written as JSON. serde's own text can quote the value.
    fn written(error: &serde_json::Error) -> Self {
        Self::new(match error.classify() {
            Category::Syntax => "JSON allows only strings, numbers and booleans as keys of a map",
            Category::Data => "the type refuses to be written",
            Category::Eof | Category::Io => "JSON cannot be written",
        })
    }

    /// Kind and place of what is wrong with JSON. serde's own text quotes the value.
    fn read(error: &serde_json::Error) -> Self {
        let kind = match error.classify() {
            Category::Syntax => "syntax error in JSON",
            Category::Data => "JSON does not fit the type",
            Category::Eof => "JSON ends too early",
            Category::Io => "JSON cannot be read",
        };
        match error.line() {
            0 => Self::new(kind),
            line => Self::new(format_args!("{kind}, line {line} column {}", error.column())),
        }
    }
}

/// A map by name. A name is looked up several times for each change, and foldhash takes a tenth of SipHash's instructions. It
/// is seeded at random in each process.
pub(crate) type NameMap<V> = HashMap<KeyName, V, foldhash::fast::RandomState>;

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
    /// The `name` or the codec of this key type panicked. The panic hook has been given the text of the panic; it is not
    /// in the error, because it can quote the value.
    #[error("name or codec of {0} panicked: see what the panic hook printed")]
    Panicked(&'static str),
}

/// The name and the bytes of a key, as they are put. A panic in the key's own code is an error.
///
/// # Errors
/// [`KeyError`] says why it cannot be put.
pub fn encoded<K: Key>(key: &K) -> Result<(KeyName, Bytes), KeyError> {
    let encoded = contained(|| (key.name(), K::Codec::encode(key)));
    let (name, value) = encoded.map_err(|Panicked| KeyError::Panicked(std::any::type_name::<K>()))?;
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

/// Where a `&str` is wanted, a `&KeyName` will do.
impl Deref for KeyName {
    type Target = str;

    fn deref(&self) -> &str {
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

    #[derive(Debug, Clone, PartialEq, serde::Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Login {
        port: u16,
        kind: Kind,
        inner: Option<Box<Login>>,
    }

    #[derive(Debug, Clone, PartialEq, serde::Deserialize, Serialize)]
    enum Kind {
        Plain,
    }

    #[test]
    fn json_names_kind_and_place_of_an_error_and_never_the_value() {
        let name = KeyName::new("a").unwrap();
        let decode = |value: &[u8]| <Json as Codec<Login>>::decode(&name, &Bytes::copy_from_slice(value));
        let nested = format!("{}\"s3cr3t\"", r#"{"port":1,"kind":"Plain","inner":"#.repeat(40));
        let table: [(&[u8], &str); 12] = [
            (br#""s3cr3t""#, "JSON does not fit the type, line 1 column 8"),
            (br#"{"port":"s3cr3t"}"#, "JSON does not fit the type, line 1 column 16"),
            (br#"{"port":53423713}"#, "JSON does not fit the type, line 1 column 16"),
            (br#"{"port":1,"kind":"s3cr3t"}"#, "JSON does not fit the type, line 1 column 25"),
            (br#"{"port":1,"s3cr3t":1}"#, "JSON does not fit the type, line 1 column 18"),
            (br#"{"kind":"Plain"}"#, "JSON does not fit the type, line 1 column 16"),
            (b"{\n\"port\": s3cr3t}", "syntax error in JSON, line 2 column 9"),
            (br#"{"port":1 "s3cr3t"}"#, "syntax error in JSON, line 1 column 11"),
            (br#"{"port":1,"kind":"s3cr3t"#, "JSON ends too early, line 1 column 24"),
            (b"", "JSON ends too early, line 1 column 0"),
            (b"\"s3cr3t\xff\xfe\"", "syntax error in JSON, line 1 column 8"),
            (nested.as_bytes(), "JSON does not fit the type, line 1 column 1328"),
        ];
        for (value, words) in table {
            let error = decode(value).unwrap_err();
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains("s3cr3t") && !text.contains("53423713"), "{text}");
            }
            assert_eq!(error.to_string(), words, "{}", String::from_utf8_lossy(value));
        }
        let good = br#"{"port":1,"kind":"Plain","inner":null}"#;
        assert_eq!(decode(good), Ok(Login { port: 1, kind: Kind::Plain, inner: None }));
    }

    /// serde refuses maps whose keys are no strings, and whatever a type's own code refuses.
    #[test]
    fn a_value_without_a_json_encoding_is_not_shown_in_the_error() {
        #[derive(serde::Deserialize)]
        struct Refused(String);
        impl Serialize for Refused {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom(&self.0))
            }
        }
        let error = <Json as Codec<Refused>>::encode(&Refused("s3cr3t".to_owned())).unwrap_err();
        assert_eq!(error.to_string(), "the type refuses to be written");
        let error =
            <Json as Codec<std::collections::BTreeMap<Vec<u8>, u8>>>::encode(&[(vec![1], 1)].into()).unwrap_err();
        assert_eq!(error.to_string(), "JSON allows only strings, numbers and booleans as keys of a map");
    }
}
