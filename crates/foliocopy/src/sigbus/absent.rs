//! The parts of `sigbus` where faults cannot be survived: on other operating systems and architectures, and under Miri,
//! where no fault happens.

use crate::error::Unsupported;

/// The result without a handler.
const ANSWER: Result<(), Unsupported> = if cfg!(miri) { Ok(()) } else { Err(Unsupported::Platform) };

/// Installs the handler of SIGBUS, which exists only on Linux for x86-64 and aarch64.
///
/// # Errors
///
/// [`Unsupported::Platform`], always. Under Miri it succeeds and does nothing: no memory faults there.
pub fn install() -> Result<(), Unsupported> {
    ANSWER
}

/// Installs the handler of SIGSEGV, which does not exist here either.
///
/// # Errors
///
/// [`Unsupported::Platform`], always. Under Miri it succeeds and does nothing.
pub fn catch_sigsegv() -> Result<(), Unsupported> {
    ANSWER
}

/// Whether a fault comes to the crate's handler: never. Under Miri always, since no fault happens.
pub fn is_installed() -> bool {
    ANSWER.is_ok()
}

/// Whether a fault would be survived.
pub(crate) fn ensure(_: usize) -> Result<(), Unsupported> {
    ANSWER
}

/// Does nothing: there is no handler to check.
pub(crate) fn suspect() {}

/// Resumes nothing: Miri raises no signal.
///
/// # Safety
///
/// None under Miri; elsewhere the arguments are those that the kernel gave a signal handler.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn try_handle(_: core::ffi::c_int, _: *const libc::siginfo_t, _: *mut core::ffi::c_void) -> bool {
    false
}

/// Changes nothing: there is no handler under Miri.
///
/// # Safety
///
/// None under Miri; elsewhere a handler of the caller's calls [`try_handle`].
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub unsafe fn handled_by_caller() {}
