//! `demo`: collaborators on one embedded kvstore, in one process.

pub(crate) mod live;
mod once;
mod story;

use std::time::Duration;

use shared_store::{Config, MemoryBackend, Observer, Until, join};

use crate::cli::Common;
use crate::document::Document;
use crate::output::{Printer, all_printed, nobody_reads};
use crate::setup::{Failure, say};
use crate::signals::Signals;
use crate::value::Json;

/// How long the last changes may take to be printed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints what collaborators do until a signal, or a short script of three of them.
pub(crate) async fn run(common: &Common, once: bool, mut signals: Signals) -> Result<(), Failure> {
    if once {
        return tokio::select! {
            done = once::run(common) => done,
            () = signals.next() => Err(Failure::promise("interrupted")),
        };
    }
    let kvstore = MemoryBackend::new();
    let (printer, mut ended) = Printer::start(common.output)?;
    let config = Config::new(live::prefix()).backend(kvstore.clone());
    let viewer = join::<Document<Json>>(config).observer(Observer::new(&printer)).await?;
    say("# collaborators come, change their keys and go, until you end it (Ctrl-C)");
    let stop = async {
        tokio::select! {
            () = signals.next() => {}
            () = nobody_reads(&mut ended) => {}
        }
    };
    let lived = live::live(kvstore.clone(), fastrand::u64(..), stop).await;
    // Those that left last are to be seen leaving, too; if that takes too long, it ends without.
    let _ = viewer.wait_until(kvstore.revision(), Until::Told, PATIENCE).await;
    let left = viewer.release().await.map_err(Failure::from);
    lived.and(left).and(all_printed(&printer, &ended, String::new()).await)
}
