//! etcd's own command line.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use shared_store_core::Revision;
use shared_store_core::backend::etcd::served::ServedEtcd;

use crate::support::Version;

fn etcdctl(served: &ServedEtcd, arguments: &[&str]) -> Command {
    let mut command = Command::new(Version::V34.binary().with_file_name("etcdctl"));
    command.env("ETCDCTL_API", "3").args(["--endpoints", &served.endpoint()]).args(arguments);
    command
}

/// What it says, line by line.
fn said(served: &ServedEtcd, arguments: &[&str]) -> Vec<String> {
    let output = etcdctl(served, arguments).output().expect("etcdctl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn puts_gets_and_deletes() {
    let served = ServedEtcd::start().unwrap();
    assert_eq!(said(&served, &["put", "a", "1"]), ["OK"]);
    assert_eq!(said(&served, &["put", "ab", "2"]), ["OK"]);
    assert_eq!(said(&served, &["put", "b", "3"]), ["OK"]);
    assert_eq!(said(&served, &["get", "a"]), ["a", "1"]);
    assert_eq!(said(&served, &["get", "--prefix", "a"]), ["a", "1", "ab", "2"]);
    assert_eq!(said(&served, &["get", "--from-key", "ab", "--limit=1"]), ["ab", "2"]);
    assert_eq!(said(&served, &["get", "--from-key", "", "--keys-only"]), ["a", "", "ab", "", "b", ""]);
    assert_eq!(said(&served, &["get", "--prefix", "a", "--rev=2"]), ["a", "1"]);
    assert_eq!(said(&served, &["del", "--prefix", "--prev-kv", "a"]), ["2", "a", "1", "ab", "2"]);
    assert_eq!(said(&served, &["del", "a"]), ["0"]);
    assert_eq!(said(&served, &["get", "a"]), [""; 0]);
    assert_eq!(said(&served, &["compaction", "3"]), ["compacted revision 3"]);
    assert_eq!(served.memory().revision(), Revision(5));
}

/// A running `etcdctl`, ended when dropped.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.kill().expect("the process is ours");
        self.0.wait().expect("the process is ours");
    }
}

#[test]
fn watches_from_a_past_revision_and_on() {
    let served = ServedEtcd::start().unwrap();
    said(&served, &["put", "a", "1"]);
    said(&served, &["del", "a"]);
    let mut watch = etcdctl(&served, &["watch", "--prefix", "a", "--rev=2"]);
    let mut watching = Watching(watch.stdout(Stdio::piped()).spawn().expect("etcdctl runs"));
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(5).collect::<Vec<_>>(), ["PUT", "a", "1", "DELETE", "a"]);
    assert_eq!(lines.next().unwrap(), "");
    said(&served, &["put", "b", "not watched"]);
    said(&served, &["put", "ab", "2"]);
    assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["PUT", "ab", "2"]);
}

#[test]
fn what_is_not_served_is_refused_in_words() {
    let served = ServedEtcd::start().unwrap();
    for arguments in [&["snapshot", "save", "/dev/null"][..], &["user", "list"], &["endpoint", "hashkv"]] {
        let output = etcdctl(&served, arguments).output().expect("etcdctl runs");
        let all = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&all).contains("not served"), "{}", String::from_utf8_lossy(&all));
    }
}
