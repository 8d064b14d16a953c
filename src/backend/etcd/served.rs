//! The in-memory kvstore as an etcd: for development, and for tests that need etcd's client and network, but no etcd.

mod auth;
mod check;
mod compare;
mod http;
mod kv;
mod lease;
mod member;
mod proto;
mod range;
mod refusal;
mod txn;
mod watch;
mod wire;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use etcd_client::proto::{PbClusterServer, PbKvServer, PbLeaseServer, PbMaintenanceServer, PbWatchServer};
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};

/// etcd's client as other programs have it: for tests that compare this server with an etcd, and for benchmarks.
#[cfg(feature = "test-kit")]
#[doc(hidden)]
pub use etcd_client as client;

use self::auth::Auth;
use self::wire::Wire;
use crate::backend::etcd::{EtcdBackend, EtcdConfig};
use crate::backend::faulty::{Faulty, Op};
use crate::backend::memory::{MAX_REQUEST_BYTES, MemoryBackend, Mvcc};

/// How much larger than the largest write a message may be, as in etcd.
const OVERHEAD_BYTES: usize = 512 << 10;
/// How many requests and watch streams a connection can have at once.
const MAX_STREAMS: u32 = 1000;

/// A [`MemoryBackend`] served on etcd's API, on a thread of its own: for development, and for tests.
///
/// The services KV, Watch and Lease are etcd's, with its semantics and errors, and so are the list of members (this one),
/// its status and its alarms (none), and `/version` and `/health` over HTTP. Authentication is off. Compared with an etcd,
/// it has no TLS, no JSON over HTTP, no metrics, no disk and no other members, and refuses as `Unimplemented`: ranges as a
/// stream, changes of members, users and roles, snapshots, hashes, and the server's own locks and elections.
///
/// As in etcd a request that writes may have 1.5 MiB and 128 operations. Nothing is buffered for a watch whose client
/// reads slowly: it goes on from the history, which keeps the newest changes ([`Mvcc`]), and is cancelled as
/// compacted if those are not enough. A connection has at most 1000 requests and watch streams at once, and a stream
/// 10,000 watches.
///
/// Faults of the kvstore are set by [`faults`](Self::faults), faults on the wire by [`refuse`](Self::refuse),
/// [`event_type`](Self::event_type) and [`kill`](Self::kill). Dropping it stops the server.
///
/// ```
/// use shared_store_core::backend::etcd::served::ServedEtcd;
/// use shared_store_core::backend::{Backend, ListRequest};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let etcd = ServedEtcd::start()?;
/// let range = shared_store_core::Prefix::new("nodes")?.range();
/// assert!(etcd.backend().list(ListRequest::new(range)).await?.kvs.is_empty());
/// # Ok(())
/// # }
/// ```
pub struct ServedEtcd {
    service: Service,
    address: SocketAddr,
    running: Option<Running>,
}

/// What every service knows.
#[derive(Debug, Clone)]
struct Service {
    memory: MemoryBackend,
    faulty: Faulty,
    wire: Arc<Wire>,
    /// Where it listens, as clients are told.
    endpoint: Arc<str>,
}

impl Service {
    /// Asks the kvstore, with the faults a test has for that.
    async fn call<T: Send>(
        &self,
        op: Op,
        action: impl FnOnce(&mut Mvcc, Instant) -> Result<T, Status> + Send,
    ) -> Result<Response<T>, Status> {
        self.wire.pass(op)?;
        let answer = self.faulty.call(op, async { Ok(self.memory.with(action)) });
        answer.await.map_err(refusal::status)?.map(Response::new)
    }
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ServedEtcd {
    /// Serves an empty kvstore.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start() -> io::Result<Self> {
        Self::serve(MemoryBackend::new())
    }

