//! The program's keys: a name and a value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;
use shared_store::{Codec, CodecError, Key, KeyName};

use crate::value::{Base64, Form};

/// A name and a value, kept as its bytes: what is given is what is put, and nothing is built that nobody reads.
#[derive(Clone)]
pub(crate) struct Document<V> {
    name: KeyName,
    value: Bytes,
    form: PhantomData<V>,
}

/// A document of which nothing is asked: its value may be any bytes.
pub(crate) type AnyDocument = Document<Base64>;

impl<V: Form> Document<V> {
    /// Takes a value that its form has checked.
    pub(crate) fn from_bytes(name: KeyName, value: Bytes) -> Self {
        Self { name, value, form: PhantomData }
    }

    /// Takes a value that is given in JSON, to the letter.
    pub(crate) fn new(name: &str, value: &RawValue) -> anyhow::Result<Self> {
        Ok(Self::from_bytes(KeyName::new(name)?, V::from_json(value)?))
    }

    /// Takes a value that is given as an argument, to the letter.
    pub(crate) fn from_argument(name: &str, value: &str) -> anyhow::Result<Self> {
        Ok(Self::from_bytes(KeyName::new(name)?, V::from_argument(value)?))
    }

    /// The same bytes as a value of another form, which the caller has checked.
    pub(crate) fn as_form<W: Form>(&self) -> Document<W> {
        Document::from_bytes(self.name.clone(), self.value.clone())
    }

    /// The key's name.
    pub(crate) fn key_name(&self) -> &KeyName {
        &self.name
    }

    /// The value as it is in the kvstore.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.value
    }

    /// The same bytes, shared.
    pub(crate) fn shared_bytes(&self) -> Bytes {
        self.value.clone()
    }

    /// The value as JSON on one line.
    pub(crate) fn json(&self) -> String {
        V::to_json(&self.value)
    }

    /// The value for people, on one line.
    pub(crate) fn text(&self) -> String {
        V::to_text(&self.value)
    }
}

impl<V> fmt::Debug for Document<V> {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<V: Form> Key for Document<V> {
    type Codec = Self;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// The bytes of the value and nothing else.
impl<V: Form> Codec<Self> for Document<V> {
    const TAG: &'static str = V::TAG;

    fn encode(document: &Self) -> Result<Bytes, CodecError> {
        Ok(document.value.clone())
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Self, CodecError> {
        V::check(value).map(|()| Self::from_bytes(name.clone(), value.clone()))
    }
}

/// A line that names a key and its value.
#[derive(Debug, Deserialize)]
#[serde(expecting = "{\"name\":..,\"value\":..}")]
struct Line<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow, default)]
    encoding: Option<Cow<'a, str>>,
}

/// Why a line is not what it should be. Serde's own text may quote a value.
pub(crate) fn why(error: &serde_json::Error) -> String {
    let (text, column) = (error.to_string(), error.column());
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    match text.rsplit_once(", expected ") {
        Some((_, expected)) if error.classify() == Category::Data && text.starts_with("invalid ") => {
            format!("wrong type, expected {expected} (column {column})")
        }
        Some(_) | None => format!("{text} (column {column})"),
    }
}

/// Refuses a value that says it is encoded in another way than the program was told.
pub(crate) fn check_encoding<V: Form>(encoding: Option<&str>) -> Result<(), String> {
    let expected = V::ENCODING.unwrap_or("json");
    match encoding {
        Some(given) if given != expected => {
            Err(format!("the value's encoding is {given:?}, and --value is {expected}: use --value {given}"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Reads `{"name":..,"value":..}` lines; the error names the line.
pub(crate) fn read_lines<V: Form>(bytes: &[u8], what: &str) -> anyhow::Result<Vec<Document<V>>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count();
        anyhow::anyhow!("{what}, line {line}: not UTF-8")
    })?;
    // Editors of Windows begin a file with it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut seen = HashMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let documents = lines.map(|(index, line)| {
        let number = index + 1;
        let document = read_line(line).map_err(|error| anyhow::anyhow!("{what}, line {number}: {error}"))?;
        if let Some(first) = seen.insert(document.name.clone(), number) {
            let name = &document.name;
            anyhow::bail!("{what}, lines {first} and {number}: both have the name {name:?}; delete one of them");
        }
        Ok(document)
    });
    documents.collect()
}

