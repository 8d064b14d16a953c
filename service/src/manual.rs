//! What the command line says of itself to shells and to `man`.

use std::path::Path;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::output::print_all;
use crate::setup::Failure;

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shared-store", &mut text);
    print_all(|out| out.write_all(&text))
}

/// Writes the pages of the program and of all subcommands.
pub(crate) fn pages(directory: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|error| Failure::promise(format_args!("cannot write into {}: {error}", directory.display())))
}

/// The page of the program, or of a subcommand with the options that all share.
pub(crate) fn page(subcommand: Option<&str>) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    if let Some(name) = subcommand {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| Failure::usage(format_args!("no subcommand {name:?}: see shared-store help")))?;
    }
    print_all(|out| clap_mangen::Man::new(command).render(out))
}
