//! The code that a signal interrupted, as the kernel keeps it in the frame of the signal.

use core::ffi::c_void;

use crate::extable::Recovery;

#[cfg(target_arch = "aarch64")]
#[path = "frame/aarch64.rs"]
mod registers;
#[cfg(target_arch = "x86_64")]
#[path = "frame/x86_64.rs"]
mod registers;

/// The registers with which the interrupted code goes on.
pub(super) struct Frame<'a>(&'a mut libc::mcontext_t);

impl<'a> Frame<'a> {
    /// The registers in the `ucontext_t` that a handler was given.
    ///
    /// # Safety
    ///
    /// `context` points to the `ucontext_t` in the frame of the signal that is handled, and nobody else uses it for so long.
    pub(super) unsafe fn of(context: *mut c_void) -> Self {
        // SAFETY: this function's contract.
        Self(unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext })
    }

    /// The register in which an interrupted loop keeps its recovery. In any other code it is no address.
    pub(super) fn recovery(&self) -> *mut Recovery {
        core::ptr::with_exposed_provenance_mut(self.recovery_register())
    }
}