const OBJECT: &str = "{\"name\":..,\"value\":..}";

fn read_line<V: Form>(line: &str) -> anyhow::Result<Document<V>> {
    let line: Line<'_> = match serde_json::from_str(line) {
        Ok(parsed) if line.trim_start().starts_with('{') => parsed,
        Err(error) if error.is_eof() => {
            anyhow::bail!("{}: write a whole {OBJECT} on one line (jq -c does)", why(&error))
        }
        Err(error) if line.trim_start().starts_with('{') => anyhow::bail!(why(&error)),
        Ok(_) | Err(_) => anyhow::bail!("not an object: write {OBJECT}"),
    };
    check_encoding::<V>(line.encoding.as_deref()).map_err(anyhow::Error::msg)?;
    Document::new(&line.name, line.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Json, Text};

    fn error<V: Form>(lines: &str) -> String {
        read_lines::<V>(lines.as_bytes(), "keys").unwrap_err().to_string()
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(
            error::<Json>("{\"name\":\"a\",\"value\":1}\n\n{\"name\":\"\",\"value\":1}"),
            "keys, line 3: key name is empty"
        );
        assert_eq!(error::<Json>("{\"name\":\"a\"}"), "keys, line 1: missing field `value` (column 12)");
        assert_eq!(
            error::<Json>("{\"name\":\"a\",\"value\":1}\n{\"name\":\"b\",\"value\":1}\n{\"name\":\"a\",\"value\":2}"),
            "keys, lines 1 and 3: both have the name \"a\"; delete one of them"
        );
        assert_eq!(error::<Json>("\"s3cr3t\""), "keys, line 1: not an object: write {\"name\":..,\"value\":..}");
        // An array would be read as the fields in their order.
        for array in ["[{\"name\":\"a\",\"value\":1}]", "[\"a\",1]"] {
            assert_eq!(error::<Json>(array), "keys, line 1: not an object: write {\"name\":..,\"value\":..}");
        }
        assert_eq!(
            error::<Json>("{\n  \"name\": \"a\",\n  \"value\": 1\n}"),
            "keys, line 1: EOF while parsing an object (column 1): write a whole {\"name\":..,\"value\":..} on one line (jq -c does)"
        );
        let not_utf8 = read_lines::<Json>(b"{\"name\":\"a\",\"value\":1}\n{\"name\":\"\xff\"}", "keys").unwrap_err();
        assert_eq!(not_utf8.to_string(), "keys, line 2: not UTF-8");
    }

    #[test]
    fn files_of_windows_are_read() {
        let lines = "\u{feff}{\"name\":\"a\",\"value\":1}\r\n{\"name\":\"b\",\"value\":2}\r\n";
        assert_eq!(read_lines::<Json>(lines.as_bytes(), "keys").unwrap().len(), 2);
    }

    #[test]
    fn a_value_is_taken_to_the_letter_and_its_encoding_must_fit() {
        let line = "{\"name\":\"a\",\"value\":{ \"a\" : 1.0 }}";
        assert_eq!(read_lines::<Json>(line.as_bytes(), "keys").unwrap()[0].bytes(), b"{ \"a\" : 1.0 }");
        let line = "{\"name\":\"a\",\"value\":\"x\\u0000\",\"encoding\":\"text\"}";
        assert_eq!(read_lines::<Text>(line.as_bytes(), "keys").unwrap()[0].bytes(), b"x\0");
        assert_eq!(
            error::<Json>(line),
            "keys, line 1: the value's encoding is \"text\", and --value is json: use --value text"
        );
    }
}
