//! The lines of JSON output. Their members, and the order of these, are a stable interface.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::document::Document;
use crate::printable::printable;
use crate::value::Form;

/// A record as JSON on one line, without its end and without characters that harm a terminal.
pub(crate) fn json(record: &impl Serialize) -> String {
    let json = serde_json::to_string(record).expect("records have text as keys, and their values are JSON");
    // Such characters can only be in strings, where their escapes mean the same.
    printable(&json).into_owned()
}

/// What is printed as it happens.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    Update {
        name: &'a str,
        value: Value,
        old: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'static str>,
        revision: u64,
        origin: &'static str,
        reason: String,
        initial: bool,
    },
    Delete {
        name: &'a str,
        value: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        encoding: Option<&'static str>,
        revision: u64,
        origin: &'static str,
        reason: String,
    },
    Synced {
        revision: u64,
        entries: usize,
    },
    Resynced {
        from: u64,
        to: u64,
    },
    Status {
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<&'a str>,
    },
    Undecodable {
        name: &'a str,
        revision: u64,
        cause: String,
    },
    Conflict {
        name: &'a str,
        revision: u64,
        policy: &'static str,
    },
    Healed {
        name: &'a str,
        revision: u64,
    },
    Repaired {
        name: &'a str,
        damage: String,
        revision: u64,
    },
    SetAside {
        name: &'a str,
        cause: Option<&'a str>,
    },
    Lost {
        name: &'a str,
    },
    LeaseLost {
        lease: String,
        cause: &'a str,
    },
    HistoryChanged {},
    WriteFailed {
        cause: String,
    },
    Published {
        keys: usize,
        refused: usize,
        canary: bool,
    },
    Audit {
        revision: u64,
        #[serde(flatten)]
        report: Audit,
    },
}

/// What an audit found.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    pub(crate) keys: u64,
    pub(crate) ignored: u64,
    pub(crate) differences: Vec<Difference>,
}

/// A key that differs between cache and kvstore.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    pub(crate) name: String,
    pub(crate) difference: String,
    pub(crate) explained: bool,
}

/// A value as it is printed in JSON.
#[derive(Debug, Clone)]
pub(crate) struct Value(String);

impl Value {
    /// For a value that is not known.
    pub(crate) fn null() -> Self {
        Self("null".to_owned())
    }

    /// The value of a document, which its form has checked.
    pub(crate) fn of<V: Form>(document: &Document<V>) -> Self {
        Self(document.json())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// A value with its encoding.
#[derive(Debug, Serialize)]
pub(crate) struct Encoded {
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl Encoded {
    pub(crate) fn of<V: Form>(document: &Document<V>) -> Self {
        Self { value: Value::of(document), encoding: V::ENCODING }
    }
}

/// The answer to a command on stdin.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "reply")]
pub(crate) struct Reply<'a> {
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(flatten)]
    pub(crate) answer: Option<Answer>,
}

/// What a command answers when it went well.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<u64>,
    #[serde(flatten)]
    pub(crate) more: Option<More>,
}

/// What some commands answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum More {
    Value(Encoded),
    Audit(Audit),
    Status(Box<shared_store::Status>),
    Keys { keys: Vec<Key> },
}

/// A key with its name and value, as `publish` reads it.
#[derive(Debug, Serialize)]
pub(crate) struct Key {
    name: String,
    #[serde(flatten)]
    value: Encoded,
}

impl Key {
    pub(crate) fn of<V: Form>(document: &Document<V>) -> Self {
        Self { name: document.key_name().to_string(), value: Encoded::of(document) }
    }
}
