//! What the program prints: one line a message, flushed at once.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use actix::prelude::*;
use shared_store_actors::{
    Conflict, ConflictPolicy, Delete, Origin, Resynced, Revision, State, StateChanged, Synced, Undecodable, Update,
};
use tokio::sync::watch;

use crate::cli::Format;
use crate::document::Document;

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
    pub(crate) fn start(format: Format) -> (Addr<Self>, watch::Receiver<Option<String>>) {
        let (end, ended) = watch::channel(None);
        let arbiter = Arbiter::new();
        let printer = Self::start_in_arbiter(&arbiter.handle(), move |_| Self { format, state: None, end });
        (printer, ended)
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

impl Handler<Update<Document>> for Printer {
    type Result = ();

    fn handle(&mut self, update: Update<Document>, _: &mut Self::Context) {
        let Update { name, key, old, revision, origin, initial } = update;
        let value = key.json();
        if self.is_json() {
            let (name, origin) = (quoted(name.as_str()), origin_name(origin));
            let old = old.as_ref().map_or("null", |old| old.json());
            self.print(&format!(
                "{{\"type\":\"update\",\"name\":{name},\"value\":{value},\"old\":{old},\"revision\":{revision},\
                 \"origin\":\"{origin}\",\"initial\":{initial}}}\n"
            ));
        } else {
            let what = if old.is_some() { "update" } else { "create" };
            self.print(&format!("{what} {name} = {value} ({}, revision {revision})\n", origin_name(origin)));
        }
    }
}

impl Handler<Delete<Document>> for Printer {
    type Result = ();

    fn handle(&mut self, delete: Delete<Document>, _: &mut Self::Context) {
        let Delete { name, key, revision, origin } = delete;
        let origin = origin_name(origin);
        if self.is_json() {
            let (name, value) = (quoted(name.as_str()), key.json());
            self.print(&format!(
                "{{\"type\":\"delete\",\"name\":{name},\"value\":{value},\"revision\":{revision},\
                 \"origin\":\"{origin}\"}}\n"
            ));
        } else {
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
            let (name, cause) = (quoted(name.as_str()), quoted(&cause.to_string()));
            self.print(&format!(
                "{{\"type\":\"undecodable\",\"name\":{name},\"revision\":{revision},\"cause\":{cause}}}\n"
            ));
        } else {
            self.print(&format!("undecodable {name} (revision {revision}): {cause}\n"));
        }
    }
}

impl Handler<Conflict> for Printer {
    type Result = ();

    fn handle(&mut self, Conflict { name, revision, lease, policy }: Conflict, _: &mut Self::Context) {
        let policy = match policy {
            ConflictPolicy::Overwrite => "overwrite",
            ConflictPolicy::Yield => "yield",
            ConflictPolicy::Fail => "fail",
        };
        if self.is_json() {
            let name = quoted(name.as_str());
            self.print(&format!(
                "{{\"type\":\"conflict\",\"name\":{name},\"revision\":{revision},\"policy\":\"{policy}\"}}\n"
            ));
        } else {
            self.print(&format!("conflict {name} (revision {revision}): owned by lease {lease}, {policy}\n"));
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

fn state_line(format: Format, state: &State) -> String {
    let mut line = String::new();
    let name = state.name();
    let _ = match (format, state.cause()) {
        (Format::Json, Some(cause)) => {
            writeln!(line, "{{\"type\":\"status\",\"state\":\"{name}\",\"cause\":{}}}", quoted(cause))
        }
        (Format::Json, None) => writeln!(line, "{{\"type\":\"status\",\"state\":\"{name}\"}}"),
        (Format::Text, Some(cause)) => writeln!(line, "status {name}: {cause}"),
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

pub(crate) fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Local => "local",
        Origin::Remote => "remote",
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
