//! The common prefix under which every collaborator's keys live.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::key::KeyName;
use crate::kv::KeyRange;

/// The prefix all keys of one store share.
///
/// A key lives in the kvstore at `prefix/name`: one slash, no escaping, nothing normalised (Cilium's layout). The
/// separating slash is part of every comparison, so `nodes/v1` never matches a key of its sibling `nodes/v10`.
///
/// ```
/// use shared_store_core::{KeyName, Prefix};
///
/// let prefix = Prefix::new("cilium/state/nodes/v1")?;
/// let name = KeyName::new("cluster1/node-a")?;
/// let path = prefix.path(&name);
/// assert_eq!(path, "cilium/state/nodes/v1/cluster1/node-a");
/// assert_eq!(prefix.strip(&path), Some(name));
/// assert_eq!(prefix.strip(b"cilium/state/nodes/v10/a"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(Arc<str>);

/// Why a text cannot be a [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The prefix is empty: the store would own the whole kvstore.
    #[error("prefix is empty")]
    Empty,
    /// The prefix ends with a slash: the store adds the separating slash itself.
    #[error("prefix {0:?} ends with a slash: write it without")]
    TrailingSlash(String),
    /// The prefix has a NUL byte, which no tool can show or type.
    #[error("prefix {0:?} has a NUL byte")]
    Nul(String),
}

impl Prefix {
    /// Checks `prefix` and takes it verbatim.
    ///
    /// # Errors
    /// [`PrefixError`] if it is empty, ends with a slash or has a NUL byte.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, PrefixError> {
        let prefix = prefix.as_ref();
        if prefix.is_empty() {
            Err(PrefixError::Empty)
        } else if prefix.ends_with('/') {
            Err(PrefixError::TrailingSlash(prefix.to_owned()))
        } else if prefix.contains('\0') {
            Err(PrefixError::Nul(prefix.to_owned()))
        } else {
            Ok(Self(prefix.into()))
        }
    }

    /// The prefix as it was given, without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the key `name` lives in the kvstore: `prefix/name`. The only function that makes a path.
    #[must_use]
    pub fn path(&self, name: &KeyName) -> Bytes {
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.as_str().len());
        path.extend_from_slice(self.0.as_bytes());
        path.push(b'/');
        path.extend_from_slice(name.as_str().as_bytes());
        path.into()
    }

    /// The name of the key at `path`, or `None` if it is not one of ours: another prefix, a sibling prefix, the prefix
    /// itself with or without its slash, or a name that is not UTF-8.
    #[must_use]
    pub fn strip(&self, path: &[u8]) -> Option<KeyName> {
        KeyName::new(self.strip_str(path)?).ok()
    }

    /// As [`strip`](Self::strip), without a copy of the name.
    pub(crate) fn strip_str<'a>(&self, path: &'a [u8]) -> Option<&'a str> {
        let name = path.strip_prefix(self.0.as_bytes())?.strip_prefix(b"/")?;
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// All keys below the prefix: from `prefix/` to just before `prefix0` (`0` follows `/`).
    #[must_use]
    pub fn range(&self) -> KeyRange {
        let bound = |last: u8| Bytes::from([self.0.as_bytes(), &[last]].concat());
        KeyRange { start: bound(b'/'), end: bound(b'/' + 1) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::str::FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_holds_every_path_and_no_sibling() {
        let prefix = Prefix::new("nodes/v1").unwrap();
        let range = prefix.range();
        for name in ["a", "a/b", "..", "x//y", "é", "\u{10ffff}"] {
            let path = prefix.path(&KeyName::new(name).unwrap());
            assert!(range.contains(&path), "{name}");
            assert_eq!(prefix.strip(&path).unwrap().as_str(), name);
        }
        for stranger in ["nodes/v1", "nodes/v10/a", "nodes/v1x", "nodes/v", "nodes/v10"] {
            assert!(!range.contains(stranger.as_bytes()), "{stranger}");
            assert_eq!(prefix.strip(stranger.as_bytes()), None);
        }
    }

    #[test]
    fn a_key_without_a_name_or_without_utf8_is_not_ours() {
        let prefix = Prefix::new("p").unwrap();
        assert_eq!(prefix.strip(b"p/"), None);
        assert_eq!(prefix.strip(b"p/\xff"), None);
    }

    #[test]
    fn a_prefix_that_cannot_work_is_refused_with_its_reason() {
        assert_eq!(Prefix::new(""), Err(PrefixError::Empty));
        assert_eq!(Prefix::new("a/"), Err(PrefixError::TrailingSlash("a/".into())));
        assert_eq!(Prefix::new("a\0b"), Err(PrefixError::Nul("a\0b".into())));
        assert!(Prefix::new("/registry").is_ok());
    }
}
