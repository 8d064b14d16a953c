//! What streams read from the log, to the letter.

use serde_json::json;
use shared_store::Reason;

use super::*;
use crate::value::Text;

struct Bench {
    log: ChangeLog<Text>,
    /// As a stream that is open: without one nothing is kept before the first state is complete.
    _open: watch::Receiver<u64>,
}

fn name(text: &str) -> KeyName {
    KeyName::new(text).unwrap()
}

fn document(of: &str, value: &str) -> Document<Text> {
    Document::from_argument(of, value).unwrap()
}

impl Bench {
    fn new(frames: usize) -> Self {
        let log = ChangeLog::new(frames, usize::MAX);
        Self { _open: log.readable(), log }
    }

    /// With a first state of no keys at revision 5.
    fn synced(frames: usize) -> Self {
        let bench = Self::new(frames);
        bench.log.synced(Revision(5), &json!({}));
        bench
    }

    fn put(&self, of: &str, revision: u64) {
        let held = Held {
            document: Arc::new(document(of, &revision.to_string())),
            revision: Revision(revision),
            create_revision: None,
            origin: Origin::Remote,
            lease: None,
            at: SystemTime::UNIX_EPOCH,
        };
        self.log.update(&name(of), held, None, Reason::Event.name(), false);
    }

    fn delete(&self, of: &str, revision: u64) {
        self.log.delete(&name(of), &document(of, "?"), Revision(revision), Origin::Remote, Reason::Event.name());
    }

    fn mark(&self, revision: u64) {
        self.log.mark(Revision(revision));
    }

    fn resume(&self, revision: u64, run: Option<String>) -> Option<Cursor> {
        let since = Since { revision: Some(Revision(revision)), run };
        self.log.resume(&since, &Names::default(), Revision(u64::MAX))
    }

    /// What a stream is told that goes on after this revision.
    fn after(&self, revision: u64) -> Option<Vec<String>> {
        self.resume(revision, Some(self.log.run())).map(|mut cursor| self.read(&mut cursor))
    }

    /// Events as `put a 6`, with ` id 6` if they have an id.
    fn read(&self, cursor: &mut Cursor) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.log.read(cursor) {
                Read::Nothing => return told,
                Read::Behind => told.push("behind".to_owned()),
                Read::Text(text) => {
                    told.extend(text.split_terminator("\n\n").map(words));
                    continue;
                }
            }
            return told;
        }
    }
}

