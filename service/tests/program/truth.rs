//! What the program reports: how it starts, how it ends, and what goes wrong in between.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::running::{Running, run, run_after, run_on, stderr};

const JOIN: [&str; 7] = ["--prefix", "p", "--backend", "memory", "--output", "json", "join"];

#[test]
fn options_may_stand_before_and_after_the_subcommand() {
    for arguments in [
        ["--prefix", "p", "--backend", "memory", "--output", "json", "--value", "text", "audit"],
        ["audit", "--prefix", "p", "--backend", "memory", "--output", "json", "--value", "text"],
        ["--prefix", "p", "--output", "json", "audit", "--backend", "memory", "--value", "text"],
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(output.stdout.starts_with(b"{\"type\":\"audit\""));
    }
}

#[test]
fn endpoints_from_an_empty_variable_are_a_usage_error_that_says_what_to_write() {
    for (variable, cause) in [
        ("", "SHARED_STORE_ENDPOINTS, too"),
        ("http://a:1,", "there is a comma too many"),
        ("::1:2379", "write http://[::1]"),
    ] {
        let output = run_after(&format!("export SHARED_STORE_ENDPOINTS={variable}"), &["--prefix", "p", "join"]);
        assert_eq!(output.status.code(), Some(2), "{variable:?}");
        assert!(stderr(&output).contains(cause) && stderr(&output).contains("write http://"), "{}", stderr(&output));
    }
}

