//! `join` and `watch`: print what happens, and do what stdin says.

use std::sync::Arc;

use actix::Addr;
use serde_json::value::RawValue;
use shared_store::{CloseError, Config, DeliveryMode, Observer, Prefix, SharedStore, join};
use tokio::sync::{Semaphore, mpsc};

use crate::cilium;
use crate::cli::{Common, DeliveryMode as ModeArg, JoinArgs, Observe, OnExit, WatchArgs};
use crate::document::{Document, read_lines};
use crate::input::{self, Input, Op};
use crate::output::{Ended, Printer, all_printed, nobody_reads, print, reply};
use crate::record::Answer;
use crate::setup::{self, Alone, Failure};
use crate::signals::Signals;
use crate::value::Form;

/// Commands under way at once; more are read when one is answered.
const MAX_COMMANDS: usize = 1024;

pub(crate) async fn run<V: Form>(common: &Common, args: &JoinArgs, signals: Signals) -> Result<(), Failure> {
    let mut documents = args.key.iter().map(|key| named::<V>(key)).collect::<Result<Vec<_>, _>>()?;
    if let Some(file) = &args.keys_file {
        let bytes = std::fs::read(file)
            .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
        documents.extend(read_lines(&bytes, &file.display().to_string()).map_err(Failure::usage)?);
    }
    let config = setup::own(setup::config(common, Alone::Told)?, &args.own);
    let stdin = if args.no_stdin { mpsc::channel(1).1 } else { input::lines().map_err(setup::cannot_start)? };
    let prefix = config.prefix.clone();
    cilium::warn(&prefix, documents.iter().map(Document::key_name));
    let Some(Joined { store, printer, mut ended, mut signals }) =
        joined::<V>(common, config, &args.observe, signals).await?
    else {
        return Ok(());
    };
    store.update_local_keys(documents).await.map_err(Failure::promise)?;
    let mut leave = Leave { delete: args.own.on_exit == OnExit::Close, reply: None };
    let mut read = Ok(());
    tokio::select! {
        last = commands(&store, &printer, &prefix, stdin), if !args.no_stdin => match last {
            Ok(Some((id, delete))) => leave = Leave { delete, reply: Some(id) },
            Ok(None) => {
                let what = if leave.delete { "closing" } else { "releasing" };
                setup::say(format_args!("stdin ended: {what} (--no-stdin stays until a signal)"));
            }
            Err(error) => read = Err(Failure::promise(format_args!("cannot read stdin: {error}"))),
        },
        () = signals.next() => {}
        () = nobody_reads(&mut ended) => {}
    }
    let left = if leave.delete { store.close().await } else { store.release().await };
    let last = leave.reply.map_or_else(String::new, |id| {
        let answer = left.as_ref().map(|()| Answer::default()).map_err(CloseError::to_string);
        reply(id.as_deref(), answer)
    });
    let printed = all_printed(&printer, &ended, last).await;
    left.map_err(Failure::from).and(read).and(printed)
}

/// How to leave, and whose command it was.
struct Leave {
    delete: bool,
    reply: Option<Option<Box<RawValue>>>,
}

pub(crate) async fn watch<V: Form>(common: &Common, args: &WatchArgs, signals: Signals) -> Result<(), Failure> {
    let Some(Joined { store, printer, mut ended, mut signals }) =
        joined::<V>(common, setup::config(common, Alone::Refused)?, &args.observe, signals).await?
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
struct Joined<V: Form> {
    store: SharedStore<Document<V>>,
    printer: Addr<Printer>,
    ended: Ended,
    signals: Signals,
}

/// Joins; `None` if a signal comes first.
async fn joined<V: Form>(
    common: &Common,
    config: Config,
    observe: &Observe,
    mut signals: Signals,
) -> Result<Option<Joined<V>>, Failure> {
    let (printer, ended) = Printer::start(common.output)?;
    let joining = join::<Document<V>>(setup::observe(config, observe))
        .observer(observer(&printer, observe))
        .state_observer(printer.clone().recipient());
    tokio::select! {
        store = joining => Ok(Some(Joined { store: store?, printer, ended, signals })),
        () = signals.next() => Ok(None),
    }
}

fn observer<V: Form>(printer: &Addr<Printer>, observe: &Observe) -> Observer<Document<V>> {
    let mode = match observe.mode {
        ModeArg::Latest => DeliveryMode::LatestPerKey,
        ModeArg::Every => DeliveryMode::EveryEvent { capacity: observe.capacity },
    };
    Observer::new(printer)
        .filter(setup::filter(observe))
        .mode(mode)
        .synced(printer.clone().recipient())
        .resynced(printer.clone().recipient())
        .undecodable(printer.clone().recipient())
        .healed(printer.clone().recipient())
        .conflict(printer.clone().recipient())
        .repaired(printer.clone().recipient())
        .set_aside(printer.clone().recipient())
}

/// `NAME=VALUE`
fn named<V: Form>(text: &str) -> Result<Document<V>, Failure> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| Failure::usage("--key needs NAME=VALUE, as in --key 'a={\"n\":1}'"))?;
    Document::from_argument(name, value).map_err(|error| Failure::usage(format_args!("--key {name:?}: {error}")))
}

/// Does what stdin says until it ends or says to leave: then with the command's id and whether to delete the own keys.
async fn commands<V: Form>(
    store: &SharedStore<Document<V>>,
    printer: &Addr<Printer>,
    prefix: &Prefix,
    mut lines: mpsc::Receiver<std::io::Result<Input>>,
) -> std::io::Result<Option<(Option<Box<RawValue>>, bool)>> {
    let permits = Arc::new(Semaphore::new(MAX_COMMANDS));
    // Closed when the last command under way has been answered.
    let (under_way, mut all_answered) = mpsc::channel::<()>(1);
    let last = loop {
        let command = match lines.recv().await.unwrap_or(Ok(Input::End))? {
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
                cilium::warn(prefix, op.written());
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
