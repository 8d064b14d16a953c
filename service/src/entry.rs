//! One key as it is in the kvstore, with its owner, for people and for scripts.

use std::io::{self, Write};

use serde::Serialize;
use shared_store::{CodecError, KeyName, KeyValue, LeaseId};
use tabwriter::TabWriter;

use crate::document::{AnyDocument, Document};
use crate::kvstore::Left;
use crate::printable::printable;
use crate::record::{Encoded, json};
use crate::value::Form;

/// A key and what is known of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: KeyName,
    pub(crate) kv: KeyValue,
    pub(crate) left: Left,
}

/// The members of JSON and YAML.
#[derive(Debug, Serialize)]
struct Members<'a, T> {
    name: &'a str,
    #[serde(flatten)]
    value: T,
    revision: u64,
    create_revision: u64,
    /// Who owns the key; nobody without a lease.
    lease: Option<String>,
    /// Seconds left.
    ttl: Option<u64>,
    size: usize,
}

/// A value in YAML.
#[derive(Debug, Serialize)]
struct Plain {
    value: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl Entry {
    pub(crate) fn check<V: Form>(&self) -> Result<Document<V>, CodecError> {
        V::check(&self.kv.value)?;
        Ok(AnyDocument::from_bytes(self.name.clone(), self.kv.value.clone()).as_form())
    }

    fn members<T>(&self, value: T) -> Members<'_, T> {
        Members {
            name: self.name.as_str(),
            value,
            revision: self.kv.mod_revision.0,
            create_revision: self.kv.create_revision.0,
            lease: hex(self.kv.lease),
            ttl: self.left.seconds(),
            size: self.kv.value.len(),
        }
    }

    /// As JSON on one line.
    pub(crate) fn json<V: Form>(&self, document: &Document<V>) -> String {
        json(&self.members(Encoded::of(document)))
    }

    /// As a YAML document.
    pub(crate) fn yaml<V: Form>(&self, document: &Document<V>) -> String {
        let text = document.json();
        // A number that is too large for YAML's numbers stays as it is written.
        let value = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
        let members = self.members(Plain { value, encoding: V::ENCODING });
        serde_yaml_ng::to_string(&members).expect("its keys are text")
    }

    /// The cells of a wide table.
    pub(crate) fn cells<V: Form>(&self, document: &Document<V>) -> [String; 7] {
        [
            printable(self.name.as_str()).into_owned(),
            hex(self.kv.lease).unwrap_or_else(|| "-".to_owned()),
            self.left.to_string(),
            self.kv.create_revision.to_string(),
            self.kv.mod_revision.to_string(),
            self.kv.value.len().to_string(),
            document.text(),
        ]
    }
}

/// The heads of [`Entry::cells`].
pub(crate) const WIDE: [&str; 7] = ["NAME", "OWNER (LEASE)", "TTL LEFT", "CREATED AT", "MODIFIED AT", "BYTES", "VALUE"];

/// A lease as etcdctl writes it, with its leading zeros; nothing for no lease.
pub(crate) fn hex(lease: LeaseId) -> Option<String> {
    (lease != LeaseId::NONE).then(|| format!("{:016x}", lease.0))
}

/// A table with columns that line up.
pub(crate) fn table<const N: usize>(
    out: &mut dyn Write,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> io::Result<()> {
    let mut table = TabWriter::new(out).padding(2);
    writeln!(table, "{}", head.join("\t"))?;
    for row in rows {
        writeln!(table, "{}", row.join("\t"))?;
    }
    table.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_as_etcdctl_does() {
        assert_eq!(hex(LeaseId(0x0f)).as_deref(), Some("000000000000000f"));
        assert_eq!(hex(LeaseId(-1)).as_deref(), Some("ffffffffffffffff"));
        assert_eq!(hex(LeaseId::NONE), None);
    }
}
