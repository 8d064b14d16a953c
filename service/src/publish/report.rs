//! What `publish` says: on stderr for people, and with `--output json` on stdout, too.

use actix::prelude::*;
use serde::Serialize;
use shared_store::OwnEvent;
use shared_store::{PublishEvent, PublisherStatus, State, StateChanged, Trouble};

use crate::output::{Line, Printer, policy_name, repaired, repaired_text, set_aside, set_aside_text};
use crate::printable::{counted, printable};
use crate::record::{Record, json};
use crate::setup;

/// Says what happens to the own keys.
#[derive(Debug)]
pub(crate) struct Reporter {
    /// Prints JSON, if that is asked for.
    printer: Option<Addr<Printer>>,
    /// The line said last.
    last: String,
    /// Whether an outage has been told, and not its end.
    away: bool,
}

impl Reporter {
    pub(crate) fn new(printer: Option<Addr<Printer>>) -> Self {
        Self { printer, last: String::new(), away: false }
    }

    fn report(&mut self, text: String, record: &impl Serialize) {
        // An outage repeats itself.
        if self.last == text {
            return;
        }
        setup::say(&text);
        self.last = text;
        if let Some(printer) = &self.printer {
            printer.do_send(Line(format!("{}\n", json(record))));
        }
    }
}

impl Actor for Reporter {
    type Context = Context<Self>;
}

impl Handler<Trouble> for Reporter {
    type Result = ();

    fn handle(&mut self, Trouble(event): Trouble, _: &mut Self::Context) {
        let (of, canary, event) = match event {
            PublishEvent::Keys(event) => ("", false, event),
            PublishEvent::Canary(event) => ("canary: ", true, event),
            PublishEvent::Synced { .. } | PublishEvent::Closed { .. } => return,
        };
        let (text, record) = match &event {
            OwnEvent::SetAside { name, cause } => (set_aside_text(name, Some(cause)), set_aside(name, Some(cause))),
            OwnEvent::NoLongerSetAside { name } => (set_aside_text(name, None), set_aside(name, None)),
            OwnEvent::Repaired { name, damage, revision } => {
                (repaired_text(name, *damage, *revision), repaired(name, *damage, *revision))
            }
            OwnEvent::Conflict { name, lease, policy, revision } => {
                let (name, policy) = (name.as_str(), policy_name(*policy));
                (
                    format!("conflict {}: owned by lease {lease}, {policy}", printable(name)),
                    Record::Conflict { name, revision: revision.0, policy },
                )
            }
            OwnEvent::Lost { name } => (
                format!("lost {}: left to its other owner", printable(name.as_str())),
                Record::Lost { name: name.as_str() },
            ),
            OwnEvent::LeaseLost { lease, cause } => {
                (format!("lease {lease} is lost: {cause}"), Record::LeaseLost { lease: lease.to_string(), cause })
            }
            OwnEvent::HistoryChanged => {
                ("the kvstore is another one: publishing again".to_owned(), Record::HistoryChanged {})
            }
            OwnEvent::BackendFailed(cause) => {
                (format!("write failed, trying again: {cause}"), Record::WriteFailed { cause: cause.to_string() })
            }
            OwnEvent::StillSetAside { .. }
            | OwnEvent::Done { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Closed { .. } => {
                return;
            }
        };
        self.report(format!("{of}{text}"), &Told { record, canary });
    }
}

/// An event, and whether it is the canary's.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    record: Record<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    canary: bool,
}

impl Handler<StateChanged> for Reporter {
    type Result = ();

    fn handle(&mut self, StateChanged(state): StateChanged, _: &mut Self::Context) {
        let closed = matches!(state, State::Closed { .. });
        if state.cause().is_some() && !closed {
            setup::say(&state);
            self.away = true;
        } else if state == State::Synced && std::mem::take(&mut self.away) {
            setup::say("synced: the kvstore answers again");
            // The next outage is another one.
            self.last.clear();
        }
        if let Some(printer) = &self.printer {
            printer.do_send(StateChanged(state));
        }
    }
}

/// All keys are in, or refused.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Published {
    pub(crate) total: usize,
    pub(crate) status: PublisherStatus,
}

impl Handler<Published> for Reporter {
    type Result = ();

    fn handle(&mut self, Published { total, status }: Published, _: &mut Self::Context) {
        let (refused, canary) = (status.refused.len(), status.canary.is_some());
        let keys = total.saturating_sub(refused);
        let and = if canary { " and the canary" } else { "" };
        self.report(format!("published {}{and}", counted(keys, "key")), &Record::Published { keys, refused, canary });
    }
}
