//! `publish`: own every key of a file, without reading what others have.

use std::collections::HashSet;
use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use actix::prelude::*;
use shared_store_actors::core::own::OwnEvent;
use shared_store_actors::{Key, Prefix, PublishEvent, Publisher, PublisherStatus, State, Trouble, publish};

use crate::cli::{Common, OnExit, PublishArgs};
use crate::document::{Document, read_lines};
use crate::setup::{self, Failure, Signals};

/// With `--once`, how long nothing may move.
const STALLED: Duration = Duration::from_secs(30);
/// How many refused keys are named.
const NAMED: usize = 10;

pub(crate) async fn run(common: &Common, args: &PublishArgs) -> Result<(), Failure> {
    let what = args.file.display();
    let text = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(&args.file)
    };
    let text = text.map_err(|error| Failure::usage(format_args!("cannot read {what}: {error}")))?;
    let documents = read_lines(&text, &what.to_string()).map_err(Failure::usage)?;
    drop(text);

    let mut publishing = publish::<Document>(setup::own(setup::config(common)?, &args.own));
    if let Some(cluster) = &args.canary {
        let canaries = Prefix::canaries(cluster);
        publishing = publishing.canary(canaries.map_err(|error| Failure::usage(format_args!("--canary: {error}")))?);
    }
    let mut signals = Signals::new()?;
    let reporter = Reporter::default().start();
    let publisher = publishing.observer(reporter.clone().recipient()).start()?;
    // Of a name that is there twice the last value is published.
    let total = documents.iter().map(Key::name).collect::<HashSet<_>>().len();
    publisher.update_keys(documents).await.map_err(Failure::promise)?;
    let done = tokio::select! {
        done = published(&publisher, common, args, total) => done,
        () = signals.next() => if args.once {
            Err(Failure::promise("interrupted before all was written"))
        } else {
            Ok(())
        },
    };
    if done.is_err() && matches!(publisher.state(), State::Connecting { .. }) {
        // Nothing was ever written.
        return done;
    }
    let delete = !args.once && args.own.on_exit == OnExit::Close;
    let left = if delete { publisher.close().await } else { publisher.release().await };
    done.and(left.map_err(Failure::from))
}

/// Says when all is in; ends then with `--once`, and otherwise never.
async fn published(
    publisher: &Publisher<Document>,
    common: &Common,
    args: &PublishArgs,
    total: usize,
) -> Result<(), Failure> {
    reached(publisher, common.list_timeout).await?;
    if !args.once {
        setup::say(format_args!("publishing {total} keys until a signal"));
    }
    let status = all_in(publisher, args).await?;
    let refused = status.refused.len();
    let canary = if status.canary.is_some() { " and the canary" } else { "" };
    setup::say(format_args!("published {} keys{canary}", total.saturating_sub(refused)));
    if !args.once {
        return std::future::pending().await;
    }
    if refused == 0 {
        return Ok(());
    }
    let mut reasons = format!("{refused} keys are refused");
    for (name, cause) in status.refused.iter().take(NAMED) {
        reasons.push_str(&format!("\n  {name}: {cause}"));
    }
    if refused > NAMED {
        reasons.push_str(&format!("\n  and {} more", refused - NAMED));
    }
    Err(Failure::promise(reasons))
}

/// Waits for the kvstore to answer, and tells why that takes so long.
async fn reached(publisher: &Publisher<Document>, timeout: Duration) -> Result<(), Failure> {
    let reached = async {
        let mut state = publisher.state();
        while matches!(state, State::Connecting { .. }) {
            if state.cause().is_some() {
                setup::say(&state);
            }
            state = publisher.state_changed(&state).await;
        }
    };
    tokio::time::timeout(timeout, reached).await.map_err(|_| {
        let state = publisher.state();
        let cause = state.cause().map_or("no answer", |cause| &**cause);
        Failure::promise(format_args!("the kvstore did not answer within {} s: {cause}", timeout.as_secs_f64()))
    })
}

/// Waits for all keys; with `--once` no longer than something moves.
async fn all_in(publisher: &Publisher<Document>, args: &PublishArgs) -> Result<PublisherStatus, Failure> {
    let mut synced = pin!(publisher.synced());
    let mut pending = usize::MAX;
    loop {
        if let Ok(status) = tokio::time::timeout(STALLED, &mut synced).await {
            return status.map_err(Failure::promise);
        }
        let status = publisher.status().await.map_err(Failure::promise)?;
        if args.once && status.pending >= pending {
            let cause = status.state.cause().map_or_else(String::new, |cause| format!(": {cause}"));
            return Err(Failure::promise(format_args!("{pending} keys could not be written{cause}")));
        }
        pending = status.pending;
    }
}

/// Says on stderr what is wrong.
#[derive(Debug, Default)]
struct Reporter {
    last: String,
}

impl Actor for Reporter {
    type Context = Context<Self>;
}

impl Handler<Trouble> for Reporter {
    type Result = ();

    fn handle(&mut self, Trouble(event): Trouble, _: &mut Self::Context) {
        let (of, event) = match event {
            PublishEvent::Keys(event) => ("", event),
            PublishEvent::Canary(event) => ("canary: ", event),
            PublishEvent::Synced { .. } | PublishEvent::Closed { .. } => return,
        };
        let line = match event {
            OwnEvent::SetAside { name, cause } => format!("{of}refused {name}: {cause}"),
            OwnEvent::Conflict { name, lease, policy, .. } => {
                format!("{of}conflict {name}: owned by lease {lease}, {policy:?}")
            }
            OwnEvent::Lost { name } => format!("{of}lost {name}: left to its other owner"),
            OwnEvent::LeaseLost { lease, cause } => format!("{of}lease {lease} is lost: {cause}"),
            OwnEvent::HistoryWentBack => format!("{of}the kvstore is another one: publishing again"),
            OwnEvent::BackendFailed(cause) => format!("{of}write failed, trying again: {cause}"),
            OwnEvent::Done { .. }
            | OwnEvent::Stored { .. }
            | OwnEvent::Released { .. }
            | OwnEvent::Closed { .. } => return,
        };
        // An outage repeats itself.
        if self.last != line {
            setup::say(&line);
            self.last = line;
        }
    }
}
