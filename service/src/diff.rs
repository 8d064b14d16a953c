//! `diff`: the keys below two prefixes, by name and value.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use shared_store::{KeyName, KeyValue};

use crate::cli::{Common, DiffArgs, Format};
use crate::document::AnyDocument;
use crate::entry::Entry;
use crate::kvstore::Kvstore;
use crate::output::print_all;
use crate::printable::{counted, counted_are, printable};
use crate::read::named;
use crate::record::{Encoded, json};
use crate::setup::{self, Failure};
use crate::value::Form;

/// A key that differs, in JSON output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "difference")]
struct Difference<'a> {
    name: &'a str,
    first: Option<Side>,
    second: Option<Side>,
}

/// A key below one of the prefixes.
#[derive(Debug, Serialize)]
struct Side {
    #[serde(flatten)]
    value: Option<Encoded>,
    /// Why the value cannot be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecodable: Option<String>,
    revision: u64,
}

pub(crate) async fn run<V: Form>(common: &Common, args: &DiffArgs) -> Result<(), Failure> {
    let first = Kvstore::below(common, &args.first)?;
    let second = Kvstore::below(common, &args.second)?;
    let mut keys: BTreeMap<KeyName, [Option<KeyValue>; 2]> = BTreeMap::new();
    for (side, kvstore) in [&first, &second].into_iter().enumerate() {
        let (entries, ignored) = named(kvstore, kvstore.keys(false).await?);
        if let Some(path) = ignored.first() {
            let count = counted_are(ignored.len(), "key");
            setup::say(format_args!("note: {count} left out whose name is empty or not UTF-8, such as {path}"));
        }
        for Entry { name, kv, .. } in entries {
            keys.entry(name).or_default()[side] = Some(kv);
        }
    }
    let all = keys.len();
    keys.retain(|_, [first, second]| first.as_ref().map(|kv| &kv.value) != second.as_ref().map(|kv| &kv.value));
    print_all(|out| {
        keys.iter().try_for_each(|(name, [first, second])| {
            let (first, second) = (first.as_ref(), second.as_ref());
            match common.output {
                Format::Text => text::<V>(out, name, first, second),
                Format::Json => {
                    let side = |kv: &KeyValue| side::<V>(name, kv);
                    let name = name.as_str();
                    let difference = Difference { name, first: first.map(side), second: second.map(side) };
                    writeln!(out, "{}", json(&difference))
                }
            }
        })
    })?;
    match keys.len() {
        0 => {
            setup::say(format_args!(
                "no difference: {} below {} and {}",
                counted(all, "key"),
                first.prefix,
                second.prefix
            ));
            Ok(())
        }
        count => Err(Failure::promise(format_args!(
            "{} and {} differ in {}",
            first.prefix,
            second.prefix,
            counted(count, "key")
        ))),
    }
}

fn side<V: Form>(name: &KeyName, kv: &KeyValue) -> Side {
    let checked = V::check(&kv.value);
    let value =
        checked.is_ok().then(|| Encoded::of::<V>(&AnyDocument::from_bytes(name.clone(), kv.value.clone()).as_form()));
    Side { value, undecodable: checked.err().map(|cause| cause.to_string()), revision: kv.mod_revision.0 }
}

/// As in a patch: `-` is only below the first prefix or its value there, `+` below the second.
fn text<V: Form>(
    out: &mut dyn Write,
    name: &KeyName,
    first: Option<&KeyValue>,
    second: Option<&KeyValue>,
) -> io::Result<()> {
    [('-', first), ('+', second)].into_iter().try_for_each(|(sign, kv)| {
        let Some(kv) = kv else { return Ok(()) };
        let value = match V::check(&kv.value) {
            Ok(()) => V::to_text(&kv.value),
            Err(cause) => format!("({}, {cause})", counted(kv.value.len(), "byte")),
        };
        writeln!(out, "{sign} {} = {value} (revision {})", printable(name), kv.mod_revision)
    })
}
