//! A store on the bench: deliveries and answers in, words out.

use super::*;
use crate::backend::{BackendError, Expect, LeaseGrant, Write, WriteAction, WriteOutcome};
use crate::kv::ClusterId;
use crate::own::{Answer, Request, RequestId, WriteError};
use crate::watch::PageKeys;
use std::cell::Cell;
use std::collections::HashMap;

/// What the kvstore says to a transaction.
pub(super) type Outcome = Result<WriteOutcome, BackendError>;

/// A name and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) name: String,
    pub(super) value: u32,
}

#[derive(Debug)]
pub(super) enum Digits {}

thread_local! {
    static DECODED: Cell<usize> = const { Cell::new(0) };
    static REFUSED: Cell<Option<u32>> = const { Cell::new(None) };
}

impl Key for Note {
    type Codec = Digits;

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// A panic that prints nothing.
pub(super) fn quiet_panic() -> ! {
    std::panic::resume_unwind(Box::new("boo"))
}

impl Digits {
    /// This value cannot be decoded from now on.
    pub(super) fn refuse(value: Option<u32>) {
        REFUSED.set(value);
    }
}

impl Codec<Note> for Digits {
    const TAG: &'static str = "digits";

    fn encode(key: &Note) -> Result<Bytes, CodecError> {
        match key.value {
            666 => quiet_panic(),
            value => Ok(value.to_string().into()),
        }
    }

    fn decode(name: &KeyName, value: &Bytes) -> Result<Note, CodecError> {
        DECODED.set(DECODED.get() + 1);
        match &value[..] {
            b"panic" => quiet_panic(),
            digits => match std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
                Some(value) if REFUSED.get() != Some(value) => Ok(Note { name: name.to_string(), value }),
                Some(_) | None => Err(CodecError::new("no digits")),
            },
        }
    }
}

pub(super) fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

pub(super) fn note(name: &str, value: u32) -> Note {
    Note { name: name.into(), value }
}

pub(super) fn kv(name: &str, value: &str, revision: u64) -> KeyValue {
    KeyValue {
        path: format!("p/{name}").into(),
        value: value.to_owned().into(),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        lease: LeaseId(1),
    }
}

pub(super) fn put(name: &str, value: &str, revision: u64) -> Event {
    Event::Put(kv(name, value, revision))
}

pub(super) fn delete(name: &str, revision: u64) -> Event {
    Event::Delete { path: format!("p/{name}").into(), revision: Revision(revision) }
}

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The only one.
    Whole,
    First,
    Last,
}

