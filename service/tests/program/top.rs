//! `top` in a pseudo-terminal, which `script` of util-linux opens.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::running::{Running, run, stderr};

const PATIENCE: Duration = Duration::from_secs(20);

/// A shell in a terminal of 80x24. It tells its settings after the program has ended.
struct Terminal {
    script: Child,
    output: Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    fn start(arguments: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_shared-store");
        let shell = format!(
            "stty rows 24 cols 80; sh -c 'echo pid=$$.; exec {program} {arguments}'; code=$?; stty -a; echo code=$code."
        );
        let mut command = Command::new("script");
        command.args(["-qec", &shell, "/dev/null"]).env("TERM", "xterm").env("SHELL", "/bin/sh");
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = script.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { script, output, text: String::new() }
    }

    /// Waits until the terminal was sent this, and tells what was sent before it and what after it so far.
    fn until(&mut self, text: &str) -> (String, String) {
        let begun = Instant::now();
        loop {
            if let Some((before, after)) = self.text.split_once(text) {
                return (before.to_owned(), after.to_owned());
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let bytes = self.output.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.text));
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn press(&mut self, keys: &str) {
        self.script.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// The program has ended with code 0 and left the terminal as it was.
    fn leaves_it_restored(mut self) {
        let (_, after) = self.until("\x1b[?1049l");
        assert!(!after.contains("\x1b[?1049h"), "{after:?}");
        let (before, _) = self.until("code=0.");
        let (_, settings) = before.split_once("\x1b[?1049l").unwrap();
        for setting in ["icanon", "echo", "isig"] {
            assert!(settings.split_whitespace().any(|word| word == setting), "no {setting} in {settings:?}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = run(&["--backend", "memory", "--prefix", "p", "top"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("use watch"), "{}", stderr(&output));
}

#[test]
fn keys_appear_and_the_terminal_leaves_it_restored_after_a_key_or_a_signal() {
    let served = Running::start(&["dev-etcd", "--listen", "127.0.0.1:0"]);
    let line = served.hear("listening on ");
    let url = line.strip_prefix("listening on ").unwrap();
    let common = ["--endpoints", url, "--prefix", "p", "--output", "json"];
    let mut owner = Running::start(&[&common[..], &["join", "--key", "alpha=1"]].concat());
    owner.next("update");
    for end in ["q", "\x03", "TERM"] {
        let mut terminal = Terminal::start(&format!("--endpoints {url} --prefix p top"));
        terminal.until("alpha");
        if end == "TERM" {
            let (_, pid) = terminal.until("pid=");
            let (pid, _) = pid.split_once('.').unwrap();
            assert!(Command::new("kill").args(["-TERM", pid]).status().unwrap().success());
        } else {
            terminal.press(end);
        }
        terminal.leaves_it_restored();
    }
}
