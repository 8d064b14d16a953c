//! Streams of changes: what a client knows is what is there.

use std::time::{Duration, Instant};

use super::MEMORY;
use super::client::Service;

#[test]
fn a_stream_has_all_keys_and_then_each_change_and_ends_before_own_keys_go() {
    let service = Service::start(&MEMORY);
    let first = service.put("nodes/keys/a", "1").json()["revision"].as_u64();
    let mut stream = service.stream("nodes", "", None);
    let opened = stream.next().unwrap();
    assert_eq!((&*opened.kind, &opened.data["resumed"]), ("opened", &false.into()));
    assert_eq!(stream.next().unwrap().kind, "status");
    let update = stream.next().unwrap();
    assert_eq!((&update.data["name"], &update.data["initial"], update.id), (&"a".into(), &true.into(), None));
    let synced = stream.next().unwrap();
    assert_eq!(synced.kind, "synced");
    assert!(synced.id.is_some() && synced.id <= first, "{synced:?}");
    let second = service.put("nodes/keys/a", "2").json()["revision"].as_u64();
    let update = stream.next().unwrap();
    assert_eq!((&update.data["value"], &update.data["old"], update.id), (&2.into(), &1.into(), second));
    assert!(update.data["lease"].is_string() && update.data["at"].is_string());
    assert_eq!(update.data["create_revision"].as_u64(), first);
    let gone = service.delete("nodes/keys/a").json()["revision"].as_u64();
    let delete = stream.next().unwrap();
    assert_eq!((&*delete.kind, &delete.data["value"], delete.id), ("delete", &2.into(), gone));
    service.put("nodes/keys/b", "3");
    assert_eq!(stream.next().unwrap().kind, "update");
    let begun = Instant::now();
    service.process.signal("TERM");
    assert_eq!(stream.next().unwrap().kind, "end");
    assert!(stream.next().is_none());
    let (stderr, code) = service.process.last_words();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(begun.elapsed() < Duration::from_secs(20), "a stream that never ends does not keep it");
}

#[test]
fn a_stream_goes_on_after_its_last_id_without_what_it_knows() {
    let service = Service::start(&MEMORY);
    let mut stream = service.stream("nodes", "?prefix=eu/", None);
    let run = stream.next().unwrap().data["run"].as_str().unwrap().to_owned();
    service.put("nodes/keys/eu/a", "1");
    let id = stream.find("update").id.unwrap();
    drop(stream);
    service.put("nodes/keys/us/a", "1");
    service.put("nodes/keys/eu/b", "2");
    for query in ["?prefix=eu/".to_owned(), format!("?prefix=eu/&run={run}&after={id}")] {
        let last = id.to_string();
        let mut stream = service.stream("nodes", &query, (!query.contains("after")).then_some(&*last));
        assert_eq!(stream.next().unwrap().data["resumed"], true);
        assert_eq!(stream.next().unwrap().kind, "status");
        assert_eq!(stream.next().unwrap().data["name"], "eu/b");
    }
    let mut other = service.stream("nodes", &format!("?run=0000000000000000&after={id}"), None);
    assert_eq!(other.next().unwrap().data["resumed"], false);
    assert_eq!(other.find("resynced").data["all"], true);
    assert_eq!(other.find("synced").data["entries"], 3);
}

#[test]
fn streams_beyond_the_limit_are_refused_and_closed_ones_leave_nothing_behind() {
    let config = super::config::file(
        "backend = \"memory\"\n[limits]\nstreams = 50\n[[store]]\nname = \"nodes\"\nprefix = \"p\"\n",
    );
    let service = Service::start(&["serve", "--config", config.path().to_str().unwrap()]);
    service.until_ready();
    let mut values = 0_u64..;
    for _ in 0..4 {
        let mut streams: Vec<_> = (0..50).map(|_| service.stream("nodes", "", None)).collect();
        streams.iter_mut().for_each(|stream| drop(stream.find("synced")));
        let refused = service.get("nodes/changes");
        assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
        assert_eq!(service.get("nodes").json()["streams"], 50);
        drop(streams);
        // A closed connection is noticed when something is written to it.
        while service.get("nodes").json()["streams"] != 0 {
            service.put("nodes/keys/a", &values.next().unwrap_or(0).to_string());
        }
    }
    service.leaves();
}

