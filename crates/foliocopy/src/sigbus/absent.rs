//! What an operating system or an architecture has where faults can't be survived.

use crate::error::Unsupported;

/// Puts the handler of SIGBUS in place; it exists on Linux for x86-64 alone.
///
/// # Errors
///
/// [`Unsupported::Platform`], always.
pub fn install() -> Result<(), Unsupported> {
    Err(Unsupported::Platform)
}

/// Whether our handler is the one that stands: never.
pub fn is_installed() -> bool {
    false
}

/// Whether a fault would be survived.
pub(crate) fn ensure() -> Result<(), Unsupported> {
    Err(Unsupported::Platform)
}

/// Nothing is trusted here.
pub(crate) fn suspect() {}
