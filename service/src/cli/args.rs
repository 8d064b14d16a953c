//! What single commands take.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "etcd")]
use clap::Subcommand;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use shared_store::LeaseId;

use super::Format;
use super::parse::{duration, lease};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Conflict {
    Overwrite,
    Yield,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnExit {
    Close,
    Release,
}

#[derive(Debug, Clone, Args)]
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
pub(crate) struct StatusArgs {
    /// Where the service listens
    #[arg(env = "SHARED_STORE_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// A short script of three collaborators, and then end
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the page is; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Open no browser
    #[arg(long)]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file (TOML); service/serve.toml is an example that documents every setting
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "SHARED_STORE_LISTEN", value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Check the configuration and exit: code 2 if it is bad
    #[arg(long)]
    pub(crate) check: bool,
}

#[cfg(feature = "etcd")]
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct MirrorArgs {
    /// The configuration file (TOML); service/mirror.toml is an example that documents every setting
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Check the configuration and exit: code 2 if it is bad
    #[arg(long)]
    pub(crate) check: bool,
    #[command(subcommand)]
    pub(crate) command: Option<MirrorCommand>,
}

#[cfg(feature = "etcd")]
#[derive(Debug, Subcommand)]
pub(crate) enum MirrorCommand {
    /// Ask a running mirror how its sources are; exit code 1 unless all are ready
    #[command(after_help = "Examples: the mirror on this machine, and another one for a script
  shared-store mirror status
  shared-store --output json mirror status --url http://10.0.0.7:8081")]
    Status {
        /// Where the mirror listens
        #[arg(long, env = "SHARED_STORE_MIRROR_URL", value_name = "URL", default_value = "http://127.0.0.1:8081")]
        url: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Print what is there and exit
    #[arg(long, conflicts_with = "state_dir")]
    pub(crate) until_synced: bool,
    /// Print every change from this revision on, as etcd remembers it, instead of what is there and then what changes.
    /// Of the other options only --filter applies. What a key was before a change is not known
    #[arg(long, conflicts_with_all = ["until_synced", "state_dir", "mode", "capacity", "origin", "delete_delay"])]
    pub(crate) revision: Option<u64>,
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
pub(crate) struct NameArg {
    /// The key's name
    pub(crate) name: String,
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

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// A prefix, without a slash at its end
    #[arg(value_name = "PREFIX")]
    pub(crate) first: String,
    /// The prefix to compare it with
    #[arg(value_name = "PREFIX")]
    pub(crate) second: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to; - for stdout
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// One {"name":..,"value":..} a line; - for stdin
    pub(crate) file: PathBuf,
    /// Leave the keys under no lease, until somebody deletes them, and exit. Keys under the lease of an owner are left
    /// alone; exit code 1 then
    #[arg(long)]
    pub(crate) no_lease: bool,
    /// Write nothing, and print what would become of each key
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) own: Own,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The key's name
    pub(crate) name: String,
    /// Say that you know that it may belong to somebody
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only if the key was last modified at this revision
    #[arg(long)]
    pub(crate) revision: Option<u64>,
}
