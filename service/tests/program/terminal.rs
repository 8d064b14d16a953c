//! `top` on a terminal.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::running::{run, stderr};

const TOP: [&str; 5] = ["--backend", "memory", "--prefix", "p", "top"];

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = run(&TOP);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("use watch"), "{}", stderr(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn it_shows_the_store_until_q_and_gives_the_terminal_back() {
    let command = format!("{} {}", env!("CARGO_BIN_EXE_shared-store"), TOP.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("TERM", "xterm");
    let mut terminal = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let (mut seen, mut buffer) = (String::new(), [0; 4096]);
    // The screen is drawn cell by cell: words come whole.
    while !seen.contains("fresh") {
        let length = screen.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(seen.contains("\x1b[?1049h"), "it has a screen of its own");
    keyboard.write_all(b"q").unwrap();
    let mut rest = String::new();
    screen.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\x1b[?1049l"), "the screen of before is back: {rest:?}");
    assert_eq!(terminal.wait().unwrap().code(), Some(0));
}
