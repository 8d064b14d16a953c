//! The examples, as processes.

mod actix_web;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// An example, as it is now: `cargo test` builds the examples, `cargo test --test main` does not.
fn example(name: &str) -> Command {
    static BUILT: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILT.lock().unwrap();
    let tests = std::env::current_exe().unwrap();
    let binary = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    if !is_current(&binary) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
        // With the same features nothing is built twice.
        if cfg!(feature = "etcd") {
            build.arg("--all-features");
        }
        assert!(build.status().unwrap().success());
    }
    Command::new(binary)
}

/// Whether it is younger than all its sources, which cargo lists.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let Ok(sources) = std::fs::read_to_string(binary.with_extension("d")) else { return false };
    let built = changed(binary);
    built.is_some() && sources.split_whitespace().skip(1).all(|source| changed(Path::new(source)) <= built)
}

/// What an example prints; it ends by itself.
fn printed(name: &str) -> String {
    let output = example(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_codec_reads_newer_messages_and_says_what_is_none() {
    let lines = [
        "alpha is 13 bytes",
        r#"alpha is read: Some(Address { ip: "10.0.0.1", port: 8080 })"#,
        r#"alpha is told: Some(Address { ip: "10.0.0.1", port: 8080 })"#,
        r#"beta is told: Some(Address { ip: "10.0.0.2", port: 8081 })"#,
        "garbage is undecodable: failed to decode Protobuf message: invalid varint",
    ];
    assert_eq!(printed("codec").lines().collect::<Vec<_>>(), lines);
}

#[test]
fn the_examples_without_etcd_run_to_their_ends() {
    assert!(printed("quickstart").lines().count() > 5);
    assert!(printed("observers").contains("routes: "));
}
