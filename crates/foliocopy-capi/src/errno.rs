//! Errors as C knows them.

use core::ffi::c_int;

use foliocopy::CopyError;

/// The negative errno for a request that can't be met.
pub(crate) fn of(error: CopyError) -> c_int {
    match error {
        CopyError::Overflow { .. } => -libc::EOVERFLOW,
        CopyError::Unavailable { .. } | CopyError::Unsupported(_) => -libc::EOPNOTSUPP,
        _ => -libc::EINVAL,
    }
}
