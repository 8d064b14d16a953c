//! Commands of `join` on stdin.

use std::io::{BufRead, Read};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use shared_store::{KeyName, Reader, Revision, SharedStore};
use tokio::sync::mpsc;

use crate::audit;
use crate::document::{Document, check_encoding, why};
use crate::record::{Answer, Encoded, Key, More};
use crate::value::Form;

/// A longer line is not a command: etcd takes no value above 1.5 MiB.
const MAX_LINE: u64 = 8 << 20;
const AT_LEAST_TIMEOUT: Duration = Duration::from_secs(10);
const AUDIT_TIMEOUT: Duration = Duration::from_secs(60);

/// What is on stdin.
#[derive(Debug)]
pub(crate) enum Input {
    Line(Vec<u8>),
    TooLong,
    End,
}

/// Reads stdin line by line on a thread of its own, up to its end or an error, no further ahead than a line or two.
pub(crate) fn lines() -> std::io::Result<mpsc::Receiver<std::io::Result<Input>>> {
    let (send, lines) = mpsc::channel(1);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let line = next(&mut stdin);
            let last = matches!(line, Ok(Input::End) | Err(_));
            if send.blocking_send(line).is_err() || last {
                return;
            }
        }
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(read)?;
    Ok(lines)
}

/// The next line.
fn next(stdin: &mut impl BufRead) -> std::io::Result<Input> {
    let mut line = Vec::new();
    if stdin.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(Input::End);
    }
    if line.last() == Some(&b'\n') || (line.len() as u64) < MAX_LINE {
        return Ok(Input::Line(line));
    }
    // The rest of it is skipped, in pieces.
    loop {
        let rest = stdin.fill_buf()?;
        let (skip, done) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (rest.len(), rest.is_empty()),
        };
        stdin.consume(skip);
        if done {
            return Ok(Input::TooLong);
        }
    }
}

/// A command, and its id to be given back.
#[derive(Debug)]
pub(crate) struct Command<V> {
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) op: Result<Op<V>, String>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Op<V> {
    Update(Document<V>),
    UpdateSync(Document<V>),
    UpdateOnce(Document<V>),
    Delete(KeyName),
    Get(String),
    AtLeast(Revision, Duration),
    Audit(Duration),
    Status,
    List,
    Release,
    Close,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    op: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "given")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    encoding: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    revision: Option<u64>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// A value that is `null` is given, too.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<V: Form> Op<V> {
    /// The name it writes.
    pub(crate) fn written(&self) -> Option<&KeyName> {
        match self {
            Self::Update(document) | Self::UpdateSync(document) | Self::UpdateOnce(document) => {
                Some(document.key_name())
            }
            Self::Delete(_)
            | Self::Get(_)
            | Self::AtLeast(..)
            | Self::Audit(_)
            | Self::Status
            | Self::List
            | Self::Release
            | Self::Close => None,
        }
    }
}

/// Reads a command; one that is not has its reason in place of what is to be done.
pub(crate) fn parse<V: Form>(line: &[u8]) -> Command<V> {
    #[derive(Deserialize)]
    struct Id<'a> {
        #[serde(borrow, default)]
        id: Option<&'a RawValue>,
    }
    let raw: Raw<'_> = match serde_json::from_slice(line) {
        Ok(raw) => raw,
        Err(error) => {
            // The id may be there all the same.
            let id = serde_json::from_slice::<Id<'_>>(line).ok().and_then(|raw| raw.id).map(ToOwned::to_owned);
            return Command { id, op: Err(format!("not a command such as {{\"op\":\"status\"}}: {}", why(&error))) };
        }
    };
    let name = raw.name.as_deref();
    let document = || {
        let name = name.ok_or("name is missing")?;
        let value = raw.value.ok_or("value is missing")?;
        check_encoding::<V>(raw.encoding.as_deref())?;
        Document::new(name, value).map_err(|error| error.to_string())
    };
    let op = match &*raw.op {
        "update" => document().map(Op::Update),
        "update_sync" => document().map(Op::UpdateSync),
        "update_once" => document().map(Op::UpdateOnce),
        "delete" => name
            .ok_or("name is missing".to_owned())
            .and_then(|name| KeyName::new(name).map_err(|error| error.to_string()))
            .map(Op::Delete),
        "get" => name.map(|name| Op::Get(name.to_owned())).ok_or("name is missing".to_owned()),
        "at_least" => raw.revision.ok_or("revision is missing".to_owned()).map(|revision| {
            Op::AtLeast(Revision(revision), raw.timeout_ms.map_or(AT_LEAST_TIMEOUT, Duration::from_millis))
        }),
        "audit" => Ok(Op::Audit(raw.timeout_ms.map_or(AUDIT_TIMEOUT, Duration::from_millis))),
        "status" => Ok(Op::Status),
        "list" => Ok(Op::List),
        "release" => Ok(Op::Release),
        "close" => Ok(Op::Close),
        op => Err(format!("unknown op {op:?}: see join --help")),
    };
    Command { id: raw.id.map(ToOwned::to_owned), op }
}

