//! `list` and `get`: the cache after its initial sync, once.

use std::io::{BufWriter, Write};

use actix::Actor;
use shared_store_actors::{Revision, SharedStore, join};

use crate::cli::{Common, Format, GetArgs, ListArgs};
use crate::document::Document;
use crate::output::quoted;
use crate::setup::{self, Causes, Failure};

pub(crate) async fn list(common: &Common, args: &ListArgs) -> Result<(), Failure> {
    let store = joined(common, args.revision).await?;
    let snapshot = store.reader().scan("");
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (name, document) in snapshot.entries.iter().take(limit) {
        match (common.output, args.keys_only) {
            (Format::Text, true) => writeln!(out, "{name}")?,
            (Format::Text, false) => writeln!(out, "{name} = {}", document.json())?,
            (Format::Json, true) => writeln!(out, "{{\"name\":{}}}", quoted(name.as_str()))?,
            (Format::Json, false) => {
                writeln!(out, "{{\"name\":{},\"value\":{}}}", quoted(name.as_str()), document.json())?;
            }
        }
    }
    out.flush()?;
    store.release().await?;
    Ok(())
}

pub(crate) async fn get(common: &Common, args: &GetArgs) -> Result<(), Failure> {
    let store = joined(common, args.revision).await?;
    let found = store.reader().get_with_revision(&args.name);
    store.release().await?;
    let Some((document, revision)) = found else {
        return Err(Failure::promise(format_args!("no key named {:?}", args.name)));
    };
    let mut out = std::io::stdout().lock();
    match common.output {
        Format::Text => writeln!(out, "{}", document.json())?,
        Format::Json => {
            let (name, value) = (quoted(&args.name), document.json());
            writeln!(out, "{{\"name\":{name},\"value\":{value},\"revision\":{revision}}}")?;
        }
    }
    Ok(())
}

/// Joins, and tells on stderr why that takes so long.
pub(crate) async fn joined(common: &Common, revision: Option<u64>) -> Result<SharedStore<Document>, Failure> {
    let causes = Causes::default().start();
    let store = join::<Document>(setup::config(common)?).state_observer(causes.clone().recipient()).await?;
    if let Some(revision) = revision {
        store.reader().at_least(Revision(revision), common.list_timeout).await.map_err(Failure::promise)?;
    }
    Ok(store)
}
