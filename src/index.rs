//! Secondary indexes: finding keys by something in their values.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::key::KeyName;
use crate::user_code::{Panicked, contained};

type Values<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// A secondary index: the values under which a key can be found besides its name.
///
/// ```
/// # use shared_store_core::Index;
/// # struct Node { addresses: Vec<String> }
/// let by_address = Index::new("address", |node: &Node| node.addresses.clone());
/// ```
pub struct Index<K> {
    name: Arc<str>,
    values: Values<K>,
}

impl<K> Index<K> {
    /// An index named `name`. `values` tells a key's values; a key without any is not in it. A panic in `values` counts
    /// as none and is logged.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self { name: name.into(), values: Arc::new(values) }
    }

    /// The name to look things up by.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn values(&self, name: &KeyName, key: &K) -> Result<Vec<Arc<str>>, Panicked> {
        let values = contained(|| (self.values)(key));
        if values.is_err() {
            tracing::error!(index = %self.name, key = %name, "index function panicked");
        }
        values.map(|values| values.into_iter().map(Arc::from).collect())
    }
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self { name: Arc::clone(&self.name), values: Arc::clone(&self.values) }
    }
}

impl<K> fmt::Debug for Index<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The names of the keys by their values in one index.
#[derive(Debug)]
pub(crate) struct Table {
    index: Arc<str>,
    names: HashMap<Arc<str>, BTreeSet<KeyName>>,
    /// The values of each key, so that it can be removed whatever the index function returns later.
    values: HashMap<KeyName, Vec<Arc<str>>>,
}

impl Table {
    pub(crate) fn new(index: &Arc<str>) -> Self {
        Self { index: Arc::clone(index), names: HashMap::new(), values: HashMap::new() }
    }

    pub(crate) fn name(&self) -> &str {
        &self.index
    }

    /// In name order.
    pub(crate) fn names(&self, value: &str) -> impl Iterator<Item = &KeyName> {
        self.names.get(value).into_iter().flatten()
    }

    /// Files `name` under `values` and nothing else.
    pub(crate) fn set(&mut self, name: &KeyName, values: Vec<Arc<str>>) {
        let old = self.values.remove(name).unwrap_or_default();
        for value in &old {
            if let Some(names) = self.names.get_mut(value)
                && !values.contains(value)
            {
                names.remove(name);
                if names.is_empty() {
                    self.names.remove(value);
                }
            }
        }
        for value in &values {
            self.names.entry(Arc::clone(value)).or_default().insert(name.clone());
        }
        if !values.is_empty() {
            self.values.insert(name.clone(), values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_under_its_values_of_now_and_no_others() {
        let mut table = Table::new(&"ip".into());
        let (a, b) = (KeyName::new("a").unwrap(), KeyName::new("b").unwrap());
        let found = |table: &Table, value: &str| table.names(value).map(ToString::to_string).collect::<Vec<_>>();
        table.set(&b, vec!["1".into(), "2".into()]);
        table.set(&a, vec!["1".into()]);
        assert_eq!(found(&table, "1"), ["a", "b"]);
        table.set(&b, vec!["2".into(), "3".into()]);
        assert_eq!(found(&table, "1"), ["a"]);
        assert_eq!(found(&table, "3"), ["b"]);
        table.set(&a, Vec::new());
        table.set(&b, Vec::new());
        assert!(table.names.is_empty() && table.values.is_empty());
    }
}
