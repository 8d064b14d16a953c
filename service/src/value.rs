//! What a value is: JSON, text or any bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use shared_store::CodecError;

use crate::printable::{printable, quoted};

/// How values are read and printed. A type and not a field, because a codec knows nothing but types.
pub(crate) trait Form: fmt::Debug + Clone + Send + Sync + Unpin + 'static {
    /// Names the format of snapshots in a state directory.
    const TAG: &'static str;
    /// How people call it.
    const NAME: &'static str;
    /// What JSON output says in the field `encoding`; nothing for JSON.
    const ENCODING: Option<&'static str>;

    /// Whether these bytes, as they are in the kvstore, are such a value. The error never shows them.
    fn check(value: &[u8]) -> Result<(), CodecError>;

    /// The bytes of a value that is given in JSON.
    fn from_json(value: &RawValue) -> Result<Bytes, CodecError>;

    /// The bytes of a value that is given as an argument.
    fn from_argument(value: &str) -> Result<Bytes, CodecError> {
        let bytes = Bytes::copy_from_slice(value.as_bytes());
        Self::check(&bytes).map(|()| bytes)
    }

    /// A value as JSON on one line.
    fn to_json(value: &[u8]) -> String;

    /// A value for people, on one line.
    fn to_text(value: &[u8]) -> String {
        Self::to_json(value)
    }
}

/// JSON documents. The bytes stay as they are given: white space, numbers of any size, the order of members.
#[derive(Debug, Clone)]
pub(crate) enum Json {}

/// UTF-8 text; in JSON a string.
#[derive(Debug, Clone)]
pub(crate) enum Text {}

/// Any bytes; in JSON a string of their base64.
#[derive(Debug, Clone)]
pub(crate) enum Base64 {}

impl Form for Json {
    const TAG: &'static str = "json-bytes";
    const NAME: &'static str = "JSON";
    const ENCODING: Option<&'static str> = None;

    fn check(value: &[u8]) -> Result<(), CodecError> {
        match serde_json::from_slice::<&RawValue>(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(CodecError::new(format_args!("not JSON: {error}"))),
        }
    }

    fn from_json(value: &RawValue) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value.get().as_bytes()))
    }

    fn to_json(value: &[u8]) -> String {
        printable(&compact(&String::from_utf8_lossy(value))).into_owned()
    }
}

impl Form for Text {
    const TAG: &'static str = "text";
    const NAME: &'static str = "text";
    const ENCODING: Option<&'static str> = Some("text");

    fn check(value: &[u8]) -> Result<(), CodecError> {
        std::str::from_utf8(value).map(|_| ()).map_err(|error| CodecError::new(format_args!("not text: {error}")))
    }

    fn from_json(value: &RawValue) -> Result<Bytes, CodecError> {
        string(value).map(Bytes::from)
    }

    fn to_json(value: &[u8]) -> String {
        quoted(&String::from_utf8_lossy(value))
    }

    fn to_text(value: &[u8]) -> String {
        printable(&String::from_utf8_lossy(value)).into_owned()
    }
}

impl Form for Base64 {
    const TAG: &'static str = "bytes";
    const NAME: &'static str = "bytes";
    const ENCODING: Option<&'static str> = Some("base64");

    fn check(_: &[u8]) -> Result<(), CodecError> {
        Ok(())
    }

    fn from_json(value: &RawValue) -> Result<Bytes, CodecError> {
        Self::from_argument(&string(value)?)
    }

    fn from_argument(value: &str) -> Result<Bytes, CodecError> {
        let bytes = STANDARD.decode(value).map_err(|_| CodecError::new("not base64 (RFC 4648, with padding)"))?;
        Ok(bytes.into())
    }

    fn to_json(value: &[u8]) -> String {
        format!("\"{}\"", STANDARD.encode(value))
    }

    fn to_text(value: &[u8]) -> String {
        STANDARD.encode(value)
    }
}

fn string(value: &RawValue) -> Result<String, CodecError> {
    serde_json::from_str(value.get()).map_err(|_| CodecError::new("the value must be a JSON string"))
}

/// JSON without the white space between its parts. Parsing and printing it again would change numbers.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_changes_nothing_but_white_space() {
        let json = r#" { "a b" : [ 1.0 , 1e400,"x \" y \\" , "\u00e9 é" ] } "#;
        assert_eq!(compact(json), r#"{"a b":[1.0,1e400,"x \" y \\","\u00e9 é"]}"#);
    }

    #[test]
    fn an_error_says_what_a_value_is_not_and_never_shows_it() {
        let secret: &RawValue = serde_json::from_str("{\"s3cr3t\":1}").unwrap();
        for error in [
            Json::check(b"\"s3cr3t").unwrap_err(),
            Text::check(b"s3cr3t\xff").unwrap_err(),
            Text::from_json(secret).unwrap_err(),
            Base64::from_argument("s3cr3t").unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(!error.contains("s3cr") && error.len() > 10, "{error}");
        }
    }
}
