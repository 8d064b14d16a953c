//! The command line.

mod parse;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared_store::LeaseId;

use self::parse::{duration, endpoint, lease, log};

const EXIT_CODES: &str = "\
Exit codes:
  0  it left as asked, or nobody reads its output any more
  1  it could not keep its promise: the reason is on stderr
  2  bad usage or configuration: stderr says what to write instead";

/// A typed store shared by many collaborators over etcd.
#[derive(Debug, Parser)]
#[command(name = "shared-store", version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// URLs of etcd's members, separated by commas
    #[arg(long, env = "SHARED_STORE_ENDPOINTS", value_name = "URL", value_delimiter = ',', value_parser = endpoint,
        global = true)]
    pub(crate) endpoints: Vec<String>,
    /// The common prefix of all keys, without a slash at its end
    #[arg(long, env = "SHARED_STORE_PREFIX", global = true)]
    pub(crate) prefix: Option<String>,
    /// Which kvstore; etcd needs --endpoints, memory is one in this process, which starts empty
    #[arg(long, env = "SHARED_STORE_BACKEND", value_enum, global = true)]
    pub(crate) backend: Option<Backend>,
    /// What values are: JSON documents, UTF-8 text, or any bytes, read and printed as base64
    #[arg(long, value_enum, default_value_t = ValueForm::Json, global = true)]
    pub(crate) value: ValueForm,
    /// One JSON object a line, or text for people
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) output: Format,
    /// File with the certificates of the authorities that sign etcd's certificate
    #[arg(long, env = "SHARED_STORE_TLS_CA", value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// File with our certificate
    #[arg(long, env = "SHARED_STORE_TLS_CERT", value_name = "FILE", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with our certificate's key
    #[arg(long, env = "SHARED_STORE_TLS_KEY", value_name = "FILE", global = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// etcd's user; the password comes from SHARED_STORE_PASSWORD
    #[arg(long, env = "SHARED_STORE_USER", global = true)]
    pub(crate) user: Option<String>,
    /// How much is logged to stderr: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = log, default_value = "error", global = true)]
    pub(crate) log: String,
    /// The log as text for people, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) log_format: Format,
    /// How long the initial list may take
    #[arg(long, value_parser = duration, default_value = "3m", global = true)]
    pub(crate) list_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Etcd,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ValueForm {
    Json,
    Text,
    Base64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join: print every change, take commands on stdin, leave on EOF or a signal
    #[command(after_help = "Example: own the key a and watch all others
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes join --key 'a={\"ip\":\"10.0.0.1\"}'

Commands on stdin, one JSON object a line; replies carry the id:
  {\"id\":1,\"op\":\"update_sync\",\"name\":\"b\",\"value\":{}}
  ops: update, update_sync, update_once, delete, get, list, at_least, audit, status, release, close")]
    Join(JoinArgs),
    /// Join without owning anything and without stdin
    #[command(after_help = "Example: print every change as JSON
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes --output json watch")]
    Watch(WatchArgs),
    /// Print the keys once
    #[command(after_help = "Examples: with owners and revisions, those of one owner, and in a form that publish reads
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes list -o wide
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes list --owner 694d9f3a61c2a01c
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes --output json list > nodes.json")]
    List(ListArgs),
    /// Print the value of one key, or all that is known of it; reads no other key
    #[command(after_help = "Examples: the value alone, and the key with its owner
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes get a
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes get a -o yaml")]
    Get(GetArgs),
    /// Print who owns keys: their leases, with the number of keys and the time left
    ///
    /// An owner is known by its lease: its keys are deleted when the lease ends. Keys under no lease stay until
    /// somebody deletes them.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes owners")]
    Owners,
    /// Own every key of a file until a signal, without reading what others have
    ///
    /// The keys are kept in the kvstore: what others delete or overwrite is put back, and what went with a lost lease
    /// is put again. Memory grows with the keys of the file, not with those of others. stderr says when all keys are
    /// in, which keys the kvstore refuses, which keys were put back, and what else is wrong.
    #[command(after_help = "Example:
  echo '{\"name\":\"a\",\"value\":{\"ip\":\"10.0.0.1\"}}' > nodes.json
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes publish nodes.json")]
    Publish(PublishArgs),
    /// Compare the cache with the kvstore at the same revision; exit code 1 if they differ and nothing explains it
    ///
    /// No difference: keys whose values are not what --value says, and keys that are ignored because their names are
    /// empty or not UTF-8. stderr says how many there are.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes audit")]
    Audit,
    /// Three collaborators on an embedded kvstore in this process
    #[command(after_help = "Example:
  shared-store demo")]
    Demo,
    /// Print the completions of a shell
    #[command(after_help = "Example:
  shared-store completions bash > /etc/bash_completion.d/shared-store")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of a subcommand
    #[command(after_help = "Example:
  shared-store man publish | man -l -")]
    Man {
        /// Which subcommand
        command: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Observe {
    /// Tell the latest of each key, or every event
    #[arg(long, value_enum, default_value_t = DeliveryMode::Latest)]
    pub(crate) mode: DeliveryMode,
    /// With --mode every: how many events may wait; beyond that only the latest of each key is told
    #[arg(long, default_value = "10000")]
    pub(crate) capacity: NonZeroUsize,
    /// Only names that match this pattern (* is any text, ? one character); repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) filter: Vec<String>,
    /// Only keys of this origin
    #[arg(long, value_enum, default_value_t = OriginArg::Any)]
    pub(crate) origin: OriginArg,
    /// How long a deletion is held back in case the key returns
    #[arg(long, value_parser = duration, default_value = "0s")]
    pub(crate) delete_delay: Duration,
    /// Directory for a snapshot of the keys, which the next start prints at once
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeliveryMode {
    Latest,
    Every,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OriginArg {
    Local,
    Remote,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Conflict {
    Overwrite,
    Yield,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExit {
    Close,
    Release,
}

#[derive(Debug, Args)]
pub(crate) struct Own {
    /// How often own keys are compared with the kvstore
    #[arg(long, value_parser = duration, default_value = "5m")]
    pub(crate) sync_interval: Duration,
    /// How long own keys outlive this process: from 1s to 9000000000s
    #[arg(long, value_parser = duration, default_value = "15m")]
    pub(crate) lease_ttl: Duration,
    /// What to do when another live owner writes one of our names
    #[arg(long, value_enum, default_value_t = Conflict::Overwrite)]
    pub(crate) conflict: Conflict,
    /// Who owns the keys: a name that this program has after a restart too, and no other one has at the same time. After a
    /// crash its keys are taken over at once, with any --conflict
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Delete the own keys when leaving, or leave them until their lease expires
    #[arg(long, value_enum, default_value_t = OnExit::Close)]
    pub(crate) on_exit: OnExit,
}

#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// A key to own, as NAME=VALUE; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) key: Vec<String>,
    /// A file with keys to own, one {"name":..,"value":..} a line
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_file: Option<PathBuf>,
    /// Take no commands from stdin, and stay until a signal
    #[arg(long)]
    pub(crate) no_stdin: bool,
    #[command(flatten)]
    pub(crate) observe: Observe,
    #[command(flatten)]
    pub(crate) own: Own,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Print what is there and exit
    #[arg(long, conflicts_with = "state_dir")]
    pub(crate) until_synced: bool,
    #[command(flatten)]
    pub(crate) observe: Observe,
}

/// How keys are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// As without -o
    Text,
    /// A table with owner, time left, revisions and size
    Wide,
    /// All of that in one JSON object a line
    Json,
    /// All of that in YAML
    Yaml,
    /// The bytes of the value as they are (only get)
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct ShapeArg {
    /// With the owner (its lease), the lease's time left, the revisions that created and modified the key, and its size
    #[arg(short = 'o', long = "as", value_name = "FORM", value_enum)]
    pub(crate) shape: Option<Shape>,
}

impl ShapeArg {
    /// What was asked for, with --output for what was not.
    pub(crate) fn shape(&self, output: Format) -> Shape {
        match (self.shape, output) {
            (None | Some(Shape::Text | Shape::Wide), Format::Json) => Shape::Json,
            (None, Format::Text) => Shape::Text,
            (Some(shape), _) => shape,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) shape: ShapeArg,
    /// Only names that match this pattern (* is any text, ? one character); repeatable
    #[arg(long, value_name = "GLOB")]
    pub(crate) filter: Vec<String>,
    /// Only keys of this owner: its lease in hex, as -o wide prints it, or none for keys under no lease
    #[arg(long, value_name = "LEASE", value_parser = lease)]
    pub(crate) owner: Option<LeaseId>,
    /// Wait until the kvstore has reached this revision
    #[arg(long)]
    pub(crate) revision: Option<u64>,
    /// Only the names
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only the keys whose values are not what --value says, and why
    #[arg(long, conflicts_with = "keys_only")]
    pub(crate) undecodable: bool,
    /// At most so many keys; 0 for all
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The key's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) shape: ShapeArg,
    /// Print the bytes of the value as they are, whatever they are, and nothing else; as -o raw
    #[arg(long, conflicts_with = "shape")]
    pub(crate) raw: bool,
    /// Wait until the kvstore has reached this revision
    #[arg(long)]
    pub(crate) revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// One {"name":..,"value":..} a line; - for stdin
    pub(crate) file: PathBuf,
    /// Exit when all is in the kvstore, and leave the keys until their lease expires; exit code 1, with the reasons, if the kvstore
    /// refuses some of them for good or they are left to another owner: the others are in
    #[arg(long)]
    pub(crate) once: bool,
    /// When all keys are in, say so at cilium/synced/CLUSTER/PREFIX, where consumers wait for it; written again after a
    /// lost lease, when the keys are back. Keys that are refused for good do not hold it up
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) canary: Option<String>,
    #[command(flatten)]
    pub(crate) own: Own,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_common_options_may_stand_anywhere() {
        let command = Cli::command();
        let common =
            command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()));
        assert_eq!(common.filter(|argument| !argument.is_global_set()).count(), 0);
        command.debug_assert();
    }

    #[test]
    fn every_subcommand_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example") && help.contains("shared-store "), "{}", command.get_name());
        }
    }
}
