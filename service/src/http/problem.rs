//! What is answered when a request fails: problem details (RFC 9457).

use std::collections::BTreeMap;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use shared_store::{AtLeastError, CatchUpError, StoreError, UnknownIndex, WriteError};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Why a request failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem; it does not change.
    #[serde(rename = "type")]
    #[schema(example = "urn:shared-store:no-such-key")]
    kind: String,
    /// The kind of problem for people.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: String,
}

macro_rules! problems {
    ($($(#[$meta:meta])* $name:ident $status:ident $title:literal)*) => {
        impl Problem {
            $($(#[$meta])*
            pub(crate) fn $name(detail: impl fmt::Display) -> Self {
                let kind = format!("urn:shared-store:{}", stringify!($name).replace('_', "-"));
                Self { kind, title: $title, status: StatusCode::$status.as_u16(), detail: detail.to_string() }
            })*
        }
    };
}

problems! {
    bad_request BAD_REQUEST "The request is not understood"
    unauthorized UNAUTHORIZED "A token is missing or wrong"
    forbidden FORBIDDEN "Not allowed"
    no_such_store NOT_FOUND "There is no such store"
    no_such_key NOT_FOUND "There is no such key"
    no_such_resource NOT_FOUND "There is nothing here"
    method_not_allowed METHOD_NOT_ALLOWED "The method is not allowed here"
    conflict CONFLICT "Another process owns the key"
    wrong_mode CONFLICT "The store cannot do this"
    precondition_failed PRECONDITION_FAILED "Conditional writes are not supported"
    too_large PAYLOAD_TOO_LARGE "The value is too large"
    bad_value UNPROCESSABLE_ENTITY "The value is not what the store holds"
    refused UNPROCESSABLE_ENTITY "The kvstore refuses the key"
    misdirected MISDIRECTED_REQUEST "This name is not the service's"
    too_many_streams TOO_MANY_REQUESTS "Too many streams"
    failed INTERNAL_SERVER_ERROR "The service failed"
    unavailable SERVICE_UNAVAILABLE "Not now"
    too_slow GATEWAY_TIMEOUT "Not in time"
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&status) {
            response.insert_header((RETRY_AFTER, "1"));
        }
        let json = serde_json::to_string(self).unwrap_or_default();
        response.insert_header(ContentType("application/problem+json".parse().expect("a media type"))).body(json)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Key(_) = &error {
            return Self::bad_value(error);
        }
        let StoreError::Write(write) = &error else { return Self::unavailable(error) };
        if matches!(write, WriteError::NotOwned { .. } | WriteError::Conflict { .. }) {
            Self::conflict(error)
        } else if matches!(write, WriteError::Rejected { .. }) {
            Self::refused(error)
        } else {
            Self::unavailable(error)
        }
    }
}

impl From<AtLeastError> for Problem {
    fn from(error: AtLeastError) -> Self {
        if matches!(error, AtLeastError::TimedOut { .. }) { Self::too_slow(error) } else { Self::unavailable(error) }
    }
}

impl From<CatchUpError> for Problem {
    fn from(error: CatchUpError) -> Self {
        if matches!(error, CatchUpError::TimedOut { .. }) { Self::too_slow(error) } else { Self::unavailable(error) }
    }
}

impl From<UnknownIndex> for Problem {
    fn from(error: UnknownIndex) -> Self {
        Self::bad_request(error)
    }
}

/// How questions fail.
pub(crate) enum Asks {}

/// How reading a store fails.
pub(crate) enum Reads {}

/// How writing a key fails.
pub(crate) enum Writes {}

impl IntoResponses for Asks {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[400, 404, 421])
    }
}

impl IntoResponses for Reads {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[400, 404, 409, 421, 429, 503, 504])
    }
}

impl IntoResponses for Writes {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&[400, 401, 403, 404, 409, 412, 413, 421, 422, 503, 504])
    }
}

fn responses(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |status: &u16| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let reason =
            StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
        let response = ResponseBuilder::new().description(reason).content("application/problem+json", content).build();
        (status.to_string(), RefOr::T(response))
    };
    statuses.iter().map(problem).collect()
}
