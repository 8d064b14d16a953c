//! What configuration files have in common.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use shared_store::Prefix;

use crate::cli::duration;
use crate::setup::Failure;

/// Reads a file. An error of `parse` is one of the file.
pub(crate) fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    parse(&text).map_err(|error| Failure::usage(format_args!("{}: {error}", file.display())))
}

/// The line where something begins.
pub(crate) fn line(text: &str, span: &Range<usize>) -> usize {
    1 + text[..span.start].matches('\n').count()
}

pub(crate) fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
    Prefix::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub(crate) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

pub(crate) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    time(deserializer).map(Some)
}
