//! What the program prints: one line a message, flushed at once.

use std::io::{BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use actix::prelude::*;
use serde_json::value::RawValue;
use shared_store::{
    CodecError, Conflict, ConflictPolicy, Damage, Delete, Healed, KeyName, Origin, Repaired, Resynced, Revision,
    SetAside, State, StateChanged, Synced, Undecodable, Update,
};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::cli::Format;
use crate::document::Document;
use crate::printable::{counted, printable};
use crate::record::{Answer, Record, Reply, Value, json};
use crate::setup::{self, Failure};
use crate::value::Form;

/// How long what was told last may take to be printed, when the store has been left.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Has a value once nothing can be printed any more: why, or nothing if nobody reads.
pub(crate) type Ended = watch::Receiver<Option<String>>;

/// Prints what observers are told. Runs on a thread of its own: a reader that is slow holds up nothing but the
/// notifications. Notifications of one key that wait are merged.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    /// The state printed last: its name and its cause.
    state: Option<(&'static str, Option<String>)>,
    /// Set when nobody reads any more, or writing fails.
    end: watch::Sender<Option<String>>,
}

/// A line to be printed, such as a reply.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Line(pub(crate) String);

impl Printer {
    pub(crate) fn start(format: Format) -> Result<(Addr<Self>, Ended), Failure> {
        let (end, ended) = watch::channel(None);
        let arbiter = Arbiter::try_new().map_err(setup::cannot_start)?;
        let printer = Self::start_in_arbiter(&arbiter.handle(), move |_| Self { format, state: None, end });
        Ok((printer, ended))
    }

    fn print(&self, line: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        if let Err(error) = written {
            let cause = if error.kind() == ErrorKind::BrokenPipe { String::new() } else { error.to_string() };
            self.end.send_if_modified(|end| end.is_none() && end.replace(cause).is_none());
        }
    }

    fn record(&self, record: &Record<'_>) {
        self.print(&format!("{}\n", json(record)));
    }

    /// Prints the record, or for people the text.
    fn tell(&self, record: &Record<'_>, text: impl FnOnce() -> String) {
        match self.format {
            Format::Json => self.record(record),
            Format::Text => self.print(&format!("{}\n", text())),
        }
    }
}

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<Line> for Printer {
    type Result = ();

    fn handle(&mut self, Line(line): Line, _: &mut Self::Context) {
        self.print(&line);
    }
}

impl<V: Form> Handler<Update<Document<V>>> for Printer {
    type Result = ();

    fn handle(&mut self, update: Update<Document<V>>, _: &mut Self::Context) {
        let Update { name, key, old, revision, origin, reason, initial } = update;
        let (name, origin) = (name.as_str(), origin_name(origin));
        if self.format == Format::Json {
            self.record(&Record::Update {
                name,
                value: Value::of(&key),
                old: old.as_ref().map(|old| Value::of(old)),
                encoding: V::ENCODING,
                revision: revision.0,
                origin,
                reason: reason.to_string(),
                initial,
            });
        } else {
            let what = if old.is_some() { "update" } else { "create" };
            let (name, value) = (printable(name), key.text());
            self.print(&format!("{what} {name} = {value} ({origin}, revision {revision})\n"));
        }
    }
}

impl<V: Form> Handler<Delete<Document<V>>> for Printer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Document<V>>, _: &mut Self::Context) {
        let Delete { name, key, revision, origin, reason } = delete;
        let (name, origin) = (name.as_str(), origin_name(origin));
        if self.format == Format::Json {
            let (value, encoding, revision, reason) = (Value::of(&key), V::ENCODING, revision.0, reason.to_string());
            self.record(&Record::Delete { name, value, encoding, revision, origin, reason });
        } else {
            self.print(&format!("delete {} ({origin}, revision {revision})\n", printable(name)));
        }
    }
}

impl Handler<Synced> for Printer {
    type Result = ();

    fn handle(&mut self, Synced { revision, entries }: Synced, _: &mut Self::Context) {
        self.tell(&Record::Synced { revision: revision.0, entries }, || {
            format!("synced: {} at revision {revision}", counted(entries, "key"))
        });
    }
}

impl Handler<Resynced> for Printer {
    type Result = ();

    fn handle(&mut self, Resynced { from, to }: Resynced, _: &mut Self::Context) {
        self.tell(&Record::Resynced { from: from.0, to: to.0 }, || {
            format!("resynced: steps between revisions {from} and {to} are left out")
        });
    }
}

impl Handler<Undecodable> for Printer {
    type Result = ();

    fn handle(&mut self, Undecodable { name, revision, cause }: Undecodable, _: &mut Self::Context) {
        self.tell(&undecodable(&name, revision, &cause), || {
            format!("undecodable {} (revision {revision}): {cause}", printable(name.as_str()))
        });
    }
}

impl Handler<Conflict> for Printer {
    type Result = ();

    fn handle(&mut self, Conflict { name, revision, lease, policy }: Conflict, _: &mut Self::Context) {
        let (name, policy) = (name.as_str(), policy_name(policy));
        self.tell(&Record::Conflict { name, revision: revision.0, policy }, || {
            format!("conflict {} (revision {revision}): owned by lease {lease}, {policy}", printable(name))
        });
    }
}

impl Handler<Healed> for Printer {
    type Result = ();

