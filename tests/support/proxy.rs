//! A proxy whose connections can be disturbed byte by byte while they are in use.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::etcd::free_port;

/// What the proxy does with bytes and new connections, from the next chunk on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// They pass.
    Forward,
    /// They pass, so many bytes a second each way.
    Slow(u32),
    /// Those to the server wait; connecting works.
    StallRequests,
    /// Those from the server wait; connecting works.
    StallAnswers,
    /// All wait, and the proxy takes no new connections, which the system accepts all the same.
    BlackHole,
    /// Nothing listens. Existing connections work until they are cut.
    Refuse,
    /// They pass, but a client is not told that the server has gone.
    HalfOpen,
}

/// How connections end that are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Orderly.
    Close,
    /// With a reset.
    Reset,
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    mode: DeliveryMode,
    /// Counts endings: a connection ends when this changes.
    cuts: usize,
    ending: Ending,
}

/// A listener on loopback that passes bytes on to a server as its mode says. Gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    connections: Arc<AtomicUsize>,
}

/// Not on the thread of a test: a busy test must not look like a slow network.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread starts")
});

impl Proxy {
    /// Starts one in front of the server at `target`, `host:port`.
    pub fn to(target: &str) -> Self {
        let target = target.trim_start_matches("http://").parse().expect("an address");
        let orders = watch::Sender::new(Orders { mode: DeliveryMode::Forward, cuts: 0, ending: Ending::Close });
        let connections = Arc::default();
        // A port found free may be taken before it is bound: then another is found.
        let (address, listener) = (0..10)
            .find_map(|_| {
                let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
                Some((address, listen(address).ok()?))
            })
            .expect("a free port");
        RUNTIME.spawn(serve(listener, target, orders.subscribe(), Arc::clone(&connections)));
        Self { address, orders, connections }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what it does with bytes and connections from now on.
    pub fn set(&self, mode: DeliveryMode) {
        self.orders.send_modify(|orders| orders.mode = mode);
    }

    /// Closes all connections that exist.
    pub fn cut(&self) {
        self.end(Ending::Close);
    }

    /// Resets all connections that exist.
    pub fn reset(&self) {
        self.end(Ending::Reset);
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn end(&self, ending: Ending) {
        self.orders.send_modify(|orders| (orders.cuts, orders.ending) = (orders.cuts + 1, ending));
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let _context = RUNTIME.enter();
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Takes connections until the proxy is dropped, when everything here ends with an error of `orders`.
async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    mut orders: watch::Receiver<Orders>,
    connections: Arc<AtomicUsize>,
) -> Result<(), watch::error::RecvError> {
    let address = listener.local_addr().expect("a bound socket");
    let mut listener = Some(listener);
    loop {
        let mode = orders.borrow_and_update().mode;
        if mode == DeliveryMode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address).expect("the port is still ours"));
        }
        let accept = async {
            match &listener {
                Some(listener) if mode != DeliveryMode::BlackHole => listener.accept().await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = orders.changed() => changed?,
            Ok((client, _)) = accept => {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(client, target, orders.clone()));
            }
        }
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, mut orders: watch::Receiver<Orders>) {
    let cuts = orders.borrow().cuts;
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let quick = client.set_nodelay(true).and(server.set_nodelay(true));
    let ending = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let requests = pump(&mut from_client, &mut to_server, orders.clone(), DeliveryMode::StallRequests);
        let answers = pump(&mut from_server, &mut to_client, orders.clone(), DeliveryMode::StallAnswers);
        tokio::select! {
            cut = orders.wait_for(|orders| orders.cuts != cuts) => cut.map_or(Ending::Close, |orders| orders.ending),
            _ = async { tokio::join!(requests, answers) }, if quick.is_ok() => Ending::Close,
        }
    };
    if ending == Ending::Reset {
        // Without lingering a socket is reset when it is closed. It may be closed already.
        let _ = client.set_zero_linger().and(server.set_zero_linger());
    }
}

/// Passes bytes on in one direction, unless the mode is `stalled` or another one that stops them.
async fn pump(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
    stalled: DeliveryMode,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut most = buffer.len();
        if let DeliveryMode::Slow(rate) = orders.borrow().mode {
            most = usize::try_from(rate / 20).unwrap_or(1).clamp(1, most);
        }
        // A connection that cannot be read has ended.
        let read = from.read(&mut buffer[..most]).await.unwrap_or(0);
        let passes = |orders: &Orders| {
            let told = read > 0 || orders.mode != DeliveryMode::HalfOpen;
            told && orders.mode != stalled && orders.mode != DeliveryMode::BlackHole
        };
        let mode = orders.wait_for(passes).await.map_err(io::Error::other)?.mode;
        if read == 0 {
            return to.shutdown().await;
        }
        if let DeliveryMode::Slow(rate) = mode {
            let bytes = u32::try_from(read).unwrap_or(u32::MAX);
            tokio::time::sleep(Duration::from_secs(1) * bytes / rate.max(1)).await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
