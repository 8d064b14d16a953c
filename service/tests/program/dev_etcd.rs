//! The embedded kvstore served as an etcd.

use std::net::TcpListener;

use super::running::{Running, run, stderr};

/// A served kvstore on a free port, and its URL.
fn served() -> (Running, String) {
    let served = Running::start(&["dev-etcd", "--listen", "127.0.0.1:0"]);
    assert!(served.hear("note: ").contains("for development only: keys are in memory and gone at the end"));
    let line = served.hear("listening on ");
    (served, line.strip_prefix("listening on ").unwrap().to_owned())
}

#[test]
fn collaborators_meet_on_a_served_kvstore_which_ends_on_a_signal() {
    for signal in ["TERM", "INT"] {
        let (served, url) = served();
        let join = |key| {
            let common = ["--endpoints", &url, "--prefix", "p", "--output", "json"];
            Running::start(&[&common[..], &["join", "--key", key]].concat())
        };
        let (mut one, mut two) = (join("a=1"), join("b=2"));
        for program in [&mut one, &mut two] {
            let mut names = [program.next("update")["name"].clone(), program.next("update")["name"].clone()];
            names.sort_by_key(ToString::to_string);
            assert_eq!(names, ["a", "b"]);
        }
        one.signal("TERM");
        assert_eq!(one.end().1, 0);
        assert_eq!(two.next("delete")["name"], "a");
        two.signal("TERM");
        assert_eq!(two.end().1, 0);
        served.signal(signal);
        assert_eq!(served.code(), Some(0));
    }
}

#[test]
fn a_signal_ends_it_although_somebody_watches() {
    let (served, url) = served();
    let mut watch = Running::start(&["--endpoints", &url, "--prefix", "p", "--output", "json", "watch"]);
    watch.state("synced");
    served.signal("TERM");
    assert_eq!(served.code(), Some(0));
    watch.state("stale");
    watch.signal("TERM");
    assert_eq!(watch.end().1, 0);
}

#[test]
fn troubleshoot_finds_nothing_wrong_with_it() {
    let (_served, url) = served();
    let output = run(&["--endpoints", &url, "--prefix", "p", "troubleshoot"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("0 failures, 0 warnings"), "{said}");
}

#[test]
fn an_address_it_cannot_listen_on_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for (listen, code, cause) in [
        (&*taken, 1, "Address already in use (os error 98); give another address with --listen"),
        ("2379", 2, "write HOST:PORT, as in 127.0.0.1:2379"),
        ("127.0.0.1:port", 2, "write HOST:PORT, as in 127.0.0.1:2379"),
    ] {
        let output = run(&["dev-etcd", "--listen", listen]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{listen}: {error}");
        assert!(error.starts_with("error: ") && error.contains(listen) && error.contains(cause), "{error}");
    }
}