    fn handle(&mut self, Healed { name, revision }: Healed, _: &mut Self::Context) {
        let name = name.as_str();
        self.tell(&Record::Healed { name, revision: revision.0 }, || {
            format!("healed {} (revision {revision})", printable(name))
        });
    }
}

impl Handler<Repaired> for Printer {
    type Result = ();

    fn handle(&mut self, Repaired { name, damage, revision }: Repaired, _: &mut Self::Context) {
        self.tell(&repaired(&name, damage, revision), || repaired_text(&name, damage, revision));
    }
}

impl Handler<SetAside> for Printer {
    type Result = ();

    fn handle(&mut self, SetAside { name, cause }: SetAside, _: &mut Self::Context) {
        self.tell(&set_aside(&name, cause.as_deref()), || set_aside_text(&name, cause.as_deref()));
    }
}

impl Handler<StateChanged> for Printer {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        let cause = state.cause().map(ToString::to_string);
        let new = Some((state.name(), cause.clone()));
        if self.state == new {
            return;
        }
        self.state = new;
        self.print(&state_line(self.format, &state));
    }
}

/// A value that cannot be decoded, in JSON output.
pub(crate) fn undecodable<'a>(name: &'a KeyName, revision: Revision, cause: &CodecError) -> Record<'a> {
    Record::Undecodable { name: name.as_str(), revision: revision.0, cause: cause.to_string() }
}

/// An own key that was put back, for people.
pub(crate) fn repaired_text(name: &KeyName, damage: Damage, revision: Revision) -> String {
    format!("repaired {} (revision {revision}): {damage} by someone else", printable(name.as_str()))
}

/// An own key that was put back, in JSON output.
pub(crate) fn repaired(name: &KeyName, damage: Damage, revision: Revision) -> Record<'_> {
    Record::Repaired { name: name.as_str(), damage: damage.to_string(), revision: revision.0 }
}

/// An own key that the kvstore refuses, or without a cause refuses no longer, for people.
pub(crate) fn set_aside_text(name: &KeyName, cause: Option<&str>) -> String {
    let name = printable(name.as_str());
    cause.map_or_else(
        || format!("set aside no longer {name}"),
        |cause| format!("set aside {name}: {}", printable(cause)),
    )
}

/// An own key that the kvstore refuses, or without a cause refuses no longer, in JSON output.
pub(crate) fn set_aside<'a>(name: &'a KeyName, cause: Option<&'a str>) -> Record<'a> {
    Record::SetAside { name: name.as_str(), cause }
}

/// A state, with a line end.
pub(crate) fn state_line(format: Format, state: &State) -> String {
    let (name, cause) = (state.name(), state.cause().map(|cause| &**cause));
    match (format, cause) {
        (Format::Json, cause) => format!("{}\n", json(&Record::Status { state: name, cause })),
        (Format::Text, Some(cause)) => format!("status {name}: {}\n", printable(cause)),
        (Format::Text, None) => format!("status {name}\n"),
    }
}

/// The answer to a command: with its id, as it was given.
pub(crate) fn reply(id: Option<&RawValue>, answer: Result<Answer, String>) -> String {
    let (ok, (answer, error)) =
        (answer.is_ok(), answer.map_or_else(|error| (None, Some(error)), |answer| (Some(answer), None)));
    format!("{}\n", json(&Reply { id, ok, error, answer }))
}

pub(crate) fn policy_name(policy: ConflictPolicy) -> &'static str {
    match policy {
        ConflictPolicy::Overwrite => "overwrite",
        ConflictPolicy::Yield => "yield",
        ConflictPolicy::Fail => "fail",
    }
}

fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Remote => "remote",
    }
}

/// Prints to stdout at once. That nobody reads, as with `| head`, is no failure.
pub(crate) fn print_all(print: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match print(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::promise(format_args!("cannot write: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) async fn print(printer: &Addr<Printer>, line: String) {
    // A printer that is gone has nothing to print on.
    let _ = printer.send(Line(line)).await;
}

/// Waits until nothing can be printed any more, or nobody reads: that is noticed at once, not at the next line.
pub(crate) async fn nobody_reads(ended: &mut Ended) {
    tokio::select! {
        // An error would say that the printer has stopped.
        _ = ended.wait_for(Option::is_some) => {}
        () = reader_gone() => {}
    }
}

/// Waits until the other end of stdout is closed. A file has no other end.
async fn reader_gone() {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    // Unchecked, because the check makes the printer's stdout non-blocking, too.
    let gone = match stdout.and_then(pipe::Sender::from_owned_fd_unchecked) {
        Ok(pipe) => pipe.ready(Interest::ERROR).await.is_ok(),
        Err(_) => false,
    };
    if !gone {
        std::future::pending::<()>().await;
    }
}

/// Has what was told before printed, and a last line, before the program ends. That nobody wants to read it is no
/// failure; a reader that stands still is.
pub(crate) async fn all_printed(printer: &Addr<Printer>, ended: &Ended, last: String) -> Result<(), Failure> {
    if tokio::time::timeout(LAST_WORDS, print(printer, last)).await.is_err() {
        return Err(Failure::promise("cannot write: stdout takes nothing"));
    }
    match &*ended.borrow() {
        Some(cause) if !cause.is_empty() => Err(Failure::promise(format_args!("cannot write: {cause}"))),
        Some(_) | None => Ok(()),
    }
}
