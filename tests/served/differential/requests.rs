//! Random requests out of few keys, leases and revisions, so that they meet.

use shared_store_core::backend::etcd::served::client::{
    Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    WatchFilterType, WatchOptions,
};

/// Six, since these etcds sort seven or more keys that are equal in what they are sorted by in no order.
const KEYS: [&str; 6] = ["a", "aa", "ab", "b", "ba", "c"];

#[derive(Debug, Clone)]
pub(super) enum Request {
    Get(&'static str, GetOptions),
    Put(&'static str, String, PutOptions),
    Delete(&'static str, DeleteOptions),
    Txn(Txn),
    Compact(i64),
    Grant(i64, LeaseGrantOptions),
    Revoke(i64),
    KeepAlive(i64),
    TimeToLive(i64),
    Leases,
    Watch(Watching),
}

#[derive(Debug, Clone)]
pub(super) struct Watching {
    pub(super) key: &'static str,
    pub(super) options: WatchOptions,
    /// Whether it tells deletions.
    pub(super) deletions: bool,
}

pub(super) struct Dice {
    random: fastrand::Rng,
    /// The newest revision.
    revision: i64,
    /// The last one that history was compacted to.
    compacted: i64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), revision: 0, compacted: 0 }
    }

    pub(super) fn request(&mut self, revision: i64) -> Request {
        self.revision = revision;
        match self.random.u8(..40) {
            0..10 => Request::Get(self.key(), self.get()),
            10..20 => {
                let (value, options) = self.put();
                Request::Put(self.key(), value, options)
            }
            20 | 21 => Request::Delete(self.key(), self.delete()),
            22..31 => Request::Txn(self.txn(2)),
            31 if self.one_in(3) => {
                let revision = self.some_revision();
                if (self.compacted..=self.revision).contains(&revision) {
                    self.compacted = revision;
                }
                Request::Compact(revision)
            }
            31..34 => {
                // Their order by the time left is the same although the machine is slow.
                let ttl = 10_000 * self.random.i64(1..5);
                let ttl = if self.one_in(8) { 9_000_000_001 } else { ttl };
                Request::Grant(ttl, LeaseGrantOptions::new().with_id(self.random.i64(1..6)))
            }
            34 => Request::Revoke(self.lease()),
            35 => Request::KeepAlive(self.random.i64(1..6)),
            36 => Request::TimeToLive(self.lease()),
            37 => Request::Leases,
            _ => Request::Watch(self.watch()),
        }
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.random.u8(..n) == 0
    }

