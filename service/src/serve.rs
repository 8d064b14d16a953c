//! `serve`: stores behind HTTP, with metrics and a page.

mod api;
mod cached;
mod feed;
mod follow;
mod hosted;
mod log;
mod names;
mod openapi;
mod page;
mod probes;
mod publishing;
mod server;
mod settings;
mod stores;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use self::settings::Limits;
pub(crate) use self::settings::Settings;
pub(crate) use self::stores::Connection;
use self::stores::Stores;
use crate::cli::{Common, ServeArgs};
use crate::hosting::Hosting;
use crate::http::{Access, Problem};
use crate::setup::{Failure, say};
use crate::signals::Signals;

/// How long leaving waits until streams have ended.
const STREAMS_END: Duration = Duration::from_secs(1);

/// What requests are answered from.
#[derive(Debug)]
pub(crate) struct Service {
    stores: Stores,
    access: web::Data<Access>,
    limits: Limits,
    prometheus: PrometheusHandle,
    streams: Arc<Semaphore>,
    /// True once the service has been told to stop.
    stopping: watch::Receiver<bool>,
}

impl Service {
    /// A stream may begin.
    fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Problem::too_many_streams(format_args!("there are {} streams already", self.limits.streams)))
    }
}

pub(crate) async fn run(common: &Common, args: &ServeArgs, signals: Signals) -> Result<(), Failure> {
    let settings = Settings::load(common, args.config.as_deref(), args.listen)?;
    let connection = Connection::open(common, &settings)?;
    if args.check {
        settings.check_files()?;
        Access::new(settings.allowed())?;
        say("the configuration is good");
        return Ok(());
    }
    let mut signals = signals.without_hang_up();
    let reload = || Settings::load(common, args.config.as_deref(), args.listen);
    host(settings, common, connection, reload, drop, signals.next()).await
}

/// Hosts the stores of these settings on this kvstore, until `stop` ends. SIGHUP reads them again. `started` is told where
/// it listens.
pub(crate) async fn host(
    mut settings: Settings,
    common: &Common,
    connection: Connection,
    reload: impl Fn() -> Result<Settings, Failure>,
    started: impl FnOnce(String),
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    // Before the stores: what was recorded before is lost.
    let mut hosting = Hosting::start()?;
    server::describe_metrics();
    let (stops, stopping) = watch::channel(false);
    let streams = Arc::new(Semaphore::new(settings.limits.streams));
    let service = web::Data::new(Service {
        stores: Stores::default(),
        access: web::Data::new(Access::new(settings.allowed())?),
        limits: settings.limits.clone(),
        prometheus: hosting.prometheus(),
        streams: Arc::clone(&streams),
        stopping,
    });
    let mut connection = Arc::new(connection);
    let server = server::bind(&service, &settings)?;
    service.stores.apply(&connection, &settings, false).await?;
    let url = server.url();
    let (running, handle) = server.run();
    say(format_args!("listening on {url}"));
    started(url);
    let read_again = async || {
        settings = change(reload(), common, &service, &mut connection, &settings).await?;
        Ok(())
    };
    hosting.until(stop, read_again).await;
    stops.send_replace(true);
    // Streams are told first that the service goes: they never end by themselves.
    let all = u32::try_from(settings.limits.streams).unwrap_or(u32::MAX);
    let _ = timeout(STREAMS_END, streams.acquire_many(all)).await;
    // Others see the own keys go. Reads are answered until the end.
    service.stores.close().await;
    handle.stop(true).await;
    running.await.map_err(Failure::promise)?.map_err(Failure::from)
}

/// Applies settings that were read again. If they are bad, nothing changes.
async fn change(
    new: Result<Settings, Failure>,
    common: &Common,
    service: &Service,
    connection: &mut Arc<Connection>,
    old: &Settings,
) -> Result<Settings, Failure> {
    let mut new = new?;
    new.check_files()?;
    if (new.address(), &new.https, &new.limits) != (old.address(), &old.https, &old.limits) {
        say("note: listen, https and limits change with a restart");
        (new.listen, new.https, new.limits) = (old.listen, old.https.clone(), old.limits.clone());
    }
    let renew = !new.same_kvstore(old);
    if renew {
        *connection = Arc::new(Connection::open(common, &new)?);
    }
    service.access.reload(new.allowed())?;
    service.stores.apply(connection, &new, renew).await?;
    Ok(new)
}