/// Does what a command asks, and says what came of it. Leaving is not done here.
pub(crate) async fn perform<V: Form>(store: &SharedStore<Document<V>>, op: Op<V>) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let revision = |Revision(revision)| Answer { revision: Some(revision), more: None };
    match op {
        Op::Update(document) => {
            store.update_local_key(document).await.map(|()| Answer::default()).map_err(|error| text(&error))
        }
        Op::UpdateSync(document) => {
            store.update_local_key_sync(document).await.map(revision).map_err(|error| text(&error))
        }
        Op::UpdateOnce(document) => store.update_key_sync(document).await.map(revision).map_err(|error| text(&error)),
        Op::Delete(name) => store.delete_local_key(name).await.map(revision).map_err(|error| text(&error)),
        Op::Get(name) => match store.reader().get_with_revision(&name) {
            Some((document, at)) => {
                Ok(Answer { revision: Some(at.0), more: Some(More::Value(Encoded::of(&*document))) })
            }
            None => Err(format!("no key named {name:?}")),
        },
        Op::AtLeast(wanted, timeout) => match store.reader().at_least(wanted, timeout).await {
            Ok(()) => Ok(revision(store.reader().revision())),
            Err(error) => Err(text(&error)),
        },
        Op::Audit(timeout) => match store.audit(timeout).await {
            Ok(report) => {
                Ok(Answer { revision: Some(report.revision.0), more: Some(More::Audit(audit::record(&report))) })
            }
            Err(error) => Err(text(&error)),
        },
        Op::Status => store.status().await.map(|status| status_answer(&status)).map_err(|error| text(&error)),
        Op::List => Ok(list_answer(store.reader())),
        Op::Release | Op::Close => Ok(Answer::default()),
    }
}

fn status_answer(status: &shared_store::Status) -> Answer {
    Answer { revision: None, more: Some(More::Status(Box::new(status.clone()))) }
}

