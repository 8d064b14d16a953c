//! What an error of the client means.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error;

use crate::backend::{Applied, BackendError};
use crate::kv::{LeaseId, Revision};

// gRPC's status codes, by number: the client does not re-export their names.
const INVALID_ARGUMENT: i32 = 3;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

/// An error of the client, told apart by what to do about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    error: BackendError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// etcd answered, and that is that.
    Answered,
    /// The login has run out.
    Token,
    /// The request never left: any endpoint may be tried at once.
    NeverSent,
    /// The connection is no good any more, and nobody knows what became of the request.
    Broken,
}

impl Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the client's errors; all others are told as they are")]
    pub(super) fn new(error: &Error) -> Self {
        // The words of the innermost cause, where there are any, say most.
        let (mut text, mut source) = match error {
            Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
            Error::LeaseKeepAliveError(text) if text.contains("not found") => {
                return Self::answered(BackendError::LeaseNotFound { lease: LeaseId::NONE });
            }
            _ => (error.to_string(), error.source()),
        };
        while let Some(cause) = source {
            // Each layer of the client repeats the one below.
            let words = cause.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            source = cause.source();
        }
        if let Error::GRpcStatus(status) = error {
            Self::of_status(i32::from(status.code()), status.message(), &text)
        } else {
            Self { kind: Kind::Broken, error: BackendError::unavailable(text) }
        }
    }

    fn of_status(code: i32, message: &str, text: &str) -> Self {
        match code {
            OUT_OF_RANGE if message.contains("compacted") => {
                Self::answered(BackendError::Compacted { oldest: Revision::ZERO })
            }
            OUT_OF_RANGE if message.contains("future revision") => Self::answered(BackendError::FutureRevision),
            NOT_FOUND if message.contains("lease not found") => {
                Self::answered(BackendError::LeaseNotFound { lease: LeaseId::NONE })
            }
            UNAUTHENTICATED => Self { kind: Kind::Token, error: BackendError::misconfigured(message) },
            PERMISSION_DENIED => Self::answered(BackendError::misconfigured(message)),
            FAILED_PRECONDITION if message.contains("authentication is not enabled") => {
                let hint = format!("{message}: leave out user and password");
                Self::answered(BackendError::misconfigured(hint))
            }
            INVALID_ARGUMENT if message.contains("user name is empty") => {
                Self::answered(BackendError::misconfigured("etcd asks for a user and a password"))
            }
            INVALID_ARGUMENT if message.contains("authentication failed") => {
                Self::answered(BackendError::misconfigured(message))
            }
            // The quota is used up: nothing was applied, and it may be mended.
            RESOURCE_EXHAUSTED if !message.contains("larger than max") => {
                Self::answered(BackendError::unreachable(message))
            }
            INVALID_ARGUMENT | RESOURCE_EXHAUSTED | OUT_OF_RANGE => Self::answered(BackendError::rejected(message)),
            _ if text.contains("ertificate") || text.contains("InvalidContentType") => {
                let hint = if text.contains("InvalidContentType") { " (the endpoint does not speak TLS)" } else { "" };
                let error = BackendError::misconfigured(format_args!("{text}{hint}"));
                Self { kind: Kind::Broken, error }
            }
            // Connecting failed, or the client had already given up: the request is still here.
            _ if text.contains("connect error") || text.contains("dns error") || text.contains("not ready") => {
                Self { kind: Kind::NeverSent, error: BackendError::unreachable(cause(text)) }
            }
            _ => Self { kind: Kind::Broken, error: BackendError::unavailable(text) },
        }
    }

    fn answered(error: BackendError) -> Self {
        Self { kind: Kind::Answered, error }
    }

    pub(super) fn timed_out(after: Duration) -> Self {
        let cause = format!("no answer within {} s", after.as_secs_f64());
        Self { kind: Kind::Broken, error: BackendError::unavailable(cause) }
    }

    pub(super) fn misconfigured(error: &dyn std::error::Error) -> Self {
        let cause = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        Self::answered(BackendError::misconfigured(cause))
    }

    /// It happened before there was a connection, so no request was sent.
    pub(super) fn never_sent(mut self) -> Self {
        if let BackendError::Unavailable { applied, .. } = &mut self.error {
            *applied = Applied::No;
            self.kind = Kind::NeverSent;
        }
        self
    }

    /// The error as the caller sees it, with the endpoint where that helps.
    pub(super) fn into_error(self, endpoint: &str) -> BackendError {
        match self.error {
            BackendError::Unavailable { cause, applied: Applied::No } if self.kind == Kind::NeverSent => {
                BackendError::unreachable(format_args!("cannot reach etcd at {endpoint}: {cause}"))
            }
            BackendError::Unavailable { cause, applied } => {
                BackendError::Unavailable { cause: format!("etcd at {endpoint}: {cause}").into(), applied }
            }
            BackendError::Misconfigured { cause } => {
                BackendError::misconfigured(format_args!("etcd at {endpoint}: {cause}"))
            }
            error @ (BackendError::Compacted { .. }
            | BackendError::FutureRevision
            | BackendError::LeaseNotFound { .. }
            | BackendError::Rejected { .. }) => error,
        }
    }
}

/// The last part of a chain of causes, without the system's number: "connection refused".
fn cause(text: &str) -> String {
    let last = text.rsplit(": ").next().unwrap_or(text);
    last.split(" (os error").next().unwrap_or(last).to_lowercase()
}
