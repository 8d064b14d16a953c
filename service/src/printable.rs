//! Text that cannot harm a terminal or break a line.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// Control characters, line separators and what turns the direction of text.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with hostile characters written as in JSON: `\n`, `\u202e`. In JSON on one line it changes no meaning,
/// because they can only be in strings there.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => printable.push_str("\\n"),
            '\r' => printable.push_str("\\r"),
            '\t' => printable.push_str("\\t"),
            c if is_hostile(c) => {
                // Writing to a text cannot fail.
                let _ = write!(printable, "\\u{:04x}", u32::from(c));
            }
            c => printable.push(c),
        }
    }
    Cow::Owned(printable)
}

/// A count with its noun: `1 key`, `2 keys`. The noun takes an s.
#[allow(clippy::needless_pass_by_value, reason = "a number")]
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(n: N, noun: &str) -> String {
    let s = if n == N::from(1) { "" } else { "s" };
    format!("{n} {noun}{s}")
}

/// As [`counted`], with its verb: `1 key is`, `2 keys are`.
pub(crate) fn counted_are<N: Display + PartialEq + From<u8> + Copy>(n: N, noun: &str) -> String {
    let verb = if n == N::from(1) { "is" } else { "are" };
    format!("{} {verb}", counted(n, noun))
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    printable(&serde_json::Value::from(text).to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_characters_are_escaped_and_mean_the_same_in_json() {
        let text = "a\u{1b}[31m\r\n\t\u{85}\u{9b}\u{202e}\u{2028}\u{2069}\u{feff}\u{7f}é\u{1F600}\\n";
        assert_eq!(
            printable(text),
            "a\\u001b[31m\\r\\n\\t\\u0085\\u009b\\u202e\\u2028\\u2069\\ufeff\\u007fé\u{1F600}\\n"
        );
        assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
        assert!(!quoted(text).contains(is_hostile));
        assert!(matches!(printable("é plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_count_agrees_with_its_noun_and_its_verb() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "key")), ["0 keys", "1 key", "2 keys"]);
        assert_eq!([0, 1, 2].map(|n| counted_are(n, "key")), ["0 keys are", "1 key is", "2 keys are"]);
    }
}
