//! `top`: the store of a prefix, live on a terminal.

mod model;
mod view;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use shared_store::{Backend, Change, KeyName, LeaseId, Origin, Parcel, ParcelStream, Reader, join};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{MissedTickBehavior, interval};

use self::model::{Asked, Kind, Model, Owner, Told};
use self::view::Shown;
use crate::cli::Common;
use crate::document::Document;
use crate::entry::hex;
use crate::setup::{self, Alone, Failure};
use crate::signals::Signals;
use crate::value::Form;

/// Between two pictures at least.
const DRAW: Duration = Duration::from_millis(100);
/// How often names are read again, at most.
const NAMES: Duration = Duration::from_millis(500);
/// How often owners are asked for, and how many at most.
const OWNERS: Duration = Duration::from_secs(5);
const MAX_OWNERS: usize = 50;
/// The keyboard is looked at so often, so that its thread ends.
const KEYBOARD: Duration = Duration::from_millis(200);

pub(crate) async fn run<V: Form>(common: &Common, mut signals: Signals) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal: use watch to read changes, or list"));
    }
    let config = setup::config(common, Alone::Refused)?;
    let backend = Arc::clone(&config.backend);
    let title = format!("{} on {}", config.prefix, common.endpoints.join(", "));
    let store = join::<Document<V>>(config).start().await?;
    let parcels = store.changes_with(|observer| observer.named("top")).await.map_err(Failure::promise)?.into_parcels();
    let keys = keyboard()?;
    let mut terminal = ratatui::try_init()?;
    let view = View { model: Model::new(title, Instant::now()), reader: store.reader().clone(), backend };
    let shown = tokio::select! {
        shown = view.show(&mut terminal, parcels, keys) => shown,
        () = signals.next() => Ok(()),
    };
    ratatui::restore();
    let left = store.release().await.map_err(Failure::from);
    shown.and(left)
}

/// Keys of the keyboard, from a thread of its own. It ends when nobody wants them.
fn keyboard() -> Result<mpsc::Receiver<Event>, Failure> {
    let (sender, keys) = mpsc::channel(16);
    let read = move || {
        while !sender.is_closed() {
            match event::poll(KEYBOARD) {
                Ok(false) => {}
                Ok(true) => {
                    let sent = event::read().map(|event| sender.blocking_send(event).is_ok());
                    if !sent.unwrap_or(false) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("keyboard".to_owned()).spawn(read).map_err(setup::cannot_start)?;
    Ok(keys)
}

struct View<V: Form> {
    model: Model,
    reader: Reader<Document<V>>,
    backend: Arc<dyn Backend>,
}

impl<V: Form> View<V> {
    async fn show(
        mut self,
        terminal: &mut DefaultTerminal,
        mut parcels: ParcelStream<Document<V>>,
        mut keys: mpsc::Receiver<Event>,
    ) -> Result<(), Failure> {
        let (mut draw, mut names, mut ask) = (interval(DRAW), interval(NAMES), interval(OWNERS));
        for interval in [&mut draw, &mut names, &mut ask] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let (mut listed, mut dirty) = (None, true);
        let (found, mut owners) = mpsc::channel(1);
        loop {
            tokio::select! {
                parcel = parcels.next() => match parcel {
                    Some(Parcel::Changes(changes)) => changes.iter().for_each(|change| self.tell(change)),
                    Some(Parcel::Notice(_)) => {}
                    None => return Err(Failure::promise(self.reader.state())),
                },
                event = keys.recv() => match event {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        let page = usize::from(terminal.size()?.height.saturating_sub(view::FIXED));
                        if self.model.key(key, page) == Asked::Quit {
                            return Ok(());
                        }
                        // At once: somebody waits for it.
                        (listed, dirty) = (None, true);
                        draw.reset_immediately();
                        names.reset_immediately();
                    }
                    Some(_) => dirty = true,
                    None => return Err(Failure::promise("the keyboard cannot be read")),
                },
                _ = names.tick() => {
                    let now = self.reader.revision();
                    // A key on the keyboard may have changed the filter or the order, which holds for what is paused, too.
                    if listed.is_none() || !self.model.paused && listed != Some(now) {
                        self.model.refresh(self.reader.names().into_iter());
                        listed = Some(now);
                    }
                    dirty = true;
                }
                _ = ask.tick() => {
                    // One question at a time: a kvstore that is away answers late.
                    if let Ok(found) = found.clone().try_reserve_owned() {
                        actix_rt::spawn(owners_of(self.reader.clone(), Arc::clone(&self.backend), found));
                    }
                }
                Some(owners) = owners.recv() => {
                    self.model.owners = owners;
                    dirty = true;
                }
                _ = draw.tick(), if dirty => {
                    self.draw(terminal)?;
                    dirty = false;
                }
            }
        }
    }

    fn tell(&mut self, change: &Change<Document<V>>) {
        if change.initial {
            return;
        }
        let kind = match (&change.old, &change.new) {
            (None, _) => Kind::Created,
            (Some(_), Some(_)) => Kind::Modified,
            (Some(_), None) => Kind::Deleted,
        };
        let old = change.old.as_ref().map(|old| old.text());
        let (name, revision) = (change.name.clone(), change.revision);
        self.model.tell(Told { at: Instant::now(), kind, name, revision, old });
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
        (self.model.state, self.model.revision) = (self.reader.state(), self.reader.revision());
        let reader = &self.reader;
        let look = |name: &KeyName| {
            reader.entry(name).map(|entry| Shown {
                lease: hex(entry.lease),
                own: entry.origin == Origin::Local,
                size: entry.key.bytes().len(),
                revision: entry.revision.0,
                create_revision: entry.create_revision.0,
                value: entry.key.text(),
            })
        };
        let now = Instant::now();
        terminal.draw(|frame| view::draw(frame, &mut self.model, now, &look)).map(drop)
    }
}

/// The owners with the most keys, and how long their leases have left.
async fn owners_of<V: Form>(reader: Reader<Document<V>>, backend: Arc<dyn Backend>, found: OwnedPermit<Vec<Owner>>) {
    let mut keys = std::collections::HashMap::<LeaseId, usize>::new();
    reader.entries().for_each(|entry| *keys.entry(entry.lease).or_default() += 1);
    let mut leases: Vec<_> = keys.into_iter().collect();
    leases.sort_by_key(|(lease, keys)| (std::cmp::Reverse(*keys), *lease));
    leases.truncate(MAX_OWNERS);
    let ask = async |(lease, keys)| {
        let time = if lease == LeaseId::NONE { None } else { backend.lease_time(lease).await.ok() };
        let ttl = time.map(|time| time.left.as_secs());
        Owner { lease: hex(lease).unwrap_or_else(|| "under no lease".to_owned()), keys, ttl }
    };
    found.send(stream::iter(leases.into_iter().map(ask)).buffered(8).collect().await);
}
