//! `join` and `watch`: print what happens, and do what stdin says.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use shared_store_actors::{CloseError, Config, Mode, Observer, SharedStore, join};
use tokio::io::BufReader;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::cli::{Common, JoinArgs, Mode as ModeArg, Observe, OnExit, WatchArgs};
use crate::document::{Document, read_lines};
use crate::input::{self, Input, Op};
use crate::output::{Line, Printer, reply};
use crate::setup::{self, Failure, Signals};

/// Commands under way at once; more are read when one is answered.
const MAX_COMMANDS: usize = 1024;
/// How long what was told last may take to be printed, when the store has been left.
const LAST_WORDS: Duration = Duration::from_secs(3);

pub(crate) async fn run(common: &Common, args: JoinArgs) -> Result<(), Failure> {
    let mut documents = args.key.iter().map(|key| named(key)).collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &args.keys_file {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
        documents.extend(read_lines(&text, &file.display().to_string()).map_err(Failure::usage)?);
    }
    let config = setup::own(setup::config(common)?, &args.own);
    let Some(Joined { store, printer, mut ended, mut signals }) = joined(common, config, &args.observe).await? else {
        return Ok(());
    };
    store.update_local_keys(documents).await.map_err(Failure::promise)?;
    let mut leave = Leave { delete: args.own.on_exit == OnExit::Close, reply: None };
    let mut read = Ok(());
    tokio::select! {
        last = commands(&store, &printer) => match last {
            Ok(Some((id, delete))) => leave = Leave { delete, reply: Some(id) },
            Ok(None) => {}
            Err(error) => read = Err(Failure::promise(format_args!("cannot read stdin: {error}"))),
        },
        () = signals.next() => {}
        () = nobody_reads(&mut ended) => {}
    }
    let left = if leave.delete { store.close().await } else { store.release().await };
    let last = leave.reply.map_or_else(String::new, |id| {
        let answer = left.as_ref().map(|()| crate::output::Answer::default()).map_err(CloseError::to_string);
        reply(id.as_deref(), answer)
    });
    let printed = all_printed(&printer, &ended, last).await;
    left.map_err(Failure::from).and(read).and(printed)
}

/// How to leave, and whose command it was.
struct Leave {
    delete: bool,
    reply: Option<Option<String>>,
}

pub(crate) async fn watch(common: &Common, args: WatchArgs) -> Result<(), Failure> {
    let Some(Joined { store, printer, mut ended, mut signals }) =
        joined(common, setup::config(common)?, &args.observe).await?
    else {
        return if args.until_synced { Err(Failure::promise("interrupted before all was printed")) } else { Ok(()) };
    };
    if !args.until_synced {
        tokio::select! {
            () = signals.next() => {}
            () = nobody_reads(&mut ended) => {}
        }
    }
    let left = store.release().await;
    let printed = all_printed(&printer, &ended, String::new()).await;
    left.map_err(Failure::from).and(printed)
}

/// A store whose changes are printed.
struct Joined {
    store: SharedStore<Document>,
    printer: Addr<Printer>,
    ended: watch::Receiver<Option<String>>,
    signals: Signals,
}

/// Joins; `None` if a signal comes first.
async fn joined(common: &Common, config: Config, observe: &Observe) -> Result<Option<Joined>, Failure> {
    let mut signals = Signals::new()?;
    let (printer, ended) = Printer::start(common.output);
    let joining = join::<Document>(setup::observe(config, observe))
        .observer(observer(&printer, observe))
        .state_observer(printer.clone().recipient());
    tokio::select! {
        store = joining => Ok(Some(Joined { store: store?, printer, ended, signals })),
        () = signals.next() => Ok(None),
    }
}

fn observer(printer: &Addr<Printer>, observe: &Observe) -> Observer<Document> {
    let mode = match observe.mode {
        ModeArg::Latest => Mode::LatestPerKey,
        ModeArg::Every => Mode::EveryEvent { capacity: observe.capacity },
    };
    Observer::new(printer)
        .filter(setup::filter(observe))
        .mode(mode)
        .synced(printer.clone().recipient())
        .resynced(printer.clone().recipient())
        .undecodable(printer.clone().recipient())
        .conflict(printer.clone().recipient())
}

/// `NAME=JSON`
fn named(text: &str) -> Result<Document, Failure> {
    let (name, json) =
        text.split_once('=').ok_or_else(|| Failure::usage(format_args!("--key {text:?} is not NAME=JSON")))?;
    let bad = |error: &dyn std::fmt::Display| Failure::usage(format_args!("--key {name}: {error}"));
    let json = serde_json::from_str(json).map_err(|error| bad(&error))?;
    Document::new(name, json).map_err(|error| bad(&error))
}

/// Does what stdin says until it ends or says to leave: then with the command's id and whether to delete the own keys.
async fn commands(
    store: &SharedStore<Document>,
    printer: &Addr<Printer>,
) -> std::io::Result<Option<(Option<String>, bool)>> {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let permits = Arc::new(Semaphore::new(MAX_COMMANDS));
    // Closed when the last command under way has been answered.
    let (under_way, mut all_answered) = mpsc::channel::<()>(1);
    let last = loop {
        let command = match input::next(&mut stdin).await? {
            Input::End => break None,
            Input::TooLong => input::Command { id: None, op: Err("line is too long".to_owned()) },
            Input::Line(line) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Input::Line(line) => input::parse(&line),
        };
        let id = command.id;
        match command.op {
            Err(error) => print(printer, reply(id.as_deref(), Err(error))).await,
            Ok(Op::Close) => break Some((id, true)),
            Ok(Op::Release) => break Some((id, false)),
            Ok(op) => {
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break None };
                let (store, printer, under_way) = (store.clone(), printer.clone(), under_way.clone());
                actix_rt::spawn(async move {
                    let answer = input::perform(&store, op).await;
                    print(&printer, reply(id.as_deref(), answer)).await;
                    drop((permit, under_way));
                });
            }
        }
    };
    drop(under_way);
    let _ = all_answered.recv().await;
    Ok(last)
}

async fn print(printer: &Addr<Printer>, line: String) {
    // A printer that is gone has nothing to print on.
    let _ = printer.send(Line(line)).await;
}

/// Waits until nothing can be printed any more.
async fn nobody_reads(ended: &mut watch::Receiver<Option<String>>) {
    // An error would say that the printer has stopped.
    let _ = ended.wait_for(Option::is_some).await;
}

/// Has what was told before printed, and a last line, before the program ends. That nobody wants to read it is no
/// failure; a reader that stands still is.
async fn all_printed(
    printer: &Addr<Printer>,
    ended: &watch::Receiver<Option<String>>,
    last: String,
) -> Result<(), Failure> {
    if tokio::time::timeout(LAST_WORDS, print(printer, last)).await.is_err() {
        return Err(Failure::promise("cannot write: stdout takes nothing"));
    }
    match &*ended.borrow() {
        Some(cause) if !cause.is_empty() => Err(Failure::promise(format_args!("cannot write: {cause}"))),
        Some(_) | None => Ok(()),
    }
}
