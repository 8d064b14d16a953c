//! Server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Deserialize;
use shared_store::Revision;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use utoipa::IntoParams;

use super::hosted::Feed;
use super::log::{Since, event};
use crate::http::Problem;

/// After so long without a change a comment is sent, so that a client that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which changes, and from where on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesQuery {
    /// Names that begin with this.
    pub(crate) prefix: Option<String>,
    /// Names that match this pattern.
    pub(crate) glob: Option<String>,
    /// Go on after this event: as `Last-Event-ID`, for clients that cannot set it.
    after: Option<u64>,
    /// `run` of the event `opened` that belongs to that id. With it a service that was restarted, or a kvstore that was
    /// restored, is never taken for the one of before.
    run: Option<String>,
}

impl ChangesQuery {
    pub(crate) fn since(&self, request: &HttpRequest) -> Result<Since, Problem> {
        let header = request.headers().get("last-event-id").filter(|value| !value.is_empty());
        let last = match header {
            Some(value) => {
                let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
                Some(number.ok_or_else(|| Problem::bad_request("Last-Event-ID is not the id of an event: a number"))?)
            }
            None => self.after,
        };
        Ok(Since { revision: last.map(Revision), run: self.run.clone() })
    }
}

struct Open {
    feed: Box<dyn Feed>,
    stopping: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
}

/// Answers with the stream. It ends when the service stops.
pub(crate) fn respond(
    feed: Box<dyn Feed>,
    stopping: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) -> HttpResponse {
    let events = stream::unfold(Some(Open { feed, stopping, permit }), |open| async {
        let Open { mut feed, mut stopping, permit } = open?;
        let text = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => None,
            text = timeout(HEARTBEAT, feed.next()) => Some(text.unwrap_or_else(|_| ": no change\n\n".to_owned())),
        };
        let (text, open) = match text {
            Some(text) => (text, Some(Open { feed, stopping, permit })),
            None => (event("end", "{}") + "\n", None),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), open))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // nginx would hold it back.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events)
}
