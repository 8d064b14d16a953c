//! The shared-store program: join, watch, list and publish keys from the command line.

mod audit;
mod cilium;
mod cli;
mod demo;
#[cfg(feature = "etcd")]
mod dev_etcd;
mod diff;
mod document;
mod entry;
mod history;
mod hosting;
mod http;
mod input;
mod join;
mod kvstore;
mod manual;
#[cfg(feature = "etcd")]
mod mirror;
mod output;
mod printable;
mod progress;
mod publish;
mod read;
mod record;
mod remove;
mod serve;
mod settings;
mod setup;
mod signals;
mod since;
mod status;
mod top;
mod transfer;
#[cfg(feature = "etcd")]
mod troubleshoot;
mod value;

use std::io::IsTerminal as _;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use clap::FromArgMatches;
use shared_store::Revision;

use crate::cli::{Cli, Command, ValueForm, WatchArgs};
#[cfg(feature = "etcd")]
use crate::cli::{MirrorArgs, MirrorCommand};
use crate::setup::Failure;
use crate::signals::Signals;
use crate::value::{Base64, Form, Json, Text};

fn main() -> ! {
    let cli = Cli::from_arg_matches(&cli::command().get_matches()).unwrap_or_else(|error| error.exit());
    // Lines between the pictures of `top` would destroy them. A log in a file does no harm.
    if !matches!(cli.command, Command::Top) || !std::io::stderr().is_terminal() {
        setup::log(&cli.common);
    }
    setup::panics_in_words();
    let code = match catch_unwind(AssertUnwindSafe(|| run(cli))) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => {
            setup::say(format_args!("error: {failure}"));
            failure.code()
        }
        // The hook has told it.
        Err(_) => 1,
    };
    std::process::exit(code)
}

fn run(cli: Cli) -> Result<(), Failure> {
    setup::files_for_a_runtime().map_err(setup::cannot_start)?;
    let runtime = actix_rt::Runtime::new().map_err(setup::cannot_start)?;
    // The process ends right after: nothing is to wait for what a runtime waits for when it is dropped.
    let system = ManuallyDrop::new(actix_rt::System::with_tokio_rt(|| runtime));
    system.block_on(async {
        match cli.common.value {
            ValueForm::Json => command::<Json>(cli).await,
            ValueForm::Text => command::<Text>(cli).await,
            ValueForm::Base64 => command::<Base64>(cli).await,
        }
    })
}

async fn command<V: Form>(cli: Cli) -> Result<(), Failure> {
    let (mut common, mut signals) = (cli.common, Signals::new()?);
    cilium::complete(&mut common)?;
    let short: Pin<Box<dyn Future<Output = _>>> = match &cli.command {
        Command::Join(args) => return join::run::<V>(&common, args, signals).await,
        Command::Watch(args @ WatchArgs { revision: Some(start), .. }) => {
            return since::watch::<V>(&common, args, Revision(*start), signals).await;
        }
        Command::Watch(args) => return join::watch::<V>(&common, args, signals).await,
        Command::Serve(args) => return serve::run(&common, args, signals).await,
        #[cfg(feature = "etcd")]
        Command::Mirror(MirrorArgs { command: Some(MirrorCommand::Status { url }), .. }) => {
            return mirror::status(&common, url);
        }
        #[cfg(feature = "etcd")]
        Command::Mirror(args) => return mirror::run(&common, args, signals).await,
        #[cfg(feature = "etcd")]
        Command::DevEtcd { listen } => return dev_etcd::run(listen, signals).await,
        Command::Demo(args) => return demo::run(&common, args, signals).await,
        Command::Publish(args) => return publish::run::<V>(&common, args, signals).await,
        Command::List(args) => Box::pin(read::list::<V>(&common, args)),
        Command::Get(args) => Box::pin(read::get::<V>(&common, args)),
        #[cfg(feature = "etcd")]
        Command::Troubleshoot => Box::pin(troubleshoot::run(&common)),
        Command::Diff(args) => Box::pin(diff::run::<V>(&common, args)),
        Command::Export(args) => Box::pin(transfer::export::<V>(&common, args)),
        Command::Import(args) => return transfer::import::<V>(&common, args, signals).await,
        Command::Delete(args) => Box::pin(remove::run(&common, args)),
        Command::History(args) => Box::pin(history::run::<V>(&common, &args.name)),
        Command::Explain(args) => Box::pin(history::explain::<V>(&common, &args.name)),
        Command::Top => return top::run::<V>(&common, signals).await,
        Command::Status(args) => return status::run(&common, args),
        Command::Owners => Box::pin(read::owners(&common)),
        Command::Audit => Box::pin(audit::run::<V>(&common)),
        Command::Completions { shell } => return manual::completions(*shell),
        Command::Man { all: Some(directory), .. } => return manual::pages(directory),
        Command::Man { command, all: None } => return manual::page(command.as_deref()),
    };
    tokio::select! {
        result = short => result,
        () = signals.next() => Err(Failure::promise("interrupted")),
    }
}
