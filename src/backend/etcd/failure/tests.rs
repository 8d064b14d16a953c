use super::*;

fn told(failure: Failure) -> (Kind, BackendError) {
    (failure.kind, failure.into_error("e"))
}

fn maybe(cause: &str) -> BackendError {
    BackendError::unavailable(format_args!("etcd at e: {cause}"))
}

fn no(cause: &str) -> BackendError {
    BackendError::unreachable(format_args!("etcd at e: {cause}"))
}

fn forbidden(cause: &str) -> BackendError {
    BackendError::forbidden(format_args!("etcd at e: {cause}"))
}

fn misconfigured(cause: &str) -> BackendError {
    BackendError::misconfigured(format_args!("etcd at e: {cause}"))
}

/// The texts are etcd's own (`api/v3rpc/rpctypes/error.go`), the same in 3.4 and 3.5.
#[test]
fn what_etcd_answers_is_told_by_what_to_do_about_it() {
    let rejected = BackendError::rejected;
    let table = [
        (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
            Kind::Answered,
            BackendError::Compacted { oldest: Revision::ZERO },
        ),
        (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", Kind::Answered, {
            BackendError::FutureRevision
        }),
        // As etcd's grpc-proxy passes them on.
        (Code::Unknown, "etcdserver: mvcc: required revision has been compacted", Kind::Answered, {
            BackendError::Compacted { oldest: Revision::ZERO }
        }),
        (Code::Unknown, "etcdserver: mvcc: required revision is a future revision", Kind::Answered, {
            BackendError::FutureRevision
        }),
        (Code::Unknown, "etcdserver: requested lease not found", Kind::Answered, {
            BackendError::LeaseNotFound { lease: LeaseId::NONE }
        }),
        (Code::OutOfRange, "Error, decoded message length too large", Kind::Answered, {
            rejected("Error, decoded message length too large")
        }),
        (
            Code::NotFound,
            "etcdserver: requested lease not found",
            Kind::Answered,
            BackendError::LeaseNotFound { lease: LeaseId::NONE },
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: lease already exists",
            Kind::Answered,
            BackendError::LeaseExists { lease: LeaseId::NONE },
        ),
        (Code::InvalidArgument, "etcdserver: request is too large", Kind::Answered, {
            rejected("etcdserver: request is too large")
        }),
        (Code::InvalidArgument, "etcdserver: key is not provided", Kind::Answered, {
            rejected("etcdserver: key is not provided")
        }),
        (Code::OutOfRange, "etcdserver: too large lease TTL", Kind::Answered, {
            rejected("etcdserver: too large lease TTL: at most 9,000,000,000 s are allowed")
        }),
        (Code::InvalidArgument, "etcdserver: duplicate key given in txn request", Kind::Answered, {
            rejected("etcdserver: duplicate key given in txn request")
        }),
        (Code::InvalidArgument, "etcdserver: too many operations in txn request", Kind::Answered, {
            rejected("etcdserver: too many operations in txn request")
        }),
        (Code::ResourceExhausted, "grpc: received message larger than max (9 vs. 8)", Kind::Answered, {
            rejected("grpc: received message larger than max (9 vs. 8)")
        }),
        (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", Kind::Answered, {
            no("etcdserver: mvcc: database space exceeded: compact and defragment etcd, then disarm its NOSPACE alarm")
        }),
        (Code::ResourceExhausted, "etcdserver: too many requests", Kind::Answered, no("etcdserver: too many requests")),
        (Code::Unavailable, "etcdserver: no leader", Kind::Elsewhere, no("etcdserver: no leader")),
        (Code::Unavailable, "etcdserver: not capable", Kind::Elsewhere, no("etcdserver: not capable")),
        (Code::Unavailable, "etcdserver: rpc not supported for learner", Kind::Elsewhere, {
            no("etcdserver: rpc not supported for learner")
        }),
        (Code::Unavailable, "etcdserver: leader changed", Kind::Broken, maybe("etcdserver: leader changed")),
        (Code::Unavailable, "etcdserver: request timed out", Kind::Broken, maybe("etcdserver: request timed out")),
        (
            Code::Unavailable,
            "etcdserver: request timed out, possibly due to previous leader failure",
            Kind::Broken,
            maybe("etcdserver: request timed out, possibly due to previous leader failure"),
        ),
        (Code::Unavailable, "etcdserver: server stopped", Kind::Broken, maybe("etcdserver: server stopped")),
        (Code::Unavailable, "etcdserver: unhealthy cluster", Kind::Broken, maybe("etcdserver: unhealthy cluster")),
        (Code::DataLoss, "etcdserver: corrupt cluster", Kind::Broken, maybe("etcdserver: corrupt cluster")),
        (Code::Internal, "boom", Kind::Broken, maybe("boom")),
        (Code::Cancelled, "context canceled", Kind::Broken, maybe("context canceled")),
        (Code::Unauthenticated, "etcdserver: invalid auth token", Kind::Token, {
            misconfigured("etcdserver: invalid auth token")
        }),
        (Code::InvalidArgument, "etcdserver: revision of auth store is old", Kind::Token, {
            misconfigured("etcdserver: revision of auth store is old")
        }),
        (
            Code::Unknown,
            "auth: revision in header is old",
            Kind::Token,
            misconfigured("auth: revision in header is old"),
        ),
        (Code::PermissionDenied, "etcdserver: permission denied", Kind::Answered, {
            forbidden("etcdserver: permission denied: the user needs a role that allows this")
        }),
        (Code::InvalidArgument, "etcdserver: user name is empty", Kind::NoLogin, {
            misconfigured("it asks for a user and a password")
        }),
        (
            Code::InvalidArgument,
            "etcdserver: authentication failed, invalid user ID or password",
            Kind::Answered,
            misconfigured("etcdserver: authentication failed, invalid user ID or password"),
        ),
        (Code::FailedPrecondition, "etcdserver: authentication is not enabled", Kind::AuthOff, {
            misconfigured("etcdserver: authentication is not enabled: leave out user and password")
        }),
        (Code::Unimplemented, "unknown service etcdserverpb.KV", Kind::Answered, {
            misconfigured("unknown service etcdserverpb.KV: is it etcd 3.4 or newer?")
        }),
        (Code::Unknown, "Service was not ready: transport error", Kind::Unreached, {
            BackendError::unreachable("cannot reach etcd at e: Service was not ready: transport error")
        }),
    ];
    for (code, message, kind, error) in table {
        assert_eq!(told(Failure::status(code, message)), (kind, error), "{code:?} {message}");
    }
}

