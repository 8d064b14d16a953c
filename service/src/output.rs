//! What the program prints: one line a message, flushed at once.

use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use actix::prelude::*;
use shared_store::{
    CodecError, Conflict, ConflictPolicy, Damage, Delete, Healed, KeyName, Origin, Repaired, Resynced, Revision,
    SetAside, State, StateChanged, Synced, Undecodable, Update,
};
use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::cli::Format;
use crate::document::Document;
use crate::printable::{printable, quoted};
use crate::setup::{self, Failure};
use crate::value::{Form, encoding};

/// How long what was told last may take to be printed, when the store has been left.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Has a value once nothing can be printed any more: why, or nothing if nobody reads.
pub(crate) type Ended = watch::Receiver<Option<String>>;

/// Prints what observers are told. Runs on a thread of its own: a reader that is slow holds up nothing but the
/// notifications, which melt meanwhile.
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

    fn is_json(&self) -> bool {
        self.format == Format::Json
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
        if self.is_json() {
            let (name, value, origin, encoding) =
                (quoted(name.as_str()), key.json(), origin_name(origin), encoding::<V>());
            let old = old.as_ref().map_or_else(|| "null".to_owned(), |old| old.json());
            self.print(&format!(
                "{{\"type\":\"update\",\"name\":{name},\"value\":{value},\"old\":{old}{encoding},\
                 \"revision\":{revision},\"origin\":\"{origin}\",\"reason\":\"{reason}\",\"initial\":{initial}}}\n"
            ));
        } else {
            let what = if old.is_some() { "update" } else { "create" };
            let (name, value) = (printable(name.as_str()), key.text());
            self.print(&format!("{what} {name} = {value} ({}, revision {revision})\n", origin_name(origin)));
        }
    }
}

impl<V: Form> Handler<Delete<Document<V>>> for Printer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Document<V>>, _: &mut Self::Context) {
        let Delete { name, key, revision, origin, reason } = delete;
        let origin = origin_name(origin);
        if self.is_json() {
            let (name, value, encoding) = (quoted(name.as_str()), key.json(), encoding::<V>());
            self.print(&format!(
                "{{\"type\":\"delete\",\"name\":{name},\"value\":{value}{encoding},\"revision\":{revision},\
                 \"origin\":\"{origin}\",\"reason\":\"{reason}\"}}\n"
            ));
        } else {
            let name = printable(name.as_str());
            self.print(&format!("delete {name} ({origin}, revision {revision})\n"));
        }
    }
}

impl Handler<Synced> for Printer {
    type Result = ();

    fn handle(&mut self, Synced { revision, entries }: Synced, _: &mut Self::Context) {
        if self.is_json() {
            self.print(&format!("{{\"type\":\"synced\",\"revision\":{revision},\"entries\":{entries}}}\n"));
        } else {
            self.print(&format!("synced: {entries} keys at revision {revision}\n"));
        }
    }
}

impl Handler<Resynced> for Printer {
    type Result = ();

    fn handle(&mut self, Resynced { from, to }: Resynced, _: &mut Self::Context) {
        if self.is_json() {
            self.print(&format!("{{\"type\":\"resynced\",\"from\":{from},\"to\":{to}}}\n"));
        } else {
            self.print(&format!("resynced: steps between revisions {from} and {to} are left out\n"));
        }
    }
}

impl Handler<Undecodable> for Printer {
    type Result = ();

    fn handle(&mut self, Undecodable { name, revision, cause }: Undecodable, _: &mut Self::Context) {
        if self.is_json() {
            self.print(&undecodable_line(&name, revision, &cause));
        } else {
            self.print(&format!("undecodable {} (revision {revision}): {cause}\n", printable(name.as_str())));
        }
    }
}

impl Handler<Conflict> for Printer {
    type Result = ();

    fn handle(&mut self, Conflict { name, revision, lease, policy }: Conflict, _: &mut Self::Context) {
        let policy = policy_name(policy);
        if self.is_json() {
            let name = quoted(name.as_str());
            self.print(&format!(
                "{{\"type\":\"conflict\",\"name\":{name},\"revision\":{revision},\"policy\":\"{policy}\"}}\n"
            ));
        } else {
            let name = printable(name.as_str());
            self.print(&format!("conflict {name} (revision {revision}): owned by lease {lease}, {policy}\n"));
        }
    }
}

impl Handler<Healed> for Printer {
    type Result = ();

