//! The handler of SIGBUS, and that of SIGSEGV where a program asks for it.

use core::ffi::{c_int, c_void};

use foliocopy::sigbus;

use crate::failure::{Failure, status};

/// Installs the handler of SIGBUS that foliocopy_copy_mc_pages needs, the first time it is called. Signals that are no
/// faults of copies go to the action that was installed before. -EOPNOTSUPP where another handler has replaced it since.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_sigbus_install() -> c_int {
    status(sigbus::install().map_err(Failure::from))
}

/// Turns SIGSEGV of the machine-check-safe copies that follow into -EFAULT too, with the cause
/// FOLIOCOPY_CAUSE_NOT_MAPPED or FOLIOCOPY_CAUSE_NOT_ALLOWED, for the life of the process. Off unless it is called.
///
/// It is for ranges whose addresses stay reserved while mprotect() takes access rights away. It is not for addresses
/// that may be unmapped: into a hole another thread may map memory of its own, and the copy then reads or overwrites
/// that. Signals that are not ours go to the action that stood before. -EOPNOTSUPP where somebody has replaced the
/// handler since; copies answer that too.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_catch_sigsegv() -> c_int {
    status(sigbus::catch_sigsegv().map_err(Failure::from))
}

/// Whether faults come to our handlers now: they stand, or those of other copies of foliocopy do and forward to them.
/// The handler of SIGSEGV counts after foliocopy_catch_sigsegv.
#[unsafe(no_mangle)]
pub extern "C" fn foliocopy_sigbus_is_installed() -> bool {
    sigbus::is_installed()
}

/// For programs whose runtime owns SIGBUS: declares that their handler calls foliocopy_sigbus_try_handle,
/// from now on and for as long as pages are copied. Ours is neither put in place nor asked for then. It speaks
/// for SIGSEGV too, where foliocopy_catch_sigsegv was called.
///
/// # Safety
///
/// Their handler does so. Otherwise a fault kills the process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_sigbus_handled_by_caller() {
    // SAFETY: the program's handler of SIGBUS calls `foliocopy_sigbus_try_handle` as long as pages are copied.
    unsafe { sigbus::handled_by_caller() };
}

/// Called from a handler of SIGBUS or SIGSEGV (SA_SIGINFO) with its three arguments: whether the signal is a fault of
/// a copy of ours, which then goes on when the handler returns. Otherwise nothing was changed.
/// Async-signal-safe. info is the handler's siginfo_t, a type that strict C doesn't have.
///
/// # Safety
///
/// The arguments are what the kernel gave the handler.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn foliocopy_sigbus_try_handle(
    signal: c_int,
    info: *const c_void,
    context: *mut c_void,
) -> bool {
    // SAFETY: the three arguments are those that the kernel gave to the handler of this signal.
    unsafe { sigbus::try_handle(signal, info.cast(), context) }
}