pub(super) struct Bench {
    pub(super) store: Store<Note>,
    pub(super) reader: Reader<Note>,
    pub(super) now: Instant,
    /// The lease that the store was granted last.
    pub(super) lease: LeaseId,
    /// Parcels not handled yet.
    held: HashMap<ObserverId, Parcel<Note>>,
    happened: Vec<OwnEvent>,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|config| config)
    }

    pub(super) fn with(config: impl FnOnce(Config) -> Config) -> Self {
        DECODED.set(0);
        let config = config(Config::new(Prefix::new("p").unwrap()));
        let store = Store::new(&config, vec![Index::new("tens", |note: &Note| vec![(note.value / 10).to_string()])]);
        let (reader, now, lease) = (store.reader(), Instant::now(), LeaseId::NONE);
        Self { store, reader, now, lease, held: HashMap::new(), happened: Vec::new() }
    }

    /// A store whose first list has these keys.
    pub(super) fn listed(keys: &[KeyValue], revision: u64) -> Self {
        let mut bench = Self::new();
        bench.list(keys, revision);
        bench
    }

    pub(super) fn decoded() -> usize {
        DECODED.get()
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        self.store.deliver(self.now, delivery).unwrap();
    }

    pub(super) fn page(part: Part, revision: u64, keys: PageKeys) -> Delivery {
        let (first, last) = (part != Part::Last, part != Part::First);
        let (revision, cluster) = (Revision(revision), ClusterId(1));
        Delivery::Page(Page { first, last, revision, cluster, same_history: true, keys })
    }

    pub(super) fn list(&mut self, keys: &[KeyValue], revision: u64) {
        self.deliver(Self::page(Part::Whole, revision, PageKeys::Full(keys.to_vec())));
    }

    /// A list of another history.
    pub(super) fn foreign_list(&mut self, keys: &[KeyValue], revision: u64) {
        self.deliver(Self::foreign_page(keys, revision));
    }

    pub(super) fn foreign_page(keys: &[KeyValue], revision: u64) -> Delivery {
        let (revision, cluster, keys) = (Revision(revision), ClusterId(2), PageKeys::Full(keys.to_vec()));
        Delivery::Page(Page { first: true, last: true, revision, cluster, same_history: false, keys })
    }

    pub(super) fn events(&mut self, events: impl Into<Vec<Event>>) {
        self.deliver(Delivery::Events(events.into()));
    }

    pub(super) fn passes(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.store.timeout(self.now);
    }

    /// Performs every request that is due; the kvstore commits the writes at `revision`. The writes in words.
    pub(super) fn commit(&mut self, revision: u64) -> Vec<String> {
        let mut words = Vec::new();
        while let Some((id, writes)) = self.next_write() {
            words.extend(writes.iter().map(write_in_words));
            self.answer(id, committed(revision));
        }
        words
    }

    /// Performs requests up to the next transaction, which it leaves to the test.
    pub(super) fn next_write(&mut self) -> Option<(RequestId, Vec<Write>)> {
        while let Some((id, request)) = self.store.poll_request(self.now) {
            let answer = match request {
                Request::Write(writes) => return Some((id, writes)),
                Request::Grant { lease, ttl } => {
                    self.lease = lease;
                    Answer::Granted(Ok(LeaseGrant { lease, ttl }))
                }
                Request::KeepAlive(_) => Answer::KeptAlive(Ok(Duration::from_secs(900))),
                Request::Revoke(_) => Answer::Revoked(Ok(())),
            };
            self.store.answer(self.now, id, answer);
        }
        None
    }

    /// The kvstore answers to a transaction.
    pub(super) fn answer(&mut self, id: RequestId, outcome: Outcome) {
        self.store.answer(self.now, id, Answer::Written(outcome));
    }

    /// The kvstore answers to the next transaction, which is the only one; what it was, in words.
    pub(super) fn answer_next(&mut self, outcome: Outcome) -> Vec<String> {
        let (id, writes) = self.next_write().expect("there is something to write");
        self.answer(id, outcome);
        writes.iter().map(write_in_words).collect()
    }

    /// Everything that has happened to own keys so far.
    pub(super) fn happened(&mut self) -> &[OwnEvent] {
        self.happened.extend(std::iter::from_fn(|| self.store.poll_event()));
        &self.happened
    }

    /// How a command ended, which it does once.
    pub(super) fn done(&mut self, ticket: u64) -> Option<Result<u64, WriteError>> {
        let wanted = Ticket(ticket);
        let done = |event: &OwnEvent| {
            let OwnEvent::Done { ticket, result } = event else { return None };
            (*ticket == wanted).then(|| result.clone().map(|revision| revision.0))
        };
        let mut results = self.happened().iter().filter_map(done);
        let result = results.next();
        assert_eq!(results.next(), None, "ticket {ticket} ended twice");
        result
    }

    /// How many keys the store owns.
    pub(super) fn owns(&self) -> usize {
        self.store.status().own
    }

    /// Wants a key from now on.
    pub(super) fn want(&mut self, of: &str, value: u32) {
        self.store.put_local(self.now, &note(of, value)).unwrap();
    }

    /// Wants a key once it is in the kvstore.
    pub(super) fn want_sync(&mut self, ticket: u64, of: &str, value: u32) {
        self.store.put_local_sync(self.now, Ticket(ticket), &note(of, value)).unwrap();
    }

    /// Gives a key up.
    pub(super) fn give_up(&mut self, of: &str) {
        self.store.delete_local(self.now, None, &name(of));
    }

    /// What the watch shows of a key that this store has put.
    pub(super) fn put_by_us(&self, of: &str, value: &str, revision: u64) -> Event {
        Event::Put(KeyValue { lease: self.lease, ..kv(of, value, revision) })
    }

    /// Owns a key that is in the kvstore.
    pub(super) fn own(&mut self, of: &str, value: u32, revision: u64) {
        self.want(of, value);
        self.commit(revision);
        self.events([self.put_by_us(of, &value.to_string(), revision)]);
    }

    pub(super) fn observer(&mut self) -> ObserverId {
        self.observe(Filter::new(), DeliveryMode::LatestPerKey)
    }

    pub(super) fn observe(&mut self, filter: Filter<Note>, mode: DeliveryMode) -> ObserverId {
        self.store.subscribe(self.now, filter, mode)
    }

    /// Takes the next parcel and does not handle it.
    pub(super) fn hold(&mut self, id: ObserverId) -> Vec<String> {
        while let Some((id, parcel)) = self.store.poll_parcel() {
            self.held.insert(id, parcel);
        }
        self.held.get(&id).map(words).unwrap_or_default()
    }

    /// Handles the parcel on hold.
    pub(super) fn handled(&mut self, id: ObserverId) {
        self.held.remove(&id);
        self.store.delivered(id);
    }

    /// Everything the observer has still to be told.
    pub(super) fn told(&mut self, id: ObserverId) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let words = self.hold(id);
            if words.is_empty() {
                return told;
            }
            told.extend(words);
            self.handled(id);
        }
    }

    /// The cache in words.
    pub(super) fn shown(&self) -> Vec<String> {
        self.reader.scan("").entries.iter().map(|(name, note)| format!("{name}={}", note.value)).collect()
    }
}