/// The tests themselves may run under `nohup`.
#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_closes_closes_it_as_sigterm_does() {
    let heeds = r#"set -- env --default-signal=HUP "$@""#;
    let mut program = Running::start_after(heeds, &[&JOIN[..], &["--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    program.signal("HUP");
    assert_eq!(program.next("delete")["name"], "a");
    assert_eq!(program.code(), Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn under_nohup_it_survives_its_terminal() {
    let mut program = Running::start_after("trap '' HUP", &[&JOIN[..], &["--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    program.signal("HUP");
    program.say(r#"{"id":1,"op":"update_sync","name":"b","value":2}"#);
    assert_eq!(program.next("update")["name"], "b");
    assert_eq!(program.next("reply")["ok"], true);
    assert_eq!(program.end().1, 0);
}

/// A stack larger than any address space: the system refuses every thread, as at its limit, even to root.
#[test]
#[cfg(target_os = "linux")]
fn without_a_thread_every_command_ends_with_1_and_says_what_to_raise() {
    let mut keys = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut keys, b"{\"name\":\"a\",\"value\":1}\n").unwrap();
    let (keys, state) = (keys.path().to_str().unwrap(), tempfile::tempdir().unwrap());
    let state = ["--state-dir", state.path().to_str().unwrap()];
    for command in [
        &["audit"][..],
        &["join"],
        &["watch", state[0], state[1]],
        &["publish", keys],
        &["publish", "--once", keys],
        &["demo"],
        &["demo", "--once"],
        #[cfg(feature = "etcd")]
        &["get", "a", "--backend", "etcd", "--endpoints", "http://127.0.0.1:1"],
        #[cfg(feature = "etcd")]
        &["list", "--backend", "etcd", "--endpoints", "http://127.0.0.1:1"],
    ] {
        let memory = if command.contains(&"etcd") { &JOIN[..2] } else { &JOIN[..4] };
        let output = run_after("export RUST_MIN_STACK=4611686018427387904", &[memory, command].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", stderr(&output));
        let error = stderr(&output);
        assert!(
            error.starts_with("error: cannot start a thread: Resource temporarily unavailable"),
            "{command:?}: {error}"
        );
        assert!(error.ends_with("or of processes (ulimit -u)\n") && error.lines().count() == 1, "{command:?}: {error}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn with_too_few_files_it_says_so_or_does_its_work() {
    let (mut failed, mut worked) = (0, 0);
    // With less the system cannot even load it.
    for files in 6..32 {
        for command in [&["join"][..], &["list"], &["watch", "--until-synced"]] {
            let output = run_after(&format!("ulimit -n {files}"), &[&JOIN[..4], command].concat());
            let error = stderr(&output);
            match output.status.code() {
                Some(0) => worked += 1,
                Some(1) => {
                    failed += 1;
                    let told = error.starts_with("error: cannot ")
                        && error.contains("Too many open files (os error 24); raise");
                    assert!(told, "{files} {command:?}: {error}");
                }
                code => panic!("{files} {command:?}: {code:?} {error}"),
            }
        }
    }
    assert!(failed > 10 && worked > 10, "{failed} {worked}");
}

#[test]
fn a_stdin_that_ends_is_told_and_without_stdin_it_stays() {
    for (on_exit, told) in [("close", "stdin ended: closing"), ("release", "stdin ended: releasing")] {
        let output = run(&[&JOIN[..], &["--on-exit", on_exit]].concat());
        assert_eq!(output.status.code(), Some(0));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
    let mut program = Running::start_on(Stdio::null(), &[&JOIN[..], &["--no-stdin", "--key", "a=1"]].concat());
    assert_eq!(program.next("update")["name"], "a");
    program.signal("TERM");
    assert_eq!(program.next("delete")["name"], "a");
    let (heard, code) = program.last_words();
    assert_eq!((&*heard, code), ("", Some(0)));
}

#[test]
fn a_closed_stdout_ends_it_without_an_error() {
    let publish = ["--prefix", "p", "--backend", "memory", "--output", "json", "publish", "/dev/null"];
    let mut commands = vec![&publish[..], &JOIN[..]];
    for command in [&["list"][..], &["audit"], &["watch"], &["watch", "--until-synced"], &["demo"], &["demo", "--once"]]
    {
        commands.push(&*[&JOIN[..6], command].concat().leak());
    }
    for arguments in commands {
        let (reader, stdout) = std::io::pipe().unwrap();
        drop(reader);
        // A stdin that stays open, so that nothing else ends it.
        let (stdin, _open) = std::io::pipe().unwrap();
        let output = run_on(stdin, stdout, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let error = stderr(&output);
        assert!(!error.contains("error") && !error.contains("panicked"), "{arguments:?}: {error}");
    }
}

#[test]
fn a_watch_whose_reader_goes_ends_although_nothing_changes() {
    let (reader, stdout) = std::io::pipe().unwrap();
    let ended = std::thread::spawn(|| run_on(Stdio::null(), stdout, &[&JOIN[..6], &["watch"]].concat()));
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    // Nothing is printed after this.
    assert!(lines.any(|line| line == r#"{"type":"status","state":"synced"}"#));
    drop(lines);
    let output = ended.join().unwrap();
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""));
}

#[test]
fn the_log_can_be_json_and_stdout_has_none_of_it() {
    let output =
        run(&[&["--log", "shared_store=debug", "--log-format", "json"], &JOIN[..], &["--key", "a=1"]].concat());
    let error = stderr(&output);
    let log: Vec<_> = error.lines().filter(|line| line.starts_with('{')).collect();
    assert!(!log.is_empty(), "{error}");
    for line in log {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string() && line["fields"].is_object(), "{line}");
    }
    assert!(!String::from_utf8(output.stdout).unwrap().contains("\"level\""));
}

#[test]
fn completions_and_manual_pages_are_printed() {
    for (arguments, text) in [
        (&["completions", "bash"][..], "complete -F _shared__store"),
        (&["completions", "zsh"], "#compdef shared-store"),
        (&["man"], ".TH shared-store 1"),
        (&["man", "publish"], "--canary"),
        (&["man", "publish"], "SHARED_STORE_PREFIX"),
        (&["help"], "Exit codes:"),
        (&["help"], "Look:\n  list "),
        (&["--help"], "Examples:\n"),
        (&["man", "explain"], "why is a gone"),
        #[cfg(feature = "etcd")]
        (&["completions", "bash"], "troubleshoot"),
        (&["publish", "--help"], "Example:"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        // roff escapes hyphens.
        let printed = String::from_utf8(output.stdout).unwrap().replace("\\-", "-");
        assert!(printed.contains(text), "{arguments:?}: {printed}");
    }
    assert_eq!(run(&["man", "fly"]).status.code(), Some(2));
}

#[test]
fn connection_options_come_from_variables_too() {
    for (variables, code, cause) in [
        ("SHARED_STORE_PREFIX=p SHARED_STORE_BACKEND=memory", 0, ""),
        ("SHARED_STORE_PREFIX=p/ SHARED_STORE_BACKEND=memory", 2, "ends with a slash"),
        ("SHARED_STORE_PREFIX=p SHARED_STORE_ENDPOINTS=http://h:1 SHARED_STORE_USER=u", 2, "SHARED_STORE_PASSWORD"),
        (
            "SHARED_STORE_PREFIX=p SHARED_STORE_ENDPOINTS=https://h:1 SHARED_STORE_TLS_CA=/no/ca",
            2,
            "cannot read /no/ca",
        ),
        ("SHARED_STORE_PREFIX=p SHARED_STORE_ENDPOINTS=https://h:1 SHARED_STORE_TLS_CERT=/c", 2, "needs --tls-key"),
        ("SHARED_STORE_PREFIX=p SHARED_STORE_ENDPOINTS=https://h:1 SHARED_STORE_TLS_KEY=/k", 2, "needs --tls-cert"),
    ] {
        let output = run_after(&format!("export {variables}"), &["list"]);
        assert_eq!(output.status.code(), Some(code), "{variables}: {}", stderr(&output));
        assert!(stderr(&output).contains(cause), "{variables}: {}", stderr(&output));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_files_is_an_error_in_words() {
    // From just enough for the linker to enough for everything but the threads of the library.
    for limit in 4..16 {
        let output = run_after(&format!("ulimit -n {limit}"), &[&JOIN[..], &["--key", "a=1"]].concat());
        let error = stderr(&output);
        assert!(!error.contains("panicked"), "{limit}: {error}");
        if output.status.code() != Some(0) {
            assert_eq!(output.status.code(), Some(1), "{limit}: {error}");
            assert!(error.contains("Too many open files"), "{limit}: {error}");
        }
    }
}

#[test]
fn a_write_to_a_prefix_of_ciliums_is_warned_of() {
    let warning = "warning: cilium/state/nodes/v1 is a prefix that Cilium watches";
    let common = ["--prefix", "cilium/state/nodes", "--backend", "memory"];
    let output = run(&[&common[..], &["join", "--key", "v1=1"]].concat());
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
    let mut program = Running::start(&[&common[..], &["--output", "json", "join"]].concat());
    program.say(r#"{"op":"update_once","name":"v1","value":1}"#);
    program.hear(warning);
    assert_eq!(program.next("reply")["ok"], true, "it is done all the same");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "{\"name\":\"v1\",\"value\":1}\n").unwrap();
    let output = run(&[&common[..], &["publish", "--once", file.path().to_str().unwrap()]].concat());
    assert!(stderr(&output).contains(warning), "{}", stderr(&output));
}
