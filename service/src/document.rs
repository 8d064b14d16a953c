//! The program's keys: a name and any JSON.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared_store_actors::{Codec, CodecError, Key, KeyName};

/// A name and any JSON value, kept as its bytes: unknown fields and numbers of any size survive, and nothing is built
/// that nobody reads.
#[derive(Clone)]
pub(crate) struct Document {
    name: KeyName,
    json: Bytes,
}

impl Document {
    /// Takes a value that is JSON, without the white space between its parts.
    pub(crate) fn new(name: &str, json: &RawValue) -> anyhow::Result<Self> {
        Ok(Self { name: KeyName::new(name)?, json: compact(json.get()).into() })
    }

    /// The value, as it is in the kvstore.
    pub(crate) fn json(&self) -> &str {
        std::str::from_utf8(&self.json).unwrap_or("null")
    }
}

impl fmt::Debug for Document {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The bytes of the value and nothing else.
pub(crate) enum JsonBytes {}

impl Codec<Document> for JsonBytes {
    const TAG: &'static str = "json-bytes";

    fn encode(document: &Document) -> Result<Bytes, CodecError> {
        Ok(document.json.clone())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Document, CodecError> {
        serde_json::from_slice::<&RawValue>(value).map_err(CodecError::new)?;
        Ok(Document { name: name.clone(), json: value.clone() })
    }
}

impl Key for Document {
    type Codec = JsonBytes;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// A line that names a key and its value.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow)]
    pub(crate) name: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) value: &'a RawValue,
}

/// JSON without the white space between its parts. Rewriting it through values would change numbers.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|c| {
            if in_string {
                in_string = escaped || *c != '"';
                escaped = !escaped && *c == '\\';
                return true;
            }
            in_string = *c == '"';
            !matches!(c, ' ' | '\t' | '\n' | '\r')
        })
        .collect()
}

/// Reads `{"name":..,"value":..}` lines; the error names the line.
pub(crate) fn read_lines(text: &str, what: &str) -> anyhow::Result<Vec<Document>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let place = || format!("{what}, line {}", index + 1);
            let line: Line<'_> = serde_json::from_str(line).map_err(|error| anyhow::anyhow!("{}: {error}", place()))?;
            Document::new(&line.name, line.value).map_err(|error| anyhow::anyhow!("{}: {error}", place()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_changes_nothing_but_white_space() {
        let json = r#" { "a b" : [ 1.0 , 1e400,"x \" y \\" , "\u00e9 é" ] } "#;
        assert_eq!(compact(json), r#"{"a b":[1.0,1e400,"x \" y \\","\u00e9 é"]}"#);
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = read_lines("{\"name\":\"a\",\"value\":1}\n\n{\"name\":\"\",\"value\":1}", "keys").unwrap_err();
        assert_eq!(error.to_string(), "keys, line 3: key name is empty");
        let error = read_lines("{\"name\":\"a\"}", "keys").unwrap_err();
        assert!(error.to_string().starts_with("keys, line 1: missing field"), "{error}");
        assert_eq!(read_lines("{\"name\":\"a\",\"value\":null}", "keys").unwrap()[0].json(), "null");
    }
}
