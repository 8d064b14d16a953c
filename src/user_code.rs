//! Code of the user: codecs, filters, indexes.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Code of the user panicked. The text of the panic is not kept: it can quote a value. The panic hook has been given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs code of the user, whose panic must harm nobody else.
pub(crate) fn contained<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|_| Panicked)
}
