//! The help of the program: commands by what they are for.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Cli;

/// Commands in the order in which help lists them.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Take part", &["join", "publish", "watch"]),
    ("Look", &["list", "get", "owners", "explain", "history", "top"]),
    ("Compare, save and mend", &["diff", "export", "import", "delete"]),
    ("Find faults", &["troubleshoot", "audit"]),
    ("Run a service", &["serve", "status", "mirror"]),
    ("More", &["demo", "dev-etcd", "completions", "man", "help"]),
];

const EXAMPLES: &str = "\
Examples:
  export SHARED_STORE_ENDPOINTS=http://127.0.0.1:2379 SHARED_STORE_PREFIX=demo/nodes
  shared-store list -o wide            what is there, and who owns it
  shared-store explain alpha           why a key is there, or gone
  shared-store watch                   what changes
  shared-store troubleshoot            why etcd cannot be reached, or refuses
  shared-store help COMMAND            has an example of each command";

/// The command line with the help that people read.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let mut groups = String::new();
    for (title, names) in GROUPS {
        // Writing to a text cannot fail.
        let _ = writeln!(groups, "{title}:");
        for name in names {
            let about = match command.find_subcommand(name).and_then(Command::get_about) {
                Some(about) => about.to_string(),
                None if *name == "help" => "Print this, or the help of a command".to_owned(),
                // Built without etcd.
                None => continue,
            };
            let _ = writeln!(groups, "  {name:<13} {about}");
        }
        groups.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Common options:\n{{options}}\n\n{EXAMPLES}{{after-help}}"
    );
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_command_in_one_group() {
        let command = command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            assert_eq!(GROUPS.iter().filter(|(_, names)| names.contains(&name)).count(), 1, "{name}");
        }
        let known = |name: &&str| *name == "help" || command.find_subcommand(name).is_some();
        assert!(!cfg!(feature = "etcd") || GROUPS.iter().flat_map(|(_, names)| *names).all(known));
    }
}
