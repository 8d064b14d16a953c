//! `publish`: own every key of a file.

use std::io::Read;

use futures_util::{StreamExt, TryStreamExt, stream};
use shared_store_actors::join;

use crate::cli::{Common, OnExit, PublishArgs};
use crate::document::{Document, read_lines};
use crate::setup::{self, Failure, Signals};

/// Writes waited for at once; they are sent in transactions of many.
const CONCURRENT: usize = 4096;

pub(crate) async fn run(common: &Common, args: &PublishArgs) -> Result<(), Failure> {
    let what = args.file.display();
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|error| Failure::usage(format_args!("cannot read {what}: {error}")))?;
    let documents = read_lines(&text, &what.to_string()).map_err(Failure::usage)?;
    drop(text);

    let config = setup::own(setup::config(common)?, &args.own);
    let mut signals = Signals::new()?;
    let store = tokio::select! {
        joined = join::<Document>(config) => joined?,
        () = signals.next() => return Ok(()),
    };
    let (total, store_ref) = (documents.len(), &store);
    if args.once {
        let written = stream::iter(documents).map(|document| store_ref.update_local_key_sync(document));
        let written = written.buffer_unordered(CONCURRENT).map_err(Failure::promise);
        tokio::select! {
            all = written.try_for_each(|_| std::future::ready(Ok(()))) => all?,
            () = signals.next() => return Err(Failure::promise("interrupted before all was written")),
        }
        eprintln!("published {total} keys");
    } else {
        store.update_local_keys(documents).await.map_err(Failure::promise)?;
        eprintln!("publishing {total} keys until a signal");
        signals.next().await;
    }
    let delete = !args.once && args.own.on_exit == OnExit::Close;
    let left = if delete { store.close().await } else { store.release().await };
    Ok(left?)
}
