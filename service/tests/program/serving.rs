//! The service over HTTP.

#[cfg(feature = "etcd")]
mod asking;
pub(crate) mod client;
pub(crate) mod config;
mod streams;

use serde_json::{Value, json};

use self::client::Service;
use super::running::run;

const MEMORY: [&str; 5] = ["--backend", "memory", "--prefix", "demo/nodes", "serve"];

#[test]
fn keys_are_put_read_found_and_deleted() {
    let service = Service::start(&MEMORY);
    let put = service.put("nodes/keys/eu/a b", r#"{"ip": "10.0.0.1"}"#);
    assert_eq!((put.status, &put.json()["name"]), (200, &"eu/a b".into()));
    let revision = put.json()["revision"].clone();
    assert_eq!(put.header("etag"), format!("\"{revision}\""));

    let got = service.get("nodes/keys/eu/a b");
    let entry = got.json();
    assert_eq!(
        (&entry["value"], &entry["revision"], &entry["origin"]),
        (&json!({"ip": "10.0.0.1"}), &revision, &"local".into())
    );
    assert_eq!(entry["size"], 18, "the value is as it was given");
    assert_eq!(service.get("nodes/keys/eu/a b?raw=true").body, r#"{"ip": "10.0.0.1"}"#);
    let unchanged = service.send("GET", "/v1/stores/nodes/keys/eu/a b", &[("if-none-match", got.header("etag"))], "");
    assert_eq!((unchanged.status, &*unchanged.body), (304, ""));

    for name in ["eu/b", "us/a"] {
        service.put(&format!("nodes/keys/{name}"), "1");
    }
    let page = service.get("nodes/keys?prefix=eu/&limit=1").json();
    assert_eq!((&page["keys"][0]["name"], &page["next"]), (&"eu/a b".into(), &"eu/a b".into()));
    let page = service.get("nodes/keys?prefix=eu/&limit=1&after=eu/a b").json();
    assert_eq!((&page["keys"][0]["name"], &page["next"]), (&"eu/b".into(), &Value::Null));
    assert_eq!(names(&service.get("nodes/keys?glob=*/a*").json()), ["eu/a b", "us/a"]);
    let owner = entry["lease"].as_str().unwrap();
    assert_eq!(names(&service.get(&format!("nodes/keys?owner={owner}&limit=10000")).json()).len(), 3);
    assert_eq!(names(&service.get("nodes/keys?owner=none").json()).len(), 0);
    let owners = service.get("nodes/owners").json();
    assert_eq!((&owners["owners"][0]["keys"], &owners["owners"][0]["own"]), (&3.into(), &true.into()));

    let explained = service.get("nodes/explain/us/a").json();
    assert_eq!((&explained["cache"]["value"], &explained["kvstore"]["exists"]), (&1.into(), &true.into()));
    let deleted = service.delete("nodes/keys/us/a");
    assert_eq!((deleted.status, &deleted.json()["shown"]), (200, &true.into()));
    assert_eq!(service.get("nodes/keys/us/a").status, 404);
    let recent = service.get("nodes/recent?limit=2").json();
    assert_eq!((&recent["changes"][0]["type"], &recent["changes"][0]["name"]), (&"delete".into(), &"us/a".into()));
    service.leaves();
}

fn names(page: &Value) -> Vec<&str> {
    page["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

#[test]
fn what_cannot_be_done_is_answered_with_problem_details() {
    let service = Service::start(&MEMORY);
    let revision = service.put("nodes/keys/a", "1").json()["revision"].as_u64().unwrap();
    let future = format!("/v1/stores/nodes/keys/a?min_revision={}&timeout_ms=1", revision + 1000);
    let long = "x".repeat(1_572_865);
    for (method, path, body, status, kind) in [
        ("GET", "/v1/stores/other", "", 404, "no-such-store"),
        ("GET", "/v1/stores/nodes/keys/b", "", 404, "no-such-key"),
        ("DELETE", "/v1/stores/nodes/keys/b", "", 404, "no-such-key"),
        ("GET", "/v1/stores/nodes/keys/", "", 404, "no-such-key"),
        ("PUT", "/v1/stores/nodes/keys/", "1", 400, "bad-request"),
        ("PUT", "/v1/stores/nodes/keys/b", "no JSON", 422, "bad-value"),
        ("PUT", "/v1/stores/nodes/keys/b", &long, 413, "too-large"),
        ("GET", "/v1/stores/nodes/keys?limit=0", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys?limit=many", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys?colour=red", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys/a?timeout_ms=60001", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys/a?consistent=1", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys?index=ip", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/keys?index=ip&value=1", "", 400, "bad-request"),
        ("GET", "/v1/stores/nodes/changes?after=yesterday", "", 400, "bad-request"),
        ("GET", &future, "", 504, "too-slow"),
        ("GET", "/v2/stores", "", 404, "no-such-resource"),
        ("GET", "/page/../serve.rs", "", 404, "no-such-resource"),
        ("POST", "/v1/stores/nodes/keys/a", "1", 405, "method-not-allowed"),
        ("PUT", "/v1/stores", "1", 405, "method-not-allowed"),
        ("GET", "/readyz?store=other", "", 404, "no-such-store"),
    ] {
        let answer = service.send(method, path, &[], body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}: {}", answer.body);
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["type"], &problem["status"]),
            (status, &format!("urn:shared-store:{kind}").into(), &status.into()),
            "{method} {path}"
        );
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    let conditional = service.send("PUT", "/v1/stores/nodes/keys/a", &[("if-match", "\"1\"")], "2");
    assert_eq!(conditional.status, 412);
    assert_eq!(service.send("POST", "/v1/stores/nodes/keys/a", &[], "1").header("allow"), "GET, PUT, DELETE");
    assert_eq!(service.get("nodes/keys/a").json()["value"], 1);
    let foreign = service.send("GET", "/livez", &[("host", "evil.example")], "");
    assert_eq!(foreign.status, 421);
}

#[test]
fn probes_metrics_the_document_and_the_page_are_there() {
    let service = Service::start(&MEMORY);
    service.until_ready();
    assert_eq!(service.send("GET", "/livez", &[], "").json(), json!({"alive": true}));
    let ready = service.send("GET", "/readyz?store=nodes", &[], "").json();
    assert_eq!((&ready["ready"], &ready["stores"][0]["state"]), (&true.into(), &"synced".into()));
    let metrics = service.send("GET", "/metrics", &[], "").body;
    for metric in ["shared_store_http_requests_total{", "kvstore_initial_sync_completed", "/readyz"] {
        assert!(metrics.contains(metric), "{metric} is missing in {metrics}");
    }
    let document = service.send("GET", "/openapi.json", &[], "").json();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(paths.contains(&"/v1/stores/{store}/keys/{name}") && paths.len() == 11, "{paths:?}");
    for path in ["/v1/stores/{store}/keys", "/v1/stores/{store}/keys/{name}"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|parameter| parameter["name"] == "consistent"), "{path}: {parameters:?}");
    }
    for name in ["Problem", "Page", "Entry", "Owners", "Written", "Ready"] {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let page = service.send("GET", "/", &[], "");
    assert!(
        page.header("content-type").starts_with("text/html")
            && page.header("content-security-policy").contains("'self'")
    );
}

#[test]
fn writes_need_the_token_if_there_is_one_and_nothing_shows_it() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token, "s3cr3t\n").unwrap();
    let text =
        format!("backend = \"memory\"\ntoken_file = {:?}\n[[store]]\nname = \"nodes\"\nprefix = \"p\"\n", token.path());
    let config = config::file(&text);
    let service = Service::start(&["--log", "debug", "serve", "--config", config.path().to_str().unwrap()]);
    let put = |header: &[(&str, &str)]| service.send("PUT", "/v1/stores/nodes/keys/a", header, "1");
    let refused = put(&[]);
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(put(&[("authorization", "Bearer wrong")]).status, 401);
    assert_eq!(put(&[("authorization", "Bearer s3cr3t")]).status, 200);
    assert_eq!(service.get("nodes/keys/a").status, 200, "reads need none");
    assert!(!service.leaves().contains("s3cr3t"));
}

