//! What an error of the client means.

#[cfg(test)]
mod tests;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::Error;
use tonic::Code;

use crate::backend::{Applied, BackendError};
use crate::kv::{LeaseId, Revision};

/// An error of the client, told apart by what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    error: BackendError,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// etcd answered: the error is final.
    Answered,
    /// The login has run out, or was made before permissions changed.
    Token,
    /// etcd asks for a login, and the request had none: authentication may have been switched on.
    NoLogin,
    /// etcd has authentication switched off, so nobody can log in.
    AuthOff,
    /// This member cannot serve now, and did nothing: another may.
    Elsewhere,
    /// The request never left: any endpoint may be tried at once.
    Unreached,
    /// etcd closed the connection without an error; whether the request was applied is unknown.
    Closed,
    /// The connection is broken; whether the request was applied is unknown.
    Broken,
}

impl From<Error> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the client's errors; all others are told as they are")]
    fn from(error: Error) -> Self {
        use std::error::Error as _;

        match &error {
            // Only errors made by the client have a source. The text of etcd's own errors is never searched for
            // connection errors.
            Error::GRpcStatus(status) => match status.source() {
                Some(source) => Self::transport(status.message(), source),
                None => Self::status(status.code(), status.message()),
            },
            Error::LeaseKeepAliveError(text) if text == "lease not found" => {
                Self::answered(BackendError::LeaseNotFound { lease: LeaseId::NONE })
            }
            // The certificates and the URL are looked at before anything is sent.
            Error::TransportError(cause) => {
                let words = transport::in_words(cause);
                Self::misconfigured(format_args!("TLS cannot be set up: {words}: is there a CA file?")).never_sent()
            }
            _ => Self::broken(error),
        }
    }
}

