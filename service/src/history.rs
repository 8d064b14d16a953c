//! `history` and `explain`: what happened to a key, as far as the kvstore remembers.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use shared_store::backend::{WatchRequest, WatchResponse};
use shared_store::{BackendError, Event, Header, KeyName, KeyRange, KeyValue, LeaseId, Revision};

use crate::cli::{Common, Format};
use crate::document::AnyDocument;
use crate::entry::hex;
use crate::kvstore::{Kvstore, Left};
use crate::output::print_all;
use crate::printable::{counted, printable};
use crate::record::{Encoded, json};
use crate::setup::{self, Failure};
use crate::value::Form;

/// A key that is gone has no last change to wait for: its history is complete when nothing comes for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How many changes `explain` shows.
const LAST: usize = 10;

/// What happened to a key.
#[derive(Debug)]
struct History {
    /// The oldest revision the kvstore remembers, if it has forgotten others.
    since: Option<Revision>,
    changes: Vec<Event>,
}

/// A change in JSON output.
#[derive(Debug, Serialize)]
struct Change {
    change: &'static str,
    revision: u64,
    #[serde(flatten)]
    value: Option<Encoded>,
    /// Why the value cannot be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecodable: Option<String>,
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
}

pub(crate) async fn run<V: Form>(common: &Common, name: &str) -> Result<(), Failure> {
    let name = KeyName::new(name).map_err(Failure::usage)?;
    let kvstore = Kvstore::open(common)?;
    let (_, now) = kvstore.key(&name).await?;
    let history = read(&kvstore, &name, now.as_ref()).await?;
    if let Some(since) = history.since {
        setup::say(format_args!("note: the kvstore was compacted: changes before revision {since} are forgotten"));
    }
    if history.changes.is_empty() {
        return Err(Failure::promise(format_args!("no change of {:?} below {} is remembered", &*name, kvstore.prefix)));
    }
    print_all(|out| {
        history.changes.iter().try_for_each(|event| match common.output {
            Format::Text => writeln!(out, "{}", text::<V>(&name, event)),
            Format::Json => writeln!(out, "{}", json(&record::<V>(&name, event))),
        })
    })
}

/// All changes of a key that the kvstore remembers.
async fn read(kvstore: &Kvstore, name: &KeyName, now: Option<&KeyValue>) -> Result<History, Failure> {
    let range = KeyRange::one(&kvstore.prefix.path(name));
    match changes(kvstore, &range, Revision(1), now).await {
        Ok(changes) => Ok(History { since: None, changes }),
        Err(BackendError::Compacted { oldest }) => {
            let changes = changes(kvstore, &range, oldest, now).await.map_err(Failure::promise)?;
            Ok(History { since: Some(oldest), changes })
        }
        Err(error) => Err(Failure::promise(error)),
    }
}

async fn changes(
    kvstore: &Kvstore,
    range: &KeyRange,
    start: Revision,
    now: Option<&KeyValue>,
) -> Result<Vec<Event>, BackendError> {
    if now.is_some_and(|kv| kv.mod_revision < start) {
        return Ok(Vec::new());
    }
    let mut stream = kvstore.watch(WatchRequest { range: range.clone(), start }).await?;
    let mut changes = Vec::new();
    loop {
        let next = stream.next();
        let response = match now {
            Some(_) => next.await?,
            None => match tokio::time::timeout(QUIET, next).await {
                Ok(response) => response?,
                Err(_) => return Ok(changes),
            },
        };
        match response {
            WatchResponse::Events(events) => changes.extend(events.events),
            WatchResponse::Progress(_) => return Ok(changes),
        }
        if let (Some(kv), Some(last)) = (now, changes.last())
            && last.revision() >= kv.mod_revision
        {
            return Ok(changes);
        }
    }
}

/// What kind of change it is.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Put(kv) if kv.create_revision == kv.mod_revision => "created",
        Event::Put(_) => "modified",
        Event::Delete { .. } => "deleted",
    }
}

fn record<V: Form>(name: &KeyName, event: &Event) -> Change {
    let (change, revision) = (kind(event), event.revision().0);
    let Event::Put(kv) = event else {
        return Change { change, revision, value: None, undecodable: None, lease: None, size: None };
    };
    let document = V::check(&kv.value)
        .map(|()| Encoded::of::<V>(&AnyDocument::from_bytes(name.clone(), kv.value.clone()).as_form()));
    let (value, undecodable) = match document {
        Ok(value) => (Some(value), None),
        Err(cause) => (None, Some(cause.to_string())),
    };
    Change { change, revision, value, undecodable, lease: hex(kv.lease), size: Some(kv.value.len()) }
}

fn text<V: Form>(name: &KeyName, event: &Event) -> String {
    let (change, revision) = (kind(event), event.revision());
    let Event::Put(kv) = event else {
        return format!("revision {revision}: {change}");
    };
    let by = hex(kv.lease).map_or_else(|| "under no lease".to_owned(), |lease| format!("by lease {lease}"));
    let value = match V::check(&kv.value) {
        Ok(()) => AnyDocument::from_bytes(name.clone(), kv.value.clone()).as_form::<V>().text(),
        Err(cause) => format!("({}, {cause})", counted(kv.value.len(), "byte")),
    };
    format!("revision {revision}: {change} {by} = {value}")
}

/// What is known of a key, in JSON output.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "explain")]
struct Explained<'a> {
    name: &'a str,
    exists: bool,
    kvstore_revision: u64,
    cluster: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Present>,
    /// The oldest revision that is remembered, if not all are.
    history_since: Option<u64>,
    history: Vec<Change>,
}

