//! A service that runs until it is told to stop: SIGHUP, systemd, metrics.

use std::pin::pin;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;

use crate::http;
use crate::setup::{Failure, say};

/// Durations are kept until they are summed up, here or when they are read.
const UPKEEP: Duration = Duration::from_secs(5);

/// A service that is about to run.
pub(crate) struct Hosting {
    prometheus: PrometheusHandle,
    hang_up: Signal,
}

impl Hosting {
    /// From now on metrics are recorded, and SIGHUP does not end the program.
    pub(crate) fn start() -> Result<Self, Failure> {
        let hang_up = signal(SignalKind::hangup())?;
        let prometheus = PrometheusBuilder::new().install_recorder().map_err(Failure::promise)?;
        http::describe_metrics();
        Ok(Self { prometheus, hang_up })
    }

    pub(crate) fn prometheus(&self) -> PrometheusHandle {
        self.prometheus.clone()
    }

    /// Runs until `stop` ends, and tells systemd so. SIGHUP reads the configuration again.
    pub(crate) async fn until(
        &mut self,
        stop: impl Future<Output = ()>,
        mut read_again: impl AsyncFnMut() -> Result<(), Failure>,
    ) {
        let mut stop = pin!(stop);
        notify(&[NotifyState::Ready]);
        let mut upkeep = interval(UPKEEP);
        let mut watchdog = interval(watchdog());
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = upkeep.tick() => self.prometheus.run_upkeep(),
                _ = watchdog.tick() => notify(&[NotifyState::Watchdog]),
                _ = self.hang_up.recv() => {
                    notify(&reloading());
                    match read_again().await {
                        Ok(()) => say("the configuration is read again"),
                        Err(failure) => say(format_args!("the configuration is not changed: {failure}")),
                    }
                    notify(&[NotifyState::Ready]);
                }
            }
        }
        notify(&[NotifyState::Stopping]);
    }
}

/// Tells systemd, if it wants to know.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

/// With the time, which systemd compares with that of its wish.
fn reloading() -> Vec<NotifyState<'static>> {
    let time = NotifyState::monotonic_usec_now().ok();
    [NotifyState::Reloading].into_iter().chain(time).collect()
}

/// How often systemd wants to hear of a service that lives; rarely if it does not.
fn watchdog() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |limit| limit / 3)
}
