//! `list` and `get`: the cache after its initial sync, once.

use std::io::Write;

use actix::Actor;
use serde::Serialize;
use shared_store::{IgnoredKeys, KeyName, Revision, SharedStore, join};

use crate::cli::{Common, Format, GetArgs, ListArgs};
use crate::document::{AnyDocument, Document};
use crate::output::{print_all, undecodable};
use crate::printable::printable;
use crate::record::{Key, json};
use crate::setup::{self, Alone, Causes, Failure};
use crate::value::Form;

pub(crate) async fn list<V: Form>(common: &Common, args: &ListArgs) -> Result<(), Failure> {
    let store = joined::<AnyDocument>(common, args.revision).await?;
    let snapshot = store.reader().scan("");
    let checked = snapshot.entries.iter().map(|(name, document)| (name, document, V::check(document.bytes())));
    let (good, bad): (Vec<_>, Vec<_>) = checked.partition(|(_, _, check)| check.is_ok());
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    print_all(|out| {
        if !args.undecodable {
            return good
                .iter()
                .take(limit)
                .try_for_each(|(_, document, _)| entry::<V>(out, common.output, document, args));
        }
        for (name, _, check) in bad.iter().take(limit) {
            let Err(cause) = check else { continue };
            let revision = store.reader().get_with_revision(name.as_str()).map_or(snapshot.revision, |(_, at)| at);
            match common.output {
                Format::Text => writeln!(out, "{} (revision {revision}): {cause}", printable(name.as_str()))?,
                Format::Json => writeln!(out, "{}", json(&undecodable(name, revision, cause)))?,
            }
        }
        Ok(())
    })?;
    let ignored = store.status().await.map_err(Failure::promise)?.ignored;
    if snapshot.entries.is_empty() && ignored.count == 0 {
        setup::say(format_args!("note: there are no keys below {}", common.prefix.as_deref().unwrap_or_default()));
    }
    if !bad.is_empty() && !args.undecodable {
        let (count, form) = (bad.len(), V::NAME);
        setup::say(format_args!(
            "note: {count} keys are left out, their values are not {form}: see list --undecodable"
        ));
    }
    if let IgnoredKeys { count, example: Some(path) } = ignored {
        setup::say(format_args!("note: {count} keys are left out, their names are empty or not UTF-8, such as {path}"));
    }
    store.release().await?;
    Ok(())
}

fn entry<V: Form>(out: &mut dyn Write, format: Format, document: &AnyDocument, args: &ListArgs) -> std::io::Result<()> {
    let document: Document<V> = document.as_form();
    let name = document.key_name().as_str();
    match (format, args.keys_only) {
        (Format::Text, true) => writeln!(out, "{}", printable(name)),
        (Format::Text, false) => writeln!(out, "{} = {}", printable(name), document.text()),
        (Format::Json, true) => writeln!(out, "{}", json(&serde_json::json!({ "name": name }))),
        (Format::Json, false) => writeln!(out, "{}", json(&Key::of(&document))),
    }
}

pub(crate) async fn get<V: Form>(common: &Common, args: &GetArgs) -> Result<(), Failure> {
    let name = KeyName::new(&*args.name).map_err(Failure::usage)?;
    let store = joined::<AnyDocument>(common, args.revision).await?;
    let found = store.reader().get_with_revision(name.as_str());
    store.release().await?;
    let Some((document, revision)) = found else {
        let prefix = common.prefix.as_deref().unwrap_or_default();
        return Err(Failure::promise(format_args!("no key named {name:?} below {prefix}: see list --keys-only")));
    };
    if args.raw {
        return print_all(|out| out.write_all(document.bytes()));
    }
    if let Err(cause) = V::check(document.bytes()) {
        return Err(Failure::promise(format_args!(
            "the value of {name:?} (revision {revision}) is {cause}; `get --raw` prints its bytes, \
             --value text or base64 prints it as a string"
        )));
    }
    let document: Document<V> = document.as_form();
    print_all(|out| match common.output {
        Format::Text => writeln!(out, "{}", document.text()),
        Format::Json => writeln!(out, "{}", json(&At { key: Key::of(&document), revision: revision.0 })),
    })
}

/// A key and the revision that wrote it.
#[derive(Debug, Serialize)]
struct At {
    #[serde(flatten)]
    key: Key,
    revision: u64,
}

/// Joins, and tells on stderr why that takes so long.
pub(crate) async fn joined<K: shared_store::Key>(
    common: &Common,
    revision: Option<u64>,
) -> Result<SharedStore<K>, Failure> {
    let causes = Causes::default().start();
    let store = join::<K>(setup::config(common, Alone::Refused)?).state_observer(causes.clone().recipient()).await?;
    if let Some(revision) = revision {
        store.reader().at_least(Revision(revision), common.list_timeout).await.map_err(Failure::promise)?;
    }
    Ok(store)
}
