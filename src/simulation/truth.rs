//! The end of a run: everything is compared with the kvstore itself. Nothing is skipped.

use super::Simulation;
use super::item::decode;
use super::member::Member;
use super::world::Truth;
use crate::change::Origin;
use crate::status::State;

impl Simulation {
    /// Caches, readers and own keys against the kvstore itself.
    pub(super) fn check_truth(&mut self) {
        let truth = self.world.truth_at(self.world.revision()).expect("the newest revision is there");
        for member in &self.members {
            assert!(member.reading.is_idle(), "reads that are never answered");
            member.check_cache(&truth);
            member.wants.check(member.store.own(), &truth);
        }
        for publisher in &self.publishers {
            publisher.check_truth(&self.world, &truth);
        }
    }
}

impl Member {
    fn check_cache(&self, truth: &Truth) {
        assert_eq!(&self.model.raw, truth, "what the watch told");
        assert_eq!(self.reader.state(), State::Synced);
        let own = self.store.own();
        for (name, (value, _, lease)) in truth {
            let origin = if own.is_ours(*lease) { Origin::Local } else { Origin::Remote };
            let shown = self.model.visible.get(name);
            if let Some(value) = decode(value) {
                assert_eq!(shown, Some(&(value, origin)), "{name}");
                let (item, revision) = self.reader.get_with_revision(name.as_str()).expect("it is shown");
                assert_eq!((item.value, revision), (value, truth[name].1), "{name}");
            }
        }
        let gone: Vec<_> = self.model.visible.keys().filter(|name| !truth.contains_key(*name)).collect();
        assert!(gone.is_empty(), "{gone:?} shown but gone");
        let names: Vec<_> = self.reader.scan("a").entries.into_iter().map(|(name, _)| name).collect();
        let under_a = self.model.visible.keys().filter(|name| name.as_str().starts_with('a'));
        assert!(names.iter().eq(under_a), "scan");
        for value in 0..6 {
            let found = self.reader.lookup("value", &value.to_string()).expect("it is declared").entries;
            let with_value = self.model.visible.iter().filter(|(_, shown)| shown.0 == value).map(|(name, _)| name);
            assert!(found.iter().map(|(name, _)| name).eq(with_value), "index");
        }
    }
}