fn words(block: &str) -> String {
    let field = |field: &str| block.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let data: serde_json::Value = serde_json::from_str(field("data: ")).unwrap_or_default();
    let kind = match field("event: ") {
        "update" => "put",
        other => other,
    };
    let of = data["name"].as_str().unwrap_or_default();
    let revision = data["revision"].as_u64().map(|revision| revision.to_string()).unwrap_or_default();
    let id = field("id: ");
    let id = if id.is_empty() { String::new() } else { format!("id {id}") };
    [kind, of, &revision, &id].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_last_event_of_a_revision_has_the_id_and_a_stream_goes_on_after_it() {
    let bench = Bench::synced(100);
    for of in ["a", "b", "c"] {
        bench.put(of, 6);
    }
    bench.delete("a", 7);
    bench.mark(7);
    let all = ["put a 6", "put b 6", "put c 6 id 6", "delete a 7 id 7"];
    assert_eq!(bench.after(5).unwrap(), all);
    assert_eq!(bench.after(6).unwrap(), all[3..]);
    assert_eq!(bench.after(7).unwrap(), [""; 0]);
    bench.mark(9);
    assert_eq!(bench.after(7).unwrap(), ["id 9"], "a revision without changes");
    assert_eq!(bench.after(8).unwrap(), ["id 9"], "between two marks the older one counts");
}

#[test]
fn what_is_not_marked_is_not_read_until_more_comes() {
    let bench = Bench::synced(100);
    let mut cursor = bench.resume(5, Some(bench.log.run())).unwrap();
    bench.put("a", 6);
    assert_eq!(bench.read(&mut cursor), [""; 0], "more of this revision may follow");
    bench.log.show_all();
    assert_eq!(bench.read(&mut cursor), ["put a 6"]);
    bench.put("b", 6);
    bench.mark(6);
    assert_eq!(bench.read(&mut cursor), ["put b 6 id 6"]);
}

#[test]
fn what_a_list_found_in_any_order_of_revisions_has_no_id_before_its_end() {
    let bench = Bench::synced(100);
    for (of, revision) in [("a", 9), ("b", 7), ("c", 8)] {
        bench.put(of, revision);
    }
    bench.mark(10);
    assert_eq!(bench.after(5).unwrap(), ["put a 9", "put b 7", "put c 8 id 10"]);
    assert_eq!(bench.after(9).unwrap().len(), 3, "9 says nothing of 7 and 8");
}

#[test]
fn a_stream_that_asks_for_what_is_forgotten_is_not_resumed_and_one_that_is_slow_is_behind() {
    let bench = Bench::synced(6);
    let mut slow = bench.resume(5, Some(bench.log.run())).unwrap();
    for revision in 6..20 {
        bench.put("a", revision);
        bench.mark(revision);
    }
    assert!(bench.after(5).is_none() && bench.after(15).is_none());
    assert_eq!(bench.after(16).unwrap(), ["put a 17 id 17", "put a 18 id 18", "put a 19 id 19"]);
    assert_eq!(bench.read(&mut slow), ["behind"]);
    let whole = bench.log.whole(&Names::default());
    assert_eq!((whole.keys.len(), whole.mark, whole.synced), (1, Some(Revision(19)), true));
    let mut cursor = whole.cursor;
    assert_eq!(bench.read(&mut cursor), [""; 0]);
}

#[test]
fn memory_is_bounded_in_bytes_too() {
    let bench = Bench { log: ChangeLog::new(usize::MAX, 10_000), ..Bench::new(1) };
    bench.log.synced(Revision(5), &json!({}));
    for revision in 6..1000 {
        bench.put("a", revision);
        bench.mark(revision);
    }
    let inner = bench.log.lock();
    assert!(inner.bytes <= 10_000 && inner.frames.len() > 10, "{}", inner.bytes);
    assert_eq!(inner.bytes, inner.frames.iter().map(Frame::bytes).sum::<usize>());
    assert!(inner.marks.len() <= inner.frames.len());
}

#[test]
fn an_id_of_another_run_is_trusted_only_beyond_what_this_run_began_with() {
    let bench = Bench::synced(100);
    bench.put("a", 6);
    bench.mark(6);
    assert!(bench.resume(5, None).is_none(), "keys whose deletion was held back would stay");
    assert!(bench.resume(6, None).is_some());
    for revision in [5, 6] {
        assert!(bench.resume(revision, Some(bench.log.run())).is_some());
        assert!(bench.resume(revision, Some("0123456789abcdef".to_owned())).is_none());
    }
}

#[test]
fn ids_of_before_the_kvstore_went_back_are_never_resumed() {
    let bench = Bench::synced(100);
    bench.put("a", 9);
    bench.mark(9);
    let before = bench.log.run();
    bench.log.went_back();
    bench.log.notice("resynced", None, &json!({}));
    bench.put("b", 6);
    bench.mark(6);
    for revision in 7..=9 {
        bench.put("b", revision);
        bench.mark(revision);
    }
    assert_ne!(before, bench.log.run());
    for revision in 5..=9 {
        assert!(bench.resume(revision, Some(before.clone())).is_none());
        assert!(bench.resume(revision, None).is_none(), "{revision} was an id before");
    }
    assert_eq!(bench.after(8).unwrap(), ["put b 9 id 9"]);
    bench.put("c", 10);
    bench.mark(10);
    assert!(bench.resume(10, None).is_some());
}

#[test]
fn an_id_that_the_cache_has_not_reached_is_of_another_history() {
    let bench = Bench::synced(100);
    let since = Since { revision: Some(Revision(9)), run: None };
    assert!(bench.log.resume(&since, &Names::default(), Revision(8)).is_none());
    assert!(bench.log.resume(&since, &Names::default(), Revision(9)).is_some(), "the log is about to show it");
}

#[test]
fn a_stream_of_some_names_is_told_of_the_others_only_how_far_it_is() {
    let bench = Bench::synced(100);
    let names = Names::of_store(&["eu/*".to_owned(), "us/*".to_owned()]).narrowed(Some("eu/"), Some("*1"));
    let since = Since { revision: Some(Revision(5)), run: Some(bench.log.run()) };
    let mut cursor = bench.log.resume(&since, &names, Revision(99)).unwrap();
    for (revision, of) in ["eu/1", "eu/2", "us/1", "asia/1", "eu/11"].into_iter().enumerate() {
        bench.put(of, 6 + revision as u64);
    }
    bench.log.notice("status", None, &json!({}));
    bench.put("us/2", 11);
    bench.mark(11);
    let told = bench.read(&mut cursor);
    assert_eq!(told, ["put eu/1 6 id 6", "id 9", "put eu/11 10", "status id 10", "id 11"]);
    assert_eq!(bench.log.whole(&names).keys.len(), 2);
    assert_eq!(bench.log.recent(&names, 1).len(), 1);
    assert!(bench.log.recent(&names, 9)[0].starts_with("{\"type\":\"update\",\"name\":\"eu/11\""));
}

#[test]
fn a_stream_that_is_open_before_the_first_state_is_complete_is_told_it_and_nobody_resumes_before() {
    let bench = Bench::new(100);
    let whole = bench.log.whole(&Names::default());
    assert_eq!((whole.keys.len(), whole.mark, whole.synced), (0, None, false));
    let mut cursor = whole.cursor;
    bench.put("a", 3);
    bench.log.show_all();
    assert_eq!(bench.read(&mut cursor), ["put a 3"]);
    assert!(bench.after(3).is_none());
    bench.log.synced(Revision(5), &json!({"revision": 5}));
    assert_eq!(bench.read(&mut cursor), ["synced 5 id 5"]);
}
