//! A service and its client.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::http::Request;
use ureq::{Agent, BodyReader};

use crate::running::Running;

/// The longest a wait may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    pub(crate) process: Running,
    pub(crate) url: String,
    agent: Agent,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Service {
    /// Starts it on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(Running::start(&[arguments, &["--listen", "127.0.0.1:0"]].concat()))
    }

    fn of(process: Running) -> Self {
        let line = process.hear("listening on ");
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_recv_response(Some(PATIENCE))
            .build();
        Self { process, url, agent: config.into() }
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> ureq::http::Response<ureq::Body> {
        let uri = format!("{}{}", self.url, path.replace(' ', "%20"));
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_empty() {
            self.agent.run(request.body(()).unwrap()).unwrap()
        } else {
            self.agent.run(request.body(body.to_owned()).unwrap()).unwrap()
        }
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut response = self.request(method, path, headers, body);
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let mut text = String::new();
        response.body_mut().as_reader().read_to_string(&mut text).unwrap();
        Answer { status: response.status().as_u16(), headers, body: text }
    }

    /// Of a store, such as `nodes/keys/a`.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/v1/stores/{path}"), &[], "")
    }

    pub(crate) fn put(&self, path: &str, value: &str) -> Answer {
        self.send("PUT", &format!("/v1/stores/{path}"), &[], value)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", &format!("/v1/stores/{path}"), &[], "")
    }

    pub(crate) fn until_ready(&self) {
        while self.send("GET", "/readyz", &[], "").status != 200 {
            std::thread::yield_now();
        }
    }

    /// Opens a stream of changes.
    pub(crate) fn stream(&self, store: &str, query: &str, last: Option<&str>) -> Stream {
        let header = last.map(|last| ("last-event-id", last));
        let path = format!("/v1/stores/{store}/changes{query}");
        let response = self.request("GET", &path, header.as_slice(), "");
        assert_eq!(response.status(), 200);
        Stream { lines: BufReader::new(response.into_body().into_reader()), last: last.map(str::to_owned) }
    }

    /// Ends it as an operator does; what it said on stderr.
    pub(crate) fn leaves(self) -> String {
        self.process.signal("TERM");
        let (stderr, code) = self.process.last_words();
        assert_eq!(code, Some(0), "{stderr}");
        stderr
    }
}

/// An open stream. Dropping it closes the connection.
pub(crate) struct Stream {
    lines: BufReader<BodyReader<'static>>,
    /// The last id, as a browser keeps it.
    pub(crate) last: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    pub(crate) id: Option<u64>,
}

impl Stream {
    /// The next event; `None` if the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let (mut kind, mut data, mut id) = (String::new(), String::new(), None);
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            if let Some(text) = line.strip_prefix("event: ") {
                text.clone_into(&mut kind);
            } else if let Some(text) = line.strip_prefix("data: ") {
                text.clone_into(&mut data);
            } else if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.parse().unwrap());
                self.last = Some(text.to_owned());
            } else if line.is_empty() && !data.is_empty() {
                let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
                return Some(Event { kind, data, id });
            }
        }
    }

    /// The next event of this kind; others are passed over.
    pub(crate) fn find(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if event.kind == kind {
                return event;
            }
        }
    }
}

/// What a client of a stream knows.
#[derive(Debug, Default)]
pub(crate) struct Known(pub(crate) BTreeMap<String, Value>);

impl Known {
    pub(crate) fn take(&mut self, event: &Event) {
        let name = || event.data["name"].as_str().unwrap().to_owned();
        match &*event.kind {
            "update" => {
                self.0.insert(name(), event.data["value"].clone());
            }
            "delete" => {
                self.0.remove(&name());
            }
            "resynced" if event.data["all"] == true => self.0.clear(),
            _ => {}
        }
    }
}
