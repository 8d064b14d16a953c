//! Files that operators install.

use std::path::Path;
use std::process::Command;

use shared_store::METRICS;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
/// Recorded by the service itself.
const OF_HTTP: [&str; 3] =
    ["shared_store_http_requests_total", "shared_store_http_request_duration_seconds", "shared_store_http_streams"];

/// What looks like the name of a metric.
fn metrics(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let begins = ["shared_store_", "kvstore_", "remote_cluster"];
    words.filter(|word| begins.iter().any(|begin| word.starts_with(begin))).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_only_metrics_that_there_are() {
    for (file, parts) in [("alerts.yml", 8), ("grafana-dashboard.json", 20)] {
        let text = std::fs::read_to_string(Path::new(PACKAGING).join(file)).unwrap();
        let named = metrics(&text);
        assert!(named.len() >= parts, "{file} names {named:?}");
        for name in named {
            let base = name.trim_end_matches("_bucket").trim_end_matches("_count");
            let known = METRICS.iter().any(|metric| metric.name == base) || OF_HTTP.contains(&base);
            assert!(known, "{file}: {name}");
        }
    }
    let dashboard = std::fs::read_to_string(Path::new(PACKAGING).join("grafana-dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

#[test]
fn the_installation_has_all_files_and_keeps_what_an_administrator_has_changed() {
    let root = tempfile::tempdir().unwrap();
    let install = || {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/install.sh"));
        command.env("DESTDIR", root.path()).env("PREFIX", "/usr").env("BINARY", env!("CARGO_BIN_EXE_shared-store"));
        assert!(command.status().unwrap().success());
    };
    install();
    for file in [
        "usr/bin/shared-store",
        "usr/share/man/man1/shared-store-serve.1",
        "usr/share/bash-completion/completions/shared-store",
        "usr/share/zsh/site-functions/_shared-store",
        "usr/share/fish/vendor_completions.d/shared-store.fish",
        "usr/share/man/man1/shared-store-mirror-status.1",
        "lib/systemd/system/shared-store.service",
        "lib/systemd/system/shared-store-mirror.service",
        "etc/shared-store/mirror.toml",
        "etc/default/shared-store",
    ] {
        assert!(std::fs::metadata(root.path().join(file)).unwrap().len() > 0, "{file}");
    }
    let config = root.path().join("etc/shared-store/serve.toml");
    assert!(std::fs::read_to_string(&config).unwrap().contains("[[store]]"));
    std::fs::write(&config, "changed").unwrap();
    install();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "changed");
}

#[test]
#[cfg(target_os = "linux")]
fn the_service_tells_systemd_that_it_is_ready_reloads_lives_and_stops() {
    use std::os::unix::net::UnixDatagram;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let told = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let environment = format!("export NOTIFY_SOCKET={} WATCHDOG_USEC=300000", path.display());
    let arguments = ["--backend", "memory", "--prefix", "p", "serve", "--listen", "127.0.0.1:0"];
    let program = crate::running::Running::start_after(&environment, &arguments);
    assert_eq!(told().trim(), "READY=1");
    assert_eq!(told().trim(), "WATCHDOG=1");
    program.signal("HUP");
    let reload = std::iter::repeat_with(told).find(|told| !told.starts_with("WATCHDOG")).unwrap();
    assert!(reload.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reload}");
    assert_eq!(told().trim(), "READY=1");
    program.signal("TERM");
    assert!(std::iter::repeat_with(told).any(|told| told.trim() == "STOPPING=1"));
    assert_eq!(program.code(), Some(0));
}