#[test]
fn a_store_of_text_and_one_of_bytes_hold_what_is_put() {
    let stores = "[[store]]\nname = \"t\"\nprefix = \"t\"\nvalue = \"text\"\n[[store]]\nname = \"b\"\nprefix = \"b\"\nvalue = \"base64\"\n";
    let config = config::file(&format!("backend = \"memory\"\n{stores}"));
    let service = Service::start(&["serve", "--config", config.path().to_str().unwrap()]);
    for (store, value, encoding) in [("t", "é <b>\n", "text"), ("b", "w6kgPGI+Cg==", "base64")] {
        assert_eq!(service.put(&format!("{store}/keys/a"), "é <b>\n").status, 200);
        let entry = service.get(&format!("{store}/keys/a")).json();
        assert_eq!((&entry["value"], &entry["encoding"]), (&value.into(), &encoding.into()));
        assert_eq!(service.get(&format!("{store}/keys/a?raw=true")).body, "é <b>\n");
    }
}

#[test]
fn a_configuration_that_is_bad_is_told_and_nothing_starts() {
    for (text, told) in [
        ("", "there is no [[store]]"),
        ("[[store]]\nname = \"a\"\nprefix = \"p\"\n", "--endpoints is missing"),
        ("backend = \"memory\"\nlisten = \"localhost\"\n", "line 2"),
        (
            "backend = \"memory\"\n[[store]]\nname = \"a\"\nprefix = \"p\"\nkeys_file = \"/nowhere\"\n",
            "cannot read /nowhere",
        ),
        (
            "backend = \"memory\"\ntoken_file = \"/nowhere\"\n[[store]]\nname = \"a\"\nprefix = \"p\"\n",
            "cannot read /nowhere",
        ),
    ] {
        let config = config::file(text);
        let output = run(&["serve", "--config", config.path().to_str().unwrap(), "--check"]);
        let stderr = super::stderr(&output);
        assert!(output.status.code() == Some(2) && stderr.contains(told), "{text}: {stderr}");
    }
    let config = config::file("backend = \"memory\"\n[[store]]\nname = \"a\"\nprefix = \"p\"\n");
    let output = run(&["serve", "--config", config.path().to_str().unwrap(), "--check"]);
    assert_eq!((output.status.code(), super::stderr(&output).trim()), (Some(0), "the configuration is good"));
    assert_eq!(run(&["--backend", "memory", "serve"]).status.code(), Some(2));
}