/// A text of etcd's may repeat what it was sent: only a whole message of etcd's own means something.
#[test]
fn a_message_that_only_contains_another_is_not_taken_for_it() {
    for message in [
        "etcdserver: requested lease not found",
        "etcdserver: no leader",
        "etcdserver: revision of auth store is old",
        "tcp connect error",
        "invalid peer certificate: UnknownIssuer",
        "Service was not ready",
    ] {
        let message = format!("strange key {message:?}");
        for code in [Code::Unknown, Code::NotFound, Code::Unavailable, Code::FailedPrecondition] {
            assert_eq!(told(Failure::status(code, &message)), (Kind::Broken, maybe(&message)), "{code:?} {message}");
        }
    }
}

#[test]
fn why_a_watch_is_canceled_is_told_by_what_to_do_about_it() {
    let denied = "etcdserver: permission denied: the user needs a role that allows this";
    let table = [
        (
            "etcdserver: mvcc: required revision has been compacted",
            Kind::Answered,
            BackendError::Compacted { oldest: Revision::ZERO },
        ),
        ("rpc error: code = PermissionDenied desc = etcdserver: permission denied", Kind::Token, forbidden(denied)),
        ("etcdserver: permission denied", Kind::Token, forbidden(denied)),
        ("rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", Kind::Token, {
            misconfigured("etcdserver: invalid auth token")
        }),
        ("auth: revision in header is old", Kind::Token, misconfigured("auth: revision in header is old")),
        ("etcdserver: user name is empty", Kind::NoLogin, misconfigured("it asks for a user and a password")),
        ("etcdserver: no leader", Kind::Elsewhere, no("etcdserver: no leader")),
        ("who knows", Kind::Broken, maybe("it ended the watch: who knows")),
    ];
    for (reason, kind, error) in table {
        assert_eq!(told(Failure::watch_canceled(reason)), (kind, error), "{reason}");
    }
}

#[test]
fn what_failed_before_there_was_a_connection_was_never_applied() {
    let failure = Failure::timed_out(Duration::from_millis(500));
    assert_eq!(told(failure.clone()), (Kind::Broken, maybe("no answer within 0.5 s")));
    let cause = BackendError::unreachable("cannot reach etcd at e: no answer within 0.5 s");
    assert_eq!(told(failure.never_sent()), (Kind::Unreached, cause));
}
