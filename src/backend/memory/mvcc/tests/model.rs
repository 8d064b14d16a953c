//! The engine against a model that keeps every state it ever had.

use super::*;

type State = BTreeMap<Bytes, KeyValue>;

/// Every state and every change there ever was, and the leases with their deadlines.
struct Model {
    states: Vec<State>,
    events: Vec<Event>,
    leases: BTreeMap<LeaseId, Instant>,
    oldest: u64,
}

impl Model {
    fn new() -> Self {
        let states = vec![State::new(); 2];
        Self { states, events: Vec::new(), leases: BTreeMap::new(), oldest: 0 }
    }

    fn revision(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    fn newest(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    fn gone(&self, revision: u64) -> Result<(), BackendError> {
        if revision < self.oldest { Err(BackendError::Compacted { oldest: Revision(self.oldest) }) } else { Ok(()) }
    }

    fn push(&mut self, state: State, events: Vec<Event>) {
        if !events.is_empty() {
            self.states.push(state);
            self.events.extend(events);
        }
    }

    fn write(&mut self, writes: &[Write]) -> Result<WriteOutcome, BackendError> {
        let revision = Revision(self.revision());
        let mut state = self.newest().clone();
        let current: Vec<_> = writes.iter().map(|write| state.get(&write.path).cloned()).collect();
        let holds = |(write, kv): (&Write, &Option<KeyValue>)| match write.expect {
            Expect::Any => true,
            Expect::Absent => kv.is_none(),
            Expect::Revision(Revision(0)) => kv.is_none(),
            Expect::Revision(revision) => kv.as_ref().is_some_and(|kv| kv.mod_revision == revision),
        };
        if !writes.iter().zip(&current).all(holds) {
            return Ok(WriteOutcome::Refused { revision, current });
        }
        let mut events = Vec::new();
        for (write, current) in writes.iter().zip(current) {
            let revision = revision.next();
            match (&write.action, current) {
                (WriteAction::Put { lease, .. }, _) if lease.0 != 0 && !self.leases.contains_key(lease) => {
                    return Err(BackendError::LeaseNotFound { lease: *lease });
                }
                (WriteAction::Put { value, lease }, current) => {
                    let kv = KeyValue {
                        path: write.path.clone(),
                        value: value.clone(),
                        create_revision: current.map_or(revision, |kv| kv.create_revision),
                        mod_revision: revision,
                        lease: *lease,
                    };
                    state.insert(write.path.clone(), kv.clone());
                    events.push(Event::Put(kv));
                }
                (WriteAction::Delete, Some(_)) => {
                    state.remove(&write.path);
                    events.push(Event::Delete { path: write.path.clone(), revision });
                }
                (WriteAction::Delete, None) => {}
            }
        }
        self.push(state, events);
        Ok(WriteOutcome::Committed { revision: Revision(self.revision()) })
    }

    fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_some() {
            let revision = Revision(self.revision()).next();
            let (gone, state): (State, State) =
                self.newest().clone().into_iter().partition(|(_, kv)| kv.lease == lease);
            self.push(state, gone.into_keys().map(|path| Event::Delete { path, revision }).collect());
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((_, lease)) = self.leases.iter().map(|(id, at)| (*at, *id)).filter(|(at, _)| *at <= now).min() {
            self.revoke(lease);
        }
    }

    fn list(&self, request: &ListRequest) -> Result<ListPage, BackendError> {
        let newest = Revision(self.revision());
        let revision = request.revision.unwrap_or(newest);
        if revision > newest {
            return Err(BackendError::FutureRevision);
        }
        self.gone(revision.0)?;
        let state = &self.states[usize::try_from(revision.0).unwrap()];
        let mut kvs: Vec<_> = state.values().filter(|kv| request.range.contains(&kv.path)).cloned().collect();
        let count = kvs.len() as u64;
        kvs.retain(|kv| request.min_mod_revision.is_none_or(|since| kv.mod_revision >= since));
        let more = request.limit > 0 && kvs.len() > request.limit;
        if more {
            kvs.truncate(request.limit);
        }
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(ListPage { header: Header { cluster: ClusterId(1), revision: newest }, kvs, more, count })
    }

    fn events_since(&self, range: &KeyRange, start: u64, max: usize) -> Result<(Vec<Event>, Revision), BackendError> {
        self.gone(start)?;
        let within = |event: &&Event| range.contains(event.path()) && event.revision().0 >= start;
        let found: Vec<_> = self.events.iter().filter(within).cloned().collect();
        let mut revisions: Vec<_> = found.iter().map(Event::revision).collect();
        revisions.dedup();
        let next = revisions.get(max).copied().unwrap_or(Revision(start.max(self.revision() + 1)));
        Ok((found.into_iter().filter(|event| event.revision() < next).collect(), next))
    }
}

/// Draws requests out of few keys, revisions and leases, so that they meet.
struct Dice(fastrand::Rng);

impl Dice {
    fn path(&mut self) -> Bytes {
        vec![b'a' + self.0.u8(..8); self.0.usize(1..3)].into()
    }

    fn lease(&mut self) -> LeaseId {
        LeaseId(if self.0.bool() { 0 } else { self.0.i64(1..30) })
    }

    fn revision(&mut self, model: &Model) -> u64 {
        (model.revision() + 3).saturating_sub(self.0.u64(..40))
    }

    fn range(&mut self) -> KeyRange {
        KeyRange { start: self.path(), end: self.path() }
    }

    fn write(&mut self, model: &Model) -> Write {
        let path = self.path();
        let seen = model.newest().get(&path).map(|kv| kv.mod_revision);
        let expect = match (self.0.u8(..8), seen) {
            (0, _) => Expect::Absent,
            (1, _) => Expect::Revision(Revision(self.revision(model))),
            (2..5, Some(seen)) => Expect::Revision(seen),
            _ => Expect::Any,
        };
        let value = self.0.u32(..).to_string().into();
        let lease = self.lease();
        let action = if self.0.u8(..3) == 0 { WriteAction::Delete } else { WriteAction::Put { value, lease } };
        Write { path, expect, action }
    }

    fn writes(&mut self, model: &Model) -> Vec<Write> {
        let writes = (0..self.0.usize(..5)).map(|_| self.write(model));
        writes.map(|write| (write.path.clone(), write)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    fn list(&mut self, model: &Model) -> ListRequest {
        ListRequest {
            range: self.range(),
            revision: self.0.bool().then(|| Revision(self.revision(model))),
            min_mod_revision: (self.0.u8(..3) == 0).then(|| Revision(self.revision(model))),
            limit: self.0.usize(..4),
            keys_only: self.0.bool(),
        }
    }
}

fn compare(seed: u64, operations: usize) {
    let (mut mvcc, mut model, mut dice) = (Mvcc::new(), Model::new(), Dice(fastrand::Rng::with_seed(seed)));
    let mut now = Instant::now();
    for n in 0..operations {
        let at = format!("seed {seed}, operation {n}");
        let (lease, ttl) = (dice.lease(), Duration::from_secs(dice.0.u64(1..20)));
        match dice.0.u8(..20) {
            0 => {
                let granted = mvcc.grant(LeaseId::NONE, ttl, now).unwrap();
                assert_eq!(granted.ttl, ttl, "{at}");
                assert_eq!(model.leases.insert(granted.lease, now + ttl), None, "{at}");
            }
            1 => match mvcc.keep_alive(lease, now) {
                Ok(ttl) => *model.leases.get_mut(&lease).expect(&at) = now + ttl,
                Err(error) => {
                    assert_eq!(error, BackendError::LeaseNotFound { lease }, "{at}");
                    assert!(!model.leases.contains_key(&lease), "{at}");
                }
            },
            2 => (mvcc.revoke(lease), model.revoke(lease)).0,
            3 => {
                now += Duration::from_secs(dice.0.u64(..5));
                mvcc.expire(now);
                model.expire(now);
            }
            4 if dice.0.u8(..4) == 0 => {
                let revision = dice.revision(&model);
                let known = revision <= model.revision() && revision >= model.oldest;
                assert_eq!(mvcc.compact(Revision(revision)).is_ok(), known, "{at}");
                model.oldest = if known { revision } else { model.oldest };
            }
            5..9 => {
                let request = dice.list(&model);
                assert_eq!(mvcc.list(&request), model.list(&request), "{at}: {request:?}");
            }
            9..12 => {
                let (range, start, max) = (dice.range(), dice.revision(&model), dice.0.usize(1..6));
                let told = mvcc.events_since(&range, Revision(start), max);
                assert_eq!(told, model.events_since(&range, start, max), "{at}: {range:?} {start} {max}");
            }
            _ => {
                let writes = dice.writes(&model);
                assert_eq!(mvcc.write(writes.clone()), model.write(&writes), "{at}: {writes:?}");
            }
        }
        assert_eq!(mvcc.header().revision.0, model.revision(), "{at}");
        assert_eq!(mvcc.next_expiry(), model.leases.values().min().copied(), "{at}");
    }
}

#[test]
fn it_does_what_a_model_of_full_states_does() {
    for seed in 0..20 {
        compare(seed, 500);
    }
}
