//! `list`, `get` and `owners`: what is in the kvstore now.

use std::collections::BTreeMap;
use std::io::Write;

use actix::Actor;
use serde::Serialize;
use shared_store::{CodecError, KeyName, LeaseId, Revision, SharedStore, join};
use wildmatch::WildMatch;

use crate::cli::{Common, Format, GetArgs, ListArgs, Shape};
use crate::document::Document;
use crate::entry::{Entry, WIDE, hex, table};
use crate::kvstore::{Keys, Kvstore, Left};
use crate::output::{print_all, undecodable};
use crate::printable::{counted_are, printable};
use crate::record::{Key, json};
use crate::setup::{self, Alone, Causes, Failure};
use crate::value::Form;

pub(crate) async fn list<V: Form>(common: &Common, args: &ListArgs) -> Result<(), Failure> {
    let shape = args.shape.shape(common.output);
    if shape == Shape::Raw {
        return Err(Failure::usage("-o raw prints one value: use it with get"));
    }
    let kvstore = Kvstore::open(common)?;
    if let Some(revision) = args.revision {
        kvstore.at_least(Revision(revision)).await?;
    }
    let found = kvstore.keys(false).await?;
    let (mut entries, ignored) = named(&kvstore, found);
    let empty = entries.is_empty();
    let globs: Vec<_> = args.filter.iter().map(|glob| WildMatch::new(glob)).collect();
    entries.retain(|entry| {
        (globs.is_empty() || globs.iter().any(|glob| glob.matches(entry.name.as_str())))
            && args.owner.is_none_or(|lease| lease == entry.kv.lease)
    });
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry.check::<V>() {
            Ok(document) => good.push((entry, document)),
            Err(cause) => bad.push((entry, cause)),
        }
    }
    let left_out = bad.len();
    good.truncate(limit);
    bad.truncate(limit);
    if args.undecodable {
        print_all(|out| undecodables(out, common.output, &bad))?;
    } else {
        if shape != Shape::Text && args.shape.shape.is_some() {
            let kvs: Vec<_> = good.iter().map(|(entry, _)| entry.kv.clone()).collect();
            let left = kvstore.leases(&kvs).await?;
            good.iter_mut().for_each(|(entry, _)| entry.left = left[&entry.kv.lease]);
        }
        print_all(|out| entries_as(out, shape, args, &good))?;
    }
    if empty && ignored.is_empty() {
        setup::say(format_args!("note: there are no keys below {}", kvstore.prefix));
    }
    if left_out > 0 && !args.undecodable {
        setup::say(format_args!(
            "note: {} left out whose value is not {}: see list --undecodable",
            counted_are(left_out, "key"),
            V::NAME
        ));
    }
    if let Some(path) = ignored.first() {
        let count = counted_are(ignored.len(), "key");
        setup::say(format_args!("note: {count} left out whose name is empty or not UTF-8, such as {path}"));
    }
    Ok(())
}

/// The keys with names, and the paths of the others.
pub(crate) fn named(kvstore: &Kvstore, keys: Keys) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut ignored) = (Vec::new(), Vec::new());
    for kv in keys.kvs {
        match kvstore.prefix.strip(&kv.path) {
            Some(name) => entries.push(Entry { name, kv, left: Left::Unknown }),
            None => ignored.push(kv.path.escape_ascii().to_string()),
        }
    }
    (entries, ignored)
}

fn undecodables(out: &mut dyn Write, format: Format, bad: &[(Entry, CodecError)]) -> std::io::Result<()> {
    bad.iter().try_for_each(|(Entry { name, kv, .. }, cause)| match format {
        Format::Text => writeln!(out, "{} (revision {}): {cause}", printable(name.as_str()), kv.mod_revision),
        Format::Json => writeln!(out, "{}", json(&undecodable(name, kv.mod_revision, cause))),
    })
}