fn list_answer<V: Form>(reader: &Reader<Document<V>>) -> Answer {
    let snapshot = reader.scan("");
    let keys = snapshot.entries.iter().map(|(_, document)| Key::of(&**document)).collect();
    Answer { revision: Some(snapshot.revision.0), more: Some(More::Keys { keys }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::quoted;
    use crate::value::Json;

    #[test]
    fn what_is_not_a_command_says_why_and_keeps_its_id() {
        for (line, error) in [
            ("garbage", "not a command"),
            ("{}", "not a command such as {\"op\":\"status\"}: missing field `op`"),
            (r#"{"id":7,"op":"fly"}"#, "unknown op \"fly\""),
            (r#"{"id":7,"op":"update","value":1}"#, "name is missing"),
            (r#"{"id":7,"op":"update","name":"a"}"#, "value is missing"),
            (r#"{"id":7,"op":"update","name":"","value":1}"#, "key name is empty"),
            (r#"{"id":7,"op":"at_least"}"#, "revision is missing"),
            (r#"{"id":7,"op":"status","nmae":1}"#, "not a command such as {\"op\":\"status\"}: unknown field `nmae`"),
            ("\"\u{fffd}", "not a command"),
        ] {
            let command = parse::<Json>(line.as_bytes());
            assert!(command.op.as_ref().unwrap_err().starts_with(error), "{line}: {:?}", command.op);
            assert_eq!(command.id.is_some(), line.contains("\"id\""), "{line}");
        }
        assert!(parse::<Json>(b"\xff\xfe").op.is_err());
    }

    /// JSON with white space wherever it may be, and the same without.
    fn json(random: &mut fastrand::Rng, depth: usize) -> (String, String) {
        let mut space = || [" ", "\t \r", "", ""][random.usize(..4)];
        let (before, between, after) = (space(), space(), space());
        let leaf = |text: String| (text.clone(), text);
        let (text, compact) = match random.u8(..if depth == 0 { 5 } else { 8 }) {
            0 => leaf(["null", "true", "false"][random.usize(..3)].to_owned()),
            1 => leaf(random.i64(..).to_string()),
            2 => leaf(["-0", "1e400", "0.10", "12345678901234567890123", "1E-7"][random.usize(..5)].to_owned()),
            3 | 4 => {
                // What looks like something else in a string.
                leaf(quoted(
                    &[" a ", "\\\" ", "\"", "\\", "{ }", "\u{1F600} \n"][random.usize(..6)].repeat(random.usize(..3)),
                ))
            }
            5 | 6 => {
                let (all, compact): (Vec<_>, Vec<_>) = (0..random.usize(..4)).map(|_| json(random, depth - 1)).unzip();
                (format!("[{between}{}]", all.join(",")), format!("[{}]", compact.join(",")))
            }
            _ => {
                let pair = |n| {
                    let (value, compact) = json(random, depth - 1);
                    (format!("{between}\"k {n}\"{between}:{value}"), format!("\"k {n}\":{compact}"))
                };
                let (all, compact): (Vec<_>, Vec<_>) = (0..3).map(pair).unzip();
                (format!("{{{}{between}}}", all.join(",")), format!("{{{}}}", compact.join(",")))
            }
        };
        (format!("{before}{text}{after}"), compact)
    }

    /// `INPUTS=1000000 cargo test -p shared-store-service any_line` tries more.
    #[test]
    fn any_line_is_a_command_or_an_error_and_a_value_arrives_to_the_letter() {
        let mut random = fastrand::Rng::with_seed(1);
        let inputs = std::env::var("INPUTS").ok().and_then(|inputs| inputs.parse().ok()).unwrap_or(20_000);
        let (mut commands, mut errors) = (0, 0);
        for _ in 0..inputs {
            let (op, name) = (["update", "get", "delete", "list", "fly"][random.usize(..5)], quoted("a b"));
            let ((id, _), (value, compact)) = (json(&mut random, 1), json(&mut random, 3));
            let line = format!("{{\"id\":{id},\"op\":\"{op}\",\"name\":{name},\"value\":{value}}}");
            let command = parse::<Json>(line.as_bytes());
            // An id that is null is none.
            assert_eq!(command.id.as_ref().map(|id| id.get()), Some(id.trim()).filter(|id| *id != "null"), "{line}");
            match command.op {
                Ok(Op::Update(document)) => assert_eq!(document.json(), compact, "{line}"),
                Ok(_) => {}
                Err(error) => assert!(op == "fly" && error.contains("unknown op"), "{line}: {error}"),
            }
            // The same with some bytes that are wrong: whatever it is, it says so.
            let mut line = line.into_bytes();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..line.len());
                if random.bool() {
                    line[at] = random.u8(..);
                } else {
                    line.truncate(at + 1);
                }
            }
            match parse::<Json>(&line).op {
                Ok(_) => commands += 1,
                Err(error) => errors += usize::from(!error.is_empty()),
            }
        }
        assert!(commands > inputs / 1000 && errors > inputs / 2 && commands + errors == inputs, "{commands} {errors}");
    }

    #[test]
    fn a_line_without_end_is_skipped_and_the_next_one_is_read() {
        let long = vec![b'x'; usize::try_from(MAX_LINE).unwrap() + 10];
        let text = [&long[..], b"\nnext\nlast"].concat();
        let mut stdin = &text[..];
        assert!(matches!(next(&mut stdin).unwrap(), Input::TooLong));
        assert!(matches!(next(&mut stdin).unwrap(), Input::Line(line) if line == b"next\n"));
        assert!(matches!(next(&mut stdin).unwrap(), Input::Line(line) if line == b"last"));
        assert!(matches!(next(&mut stdin).unwrap(), Input::End));
    }
}
