//! From the command line to a configuration; what can go wrong and how the program ends then.

use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::SystemTime;

use actix::prelude::*;
use shared_store::{CloseError, Config, JoinError, MemoryBackend, Prefix, StateChanged};

use crate::cli::{Backend, Common, Conflict, Format, Observe, OriginArg, Own};
use crate::document::Document;
use crate::value::Form;

/// Why the program did not leave as asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Bad usage or configuration: exit code 2.
    Usage(String),
    /// It could not keep its promise: exit code 1.
    Promise(String),
}

impl Failure {
    pub(crate) fn usage(cause: impl fmt::Display) -> Self {
        Self::Usage(cause.to_string())
    }

    pub(crate) fn code(&self) -> i32 {
        match self {
            Self::Promise(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    pub(crate) fn promise(cause: impl fmt::Display) -> Self {
        Self::Promise(cause.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(cause) | Self::Promise(cause) => f.write_str(cause),
        }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        if let JoinError::Thread(cause) = error {
            return cannot_start(cause);
        }
        if matches!(error, JoinError::Config(_)) { Self::usage(error) } else { Self::promise(error) }
    }
}

impl From<CloseError> for Failure {
    fn from(error: CloseError) -> Self {
        Self::promise(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::promise(error)
    }
}

pub(crate) fn log(common: &Common) {
    // The command line has checked it.
    // Bad requests of clients are no errors of the service: they are answered.
    let filter = tracing_subscriber::EnvFilter::new(format!("actix_http=off,{}", common.log));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // They would be said with a panic on a stderr that nobody reads.
        .log_internal_errors(false);
    match common.log_format {
        Format::Text => log.init(),
        Format::Json => log.json().init(),
    }
}

/// What libraries answer to limits with a panic is told in words, too, without a backtrace.
pub(crate) fn panics_in_words() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload().downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.payload().downcast_ref::<&str>().copied()).unwrap_or("unknown cause");
        let place = panic.location().map_or_else(String::new, |place| format!(" ({place})"));
        say(format_args!("error: the program failed: {text}{place}; is a limit too low (ulimit -n, ulimit -u)?"));
    }));
}

/// Says something on stderr. What nobody reads is no reason to leave the own keys behind, which a panic would do.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The text of a file that holds a password or a token.
pub(crate) fn secret(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format_args!("cannot read {}: {error}", file.display())))?;
    let text = text.trim();
    if text.is_empty() { Err(Failure::usage(format_args!("{} is empty", file.display()))) } else { Ok(text.to_owned()) }
}

/// A time as RFC 3339 writes it, in UTC.
pub(crate) fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// A thread or the files it needs are not to be had.
#[allow(clippy::needless_pass_by_value, reason = "map_err gives it away")]
pub(crate) fn cannot_start(error: impl fmt::Display) -> Failure {
    Failure::promise(format_args!(
        "cannot start a thread: {error}; raise the limit of open files (ulimit -n) or of processes (ulimit -u)"
    ))
}

/// Whether a runtime can have the files it needs. tokio panics if there is none left for those that hear signals.
pub(crate) fn files_for_a_runtime() -> std::io::Result<()> {
    let _probe = [UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?];
    Ok(())
}

/// What becomes of a command without a kvstore to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alone {
    /// An answer about an empty kvstore of its own would mislead.
    Refused,
    /// It uses an embedded kvstore and says so.
    Told,
}

/// The configuration all commands share.
pub(crate) fn config(common: &Common, alone: Alone) -> Result<Config, Failure> {
    let Some(prefix) = &common.prefix else {
        return Err(Failure::usage(
            "--prefix is missing: give the common prefix of the keys, as in --prefix demo/nodes",
        ));
    };
    config_below(common, prefix, alone)
}

/// The configuration below this prefix instead of the common one.
pub(crate) fn config_below(common: &Common, prefix: &str, alone: Alone) -> Result<Config, Failure> {
    let prefix = Prefix::new(prefix).map_err(Failure::usage)?;
    backend(common, Config::new(prefix).list_timeout(common.list_timeout), alone)
}