fn entries_as<V: Form>(
    out: &mut dyn Write,
    shape: Shape,
    args: &ListArgs,
    good: &[(Entry, Document<V>)],
) -> std::io::Result<()> {
    if args.keys_only {
        return good.iter().map(|(entry, _)| entry.name.as_str()).try_for_each(|name| match shape {
            Shape::Json => writeln!(out, "{}", json(&serde_json::json!({ "name": name }))),
            Shape::Text | Shape::Wide | Shape::Yaml | Shape::Raw => writeln!(out, "{}", printable(name)),
        });
    }
    if shape == Shape::Wide {
        return table(out, WIDE, good.iter().map(|(entry, document)| entry.cells(document)));
    }
    good.iter().try_for_each(|(entry, document)| match shape {
        Shape::Json if args.shape.shape.is_none() => writeln!(out, "{}", json(&Key::of(document))),
        Shape::Json => writeln!(out, "{}", entry.json(document)),
        Shape::Yaml => write!(out, "---\n{}", entry.yaml(document)),
        Shape::Text | Shape::Wide | Shape::Raw => {
            writeln!(out, "{} = {}", printable(entry.name.as_str()), document.text())
        }
    })
}

pub(crate) async fn get<V: Form>(common: &Common, args: &GetArgs) -> Result<(), Failure> {
    let name = KeyName::new(&*args.name).map_err(Failure::usage)?;
    let kvstore = Kvstore::open(common)?;
    if let Some(revision) = args.revision {
        kvstore.at_least(Revision(revision)).await?;
    }
    let kv = kvstore.key(&name).await?.1.ok_or_else(|| kvstore.no_key(&name))?;
    let shape = if args.raw { Shape::Raw } else { args.shape.shape(common.output) };
    let left = match shape {
        Shape::Text | Shape::Raw => Left::Unknown,
        Shape::Wide | Shape::Json | Shape::Yaml => kvstore.left(kv.lease).await?,
    };
    let entry = Entry { name, kv, left };
    if shape == Shape::Raw {
        return print_all(|out| out.write_all(&entry.kv.value));
    }
    let document = entry.check::<V>().map_err(|cause| {
        let (name, revision) = (entry.name.as_str(), entry.kv.mod_revision);
        Failure::promise(format_args!(
            "the value of {name:?} (revision {revision}) is {cause}; `get --raw` prints its bytes, \
             --value text or base64 prints it as a string"
        ))
    })?;
    print_all(|out| match shape {
        Shape::Text | Shape::Raw => writeln!(out, "{}", document.text()),
        Shape::Wide => table(out, WIDE, [entry.cells(&document)]),
        Shape::Json => writeln!(out, "{}", entry.json(&document)),
        Shape::Yaml => write!(out, "{}", entry.yaml(&document)),
    })
}

/// A lease and its keys.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "owner")]
struct Owner {
    /// Nothing for keys under no lease.
    lease: Option<String>,
    keys: usize,
    ttl: Option<u64>,
    /// The first of its keys.
    example: String,
}

pub(crate) async fn owners(common: &Common) -> Result<(), Failure> {
    let kvstore = Kvstore::open(common)?;
    let found = kvstore.keys(true).await?;
    let left = kvstore.leases(&found.kvs).await?;
    let (entries, _) = named(&kvstore, found);
    let mut owners: BTreeMap<LeaseId, (usize, KeyName)> = BTreeMap::new();
    for entry in &entries {
        owners.entry(entry.kv.lease).or_insert_with(|| (0, entry.name.clone())).0 += 1;
    }
    let mut owners: Vec<_> = owners.into_iter().collect();
    owners.sort_by_key(|(lease, (keys, _))| (std::cmp::Reverse(*keys), *lease));
    if owners.is_empty() {
        setup::say(format_args!("note: there are no keys below {}", kvstore.prefix));
    }
    print_all(|out| match common.output {
        Format::Json => owners.into_iter().try_for_each(|(lease, (keys, example))| {
            let ttl = left[&lease].seconds();
            writeln!(out, "{}", json(&Owner { lease: hex(lease), keys, ttl, example: example.to_string() }))
        }),
        Format::Text => {
            let row = |(lease, (keys, example)): (LeaseId, (usize, KeyName))| {
                let (owner, example) = (hex(lease).unwrap_or_else(|| "no lease".to_owned()), printable(&example));
                [owner, keys.to_string(), left[&lease].to_string(), example.into_owned()]
            };
            table(out, ["OWNER (LEASE)", "KEYS", "TTL LEFT", "FIRST KEY"], owners.into_iter().map(row))
        }
    })
}

/// Joins, and tells on stderr why that takes so long.
pub(crate) async fn joined<K: shared_store::Key>(common: &Common) -> Result<SharedStore<K>, Failure> {
    let causes = Causes::default().start();
    Ok(join::<K>(setup::config(common, Alone::Refused)?).state_observer(causes.recipient()).await?)
}
