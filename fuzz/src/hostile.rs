//! What a kvstore may say that has the right types and means nothing.

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use shared_store_core::backend::{BackendError, Events, ListPage, WatchResponse};
use shared_store_core::watch::{Action, Delivery, Outcome, Page, PageKeys};
use shared_store_core::{ClusterId, Event, Header, KeyValue, LeaseId, Revision};

/// The prefix of everything.
pub(crate) const PREFIX: &str = "p";

/// Few revisions, so that they meet, and the last one there is.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum At {
    Early(u8),
    Last,
}

impl From<At> for Revision {
    fn from(at: At) -> Self {
        match at {
            At::Early(number) => Self(number.into()),
            At::Last => Self(u64::MAX),
        }
    }
}

#[derive(Debug, Arbitrary)]
pub enum Path {
    Name(u8),
    Prefix,
    Sibling,
    NotText,
    Any(Vec<u8>),
}

impl Path {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Name(name) => format!("{PREFIX}/{}", name % 8).into(),
            Self::Prefix => PREFIX.into(),
            Self::Sibling => format!("{PREFIX}0/a").into(),
            Self::NotText => [PREFIX.as_bytes(), b"/\xff"].concat(),
            Self::Any(bytes) => bytes,
        }
    }
}

#[derive(Debug, Arbitrary)]
pub enum Value {
    Number(u8),
    Any(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
pub struct Kv {
    path: Path,
    value: Value,
    created: At,
    modified: At,
    lease: u8,
}

impl From<Kv> for KeyValue {
    fn from(kv: Kv) -> Self {
        let value = match kv.value {
            Value::Number(number) => (number % 4).to_string().into_bytes(),
            Value::Any(bytes) => bytes,
        };
        Self {
            path: kv.path.bytes().into(),
            value: value.into(),
            create_revision: kv.created.into(),
            mod_revision: kv.modified.into(),
            lease: LeaseId(i64::from(kv.lease % 4)),
        }
    }
}

#[derive(Debug, Arbitrary)]
pub enum Happened {
    Put(Kv),
    Delete(Path, At),
}

impl From<Happened> for Event {
    fn from(happened: Happened) -> Self {
        match happened {
            Happened::Put(kv) => Self::Put(kv.into()),
            Happened::Delete(path, at) => Self::Delete { path: path.bytes().into(), revision: at.into() },
        }
    }
}

fn all<T: From<F>, F>(from: Vec<F>) -> Vec<T> {
    from.into_iter().map(T::from).collect()
}

#[derive(Debug, Arbitrary)]
pub enum Failure {
    Compacted(At),
    Future,
    Lease,
    Unavailable,
    Rejected,
    Misconfigured,
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Compacted(at) => Self::Compacted { oldest: at.into() },
            Failure::Future => Self::FutureRevision,
            Failure::Lease => Self::LeaseNotFound { lease: LeaseId(1) },
            Failure::Unavailable => Self::unavailable("?"),
            Failure::Rejected => Self::rejected("?"),
            Failure::Misconfigured => Self::misconfigured("?"),
        }
    }
}

/// An answer to whatever was asked.
#[derive(Debug, Arbitrary)]
pub struct Answer {
    other_cluster: bool,
    at: At,
    kvs: Vec<Kv>,
    events: Vec<Happened>,
    count: u64,
    flag: bool,
    failure: Option<Failure>,
    silent: bool,
}

impl Answer {
    /// This answer to `action`.
    pub fn to(self, action: &Action) -> Outcome {
        let header = Header { cluster: ClusterId(self.other_cluster.into()), revision: self.at.into() };
        match (action, self.failure) {
            (Action::Wait(_), _) => Outcome::Waited,
            (Action::Read(_), _) if self.silent => Outcome::Silent,
            (_, Some(failure)) => Outcome::Failed(failure.into()),
            (Action::List(_), None) => {
                Outcome::Listed(ListPage { header, kvs: all(self.kvs), more: self.flag, count: self.count })
            }
            (Action::Open(_), None) => Outcome::Opened(header),
            (Action::Read(_), None) if self.events.is_empty() => Outcome::Read(WatchResponse::Progress(header)),
            (Action::Read(_), None) => {
                let events = Events { header, events: all(self.events), complete: self.flag };
                Outcome::Read(WatchResponse::Events(events))
            }
        }
    }
}

/// What a watch may tell a store.
#[derive(Debug, Arbitrary)]
pub enum Said {
    Page { first: bool, last: bool, at: At, same_history: bool, names: bool, keys: Vec<Kv> },
    Events(Vec<Happened>),
    Progress(At),
    Live,
    Broken(Failure),
}

impl From<Said> for Delivery {
    fn from(said: Said) -> Self {
        match said {
            Said::Page { first, last, at, same_history, names, keys } => {
                let keys = if names { PageKeys::Names(all(keys)) } else { PageKeys::Full(all(keys)) };
                let cluster = ClusterId(if same_history { 1 } else { 2 });
                Self::Page(Page { first, last, revision: at.into(), cluster, same_history, keys })
            }
            Said::Events(events) => Self::Events(all(events)),
            Said::Progress(at) => Self::Progress(at.into()),
            Said::Live => Self::Live,
            Said::Broken(failure) => Self::Broken(failure.into()),
        }
    }
}
