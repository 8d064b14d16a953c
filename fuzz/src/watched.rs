//! A store whose observers must never be told a contradiction.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shared_store_core::store::Store;
use shared_store_core::watch::Delivery;
use shared_store_core::{
    Config, DeliveryMode, Filter, Index, Json, Key, KeyName, ObserverId, OnUndecodable, Parcel, Prefix, Reader,
};

use crate::hostile::PREFIX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Number(u32);

impl Key for Number {
    type Codec = Json;

    fn name(&self) -> String {
        (self.0 % 8).to_string()
    }
}

/// A store and what its observers know.
pub struct Watched {
    store: Store<Number>,
    reader: Reader<Number>,
    now: Instant,
    shadows: BTreeMap<ObserverId, BTreeMap<KeyName, Number>>,
}

impl Watched {
    /// With a delay of deletions or without, and either policy for what cannot be decoded.
    pub fn new(delayed: bool, removes: bool) -> Self {
        let prefix = Prefix::new(PREFIX).expect("it is a prefix");
        let config = Config::new(prefix).delete_delay(Duration::from_secs(delayed.into())).on_undecodable(if removes {
            OnUndecodable::Remove
        } else {
            OnUndecodable::KeepLast
        });
        let mut store = Store::new(&config, vec![Index::new("value", |number: &Number| vec![number.0.to_string()])]);
        let now = Instant::now();
        let capacity = NonZeroUsize::new(2).expect("it is more");
        let modes = [DeliveryMode::LatestPerKey, DeliveryMode::EveryEvent { capacity }];
        let shadows = modes.map(|mode| (store.subscribe(now, Filter::new(), mode), BTreeMap::new())).into();
        Self { reader: store.reader(), store, now, shadows }
    }

    /// Tells the store; whether it could take it.
    pub fn deliver(&mut self, delivery: Delivery) -> bool {
        self.store.deliver(self.now, delivery).is_ok()
    }

    /// Begins with a snapshot; whether it was one.
    pub fn load(&mut self, file: Vec<u8>) -> bool {
        self.store.load(self.now, &file.into()).is_ok()
    }

    /// The owner owns a name.
    pub fn put(&mut self, number: u32) {
        self.store.put_local(self.now, &Number(number)).expect("it has an encoding");
    }

    /// The owner gives a name up.
    pub fn delete(&mut self, number: u32) {
        let name = KeyName::new(Number(number).name()).expect("it is a name");
        self.store.delete_local(self.now, None, &name);
    }

    /// Time passes.
    pub fn wait(&mut self) {
        self.now += Duration::from_secs(1);
        self.store.timeout(self.now);
    }

    /// Lets observers handle at most so many parcels.
    pub fn observe(&mut self, parcels: usize) {
        for _ in 0..parcels {
            let Some((observer, parcel)) = self.store.poll_parcel() else { return };
            if let Parcel::Changes(changes) = parcel {
                let shadow = self.shadows.get_mut(&observer).expect("it was subscribed");
                for change in changes.iter() {
                    assert_eq!(shadow.get(&change.name), change.old.as_deref(), "the value told before");
                    match &change.new {
                        Some(new) => drop(shadow.insert(change.name.clone(), **new)),
                        None => drop(shadow.remove(&change.name)),
                    }
                }
            }
            self.store.delivered(observer);
        }
    }

    /// In the end every observer knows what the cache shows.
    pub fn end(mut self) {
        self.observe(usize::MAX);
        if self.store.has_state() {
            let cache: BTreeMap<_, _> =
                self.reader.snapshot().entries.into_iter().map(|(name, number)| (name, *number)).collect();
            assert!(self.shadows.values().all(|shadow| *shadow == cache), "{:?} is not {cache:?}", self.shadows);
            for number in cache.values() {
                let found = self.reader.lookup("value", &number.0.to_string()).expect("there is such an index");
                assert!(found.entries.iter().any(|(_, one)| **one == *number), "the index has what the cache has");
            }
        }
    }
}
