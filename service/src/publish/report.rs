//! What `publish` says: on stderr for people, and with `--output json` on stdout, too.

use actix::prelude::*;
use shared_store::OwnEvent;
use shared_store::{KeyName, PublishEvent, PublisherStatus, State, StateChanged, Trouble};

use crate::output::{Line, Printer, policy_name, repaired_members, repaired_text, set_aside_members, set_aside_text};
use crate::printable::{printable, quoted};
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

    fn report(&mut self, text: String, json: &str) {
        // An outage repeats itself.
        if self.last == text {
            return;
        }
        setup::say(&text);
        self.last = text;
        if let Some(printer) = &self.printer {
            printer.do_send(Line(format!("{{{json}}}\n")));
        }
    }
}

impl Actor for Reporter {
    type Context = Context<Self>;
}

impl Handler<Trouble> for Reporter {
    type Result = ();

    fn handle(&mut self, Trouble(event): Trouble, _: &mut Self::Context) {
        let (of, json_of, event) = match event {
            PublishEvent::Keys(event) => ("", "", event),
            PublishEvent::Canary(event) => ("canary: ", ",\"canary\":true", event),
            PublishEvent::Synced { .. } | PublishEvent::Closed { .. } => return,
        };
        let member = |name: &KeyName| format!(",\"name\":{}", quoted(name.as_str()));
        let (text, members) = match event {
            OwnEvent::SetAside { name, cause } => {
                (set_aside_text(&name, Some(&cause)), set_aside_members(&name, Some(&cause)))
            }
            OwnEvent::NoLongerSetAside { name } => (set_aside_text(&name, None), set_aside_members(&name, None)),
            OwnEvent::Repaired { name, damage, revision } => {
                (repaired_text(&name, damage, revision), repaired_members(&name, damage, revision))
            }
            OwnEvent::Conflict { name, lease, policy, revision } => (
                format!("conflict {}: owned by lease {lease}, {}", printable(name.as_str()), policy_name(policy)),
                format!(
                    "\"type\":\"conflict\"{},\"revision\":{revision},\"policy\":\"{}\"",
                    member(&name),
                    policy_name(policy)
                ),
            ),
            OwnEvent::Lost { name } => (
                format!("lost {}: left to its other owner", printable(name.as_str())),
                format!("\"type\":\"lost\"{}", member(&name)),
            ),
            OwnEvent::LeaseLost { lease, cause } => (
                format!("lease {lease} is lost: {cause}"),
                format!("\"type\":\"lease_lost\",\"lease\":\"{lease}\",\"cause\":{}", quoted(&cause)),
            ),
            OwnEvent::HistoryChanged => {
                ("the kvstore is another one: publishing again".to_owned(), "\"type\":\"history_changed\"".to_owned())
            }
            OwnEvent::BackendFailed(cause) => (
                format!("write failed, trying again: {cause}"),
                format!("\"type\":\"write_failed\",\"cause\":{}", quoted(&cause.to_string())),
            ),
            OwnEvent::StillSetAside { .. }
            | OwnEvent::Done { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Closed { .. } => {
                return;
            }
        };
        self.report(format!("{of}{text}"), &format!("{members}{json_of}"));
    }
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
        self.report(
            format!("published {keys} keys{and}"),
            &format!("\"type\":\"published\",\"keys\":{keys},\"refused\":{refused},\"canary\":{canary}"),
        );
    }
}