    /// Serves this kvstore, which can be used directly as well, on a free loopback port.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn serve(memory: MemoryBackend) -> io::Result<Self> {
        Self::listen(memory, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves this kvstore at this address; port 0 is a free one. There is no authentication: every client
    /// that can connect can read and write everything.
    ///
    /// # Errors
    /// If the address cannot be listened on, or there is no thread.
    pub fn listen(memory: MemoryBackend, address: SocketAddr) -> io::Result<Self> {
        let faulty = Faulty::new(memory.clone());
        let service = Service { faulty, memory, wire: Arc::default(), endpoint: "".into() };
        let mut served = Self { service, address, running: None };
        served.restart()?;
        Ok(served)
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.service.endpoint.to_string()
    }

    /// A new collaborator's backend, all by default.
    ///
    /// # Panics
    /// If there is no thread for it.
    #[must_use]
    pub fn backend(&self) -> EtcdBackend {
        EtcdBackend::new(EtcdConfig::new([self.endpoint()])).expect("the endpoint is well-formed")
    }

    /// The kvstore itself, behind network and faults.
    #[must_use]
    pub fn memory(&self) -> &MemoryBackend {
        &self.service.memory
    }

    /// The faults between the services and the kvstore: calls that fail before or after it, watches that break, fall
    /// silent or come in fragments. A failed call has the status code etcd would give it.
    #[must_use]
    pub fn faults(&self) -> &Faulty {
        &self.service.faulty
    }

    /// Answers the next `calls` of a kind with this gRPC status instead of asking the kvstore.
    pub fn refuse(&self, op: Op, calls: usize, code: i32, message: &str) {
        self.service.wire.refuse(op, calls, Status::new(code.into(), message));
    }

    /// Sends this type with every event of a watch from now on; `None` for the true type.
    pub fn event_type(&self, number: Option<i32>) {
        self.service.wire.event_type(number);
    }

    /// Stops the server as a power failure would: every connection is cut, nobody listens. The kvstore stays as it is.
    pub fn kill(&mut self) {
        if let Some(Running { stop, thread }) = self.running.take() {
            drop(stop);
            // It can only have ended.
            let _ = thread.join();
        }
    }

    /// Serves again on the same port; kills the server first if it is running.
    ///
    /// # Errors
    /// If the port is taken or there is no thread.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let listener = TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        self.address = listener.local_addr()?;
        self.service.endpoint = format!("http://{}", self.address).into();
        let (stop, stopped) = oneshot::channel();
        let (report, started) = mpsc::channel();
        let routes = routes(&self.service);
        // The runtime ends with the thread, and with it every connection and everything under way. It begins there, too:
        // it panics if it is dropped inside another one.
        let thread = std::thread::Builder::new().name("served-etcd".into()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(listener, routes, &report, stopped)),
                Err(error) => drop(report.send(Err(error))),
            }
        })?;
        started.recv().map_err(io::Error::other)??;
        self.running = Some(Running { stop, thread });
        Ok(())
    }
}

impl Drop for ServedEtcd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for ServedEtcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedEtcd").field("address", &self.address).field("service", &self.service).finish()
    }
}

/// Reports when it has begun, and serves until it is stopped.
async fn serve(
    listener: TcpListener,
    routes: Routes,
    report: &mpsc::Sender<io::Result<()>>,
    stopped: oneshot::Receiver<()>,
) {
    let incoming = tokio::net::TcpListener::from_std(listener).map(TcpIncoming::from);
    let (begun, incoming) = match incoming {
        Ok(incoming) => (Ok(()), Some(incoming.with_nodelay(Some(true)))),
        Err(error) => (Err(error), None),
    };
    let _ = report.send(begun);
    let Some(incoming) = incoming else { return };
    tokio::select! {
        _ = Server::builder().accept_http1(true).max_concurrent_streams(MAX_STREAMS).add_routes(routes).serve_with_incoming(incoming) => {}
        _ = stopped => {}
    }
}

/// All services, and a refusal in words for the others.
fn routes(service: &Service) -> Routes {
    let largest = MAX_REQUEST_BYTES + OVERHEAD_BYTES;
    let routes = Routes::new(PbKvServer::new(service.clone()).max_decoding_message_size(largest))
        .add_service(PbWatchServer::new(service.clone()))
        .add_service(PbLeaseServer::new(service.clone()))
        .add_service(PbClusterServer::new(service.clone()))
        .add_service(PbMaintenanceServer::new(service.clone()))
        .add_service(Auth(service.clone()));
    routes.into_axum_router().fallback(http::answer).into()
}
