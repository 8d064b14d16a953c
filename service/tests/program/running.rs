//! The program, running.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use shared_store_support::seen_within;

/// Long enough for a loaded machine; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const BINARY: &str = env!("CARGO_BIN_EXE_shared-store");

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHARED_STORE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with an empty stdin to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    output(program(arguments).stdin(Stdio::null()))
}

/// Runs it with these as stdin and stdout.
pub(crate) fn run_on(stdin: impl Into<Stdio>, stdout: impl Into<Stdio>, arguments: &[&str]) -> Output {
    output(program(arguments).stdin(stdin).stdout(stdout))
}

/// Runs it with an empty stdin, after these commands of a shell.
pub(crate) fn run_after(shell: &str, arguments: &[&str]) -> Output {
    output(after(shell, arguments).stdin(Stdio::null()))
}

/// As [`Command::output`], but not for ever.
fn output(command: &mut Command) -> Output {
    fn kept(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes).unwrap());
            bytes
        })
    }
    let mut process = command.spawn().unwrap();
    let (stdout, stderr) = (kept(process.stdout.take()), kept(process.stderr.take()));
    let Some(status) = ended(&mut process) else {
        process.kill().unwrap();
        panic!("it does not end: {}", String::from_utf8_lossy(&stderr.join().unwrap()));
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits for its end.
fn ended(process: &mut Child) -> Option<ExitStatus> {
    seen_within(PATIENCE, || process.try_wait().unwrap(), Option::is_some).ok().flatten()
}

fn after(shell: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}; exec \"$@\""), "sh", BINARY]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A running program whose stdout is read line by line.
pub(crate) struct Running {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: Receiver<String>,
    waiting: Vec<Value>,
    /// Holds stdout open.
    _reader: JoinHandle<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawned(program(arguments), "")
    }

    /// After these commands of a shell.
    pub(crate) fn start_after(shell: &str, arguments: &[&str]) -> Self {
        Self::spawned(after(shell, arguments), "")
    }

    /// With this as stdin.
    pub(crate) fn start_on(stdin: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let mut program = program(arguments);
        program.stdin(stdin);
        Self::spawned(program, "")
    }

    /// With a closed stderr.
    pub(crate) fn start_unheard(arguments: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = program(arguments);
        program.stderr(writer);
        Self::spawned(program, "")
    }

    /// With a stdout that nobody reads beyond the first line of this type, and nobody closes.
    pub(crate) fn start_read_until(arguments: &[&str], of_type: &str) -> Self {
        Self::spawned(program(arguments), &format!("\"type\":\"{of_type}\""))
    }

    fn spawned(mut program: Command, last: &str) -> Self {
        let mut process = program.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        let last = last.to_owned();
        let reader = std::thread::spawn(move || {
            for line in stdout.by_ref().lines().map(Result::unwrap) {
                let done = !last.is_empty() && line.contains(&last);
                if sender.send(line).is_err() || done {
                    break;
                }
            }
            stdout
        });
        let (sender, heard) = channel();
        if let Some(stderr) = process.stderr.take() {
            std::thread::spawn(move || {
                // To its end, even if the test has stopped reading.
                for line in BufReader::new(stderr).lines().map(Result::unwrap) {
                    let _ = sender.send(line);
                }
            });
        }
        let stdin = process.stdin.take();
        Self { process, stdin, lines, heard, waiting: Vec::new(), _reader: reader }
    }

    /// The next line of stderr that contains this.
    pub(crate) fn hear(&self, text: &str) -> String {
        line_with(&self.heard, text)
    }

    /// The next line of stdout that contains this, for output that is not JSON.
    pub(crate) fn read(&self, text: &str) -> String {
        line_with(&self.lines, text)
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin(), "{line}").unwrap();
    }

    /// The next line of this type. Others are kept for later: notifications and replies have no common order.
    pub(crate) fn next(&mut self, of_type: &str) -> Value {
        loop {
            if let Some(index) = self.waiting.iter().position(|line| line["type"] == of_type) {
                return self.waiting.remove(index);
            }
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {of_type} line"));
            self.waiting.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")));
        }
    }

    /// The first line of this type that fits; others are kept for later.
    pub(crate) fn find(&mut self, of_type: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut passed = Vec::new();
        loop {
            let line = self.next(of_type);
            if fits(&line) {
                self.waiting.splice(..0, passed);
                return line;
            }
            passed.push(line);
        }
    }

    /// Waits until it is in this state, and forgets the states before.
    pub(crate) fn state(&mut self, name: &str) -> Value {
        loop {
            let status = self.next("status");
            if status["state"] == name {
                return status;
            }
        }
    }

    /// So many lines of this type.
    pub(crate) fn take(&mut self, of_type: &str, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next(of_type)).collect()
    }

    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.stdin.as_mut().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// The exit code.
    pub(crate) fn code(mut self) -> Option<i32> {
        ended(&mut self.process).expect("it ends").code()
    }

    /// The rest of stderr, and the exit code.
    pub(crate) fn last_words(mut self) -> (String, Option<i32>) {
        let heard = std::mem::replace(&mut self.heard, channel().1);
        let code = self.code();
        (heard.iter().collect::<Vec<_>>().join("\n"), code)
    }

    /// All lines to the end, and the exit code.
    pub(crate) fn end(mut self) -> (Vec<Value>, i32) {
        self.stdin = None;
        let lines = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok());
        let mut all = std::mem::take(&mut self.waiting);
        all.extend(lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()));
        (all, self.process.wait().unwrap().code().unwrap())
    }
}

fn line_with(lines: &Receiver<String>, text: &str) -> String {
    let mut before = Vec::new();
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {text:?} in {before:?}"));
        if line.contains(text) {
            return line;
        }
        before.push(line);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
