//! The command line.

mod args;
mod groups;
mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

pub(crate) use self::args::{
    Conflict, DeleteArgs, DeliveryMode, DemoArgs, DiffArgs, ExportArgs, GetArgs, ImportArgs, JoinArgs, ListArgs,
    NameArg, Observe, OnExit, OriginArg, Own, PublishArgs, ServeArgs, Shape, StatusArgs, WatchArgs,
};
#[cfg(feature = "etcd")]
pub(crate) use self::args::{MirrorArgs, MirrorCommand};
pub(crate) use self::groups::command;
pub(crate) use self::parse::duration;
use self::parse::{endpoint, log};

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

#[derive(Debug, Clone, Args)]
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
    /// File with endpoints and certificates as Cilium and etcd's client have it (YAML: endpoints, trusted-ca-file,
    /// cert-file, key-file); other options count more
    #[arg(long, env = "SHARED_STORE_ETCD_CONFIG", value_name = "FILE", global = true)]
    pub(crate) etcd_config: Option<PathBuf>,
    /// File with the certificates of the authorities that sign etcd's certificate
    #[arg(long, env = "SHARED_STORE_TLS_CA", value_name = "FILE", global = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// File with our certificate
    #[arg(long, env = "SHARED_STORE_TLS_CERT", value_name = "FILE", global = true)]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with our certificate's key
    #[arg(long, env = "SHARED_STORE_TLS_KEY", value_name = "FILE", global = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// etcd's user; the password comes from --password-file or SHARED_STORE_PASSWORD
    #[arg(long, env = "SHARED_STORE_USER", global = true)]
    pub(crate) user: Option<String>,
    /// File with the password of --user
    #[arg(long, env = "SHARED_STORE_PASSWORD_FILE", value_name = "FILE", global = true)]
    pub(crate) password_file: Option<PathBuf>,
    /// How much is logged to stderr: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", value_parser = log, default_value = "error", global = true)]
    pub(crate) log: String,
    /// The log as text for people, or one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) log_format: Format,
    /// How long the initial list, or a question to the kvstore, may take
    #[arg(long, env = "SHARED_STORE_LIST_TIMEOUT", value_parser = duration, default_value = "3m", global = true)]
    pub(crate) list_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Etcd,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ValueForm {
    #[default]
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
    /// Compare the keys below two prefixes by name and value; exit code 1 if they differ
    ///
    /// As in a patch: a line with - is a key, or its value, below the first prefix, + below the second.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 diff demo/nodes demo/nodes-new")]
    Diff(DiffArgs),
    /// Save all keys, as they are at one revision, to a file that import and publish read
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes export nodes.json")]
    Export(ExportArgs),
    /// Write the keys of a file into the kvstore and own them until a signal, or leave them under no lease
    ///
    /// Without --no-lease it does what publish does: the keys are on a lease, and go when the program goes.
    #[command(after_help = "Examples: see what it would do, and keep the keys for good
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes import --no-lease --dry-run nodes.json
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes import --no-lease nodes.json")]
    Import(ImportArgs),
    /// Delete a stuck key of any owner; asks first
    ///
    /// It says what it is about to delete, and deletes it only as it was shown. An owner that lives puts its key back.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes delete --force a")]
    Delete(DeleteArgs),
    /// Print all changes of a key that the kvstore remembers, the oldest first
    ///
    /// etcd remembers what came after its last compaction; stderr says from which revision on.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes history a")]
    History(NameArg),
    /// Print what is known of a key: state, owner, whether its value is valid, the last changes
    #[command(after_help = "Example: why is a gone, or still there?
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes explain a")]
    Explain(NameArg),
    /// Print who owns keys: their leases, with the number of keys and the time left
    ///
    /// An owner is known by its lease: its keys are deleted when the lease ends. Keys under no lease stay until
    /// somebody deletes them.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes owners")]
    Owners,
    /// Show the store live on a terminal: state, keys, owners, last changes, rates
    ///
    /// It owns nothing. ? lists what keys of the keyboard do.
    #[command(after_help = "Example:
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes top")]
    Top,
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
    /// Check the way to etcd step by step, and say what to do about what does not work
    ///
    /// For each endpoint: its name, connection, certificate with its dates, version with known faults, clock, and login;
    /// then the cluster's id, the permissions below the prefix, and how long reads take. Writes nothing.
    #[cfg(feature = "etcd")]
    #[command(after_help = "Example:
  shared-store --endpoints https://etcd-1:2379,https://etcd-2:2379 --tls-ca ca.pem --prefix demo/nodes troubleshoot")]
    Troubleshoot,
    /// Host stores: an HTTP interface, metrics and a page that shows them
    ///
    /// It prints `listening on http://HOST:PORT` on stderr when it is ready for requests. Without --config it hosts the
    /// store of --prefix. SIGHUP reads the configuration again. SIGTERM and SIGINT end it: streams end first, then own
    /// keys are deleted.
    #[command(after_help = "Examples: one store, then those of a file
  shared-store --endpoints http://127.0.0.1:2379 --prefix demo/nodes serve
  shared-store serve --config /etc/shared-store/serve.toml")]
    Serve(ServeArgs),
    /// Copy the keys of other clusters' kvstores into this one, as Cilium's KVStoreMesh does
    ///
    /// A source that cannot be reached or has lost its data changes nothing. It prints `listening on http://HOST:PORT` on
    /// stderr when it answers. SIGHUP reads the configuration again; a source that is no longer in it is taken apart:
    /// configuration of the cluster, copies. SIGTERM and SIGINT end it; the copies stay until their leases end.
    #[cfg(feature = "etcd")]
    #[command(after_help = "Examples: check the configuration, run, and ask for the status
  shared-store mirror --config /etc/shared-store/mirror.toml --check
  shared-store mirror --config /etc/shared-store/mirror.toml
  shared-store mirror status")]
    Mirror(MirrorArgs),
    /// Ask a running service how its stores are; exit code 1 unless all are synced
    #[command(after_help = "Examples: the service on this machine, and another one for a script
  shared-store status
  shared-store --output json status http://10.0.0.7:8080")]
    Status(StatusArgs),
    /// Collaborators on an embedded kvstore in this process, which come, change and go until a signal, and a page of them
    ///
    /// Needs no etcd. It opens the page in a browser if there is a screen, and serves its kvstore on etcd's API, so that
    /// other programs can take part.
    #[command(after_help = "Examples: until ctrl-c, and a short script of three collaborators
  shared-store demo
  shared-store demo --once")]
    Demo(DemoArgs),
    /// Serve an embedded kvstore on etcd's gRPC API, for development; its keys are gone when it ends
    ///
    /// etcdctl and etcd's clients work with it: keys, transactions, watches, leases, compaction, member list, status.
    /// Left out, and refused as Unimplemented: users and roles, changes of members, snapshots, hashes, and the server's
    /// own locks and elections. There is no TLS, no authentication, no disk, and of HTTP only /version and /health. stderr
    /// says when it is ready, and where. etcdctl before 3.5 needs the endpoint without http:// for endpoint and defrag.
    #[cfg(feature = "etcd")]
    #[command(after_help = "Example: an etcd for a test, on a free port
  shared-store dev-etcd --listen 127.0.0.1:0")]
    DevEtcd {
        /// Where to listen; port 0 is a free one. Every client that can connect can read and write every key
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2379")]
        listen: String,
    },
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
        /// Write the pages of the program and of all subcommands into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        all: Option<PathBuf>,
    },
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
