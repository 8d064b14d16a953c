//! `watch --revision`: the changes of the kvstore from a revision on, without a cache.

use actix::Addr;
use shared_store::backend::{WatchRequest, WatchResponse};
use shared_store::{BackendError, CodecError, Event, KeyName, Revision};
use wildmatch::WildMatch;

use crate::cli::{Common, Format, WatchArgs};
use crate::document::{AnyDocument, Document};
use crate::kvstore::Kvstore;
use crate::output::{Printer, all_printed, nobody_reads, print, undecodable};
use crate::printable::printable;
use crate::record::{Record, Value, json};
use crate::setup::{self, Failure};
use crate::signals::Signals;
use crate::value::Form;

pub(crate) async fn watch<V: Form>(
    common: &Common,
    args: &WatchArgs,
    start: Revision,
    mut signals: Signals,
) -> Result<(), Failure> {
    let kvstore = Kvstore::open(common)?;
    let (printer, mut ended) = Printer::start(common.output)?;
    let done = tokio::select! {
        failed = follow::<V>(&kvstore, common.output, args, start, &printer) => Err(failed),
        () = signals.next() => Ok(()),
        () = nobody_reads(&mut ended) => Ok(()),
    };
    done.and(all_printed(&printer, &ended, String::new()).await)
}

/// Prints changes until the kvstore has forgotten what is to come next, or refuses to tell.
async fn follow<V: Form>(
    kvstore: &Kvstore,
    format: Format,
    args: &WatchArgs,
    start: Revision,
    printer: &Addr<Printer>,
) -> Failure {
    let globs: Vec<_> = args.observe.filter.iter().map(|glob| WildMatch::new(glob)).collect();
    let mut next = start;
    loop {
        let request = WatchRequest { range: kvstore.prefix.range(), start: next };
        let mut stream = match kvstore.watch(request).await {
            Ok(stream) => stream,
            Err(error) => return told(next, error),
        };
        let error = loop {
            match stream.next().await {
                Ok(WatchResponse::Progress(_)) => {}
                Ok(WatchResponse::Events(events)) => {
                    for event in &events.events {
                        let name = kvstore.prefix.strip(event.path());
                        let Some(name) =
                            name.filter(|name| globs.is_empty() || globs.iter().any(|glob| glob.matches(name)))
                        else {
                            continue;
                        };
                        print(printer, line::<V>(format, &name, event)).await;
                    }
                    // Of a revision that is not complete the rest may come twice, but nothing is missing.
                    let last = events.events.last().map_or(next, Event::revision);
                    next = if events.complete { last.next() } else { last };
                }
                Err(error) => break error,
            }
        };
        if !matches!(error, BackendError::Unavailable { .. }) {
            return told(next, error);
        }
        setup::say(format_args!("watch broke, resuming at revision {next}: {error}"));
    }
}

fn told(next: Revision, error: BackendError) -> Failure {
    if let BackendError::Compacted { oldest } = error
        && oldest > Revision::ZERO
    {
        return Failure::promise(format_args!(
            "the kvstore has forgotten revision {next}: it was compacted up to {oldest}; use --revision {oldest}, or \
             watch without it for the present state and all that follows"
        ));
    }
    Failure::promise(error)
}

fn line<V: Form>(format: Format, name: &KeyName, event: &Event) -> String {
    let (revision, origin, reason) = (event.revision(), "remote", "event".to_owned());
    let Event::Put(kv) = event else {
        return match format {
            Format::Text => format!("delete {} (revision {revision})\n", printable(name)),
            Format::Json => {
                let (value, encoding) = (Value::null(), None);
                let record = Record::Delete { name, value, encoding, revision: revision.0, origin, reason };
                format!("{}\n", json(&record))
            }
        };
    };
    let document: Result<Document<V>, CodecError> =
        V::check(&kv.value).map(|()| AnyDocument::from_bytes(name.clone(), kv.value.clone()).as_form());
    match (format, document) {
        (Format::Json, Ok(document)) => {
            let (value, encoding, revision) = (Value::of(&document), V::ENCODING, revision.0);
            let (old, initial) = (None, false);
            format!("{}\n", json(&Record::Update { name, value, old, encoding, revision, origin, reason, initial }))
        }
        (Format::Json, Err(cause)) => format!("{}\n", json(&undecodable(name, revision, &cause))),
        (Format::Text, Ok(document)) => {
            let what = if kv.create_revision == kv.mod_revision { "create" } else { "update" };
            format!("{what} {} = {} (revision {revision})\n", printable(name), document.text())
        }
        (Format::Text, Err(cause)) => format!("undecodable {} (revision {revision}): {cause}\n", printable(name)),
    }
}