    fn key(&mut self) -> &'static str {
        if self.one_in(30) { "" } else { self.some_key() }
    }

    fn some_key(&mut self) -> &'static str {
        KEYS[self.random.usize(..KEYS.len())]
    }

    fn value(&mut self) -> String {
        if self.one_in(4) { String::new() } else { self.random.u8(..9).to_string() }
    }

    fn lease(&mut self) -> i64 {
        self.random.i64(0..6)
    }

    /// Mostly one that there is; 0 is the newest.
    fn some_revision(&mut self) -> i64 {
        self.random.i64(self.revision.saturating_sub(30).max(0)..self.revision + 2)
    }

    fn get(&mut self) -> GetOptions {
        let options = GetOptions::new();
        let options = match self.random.u8(..6) {
            0 => options.with_prefix(),
            1 => options.with_from_key(),
            2 => options.with_all_keys(),
            3 | 4 => options.with_range(self.some_key()),
            _ => options,
        };
        let options = if self.one_in(3) { options.with_limit(self.random.i64(-1..5)) } else { options };
        let options = if self.one_in(3) { options.with_revision(self.some_revision()) } else { options };
        let options = if self.one_in(4) { options.with_keys_only() } else { options };
        let options = if self.one_in(8) { options.with_count_only() } else { options };
        let options = if self.one_in(8) { options.with_serializable() } else { options };
        let options = if self.one_in(6) { options.with_min_mod_revision(self.some_revision()) } else { options };
        let options = if self.one_in(6) { options.with_max_mod_revision(self.some_revision()) } else { options };
        let options = if self.one_in(6) { options.with_min_create_revision(self.some_revision()) } else { options };
        let options = if self.one_in(6) { options.with_max_create_revision(self.some_revision()) } else { options };
        if self.one_in(2) {
            return options;
        }
        use SortTarget::{Create, Key, Mod, Value, Version};
        let target = [Key, Version, Create, Mod, Value][self.random.usize(..5)];
        let order = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend][self.random.usize(..3)];
        options.with_sort(target, order)
    }

    fn put(&mut self) -> (String, PutOptions) {
        let options = PutOptions::new();
        let options = if self.one_in(4) { options.with_lease(self.lease()) } else { options };
        let options = if self.one_in(3) { options.with_prev_key() } else { options };
        match self.random.u8(..12) {
            0 => (String::new(), options.with_ignore_value()),
            1 => (String::new(), options.with_ignore_value().with_ignore_lease()),
            2 => (self.value(), options.with_ignore_lease()),
            3 => (self.value(), options.with_ignore_value()),
            _ => (self.value(), options),
        }
    }

    fn delete(&mut self) -> DeleteOptions {
        let options = DeleteOptions::new();
        let options = match self.random.u8(..10) {
            0 => options.with_prefix(),
            1 => options.with_from_key(),
            2 => options.with_range(self.some_key()),
            _ => options,
        };
        if self.one_in(2) { options.with_prev_key() } else { options }
    }

    fn compare(&mut self) -> Compare {
        let (key, revision) = (self.key(), self.some_revision());
        let operator = [CompareOp::Equal, CompareOp::Greater, CompareOp::Less, CompareOp::NotEqual];
        let operator = operator[self.random.usize(..4)];
        let compare = match self.random.u8(..5) {
            0 => Compare::version(key, operator, self.random.i64(0..3)),
            1 => Compare::create_revision(key, operator, if self.one_in(2) { 0 } else { revision }),
            2 => Compare::mod_revision(key, operator, if self.one_in(2) { 0 } else { revision }),
            3 => Compare::value(key, operator, self.value()),
            _ => Compare::lease(key, operator, self.lease()),
        };
        match self.random.u8(..6) {
            0 => compare.with_prefix(),
            1 => compare.with_range(self.some_key()),
            _ => compare,
        }
    }

    fn txn(&mut self, depth: usize) -> Txn {
        let mut txn = Txn::new();
        if self.one_in(2) {
            txn = txn.when((0..self.random.usize(1..3)).map(|_| self.compare()).collect::<Vec<_>>());
        }
        txn = txn.and_then(self.operations(depth));
        if self.one_in(2) { txn } else { txn.or_else(self.operations(depth)) }
    }

    fn operations(&mut self, depth: usize) -> Vec<TxnOp> {
        let count = if self.one_in(60) { 129 } else { self.random.usize(..4) };
        (0..count).map(|_| self.operation(depth)).collect()
    }

    fn operation(&mut self, depth: usize) -> TxnOp {
        match self.random.u8(..7) {
            0..3 => {
                let (value, options) = self.put();
                TxnOp::put(self.key(), value, Some(options))
            }
            3 | 4 => TxnOp::get(self.key(), Some(self.get())),
            5 if depth > 0 => TxnOp::txn(self.txn(depth - 1)),
            _ => {
                let key = self.key();
                // Not from a key on, as with the empty prefix: etcd overlooks that this overlaps a put.
                let options = match self.random.u8(..8) {
                    0 if !key.is_empty() => DeleteOptions::new().with_prefix(),
                    1 => DeleteOptions::new().with_range(self.some_key()),
                    _ => DeleteOptions::new(),
                };
                TxnOp::delete(key, Some(if self.one_in(2) { options.with_prev_key() } else { options }))
            }
        }
    }

    fn watch(&mut self) -> Watching {
        let options = WatchOptions::new();
        let options = match self.random.u8(..4) {
            0 => options.with_prefix(),
            1 => options.with_from_key(),
            2 => options.with_range(self.some_key()),
            _ => options,
        };
        let start = match self.random.u8(..3) {
            0 => 0,
            1 => self.random.i64(self.revision.saturating_sub(30).max(0)..=self.revision),
            _ => self.compacted,
        };
        let options = options.with_start_revision(start);
        let options = if self.one_in(2) { options.with_prev_key() } else { options };
        let (options, deletions) = match self.random.u8(..6) {
            // etcd before 3.4.34 and 3.5.16 loses deletions at the revision it was compacted to (issue 18089).
            _ if start > 0 && start == self.compacted => (options.with_filters([WatchFilterType::NoDelete]), false),
            0 => (options.with_filters([WatchFilterType::NoPut]), true),
            1 => (options.with_filters([WatchFilterType::NoDelete]), false),
            _ => (options, true),
        };
        let options = if self.one_in(3) { options.with_watch_id(self.random.i64(1..9)) } else { options };
        let options = if self.one_in(3) { options.with_fragment() } else { options };
        Watching { key: self.some_key(), options, deletions }
    }
}