    fn handle(&mut self, Healed { name, revision }: Healed, _: &mut Self::Context) {
        if self.is_json() {
            let name = quoted(name.as_str());
            self.print(&format!("{{\"type\":\"healed\",\"name\":{name},\"revision\":{revision}}}\n"));
        } else {
            self.print(&format!("healed {} (revision {revision})\n", printable(name.as_str())));
        }
    }
}

impl Handler<Repaired> for Printer {
    type Result = ();

    fn handle(&mut self, Repaired { name, damage, revision }: Repaired, _: &mut Self::Context) {
        if self.is_json() {
            self.print(&format!("{{{}}}\n", repaired_members(&name, damage, revision)));
        } else {
            self.print(&format!("{}\n", repaired_text(&name, damage, revision)));
        }
    }
}

impl Handler<SetAside> for Printer {
    type Result = ();

    fn handle(&mut self, SetAside { name, cause }: SetAside, _: &mut Self::Context) {
        if self.is_json() {
            self.print(&format!("{{{}}}\n", set_aside_members(&name, cause.as_deref())));
        } else {
            self.print(&format!("{}\n", set_aside_text(&name, cause.as_deref())));
        }
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

/// An undecodable value in JSON output.
pub(crate) fn undecodable_line(name: &KeyName, revision: Revision, cause: &CodecError) -> String {
    let (name, cause) = (quoted(name.as_str()), quoted(&cause.to_string()));
    format!("{{\"type\":\"undecodable\",\"name\":{name},\"revision\":{revision},\"cause\":{cause}}}\n")
}

/// An own key that was put back, for people.
pub(crate) fn repaired_text(name: &KeyName, damage: Damage, revision: Revision) -> String {
    format!("repaired {} (revision {revision}): {damage} by someone else", printable(name.as_str()))
}

/// An own key that was put back: the members of the object in JSON output.
pub(crate) fn repaired_members(name: &KeyName, damage: Damage, revision: Revision) -> String {
    let name = quoted(name.as_str());
    format!("\"type\":\"repaired\",\"name\":{name},\"damage\":\"{damage}\",\"revision\":{revision}")
}

/// An own key that the kvstore refuses, or without a cause refuses no longer, for people.
pub(crate) fn set_aside_text(name: &KeyName, cause: Option<&str>) -> String {
    let name = printable(name.as_str());
    cause.map_or_else(
        || format!("set aside no longer {name}"),
        |cause| format!("set aside {name}: {}", printable(cause)),
    )
}

/// An own key that the kvstore refuses, or without a cause refuses no longer: the members of the object in JSON output.
pub(crate) fn set_aside_members(name: &KeyName, cause: Option<&str>) -> String {
    let (name, cause) = (quoted(name.as_str()), cause.map_or_else(|| "null".to_owned(), quoted));
    format!("\"type\":\"set_aside\",\"name\":{name},\"cause\":{cause}")
}

/// A state, with a line end.
pub(crate) fn state_line(format: Format, state: &State) -> String {
    let mut line = String::new();
    let name = state.name();
    let _ = match (format, state.cause()) {
        (Format::Json, Some(cause)) => {
            writeln!(line, "{{\"type\":\"status\",\"state\":\"{name}\",\"cause\":{}}}", quoted(cause))
        }
        (Format::Json, None) => writeln!(line, "{{\"type\":\"status\",\"state\":\"{name}\"}}"),
        (Format::Text, Some(cause)) => writeln!(line, "status {name}: {}", printable(cause)),
        (Format::Text, None) => writeln!(line, "status {name}"),
    };
    line
}

/// The answer to a command: with its id, as it was given.
pub(crate) fn reply(id: Option<&str>, answer: Result<Answer, String>) -> String {
    let mut line = "{\"type\":\"reply\"".to_owned();
    if let Some(id) = id {
        let _ = write!(line, ",\"id\":{id}");
    }
    match answer {
        Ok(answer) => {
            line.push_str(",\"ok\":true");
            if let Some(revision) = answer.revision {
                let _ = write!(line, ",\"revision\":{revision}");
            }
            line.push_str(&answer.more);
        }
        Err(error) => {
            let _ = write!(line, ",\"ok\":false,\"error\":{}", quoted(&error));
        }
    }
    line.push_str("}\n");
    line
}

/// What a command answers when it went well.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) revision: Option<Revision>,
    /// More members of the object, each with a comma before it.
    pub(crate) more: String,
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
