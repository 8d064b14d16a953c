//! `dev-etcd`: the embedded kvstore on etcd's API, for development.

use std::net::{SocketAddr, ToSocketAddrs};

use shared_store::MemoryBackend;
use shared_store::backend::etcd::served::ServedEtcd;

use crate::setup::{Failure, say};
use crate::signals::Signals;

/// Serves until a signal. All keys are gone then.
pub(crate) async fn run(listen: &str, mut signals: Signals) -> Result<(), Failure> {
    let address = address(listen)?;
    let served = ServedEtcd::listen(MemoryBackend::new(), address).map_err(|error| {
        Failure::promise(format_args!("cannot listen on {listen}: {error}; give another address with --listen"))
    })?;
    say("note: for development only: keys are in memory and gone at the end; no authentication, no TLS");
    if !address.ip().is_loopback() {
        say(format_args!("note: every client that can connect to {address} can read and write every key"));
    }
    say(format_args!("listening on {}", served.endpoint()));
    signals.next().await;
    Ok(())
}

/// The first address of a host, and a port.
fn address(listen: &str) -> Result<SocketAddr, Failure> {
    let wanted = "write HOST:PORT, as in 127.0.0.1:2379, or port 0 for a free one";
    let mut addresses = listen
        .to_socket_addrs()
        .map_err(|error| Failure::usage(format_args!("--listen {listen}: {error}; {wanted}")))?;
    addresses.next().ok_or_else(|| Failure::usage(format_args!("--listen {listen}: the host has no address; {wanted}")))
}
