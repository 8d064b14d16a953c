//! The example of a web service, over plain HTTP/1.1.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::example;

/// The longest a wait may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The service; killed when it is dropped.
struct Service {
    process: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Service {
    /// On its own kvstore.
    fn start() -> Self {
        let mut command = example("actix_web");
        command.env_remove("ETCD_ENDPOINTS");
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut process = command.arg("0").stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let mut service = Self { stdout, process, address: String::new() };
        let line = service.line();
        line.strip_prefix("listening on http://").expect("its address").clone_into(&mut service.address);
        service
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a request; the answer from its status line on.
    fn send(&self, method: &str, path: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (host, length) = (&self.address, body.len());
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n");
        stream.write_all(format!("{head}content-type: application/json\r\n\r\n{body}").as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// The status and the body of an answer.
    fn answer(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut answer = String::new();
        self.send(method, path, body).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.answer(method, path, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    fn until_ready(&self) {
        while self.json("GET", "/readyz", "").0 != 200 {
            std::thread::yield_now();
        }
    }

    fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads an event stream up to and including the first line that fits; all lines.
fn read_until(stream: &mut impl BufRead, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended after {lines:?}");
        lines.push(line.trim_end().to_owned());
        if fits(lines.last().unwrap()) {
            return lines;
        }
    }
}

#[test]
fn every_endpoint_answers() {
    let service = Service::start();
    assert_eq!(service.json("GET", "/livez", ""), (200, json!({"alive": true})));
    service.until_ready();
    let (_, ready) = service.json("GET", "/readyz", "");
    assert_eq!((&ready["ready"], &ready["store"]["state"]), (&json!(true), &json!("synced")));

    assert_eq!(service.json("GET", "/nodes/eu/alpha", "").0, 404);
    let (status, written) = service.json("PUT", "/nodes/eu/alpha", r#"{"ip":"10.0.0.1"}"#);
    assert_eq!(status, 200, "{written}");
    assert_eq!(service.json("GET", "/nodes/eu/alpha", ""), (200, json!({"name": "eu/alpha", "ip": "10.0.0.1"})));
    let list = json!({"revision": written["revision"], "nodes": ["eu/alpha"]});
    assert_eq!(service.json("GET", "/nodes", ""), (200, list));
    assert_eq!(service.answer("PUT", "/nodes/beta", "garbage").0, 400);

    // Recorded once a second.
    let page = loop {
        let (status, page) = service.answer("GET", "/metrics", "");
        assert_eq!(status, 200);
        if page.contains("shared_store_own_keys{scope=\"examples/nodes\"} 1\n") {
            break page;
        }
    };
    assert!(page.contains("# TYPE shared_store_own_keys gauge\n"), "{page}");
    assert!(page.contains("shared_store_state{scope=\"examples/nodes\",state=\"synced\"} 1\n"), "{page}");
    assert!(page.contains("kvstore_operations_duration_seconds_count{"), "{page}");

    assert_eq!(service.json("DELETE", "/nodes/eu/alpha", "").0, 200);
    assert_eq!(service.json("GET", "/nodes/eu/alpha", "").0, 404);
    assert_eq!(service.json("DELETE", "/nodes/eu/alpha", "").0, 200, "it is gone, as was asked");
}

#[test]
fn a_stream_has_what_is_there_and_then_each_change() {
    let service = Service::start();
    service.until_ready();
    service.json("PUT", "/nodes/alpha", r#"{"ip":"10.0.0.1"}"#);
    let mut stream = service.send("GET", "/changes", "");
    read_until(&mut stream, |line| line == "event: update");
    let created = read_until(&mut stream, |line| line.starts_with("data: "));
    assert_eq!(created.last().unwrap(), r#"data: {"name":"alpha","node":{"ip":"10.0.0.1","name":"alpha"}}"#);
    service.json("DELETE", "/nodes/alpha", "");
    read_until(&mut stream, |line| line == "event: delete");
    let deleted = read_until(&mut stream, |line| line.starts_with("data: "));
    assert_eq!(deleted.last().unwrap(), r#"data: {"name":"alpha"}"#);
}

#[test]
fn on_sigterm_streams_end_then_own_keys_go_then_the_server_ends() {
    let mut service = Service::start();
    service.until_ready();
    service.json("PUT", "/nodes/alpha", r#"{"ip":"10.0.0.1"}"#);
    let mut stream = service.send("GET", "/changes", "");
    read_until(&mut stream, |line| line == "event: update");
    service.terminate();
    read_until(&mut stream, |line| line == "event: end");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("event: delete"), "it has ended before the keys go: {rest}");
    let lines: Vec<_> = (0..4).map(|_| service.line()).collect();
    assert_eq!(lines, ["stopping", "streams have ended", "own keys are deleted", "server has ended"]);
    assert_eq!(service.process.wait().unwrap().code(), Some(0));
}

#[test]
#[cfg(feature = "etcd")]
fn without_its_kvstore_it_is_alive_and_says_why_it_is_not_ready() {
    // Nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = example("actix_web");
    command.env("ETCD_ENDPOINTS", format!("http://{free}"));
    let service = Service::of(command);
    assert_eq!(service.json("GET", "/livez", "").0, 200);
    let cause = loop {
        let (status, body) = service.json("GET", "/readyz", "");
        assert_eq!((status, &body["ready"]), (503, &json!(false)));
        if let Some(cause) = body["store"]["cause"].as_str() {
            break cause.to_owned();
        }
    };
    assert!(cause.contains(&free.to_string()), "{cause}");
}
