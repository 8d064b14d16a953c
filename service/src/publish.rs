//! `publish`: own every key of a file, without reading what others have.

mod report;

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use shared_store::{Prefix, Publisher, PublisherStatus, State, StateChanged, publish};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::report::{Published, Reporter};
use crate::cilium;
use crate::cli::{Common, Format, OnExit, PublishArgs};
use crate::document::{Document, read_lines};
use crate::output::{Printer, all_printed, nobody_reads};
use crate::printable::{counted, counted_are, printable};
use crate::progress::Progress;
use crate::setup::{self, Alone, Failure};
use crate::signals::Signals;
use crate::value::Form;

/// With `--once`, how long nothing may move.
const STALLED: Duration = Duration::from_secs(30);
/// How often it is looked how far writing has come.
const LOOK: Duration = Duration::from_millis(250);
/// How many refused keys are named.
const NAMED: usize = 10;

pub(crate) async fn run<V: Form>(common: &Common, args: &PublishArgs, mut signals: Signals) -> Result<(), Failure> {
    let interrupted = || if args.once { Err(Failure::promise("interrupted before all was written")) } else { Ok(()) };
    let documents = tokio::select! {
        documents = read::<V>(args.file.clone()) => documents?,
        () = signals.next() => return interrupted(),
    };
    // What is written once into an embedded kvstore is gone at the end.
    let alone = if args.once { Alone::Refused } else { Alone::Told };
    let config = setup::own(setup::config(common, alone)?, &args.own);
    cilium::warn(&config.prefix, documents.iter().map(Document::key_name));
    let mut publishing = publish::<Document<V>>(config);
    if let Some(cluster) = &args.canary {
        let canaries = Prefix::canaries(cluster);
        publishing = publishing.canary(canaries.map_err(|error| Failure::usage(format_args!("--canary: {error}")))?);
    }
    let (printer, mut ended) = Printer::start(common.output)?;
    let reporter = Reporter::new((common.output == Format::Json).then(|| printer.clone())).start();
    let publisher = publishing.observer(reporter.clone().recipient()).start()?;
    let total = documents.len();
    publisher.update_keys(documents).await.map_err(Failure::promise)?;
    let done = tokio::select! {
        done = published(&publisher, &reporter, common, args, total) => done,
        () = states(&publisher, &reporter) => Ok(()),
        () = signals.next() => interrupted(),
        () = nobody_reads(&mut ended) => Ok(()),
    };
    if done.is_err() && matches!(publisher.state(), State::Connecting { .. }) {
        // Nothing was ever written.
        return done;
    }
    let delete = !args.once && args.own.on_exit == OnExit::Close;
    let left = if delete { publisher.close().await } else { publisher.release().await };
    // The reporter hands what it was told to the printer first.
    let _ = reporter.send(StateChanged(publisher.state())).await;
    let printed = all_printed(&printer, &ended, String::new()).await;
    done.and(left.map_err(Failure::from)).and(printed)
}

/// Reads the file on a thread of its own: stdin may take its time, and signals are heard meanwhile.
pub(crate) async fn read<V: Form>(file: PathBuf) -> Result<Vec<Document<V>>, Failure> {
    let (done, read) = oneshot::channel();
    let reading = move || {
        let what = file.display();
        let mut bytes = Vec::new();
        let read = if file.as_os_str() == "-" {
            std::io::stdin().read_to_end(&mut bytes)
        } else {
            File::open(&file).and_then(|mut file| file.read_to_end(&mut bytes))
        };
        read.map_err(|error| Failure::usage(format_args!("cannot read {what}: {error}")))?;
        read_lines(&bytes, &what.to_string()).map_err(Failure::usage)
    };
    // An error says that a signal has come meanwhile.
    std::thread::Builder::new().spawn(move || done.send(reading()).is_ok()).map_err(setup::cannot_start)?;
    read.await.map_err(Failure::promise)?
}

/// Tells how the publisher is, as long as it runs.
async fn states<V: Form>(publisher: &Publisher<Document<V>>, reporter: &Addr<Reporter>) {
    let mut state = publisher.state();
    loop {
        reporter.do_send(StateChanged(state.clone()));
        let next = publisher.state_changed(&state).await;
        if next == state {
            // It has ended.
            return;
        }
        state = next;
    }
}

/// Says when all is in; ends then with `--once`, and otherwise never.
async fn published<V: Form>(
    publisher: &Publisher<Document<V>>,
    reporter: &Addr<Reporter>,
    common: &Common,
    args: &PublishArgs,
    total: usize,
) -> Result<(), Failure> {
    reached(publisher, common.list_timeout).await?;
    if !args.once {
        setup::say(format_args!("publishing {} until a signal", counted(total, "key")));
    }
    let status = all_in(publisher, args, total).await?;
    // Sent and awaited, so that it is told before the program ends.
    let _ = reporter.send(Published { total, status: status.clone() }).await;
    let refused = status.refused.len();
    if !args.once {
        return std::future::pending().await;
    }
    if refused == 0 {
        return Ok(());
    }
    let mut reasons = format!("{} refused", counted_are(refused, "key"));
    for (name, cause) in status.refused.iter().take(NAMED) {
        reasons.push_str(&format!("\n  {}: {cause}", printable(name.as_str())));
    }
    if refused > NAMED {
        reasons.push_str(&format!("\n  and {} more", refused - NAMED));
    }
    Err(Failure::promise(reasons))
}

/// Waits for the kvstore to answer.
async fn reached<V: Form>(publisher: &Publisher<Document<V>>, timeout: Duration) -> Result<(), Failure> {
    let reached = async {
        let mut state = publisher.state();
        while matches!(state, State::Connecting { .. }) {
            state = publisher.state_changed(&state).await;
        }
    };
    tokio::time::timeout(timeout, reached).await.map_err(|_| {
        let state = publisher.state();
        let cause = state.cause().map_or("no answer", |cause| &**cause);
        Failure::promise(format_args!("the kvstore did not answer within {} s: {cause}", timeout.as_secs_f64()))
    })
}

/// Waits for all keys; with `--once` no longer than something moves.
async fn all_in<V: Form>(
    publisher: &Publisher<Document<V>>,
    args: &PublishArgs,
    total: usize,
) -> Result<PublisherStatus, Failure> {
    let mut synced = pin!(publisher.synced());
    let progress = Progress::new("writing keys");
    let (mut pending, mut moved) = (usize::MAX, Instant::now());
    loop {
        if let Ok(status) = tokio::time::timeout(LOOK, &mut synced).await {
            return status.map_err(Failure::promise);
        }
        let status = publisher.status().await.map_err(Failure::promise)?;
        if status.pending < pending {
            moved = Instant::now();
        } else if args.once && moved.elapsed() >= STALLED {
            let cause = status.state.cause().map_or_else(String::new, |cause| format!(": {cause}"));
            return Err(Failure::promise(format_args!("{} could not be written{cause}", counted(pending, "key"))));
        }
        pending = status.pending;
        progress.at(total.saturating_sub(pending), total);
    }
}
