//! A parcel on its way to an observer.

use actix::MailboxError;

/// Ends when a parcel has been handled.
pub(crate) type Delivery = std::pin::Pin<Box<dyn Future<Output = Result<(), Undelivered>>>>;

/// A parcel was not handled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Undelivered {
    /// The observer is gone.
    Gone,
    /// The observer panicked, and can be told more.
    Panicked,
}

impl From<MailboxError> for Undelivered {
    fn from(_: MailboxError) -> Self {
        Self::Gone
    }
}