fn backend(common: &Common, config: Config, alone: Alone) -> Result<Config, Failure> {
    let given = !common.endpoints.is_empty();
    match common.backend {
        Some(Backend::Memory) if given => Err(Failure::usage("--backend memory has no endpoints")),
        Some(Backend::Etcd) if !given => Err(Failure::usage("--backend etcd needs --endpoints")),
        Some(Backend::Memory) => Ok(config.backend(MemoryBackend::new())),
        None if !given && alone == Alone::Refused => Err(Failure::usage(
            "--endpoints is missing: give etcd's URL, as in --endpoints http://127.0.0.1:2379 (or set \
             SHARED_STORE_ENDPOINTS); --backend memory uses an embedded kvstore, which starts empty",
        )),
        None if !given => {
            say("note: no --endpoints: using an embedded kvstore, which nobody else sees");
            Ok(config.backend(MemoryBackend::new()))
        }
        Some(Backend::Etcd) | None => etcd(common, config),
    }
}

#[cfg(feature = "etcd")]
fn etcd(common: &Common, config: Config) -> Result<Config, Failure> {
    let backend = shared_store::EtcdBackend::new(etcd_config(common)?).map_err(|error| bad_etcd(&error))?;
    Ok(config.backend(backend))
}

/// The way to etcd.
#[cfg(feature = "etcd")]
pub(crate) fn etcd_config(common: &Common) -> Result<shared_store::EtcdConfig, Failure> {
    let mut etcd = shared_store::EtcdConfig::new(&common.endpoints);
    if let Some(user) = &common.user {
        let password = match &common.password_file {
            Some(file) => secret(file)?,
            None => std::env::var("SHARED_STORE_PASSWORD").map_err(|_| {
                Failure::usage("--user needs --password-file, or the password in SHARED_STORE_PASSWORD")
            })?,
        };
        etcd = etcd.user(user, password);
    }
    if let Some(file) = &common.tls_ca {
        etcd = etcd.tls_ca(file);
    }
    match (&common.tls_cert, &common.tls_key) {
        (Some(certificate), Some(key)) => etcd = etcd.tls_identity(certificate, key),
        (None, None) => {}
        (Some(_), None) => return Err(Failure::usage("--tls-cert needs --tls-key, the key of that certificate")),
        (None, Some(_)) => return Err(Failure::usage("--tls-key needs --tls-cert, the certificate of that key")),
    }
    Ok(etcd)
}

#[cfg(feature = "etcd")]
pub(crate) fn bad_etcd(error: &shared_store::EtcdConfigError) -> Failure {
    if let shared_store::EtcdConfigError::Thread(error) = error {
        return cannot_start(error);
    }
    let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    Failure::usage(format_args!("{error}{source}"))
}

#[cfg(not(feature = "etcd"))]
fn etcd(_: &Common, _: Config) -> Result<Config, Failure> {
    Err(Failure::usage("this program was built without etcd"))
}

/// Adds what owners can choose.
pub(crate) fn own(config: Config, own: &Own) -> Config {
    use shared_store::ConflictPolicy;

    let conflict = match own.conflict {
        Conflict::Overwrite => ConflictPolicy::Overwrite,
        Conflict::Yield => ConflictPolicy::Yield,
        Conflict::Fail => ConflictPolicy::Fail,
    };
    let mut config = config.sync_interval(own.sync_interval).lease_ttl(own.lease_ttl).conflict(conflict);
    config.owner.clone_from(&own.owner);
    config
}

/// Adds what all that observe can choose.
pub(crate) fn observe(config: Config, observe: &Observe) -> Config {
    let config = config.delete_delay(observe.delete_delay);
    match &observe.state_dir {
        Some(directory) => config.state_dir(directory),
        None => config,
    }
}

/// The filter an observer asked for.
pub(crate) fn filter<V: Form>(observe: &Observe) -> shared_store::Filter<Document<V>> {
    use shared_store::{Filter, Origin};

    let filter = observe.filter.iter().fold(Filter::new(), |filter, glob| filter.glob(glob));
    match observe.origin {
        OriginArg::Local => filter.origin(Origin::Local),
        OriginArg::Remote => filter.origin(Origin::Remote),
        OriginArg::Any => filter,
    }
}

/// Tells on stderr why joining takes so long, for commands that print nothing before they are done.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    told: Option<String>,
}

impl Actor for Causes {
    type Context = Context<Self>;
}

impl Handler<StateChanged> for Causes {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        let cause = state.cause().filter(|_| state.name() != "closed").map(ToString::to_string);
        if cause.is_some() && cause != self.told {
            say(&state);
            self.told = cause;
        }
    }
}
