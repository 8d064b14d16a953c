//! Configuration files, and what a reload does.

use serde_json::Value;
use tempfile::NamedTempFile;

use super::client::Service;

pub(crate) fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, text).unwrap();
    file
}

fn store(name: &str, more: &str) -> String {
    format!("[[store]]\nname = {name:?}\nprefix = \"p/{name}\"\n{more}\n")
}

fn names(service: &Service) -> Vec<String> {
    let stores = service.send("GET", "/v1/stores", &[], "").json();
    let Value::Array(stores) = &stores["stores"] else { panic!("{stores}") };
    stores.iter().map(|store| store["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_reload_adds_changes_and_removes_stores_and_does_not_touch_the_others() {
    let memory = "backend = \"memory\"\n";
    let config = file(&[memory, &store("stays", ""), &store("goes", ""), &store("changes", "")].concat());
    let service = Service::start(&["serve", "--config", config.path().to_str().unwrap()]);
    service.until_ready();
    let mut stream = service.stream("stays", "", None);
    stream.find("synced");
    for name in ["stays", "goes", "changes"] {
        service.put(&format!("{name}/keys/a"), "1");
    }
    let text = [memory, &store("stays", ""), &store("changes", "indexes = { n = \"/n\" }"), &store("new", "")].concat();
    std::fs::write(&config, &text).unwrap();
    service.process.signal("HUP");
    service.process.hear("the configuration is read again");
    service.until_ready();
    assert_eq!(names(&service), ["changes", "new", "stays"]);
    assert_eq!(service.get("goes").status, 404);
    assert_eq!(service.get("changes/keys?index=n&value=1").status, 200);
    assert_eq!(service.get("changes/keys/a").status, 404, "an own key goes with the store that owns it");
    assert_eq!(service.get("stays/keys/a").status, 200);
    service.put("stays/keys/b", "2");
    assert_eq!(
        (stream.find("update").data["name"].clone(), stream.find("update").data["name"].clone()),
        ("a".into(), "b".into())
    );

    std::fs::write(&config, text.replace("p/new", "/p/")).unwrap();
    service.process.signal("HUP");
    service.process.hear("the configuration is not changed");
    assert_eq!(names(&service), ["changes", "new", "stays"]);
    service.leaves();
}

#[test]
fn a_gated_store_waits_for_its_canary_and_says_so() {
    let gated = "mode = \"read-only\"\ncanary = \"c1\"\n";
    let publishes = "[[store]]\nname = \"source\"\nprefix = \"p/gated\"\nmode = \"publish\"\n";
    let text = ["backend = \"memory\"\n", &store("gated", gated)].concat();
    let config = file(&text);
    let service = Service::start(&["serve", "--config", config.path().to_str().unwrap()]);
    let waiting = service.get("gated/keys");
    assert!(waiting.status == 503 && waiting.body.contains("waiting for its canary"), "{}", waiting.body);
    let ready = service.send("GET", "/readyz", &[], "");
    assert!(ready.status == 503 && ready.body.contains("waiting for its canary"), "{}", ready.body);
    assert_eq!(service.get("gated").json()["state"], "connecting");
    std::fs::write(&config, format!("{text}{publishes}canary = \"c1\"\n")).unwrap();
    service.process.signal("HUP");
    service.process.hear("the configuration is read again");
    service.until_ready();
    let put = service.put("source/keys/a", "1");
    assert_eq!((put.status, &put.json()["revision"]), (202, &Value::Null));
    let mut stream = service.stream("gated", "", None);
    assert_eq!(stream.find("update").data["name"], "a");
    for refused in [service.get("source/keys"), service.get("source/changes"), service.put("gated/keys/a", "2")] {
        assert_eq!((refused.status, &refused.json()["type"]), (409, &"urn:shared-store:wrong-mode".into()));
    }
    drop(stream);
    service.leaves();
}
