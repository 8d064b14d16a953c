//! `mirror`: keys of other kvstores copied into this one.

mod ask;
mod overlaps;
mod settings;
mod site;
mod sources;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::web::Data;
use metrics_exporter_prometheus::PrometheusHandle;
use shared_store::mirror::{Heartbeat, MirrorMetrics, MirrorStatus};
use tokio::sync::watch;

pub(crate) use self::ask::status;
use self::settings::Settings;
use self::sources::{Local, Sources};
use crate::cli::{Common, MirrorArgs};
use crate::hosting::Hosting;
use crate::http::Access;
use crate::setup::{Failure, say};
use crate::signals::Signals;

/// What requests are answered from.
pub(crate) struct Mirroring {
    sources: Arc<Sources>,
    access: Data<Access>,
    prometheus: PrometheusHandle,
    metrics: Mutex<MirrorMetrics>,
    started: Instant,
    ready_timeout: Duration,
    was_ready: AtomicBool,
    /// True once the program has been told to stop.
    stopping: watch::Receiver<bool>,
}

impl Mirroring {
    fn record(&self, statuses: &[MirrorStatus]) {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).record(statuses);
    }

    /// Whether it is or was ready.
    fn was_ready(&self, is_ready: bool) -> bool {
        self.was_ready.fetch_or(is_ready, Ordering::Relaxed) || is_ready
    }
}

pub(crate) async fn run(common: &Common, args: &MirrorArgs, signals: Signals) -> Result<(), Failure> {
    let file = args.config.as_deref().expect("clap asks for it");
    let load = || Settings::load(common, file, args.listen);
    let mut settings = load()?;
    let access = Data::new(Access::new(settings.allowed())?);
    let mut local = Local::open(settings.common(common))?;
    if args.check {
        settings.wanted().values().try_for_each(|wanted| local.config(wanted).map(drop))?;
        say("the configuration is good");
        return Ok(());
    }
    let mut signals = signals.without_hang_up();
    let mut hosting = Hosting::start()?;
    let (stop, stopping) = watch::channel(false);
    let sources = Arc::new(Sources::default());
    let mirroring = Data::new(Mirroring {
        sources: Arc::clone(&sources),
        access: access.clone(),
        prometheus: hosting.prometheus(),
        metrics: Mutex::default(),
        started: Instant::now(),
        ready_timeout: settings.ready_timeout,
        was_ready: AtomicBool::new(false),
        stopping,
    });
    let server = site::bind(&mirroring, &settings)?;
    sources.apply(&local, settings.wanted(), false).await?;
    let mut heartbeat = heartbeat(&settings, &local)?;
    let url = server.url();
    let (running, handle) = server.run();
    say(format_args!("listening on {url}"));
    let read_again = async || {
        let mut new = load()?;
        if (new.address(), new.ready_timeout) != (settings.address(), settings.ready_timeout) {
            say("note: listen and ready_timeout change with a restart");
            (new.listen, new.ready_timeout) = (settings.listen, settings.ready_timeout);
        }
        let renew = !new.same_kvstore(&settings);
        let other = if renew { Local::open(new.common(common))? } else { local.clone() };
        sources.apply(&other, new.wanted(), renew).await?;
        access.reload(new.allowed())?;
        if renew || new.heartbeat != settings.heartbeat {
            heartbeat = self::heartbeat(&new, &other)?;
        }
        (settings, local) = (new, other);
        Ok(())
    };
    hosting.until(signals.next(), read_again).await;
    stop.send_replace(true);
    sources.release().await;
    drop(heartbeat);
    handle.stop(true).await;
    running.await.map_err(Failure::promise)?.map_err(Failure::from)
}

fn heartbeat(settings: &Settings, local: &Local) -> Result<Option<Heartbeat>, Failure> {
    let start = || Heartbeat::start(Arc::new(local.backend.clone()));
    Ok(settings.heartbeat.then(start).transpose()?)
}
