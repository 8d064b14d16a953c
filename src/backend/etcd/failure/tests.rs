use super::*;

const CANCELLED: i32 = 1;
const INTERNAL: i32 = 13;
const DATA_LOSS: i32 = 15;

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
            OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Kind::Answered,
            BackendError::Compacted { oldest: Revision::ZERO },
        ),
        (OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", Kind::Answered, {
            BackendError::FutureRevision
        }),
        // As etcd's grpc-proxy passes them on.
        (UNKNOWN, "etcdserver: mvcc: required revision has been compacted", Kind::Answered, {
            BackendError::Compacted { oldest: Revision::ZERO }
        }),
        (UNKNOWN, "etcdserver: mvcc: required revision is a future revision", Kind::Answered, {
            BackendError::FutureRevision
        }),
        (UNKNOWN, "etcdserver: requested lease not found", Kind::Answered, {
            BackendError::LeaseNotFound { lease: LeaseId::NONE }
        }),
        (OUT_OF_RANGE, "Error, decoded message length too large", Kind::Answered, {
            rejected("Error, decoded message length too large")
        }),
        (
            NOT_FOUND,
            "etcdserver: requested lease not found",
            Kind::Answered,
            BackendError::LeaseNotFound { lease: LeaseId::NONE },
        ),
        (
            FAILED_PRECONDITION,
            "etcdserver: lease already exists",
            Kind::Answered,
            BackendError::LeaseExists { lease: LeaseId::NONE },
        ),
        (INVALID_ARGUMENT, "etcdserver: request is too large", Kind::Answered, {
            rejected("etcdserver: request is too large")
        }),
        (INVALID_ARGUMENT, "etcdserver: key is not provided", Kind::Answered, {
            rejected("etcdserver: key is not provided")
        }),
        (OUT_OF_RANGE, "etcdserver: too large lease TTL", Kind::Answered, {
            rejected("etcdserver: too large lease TTL: at most 9,000,000,000 s are allowed")
        }),
        (INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", Kind::Answered, {
            rejected("etcdserver: duplicate key given in txn request")
        }),
        (INVALID_ARGUMENT, "etcdserver: too many operations in txn request", Kind::Answered, {
            rejected("etcdserver: too many operations in txn request")
        }),
        (RESOURCE_EXHAUSTED, "grpc: received message larger than max (9 vs. 8)", Kind::Answered, {
            rejected("grpc: received message larger than max (9 vs. 8)")
        }),
        (RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Kind::Answered, {
            no("etcdserver: mvcc: database space exceeded: compact and defragment etcd, then disarm its NOSPACE alarm")
        }),
        (RESOURCE_EXHAUSTED, "etcdserver: too many requests", Kind::Answered, no("etcdserver: too many requests")),
        (UNAVAILABLE, "etcdserver: no leader", Kind::Elsewhere, no("etcdserver: no leader")),
        (UNAVAILABLE, "etcdserver: not capable", Kind::Elsewhere, no("etcdserver: not capable")),
        (UNAVAILABLE, "etcdserver: rpc not supported for learner", Kind::Elsewhere, {
            no("etcdserver: rpc not supported for learner")
        }),
        (UNAVAILABLE, "etcdserver: leader changed", Kind::Broken, maybe("etcdserver: leader changed")),
        (UNAVAILABLE, "etcdserver: request timed out", Kind::Broken, maybe("etcdserver: request timed out")),
        (
            UNAVAILABLE,
            "etcdserver: request timed out, possibly due to previous leader failure",
            Kind::Broken,
            maybe("etcdserver: request timed out, possibly due to previous leader failure"),
        ),
        (UNAVAILABLE, "etcdserver: server stopped", Kind::Broken, maybe("etcdserver: server stopped")),
        (UNAVAILABLE, "etcdserver: unhealthy cluster", Kind::Broken, maybe("etcdserver: unhealthy cluster")),
        (DATA_LOSS, "etcdserver: corrupt cluster", Kind::Broken, maybe("etcdserver: corrupt cluster")),
        (INTERNAL, "boom", Kind::Broken, maybe("boom")),
        (CANCELLED, "context canceled", Kind::Broken, maybe("context canceled")),
        (UNAUTHENTICATED, "etcdserver: invalid auth token", Kind::Token, {
            misconfigured("etcdserver: invalid auth token")
        }),
        (INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Kind::Token, {
            misconfigured("etcdserver: revision of auth store is old")
        }),
        (UNKNOWN, "auth: revision in header is old", Kind::Token, misconfigured("auth: revision in header is old")),
        (PERMISSION_DENIED, "etcdserver: permission denied", Kind::Answered, {
            forbidden("etcdserver: permission denied: the user needs a role that allows this")
        }),
        (INVALID_ARGUMENT, "etcdserver: user name is empty", Kind::NoLogin, {
            misconfigured("it asks for a user and a password")
        }),
        (
            INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            Kind::Answered,
            misconfigured("etcdserver: authentication failed, invalid user ID or password"),
        ),
        (FAILED_PRECONDITION, "etcdserver: authentication is not enabled", Kind::AuthOff, {
            misconfigured("etcdserver: authentication is not enabled: leave out user and password")
        }),
        (UNIMPLEMENTED, "unknown service etcdserverpb.KV", Kind::Answered, {
            misconfigured("unknown service etcdserverpb.KV: is it etcd 3.4 or newer?")
        }),
        (UNKNOWN, "Service was not ready: transport error", Kind::Unreached, {
            BackendError::unreachable("cannot reach etcd at e: Service was not ready: transport error")
        }),
    ];
    for (code, message, kind, error) in table {
        assert_eq!(told(Failure::status(code, message)), (kind, error), "{code} {message}");
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
        for code in [UNKNOWN, NOT_FOUND, UNAVAILABLE, FAILED_PRECONDITION] {
            assert_eq!(told(Failure::status(code, &message)), (Kind::Broken, maybe(&message)), "{code} {message}");
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
