//! `demo`: collaborators on one embedded kvstore, in one process, and a page that shows them.

pub(crate) mod live;
mod once;
mod story;

#[cfg(not(feature = "etcd"))]
use std::convert::Infallible;
use std::env;
use std::io::IsTerminal;
#[cfg(feature = "etcd")]
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "etcd")]
use shared_store::backend::etcd::served::ServedEtcd;
use shared_store::{Config, MemoryBackend, Observer, Until, join};
use tokio::sync::watch;

use crate::cli::{Common, DemoArgs};
use crate::document::Document;
use crate::output::{Printer, all_printed, nobody_reads};
use crate::serve::{self, Connection, Settings};
use crate::setup::{Failure, say};
use crate::signals::Signals;
use crate::value::Json;

/// How long the last changes may take to be printed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows what collaborators do, on stdout and on a page, until a signal; or a short script of three of them.
pub(crate) async fn run(common: &Common, args: &DemoArgs, mut signals: Signals) -> Result<(), Failure> {
    if args.once {
        return tokio::select! {
            done = once::run(common) => done,
            () = signals.next() => Err(Failure::promise("interrupted")),
        };
    }
    let kvstore = MemoryBackend::new();
    let (printer, mut ended) = Printer::start(common.output)?;
    let config = Config::new(live::prefix()).backend(kvstore.clone());
    let viewer = join::<Document<Json>>(config).observer(Observer::new(&printer)).await?;
    say("# collaborators come, change their keys and go, until you end it (Ctrl-C)");
    let _etcd = etcd(&kvstore)?;
    let (stop, stopping) = watch::channel(false);
    let stopped = || {
        let mut stopping = stopping.clone();
        async move { drop(stopping.wait_for(|stop| *stop).await) }
    };
    let settings = Settings::one("services", live::prefix(), args.listen);
    let unchanged = settings.clone();
    let page = serve::host(
        settings,
        common,
        Connection::of(kvstore.clone()),
        || Ok(unchanged.clone()),
        |url| show(&url, args),
        stopped(),
    );
    let lives = async {
        let lived = live::live(kvstore.clone(), fastrand::u64(..), stopped()).await;
        // One that cannot live ends the demo.
        stop.send_replace(true);
        lived
    };
    let asked = async {
        tokio::select! {
            () = signals.next() => {}
            () = nobody_reads(&mut ended) => {}
            () = stopped() => {}
        }
        stop.send_replace(true);
    };
    let served = async {
        let served = page.await;
        stop.send_replace(true);
        served
    };
    let (lived, served, ()) = tokio::join!(lives, served, asked);
    // Those that left last are to be seen leaving, too; if that takes too long, it ends without.
    let _ = viewer.wait_until(kvstore.revision(), Until::Told, PATIENCE).await;
    let left = viewer.release().await.map_err(Failure::from);
    lived.and(served).and(left).and(all_printed(&printer, &ended, String::new()).await)
}

/// The page, for who has a screen.
fn show(url: &str, args: &DemoArgs) {
    say(format_args!("# the page: {url}"));
    let screen = cfg!(target_os = "macos") || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|of| env::var_os(of).is_some());
    if screen && !args.no_browser && std::io::stderr().is_terminal() {
        // It is said where the page is: nothing is lost if no browser opens.
        let _ = open::that_detached(url);
    }
}

/// The same kvstore for etcdctl and other programs.
#[cfg(feature = "etcd")]
fn etcd(kvstore: &MemoryBackend) -> Result<ServedEtcd, Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let etcd = ServedEtcd::listen(kvstore.clone(), address).map_err(crate::setup::cannot_start)?;
    say(format_args!("# take part: shared-store --endpoints {} --prefix {} join", etcd.endpoint(), live::prefix()));
    Ok(etcd)
}

#[cfg(not(feature = "etcd"))]
fn etcd(_: &MemoryBackend) -> Result<Option<Infallible>, Failure> {
    Ok(None)
}