/// A key that exists.
#[derive(Debug, Serialize)]
struct Present {
    revision: u64,
    create_revision: u64,
    lease: Option<String>,
    ttl: Option<u64>,
    size: usize,
    decodes: bool,
    cause: Option<String>,
}

pub(crate) async fn explain<V: Form>(common: &Common, name: &str) -> Result<(), Failure> {
    let name = KeyName::new(name).map_err(Failure::usage)?;
    let kvstore = Kvstore::open(common)?;
    let known = Known::ask(&kvstore, &name).await?;
    print_all(|out| match common.output {
        Format::Text => page::<V>(out, &kvstore, &name, &known),
        Format::Json => writeln!(out, "{}", json(&known.record::<V>(&name))),
    })
}

/// What the kvstore knows of a key, as the JSON of `explain`.
pub(crate) async fn explained<V: Form>(kvstore: &Kvstore, name: &KeyName) -> Result<String, Failure> {
    Known::ask(kvstore, name).await.map(|known| json(&known.record::<V>(name)))
}

/// What the kvstore knows of a key.
struct Known {
    header: Header,
    now: Option<KeyValue>,
    history: History,
    /// Of the key, or of the last value of a deleted key.
    lease: LeaseId,
    left: Left,
}

impl Known {
    async fn ask(kvstore: &Kvstore, name: &KeyName) -> Result<Self, Failure> {
        let (header, now) = kvstore.key(name).await?;
        let history = read(kvstore, name, now.as_ref()).await?;
        let lease = now.as_ref().map(|kv| kv.lease).or_else(|| last_lease(&history.changes)).unwrap_or(LeaseId::NONE);
        let left = kvstore.left(lease).await?;
        Ok(Self { header, now, history, lease, left })
    }

    fn record<'a, V: Form>(&self, name: &'a KeyName) -> Explained<'a> {
        let key = self.now.as_ref().map(|kv| Present {
            revision: kv.mod_revision.0,
            create_revision: kv.create_revision.0,
            lease: hex(kv.lease),
            ttl: self.left.seconds(),
            size: kv.value.len(),
            decodes: V::check(&kv.value).is_ok(),
            cause: V::check(&kv.value).err().map(|cause| cause.to_string()),
        });
        Explained {
            name: name.as_str(),
            exists: self.now.is_some(),
            kvstore_revision: self.header.revision.0,
            cluster: format!("{:016x}", self.header.cluster.0),
            key,
            history_since: self.history.since.map(|since| since.0),
            history: latest(&self.history.changes).iter().map(|event| record::<V>(name, event)).collect(),
        }
    }
}

fn latest(changes: &[Event]) -> &[Event] {
    &changes[changes.len().saturating_sub(LAST)..]
}

/// The lease of the last value a deleted key had.
fn last_lease(changes: &[Event]) -> Option<LeaseId> {
    changes.iter().rev().find_map(|event| if let Event::Put(kv) = event { Some(kv.lease) } else { None })
}

fn page<V: Form>(out: &mut dyn Write, kvstore: &Kvstore, name: &KeyName, known: &Known) -> io::Result<()> {
    let Known { header, now, history, lease, left } = known;
    writeln!(out, "key      {}/{}", kvstore.prefix, printable(name.as_str()))?;
    writeln!(out, "kvstore  cluster {:016x} at revision {}", header.cluster.0, header.revision)?;
    let owner = hex(*lease);
    match now {
        Some(kv) => {
            let (created, modified) = (kv.create_revision, kv.mod_revision);
            writeln!(out, "state    exists: created at revision {created}, last modified at revision {modified}")?;
            let owner = match (owner, left) {
                (None, _) => "nobody: the key is under no lease and stays until somebody deletes it".to_owned(),
                (Some(lease), Left::For(_)) => {
                    format!(
                        "lease {lease}, {left} left: the key is deleted then, unless its owner keeps the lease alive"
                    )
                }
                (Some(lease), Left::Gone) => format!("lease {lease}, which has ended: the key is being deleted"),
                (Some(lease), Left::NoLease | Left::Unknown) => {
                    format!("lease {lease}; the kvstore does not tell how long it has left")
                }
            };
            writeln!(out, "owner    {owner}")?;
            match V::check(&kv.value) {
                Ok(()) => writeln!(out, "value    {} of valid {}", counted(kv.value.len(), "byte"), V::NAME)?,
                Err(cause) => writeln!(
                    out,
                    "value    {}, not decodable: {cause}; stores keep the last good value until a valid one comes",
                    counted(kv.value.len(), "byte")
                )?,
            }
        }
        None => {
            writeln!(out, "state    does not exist")?;
            match (owner, left) {
                (Some(lease), Left::Gone) => writeln!(
                    out,
                    "owner    was lease {lease}, which has ended: the owner has left, or could not keep it alive"
                )?,
                (Some(lease), Left::For(_)) => writeln!(
                    out,
                    "owner    was lease {lease}, which still lives ({left} left): somebody has deleted the key, or its owner gave it up"
                )?,
                (Some(_) | None, _) => {}
            }
        }
    }
    let shown = latest(&history.changes);
    let forgotten = history.since.map_or_else(String::new, |since| format!(", remembered since revision {since}"));
    writeln!(out, "history  {}{forgotten}", counted(history.changes.len(), "change"))?;
    if shown.len() < history.changes.len() {
        writeln!(out, "  the last {}; shared-store history prints all", shown.len())?;
    }
    shown.iter().try_for_each(|event| writeln!(out, "  {}", text::<V>(name, event)))
}
