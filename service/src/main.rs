//! The shared-store program: join, watch, list and publish keys from the command line.

mod audit;
mod cli;
mod demo;
mod document;
mod input;
mod join;
mod output;
mod publish;
mod read;
mod setup;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ! {
    let cli = Cli::parse();
    setup::log(&cli.common.log);
    let system = actix_rt::System::new();
    let result = system.block_on(async {
        match cli.command {
            Command::Join(args) => join::run(&cli.common, args).await,
            Command::Watch(args) => join::watch(&cli.common, args).await,
            Command::List(args) => read::list(&cli.common, &args).await,
            Command::Get(args) => read::get(&cli.common, &args).await,
            Command::Publish(args) => publish::run(&cli.common, &args).await,
            Command::Audit => audit::run(&cli.common).await,
            Command::Demo => demo::run(&cli.common).await,
        }
    });
    let code = match result {
        Ok(()) => 0,
        Err(failure) => {
            setup::say(format_args!("error: {failure}"));
            failure.code()
        }
    };
    // Not by dropping the system: that would wait for the thread that reads stdin.
    std::process::exit(code)
}