impl Failure {
    /// What etcd answered.
    fn status(code: Code, message: &str) -> Self {
        let hint = |hint: &str| Self::misconfigured(format_args!("{message}: {hint}"));
        match (code, message) {
            // etcd's own proxy passes the text on without the code.
            (Code::OutOfRange | Code::Unknown, "etcdserver: mvcc: required revision has been compacted") => {
                Self::answered(BackendError::Compacted { oldest: Revision::ZERO })
            }
            (Code::OutOfRange | Code::Unknown, "etcdserver: mvcc: required revision is a future revision") => {
                Self::answered(BackendError::FutureRevision)
            }
            (Code::NotFound | Code::Unknown, "etcdserver: requested lease not found") => {
                Self::answered(BackendError::LeaseNotFound { lease: LeaseId::NONE })
            }
            (Code::FailedPrecondition, "etcdserver: lease already exists") => {
                Self::answered(BackendError::LeaseExists { lease: LeaseId::NONE })
            }
            (Code::Unauthenticated, _)
            | (_, "etcdserver: revision of auth store is old" | "auth: revision in header is old") => {
                Self { kind: Kind::Token, ..Self::misconfigured(message) }
            }
            (Code::PermissionDenied, _) => Self::answered(BackendError::forbidden(format_args!(
                "{message}: the user needs a role that allows this"
            ))),
            (Code::OutOfRange, "etcdserver: too large lease TTL") => {
                Self::answered(BackendError::rejected(format_args!("{message}: at most 9,000,000,000 s are allowed")))
            }
            (Code::InvalidArgument, "etcdserver: user name is empty") => {
                Self { kind: Kind::NoLogin, ..Self::misconfigured("it asks for a user and a password") }
            }
            (Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password") => {
                Self::misconfigured(message)
            }
            (Code::FailedPrecondition, "etcdserver: authentication is not enabled") => {
                Self { kind: Kind::AuthOff, ..hint("leave out user and password") }
            }
            (Code::Unimplemented, _) => hint("is it etcd 3.4 or newer?"),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded") => {
                Self::answered(BackendError::unreachable(format_args!(
                    "{message}: compact and defragment etcd, then disarm its NOSPACE alarm"
                )))
            }
            (Code::ResourceExhausted, "etcdserver: too many requests") => {
                Self::answered(BackendError::unreachable(message))
            }
            (Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange, _) => {
                Self::answered(BackendError::rejected(message))
            }
            (
                Code::Unavailable | Code::FailedPrecondition,
                "etcdserver: no leader" | "etcdserver: not capable" | "etcdserver: rpc not supported for learner",
            ) => Self { kind: Kind::Elsewhere, error: BackendError::unreachable(message) },
            // The client's own error for a connection that is lost for good.
            (Code::Unknown, message) if message.starts_with("Service was not ready") => Self::unreached(message),
            _ => Self::broken(message),
        }
    }

    /// Why etcd ended a watch, or did not accept it.
    pub(super) fn watch_canceled(reason: &str) -> Self {
        // The text of a status, as etcd's own client would print it.
        let message = reason.rsplit_once(" desc = ").map_or(reason, |(_, message)| message);
        match message {
            "etcdserver: mvcc: required revision has been compacted" => Self::status(Code::OutOfRange, message),
            // Up to etcd 3.5.4 an expired login gets this error, too.
            "etcdserver: permission denied" => {
                Self { kind: Kind::Token, ..Self::status(Code::PermissionDenied, message) }
            }
            "etcdserver: invalid auth token" => Self::status(Code::Unauthenticated, message),
            "etcdserver: user name is empty" => Self::status(Code::InvalidArgument, message),
            "etcdserver: no leader" => Self::status(Code::Unavailable, message),
            "etcdserver: revision of auth store is old" | "auth: revision in header is old" => {
                Self::status(Code::Unknown, message)
            }
            _ => Self::broken(format_args!("it ended the watch: {message}")),
        }
    }

    pub(super) fn compacted(oldest: Revision) -> Self {
        Self::answered(BackendError::Compacted { oldest })
    }

    fn answered(error: BackendError) -> Self {
        Self { kind: Kind::Answered, error }
    }

    pub(super) fn misconfigured(cause: impl std::fmt::Display) -> Self {
        Self::answered(BackendError::misconfigured(cause))
    }

    fn unreached(cause: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Unreached, error: BackendError::unreachable(cause) }
    }

    pub(super) fn broken(cause: impl std::fmt::Display) -> Self {
        Self { kind: Kind::Broken, error: BackendError::unavailable(cause) }
    }

    pub(super) fn timed_out(after: Duration) -> Self {
        Self::broken(format_args!("no answer within {} s", after.as_secs_f64()))
    }

    /// It happened before there was a connection, so no request was sent.
    pub(super) fn never_sent(mut self) -> Self {
        if let BackendError::Unavailable { applied, .. } = &mut self.error {
            *applied = Applied::No;
        }
        if self.kind != Kind::Elsewhere {
            self.kind = Kind::Unreached;
        }
        self
    }

    /// The error as the caller sees it, with the endpoint where that helps.
    pub(super) fn into_error(self, endpoint: &str) -> BackendError {
        let unreached = self.kind == Kind::Unreached;
        let told = |cause: &Arc<str>| format!("etcd at {endpoint}: {cause}").into();
        match self.error {
            BackendError::Unavailable { cause, .. } if unreached => {
                BackendError::unreachable(format_args!("cannot reach etcd at {endpoint}: {cause}"))
            }
            BackendError::Unavailable { cause, applied } => BackendError::Unavailable { cause: told(&cause), applied },
            BackendError::Forbidden { cause } => BackendError::Forbidden { cause: told(&cause) },
            BackendError::Misconfigured { cause } => BackendError::Misconfigured { cause: told(&cause) },
            error @ (BackendError::Compacted { .. }
            | BackendError::FutureRevision
            | BackendError::LeaseNotFound { .. }
            | BackendError::LeaseExists { .. }
            | BackendError::Rejected { .. }) => error,
        }
    }
}