pub(super) fn committed(revision: u64) -> Outcome {
    Ok(WriteOutcome::Committed { revision: Revision(revision) })
}

/// The kvstore had this instead of what the write expected.
pub(super) fn refused(revision: u64, current: Option<KeyValue>) -> Outcome {
    Ok(WriteOutcome::Refused { revision: Revision(revision), current: vec![current] })
}

fn write_in_words(Write { path, expect, action }: &Write) -> String {
    let path = String::from_utf8_lossy(path);
    let name = path.strip_prefix("p/").expect("it is a key of ours");
    let expect = match expect {
        Expect::Absent => "absent".to_owned(),
        Expect::Is { revision, .. } | Expect::Revision(revision) => format!("@{revision}"),
        Expect::Any => "anything".to_owned(),
    };
    match action {
        WriteAction::Put { value, .. } => format!("put {name}={} over {expect}", String::from_utf8_lossy(value)),
        WriteAction::Delete => format!("delete {name} if {expect}"),
    }
}

fn words(parcel: &Parcel<Note>) -> Vec<String> {
    match parcel {
        Parcel::Changes(changes) => changes.iter().map(in_words).collect(),
        Parcel::Notice(Notice::Synced { revision, entries }) => vec![format!("synced {entries} @{revision}")],
        Parcel::Notice(Notice::Resynced { from, to }) => vec![format!("resynced {from} to {to}")],
        Parcel::Notice(Notice::Undecodable { name, revision, cause }) => {
            vec![format!("undecodable {name} @{revision}: {cause}")]
        }
        Parcel::Notice(Notice::Progress { revision }) => vec![format!("progress @{revision}")],
        Parcel::Notice(Notice::Conflict { name, revision, .. }) => vec![format!("conflict {name} @{revision}")],
        Parcel::Notice(Notice::Healed { name, revision }) => vec![format!("healed {name} @{revision}")],
        Parcel::Notice(Notice::Repaired { name, damage, revision }) => {
            vec![format!("repaired {name} @{revision}: {damage}")]
        }
        Parcel::Notice(Notice::SetAside { name, cause }) => {
            vec![format!("set aside {name}: {}", cause.as_deref().unwrap_or("no longer"))]
        }
    }
}

fn in_words(change: &Change<Note>) -> String {
    let Change { name, old, new, revision, origin, .. } = change;
    let origin = if *origin == Origin::Local { " own" } else { "" };
    match (old, new) {
        (None, Some(new)) => format!("+{name}={} @{revision}{origin}", new.value),
        (Some(old), Some(new)) => format!("{name}:{}->{} @{revision}{origin}", old.value, new.value),
        (Some(_), None) => format!("-{name} @{revision}{origin}"),
        (None, None) => format!("void {name}"),
    }
}

/// The path of nothing.
pub(super) const NONE: [&str; 0] = [];