#[cfg(feature = "etcd")]
mod on_etcd {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fastrand::Rng;
    use shared_store_support::{EtcdServer, Version};

    use super::super::client::Known;
    use super::*;
    use crate::running::Running;

    fn serve(server: &EtcdServer) -> Service {
        Service::start(&["--endpoints", &server.endpoint(), "--prefix", "p", "serve"])
    }

    #[test]
    fn a_client_that_is_cut_off_a_hundred_times_under_load_knows_what_etcd_has() {
        let server = EtcdServer::start(Version::V35);
        let service = serve(&server);
        let common = ["--endpoints", &server.endpoint(), "--prefix", "p", "--output", "json", "join"];
        let (mut writer, done) = (Running::start(&common), AtomicBool::new(false));
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut known = Known::default();
        std::thread::scope(|scope| {
            let writes = scope.spawn(|| {
                let mut rng = Rng::with_seed(seed);
                for n in 0.. {
                    let name = rng.u8(..40);
                    writer.say(&if rng.u8(..4) == 0 {
                        format!("{{\"id\":{n},\"op\":\"delete\",\"name\":\"k{name}\"}}")
                    } else {
                        format!("{{\"id\":{n},\"op\":\"update_sync\",\"name\":\"k{name}\",\"value\":{n}}}")
                    });
                    // Some under way at a time.
                    if n >= 16 {
                        writer.next("reply");
                    }
                    if done.load(Ordering::Relaxed) {
                        return writer.take("reply", 16);
                    }
                }
                unreachable!()
            });
            let (mut rng, mut last) = (Rng::with_seed(seed), None::<String>);
            let mut resumed = 0;
            for _ in 0..100 {
                let mut stream = service.stream("p", "", last.as_deref());
                for _ in 0..rng.u8(1..60) {
                    let event = stream.next().unwrap();
                    resumed += usize::from(event.kind == "opened" && event.data["resumed"] == true);
                    known.take(&event);
                }
                last = stream.last.clone();
            }
            assert!(resumed > 50, "only {resumed} streams went on where they were");
            done.store(true, Ordering::Relaxed);
            writes.join().unwrap();
            let revision = service.put("p/keys/last", "0").json()["revision"].as_u64();
            let mut stream = service.stream("p", "", last.as_deref());
            while stream.last.as_ref().and_then(|id| id.parse().ok()) < revision {
                known.take(&stream.next().unwrap());
            }
        });
        let lines = server.etcdctl(&["get", "--prefix", "p/"]);
        let lines: Vec<_> = lines.lines().collect();
        let truth =
            lines.chunks(2).map(|pair| (pair[0]["p/".len()..].to_owned(), serde_json::from_str(pair[1]).unwrap()));
        assert_eq!(known.0, truth.collect());
        service.leaves();
    }

    #[test]
    fn an_outage_is_told_and_a_service_that_was_restarted_gives_all_keys_again() {
        let mut server = EtcdServer::start(Version::V35);
        let service = serve(&server);
        service.put("p/keys/mine", "1");
        server.etcdctl(&["put", "p/a", "1"]);
        let mut stream = service.stream("p", "", None);
        let mut known = Known::default();
        while known.0.len() < 2 {
            known.take(&stream.next().unwrap());
        }
        server.kill();
        let stale = stream.find("status");
        assert_eq!(stale.data["state"], "stale");
        assert!(!stale.data["cause"].as_str().unwrap().is_empty());
        let ready = service.send("GET", "/readyz", &[], "");
        assert!(ready.status == 503 && ready.body.contains("\"cause\":\""), "{}", ready.body);
        assert_eq!(service.get("p/keys/a").json()["value"], 1, "what is known is still answered");
        server.restart();
        while stream.find("status").data["state"] != "synced" {}
        let last = stream.last.clone();
        drop(stream);
        service.leaves();

        let service = serve(&server);
        service.until_ready();
        let mut stream = service.stream("p", "", last.as_deref());
        assert_eq!(stream.next().unwrap().data["resumed"], false, "another run has not told those ids");
        loop {
            let event = stream.next().unwrap();
            known.take(&event);
            if event.kind == "synced" {
                break;
            }
        }
        assert_eq!(known.0.keys().collect::<Vec<_>>(), ["a"], "the own key went with the first service");
        drop(stream);
        service.leaves();
    }
}
