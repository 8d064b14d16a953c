//! The in-memory kvstore as an etcd on loopback: for tests that need etcd's client and network, but no etcd.

mod kv;
mod lease;
mod proto;
mod watch;
mod wire;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use etcd_client::proto::{PbKvServer, PbLeaseServer, PbWatchServer};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use self::wire::Wire;
use crate::backend::BackendError;
use crate::backend::etcd::{EtcdBackend, EtcdConfig};
use crate::backend::faulty::{Faulty, Op};
use crate::backend::memory::MemoryBackend;

/// A [`MemoryBackend`] served as etcd's KV, Watch and Lease services, on a thread of its own and a free loopback port.
///
/// Enough for [`EtcdBackend`], and for `etcdctl put`, `get`, `del` and `watch`; it refuses other requests. Missing:
/// authentication, members, maintenance, versions of keys, previous values, sorting, progress on request (only
/// `progress_notify`), and transactions other than [`Backend::write`](crate::Backend::write)'s.
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

    /// Serves this kvstore, which can be used directly as well.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn serve(memory: MemoryBackend) -> io::Result<Self> {
        let service = Service { faulty: Faulty::new(memory.clone()), memory, wire: Arc::default() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut served = Self { service, address, running: None };
        served.restart()?;
        Ok(served)
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let incoming = {
            let _inside = runtime.enter();
            TcpIncoming::bind(self.address)?.with_nodelay(Some(true))
        };
        self.address = incoming.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let service = self.service.clone();
        let serve = async move {
            let server = Server::builder()
                .add_service(PbKvServer::new(service.clone()))
                .add_service(PbWatchServer::new(service.clone()))
                .add_service(PbLeaseServer::new(service))
                .serve_with_incoming(incoming);
            tokio::select! {
                _ = server => {}
                _ = stopped => {}
            }
        };
        // The runtime ends with the thread, and with it every connection and everything under way.
        let thread = std::thread::Builder::new().name("served-etcd".into()).spawn(move || runtime.block_on(serve))?;
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

/// The status etcd has for an error.
fn status(error: BackendError) -> Status {
    match error {
        BackendError::Compacted { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
        }
        BackendError::FutureRevision => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        BackendError::LeaseNotFound { .. } => Status::not_found("etcdserver: requested lease not found"),
        BackendError::LeaseExists { .. } => Status::failed_precondition("etcdserver: lease already exists"),
        BackendError::Unavailable { cause, .. } => Status::unavailable(&*cause),
        BackendError::Rejected { cause } => Status::invalid_argument(format!("etcdserver: {cause}")),
        BackendError::Forbidden { .. } => Status::permission_denied("etcdserver: permission denied"),
        BackendError::Misconfigured { cause } => Status::unauthenticated(&*cause),
    }
}
