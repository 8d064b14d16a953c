//! The statuses etcd has for errors, with its words: clients compare them.

use tonic::Status;

use crate::backend::BackendError;

pub(super) fn empty_key() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

pub(super) fn key_not_found() -> Status {
    Status::invalid_argument("etcdserver: key not found")
}

pub(super) fn value_provided() -> Status {
    Status::invalid_argument("etcdserver: value is provided")
}

pub(super) fn lease_provided() -> Status {
    Status::invalid_argument("etcdserver: lease is provided")
}

pub(super) fn too_many_operations() -> Status {
    Status::invalid_argument("etcdserver: too many operations in txn request")
}

pub(super) fn duplicate_key() -> Status {
    Status::invalid_argument("etcdserver: duplicate key given in txn request")
}

pub(super) fn invalid_sort() -> Status {
    Status::invalid_argument("etcdserver: invalid sort option")
}

pub(super) fn too_large() -> Status {
    Status::invalid_argument("etcdserver: request is too large")
}

pub(super) fn compacted() -> Status {
    Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
}

pub(super) fn lease_not_found() -> Status {
    Status::not_found("etcdserver: requested lease not found")
}

pub(super) fn ttl_too_large() -> Status {
    Status::out_of_range("etcdserver: too large lease TTL")
}

pub(super) fn authentication_is_off() -> Status {
    Status::failed_precondition("etcdserver: authentication is not enabled")
}

/// What this server does not do, although an etcd does.
pub(super) fn not_served(what: &str) -> Status {
    Status::unimplemented(format!("not served by this in-memory kvstore for development: {what}"))
}

/// The status etcd has for an error of a backend.
pub(super) fn status(error: BackendError) -> Status {
    match error {
        BackendError::Compacted { .. } => compacted(),
        BackendError::FutureRevision => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        BackendError::LeaseNotFound { .. } => lease_not_found(),
        BackendError::LeaseExists { .. } => Status::failed_precondition("etcdserver: lease already exists"),
        BackendError::Unavailable { cause, .. } => Status::unavailable(&*cause),
        BackendError::Rejected { cause } => Status::invalid_argument(format!("etcdserver: {cause}")),
        BackendError::Forbidden { .. } => Status::permission_denied("etcdserver: permission denied"),
        BackendError::Misconfigured { cause } => Status::unauthenticated(&*cause),
    }
}
