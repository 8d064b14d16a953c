//! Code of the user: codecs, filters, indexes.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Code of the user panicked. The text of the panic is not kept, since it can quote a value; the panic hook has
/// received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs code of the user. A panic in it affects nothing else.
pub(crate) fn contained<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| Panicked)
}
