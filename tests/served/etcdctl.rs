//! etcd's own command line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use shared_store_core::Revision;
use shared_store_core::backend::etcd::served::ServedEtcd;

use crate::support::{EtcdServer, Version};

fn etcdctl(endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(Version::V34.binary().with_file_name("etcdctl"));
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(arguments);
    command
}

/// What it says on stdin's commands, line by line, without the ids of the cluster.
fn says(endpoint: &str, arguments: &[&str], stdin: &str) -> Vec<String> {
    let mut command = etcdctl(endpoint, arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().expect("etcdctl runs");
    process.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    // Before it there is a log with the endpoint.
    let error = error.lines().filter(|line| line.starts_with("Error:"));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(anonymous).chain(error.map(str::to_owned)).collect()
}

/// A line of JSON without what differs between clusters.
fn anonymous(line: &str) -> String {
    let Ok(mut json) = serde_json::from_str::<serde_json::Value>(line) else { return line.to_owned() };
    for name in ["header", "Header"] {
        if let Some(header) = json.get_mut(name).and_then(serde_json::Value::as_object_mut) {
            header.retain(|name, _| name == "revision");
        }
    }
    // Answers about leases have the header's fields among their own.
    if let Some(json) = json.as_object_mut() {
        json.retain(|name, _| !["cluster_id", "member_id", "raft_term"].contains(&name.as_str()));
    }
    json.to_string()
}

#[test]
fn a_script_of_commands_is_answered_as_by_etcd() {
    let (etcd, served) = (EtcdServer::start(Version::V35), ServedEtcd::start().unwrap());
    let txn = |lines: &str| lines.replace(';', "\n");
    let script: Vec<(&str, String)> = [
        "put a 1",
        "put a 2 --prev-kv",
        "put ab x",
        "put b y",
        "put c ''",
        "get a",
        "get --prefix a",
        "get --from-key ab --limit 2",
        "get --prefix a --rev 2",
        "get --prefix a --rev 99",
        "get --from-key '' --keys-only --order DESCEND --sort-by KEY",
        "get --prefix '' --sort-by VERSION --order ASCEND",
        "get --prefix '' --sort-by MODIFY --order DESCEND --limit 2",
        "get --prefix '' --sort-by VALUE --order DESCEND",
        "get --prefix '' --count-only --write-out fields",
        "get a c --consistency s",
        "get nothing",
        "put a --ignore-value --prev-kv",
        "put nothing --ignore-value",
        "put d 1 --lease 1",
        "del a b --prev-kv",
        "del nothing",
        "get --prefix ''",
        "lease timetolive 1",
        "lease revoke 1",
        "lease keep-alive --once 1",
        "lease list",
        "compaction 4",
        "compaction 4",
        "compaction 99",
        "get b --rev 3",
        "watch b --rev 2",
        "alarm list",
        "--user somebody:secret get b",
    ]
    .map(|line| (line, String::new()))
    .into_iter()
    .chain([
        ("txn", txn("value(\"b\") = \"y\";mod(\"c\") > \"1\";;put b z;get b;del c;;get b;;")),
        ("txn", txn("version(\"b\") = \"7\";create(\"c\") < \"1\";;put b no;;get --prefix '';put c 1;;")),
        ("txn", txn("lease(\"b\") = \"0\";;put b 1;put b 2;;;")),
        ("txn", txn(";put x 1;del x;;;")),
        ("txn", txn(";put x 1;del --prefix y;get x;;;")),
        ("get --prefix ''", String::new()),
    ])
    .collect();
    for (line, stdin) in &script {
        for format in ["simple", "json"] {
            let arguments: Vec<_> = line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
            let arguments = [&["--write-out", format][..], &arguments].concat();
            let expected = says(&etcd.endpoint(), &arguments, stdin);
            assert_eq!(says(&served.endpoint(), &arguments, stdin), expected, "{line} {format} {stdin}");
        }
    }
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
    let said = |arguments: &[&str]| says(&served.endpoint(), arguments, "");
    said(&["put", "a", "1"]);
    said(&["del", "a"]);
    let mut watch = etcdctl(&served.endpoint(), &["watch", "--prefix", "a", "--rev=2"]);
    let mut watching = Watching(watch.stdout(Stdio::piped()).spawn().expect("etcdctl runs"));
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(5).collect::<Vec<_>>(), ["PUT", "a", "1", "DELETE", "a"]);
    assert_eq!(lines.next().unwrap(), "");
    said(&["put", "b", "not watched"]);
    said(&["put", "ab", "2"]);
    assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["PUT", "ab", "2"]);
    assert_eq!(served.memory().revision(), Revision(5));
}

#[test]
fn shows_a_healthy_cluster_of_one_member() {
    let served = ServedEtcd::start().unwrap();
    // It would send the whole URL as the authority otherwise, which is not valid.
    let address = served.endpoint().replace("http://", "");
    let said = |arguments: &[&str]| says(&address, arguments, "");
    assert_eq!(said(&["member", "list"]), [format!("1, started, memory, , {}, false", served.endpoint())]);
    assert_eq!(said(&["endpoint", "status"]), [format!("{address}, 1, 3.5.21, 0 B, true, false, 1, 1, 1, ")]);
    assert_eq!(said(&["defrag"]), [format!("Finished defragmenting etcd member[{address}]")]);
    let health = etcdctl(&address, &["endpoint", "health"]).output().expect("etcdctl runs");
    assert!(health.status.success(), "{}", String::from_utf8_lossy(&health.stderr));
}

#[test]
fn a_lock_is_taken_and_given_back() {
    let served = ServedEtcd::start().unwrap();
    assert_eq!(says(&served.endpoint(), &["lock", "l", "echo", "locked"], ""), ["locked"]);
    assert_eq!(served.memory().revision(), Revision(3), "put and taken back");
}

#[test]
fn what_is_not_served_is_refused_in_words() {
    let served = ServedEtcd::start().unwrap();
    for arguments in [&["snapshot", "save", "/dev/null"][..], &["user", "list"], &["member", "remove", "1"]] {
        let said = says(&served.endpoint(), arguments, "").concat();
        assert!(said.contains("code = Unimplemented desc = not served by this in-memory kvstore"), "{said}");
    }
}
