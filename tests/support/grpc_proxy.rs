//! etcd's own gRPC proxy in front of an etcd.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::etcd::{EtcdServer, Version, free_port};
use crate::waiting::seen_within;

/// A running `etcd grpc-proxy`, which merges the watches of its clients. Gone when dropped.
#[derive(Debug)]
pub struct GrpcProxy {
    port: u16,
    process: Child,
    _directory: TempDir,
}

impl GrpcProxy {
    /// Starts one in front of a server and waits until it takes connections.
    pub fn to(version: Version, server: &EtcdServer) -> Self {
        Self::to_endpoint(version, &server.endpoint())
    }

    /// Starts one in front of whatever serves there, and waits until it takes connections.
    pub fn to_endpoint(version: Version, endpoint: &str) -> Self {
        // A port found free may be taken before it is bound: then another is found.
        (0..10).find_map(|_| Self::start(&version.binary(), endpoint)).expect("the proxy starts")
    }

    fn start(binary: &PathBuf, endpoint: &str) -> Option<Self> {
        let (port, directory) = (free_port(), tempfile::tempdir().expect("a temporary directory"));
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(binary);
        command.args(["grpc-proxy", "start"]).arg(format!("--endpoints={endpoint}"));
        command.arg(format!("--listen-addr={address}")).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("etcd runs");
        let mut proxy = Self { port, process, _directory: directory };
        let look = || {
            let has_ended = proxy.process.try_wait().expect("the process is ours").is_some();
            (has_ended, std::net::TcpStream::connect(&address).is_ok())
        };
        let seen = seen_within(Duration::from_secs(10), look, |(has_ended, listens)| *has_ended || *listens);
        // If it has ended, something else listens on its port.
        seen.is_ok_and(|(has_ended, _)| !has_ended).then_some(proxy)
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for GrpcProxy {
    fn drop(&mut self) {
        self.process.kill().expect("the process is ours");
        self.process.wait().expect("the process is ours");
    }
}
